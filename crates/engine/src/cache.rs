//! Where the local cache is, and which repositories have one. It may be deleted at any time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use basekeep_postgres::Environment;
use basekeep_repository::{CacheScope, Repository};
use basekeep_store::Local;

use crate::config::is_url;

/// The folder of all caches: `BASEKEEP_CACHE_DIR`, else `$XDG_CACHE_HOME/basekeep`, else `~/.cache/basekeep`. `None`
/// without any of them.
pub fn folder(env: &Environment) -> Option<PathBuf> {
    if let Some(given) = env.var("BASEKEEP_CACHE_DIR") {
        return Some(PathBuf::from(given));
    }
    let given = env.var("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given.or_else(|| env.home.as_ref().map(|home| home.join(".cache")));
    base.map(|base| base.join("basekeep"))
}

/// The repository with its cache below `folder`. One on a local disk keeps records alone there: its files are at hand.
pub(crate) fn attach(repository: Repository, folder: &Path, url: &str) -> Repository {
    let id = repository.id();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return repository;
    }
    let far = is_url(url) && !url.starts_with("file:");
    let scope = if far { CacheScope::Everything } else { CacheScope::Records };
    // Losing it costs a few requests: no write waits for the disk.
    let store = Arc::new(Local::new(folder.join(id)).unsynced());
    repository.with_cache(store, scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_users_cache_folder() {
        let mut env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
        assert_eq!(folder(&env), Some("/home/ada/.cache/basekeep".into()));
        env.vars.insert("XDG_CACHE_HOME".into(), "relative".into());
        assert_eq!(folder(&env), Some("/home/ada/.cache/basekeep".into()), "XDG wants absolute paths");
        env.vars.insert("XDG_CACHE_HOME".into(), "/xdg".into());
        assert_eq!(folder(&env), Some("/xdg/basekeep".into()));
        env.vars.insert("BASEKEEP_CACHE_DIR".into(), "/fast".into());
        assert_eq!(folder(&env), Some("/fast".into()));
        assert_eq!(folder(&Environment::default()), None);
    }
}

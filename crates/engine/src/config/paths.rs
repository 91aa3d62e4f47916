//! Paths as people write them in a configuration.

use std::path::{Path, PathBuf};

use basekeep_postgres::Environment;

/// `~` becomes the home directory, and a relative path is taken from `base`. Needless `.` parts disappear.
pub fn expand(path: &str, base: &Path, env: &Environment) -> PathBuf {
    let home = || env.home.clone();
    let expanded = match path.strip_prefix('~') {
        Some("") => home(),
        Some(rest) => rest.strip_prefix('/').and_then(|rest| home().map(|home| home.join(rest))),
        None => None,
    };
    base.join(expanded.unwrap_or_else(|| PathBuf::from(path))).components().collect()
}

/// Whether a repository's place is a URL rather than a folder: it has a scheme, or restic's `s3:` in front.
pub fn is_url(place: &str) -> bool {
    place.contains("://") || place.starts_with("s3:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_base_and_tilde_is_home() {
        let env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
        let expand = |path| expand(path, Path::new("/work/project"), &env);
        assert_eq!(expand("./backups"), Path::new("/work/project/backups"));
        assert_eq!(expand("backups"), Path::new("/work/project/backups"));
        assert_eq!(expand("/srv/backups"), Path::new("/srv/backups"));
        assert_eq!(expand("~/keys/a"), Path::new("/home/ada/keys/a"));
        assert_eq!(expand("~"), Path::new("/home/ada"));
        assert_eq!(expand("~other/a"), Path::new("/work/project/~other/a"));
        assert_eq!(expand("../b"), Path::new("/work/project/../b"));
    }
}

//! What a connection takes from its surroundings: variables, the home directory, the user's name.
//! A value of its own, so that tests inject one and nothing else in the crate asks the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The surroundings that defaults are taken from.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables whose names and values are UTF-8.
    pub vars: BTreeMap<String, String>,
    /// The home directory: `.pgpass`, `.pg_service.conf` and `.postgresql/` are below it.
    pub home: Option<PathBuf>,
    /// The operating system's name of the user, the default role.
    pub user: Option<String>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let home = match vars.get("HOME") {
            Some(home) if !home.is_empty() => Some(PathBuf::from(home)),
            _ => account.as_ref().map(|a| a.dir.clone()),
        };
        Self { user: account.map(|a| a.name), home, vars }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: values hold passwords.
        f.debug_struct("Environment")
            .field("vars", &self.vars.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .field("user", &self.user)
            .finish()
    }
}

//! What a user can say about a store besides its place: credentials, endpoint, limits, patience.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A secret access key or a session token. `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Pass it on, never print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Options of a store. What is `None` comes from the URL, then from the environment, then from the profile, then from the
/// default. Folders take the bandwidth limits and `retry_for`; the rest is for S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// The server, such as `https://minio.example.com:9000`; may have a path. Default: AWS, by region.
    pub endpoint: Option<String>,
    /// The region. Default: `us-east-1`.
    pub region: Option<String>,
    /// Which profile of the shared credentials and config files.
    pub profile: Option<String>,
    /// The access key's id; goes with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// The access key's secret.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// `https://host/bucket/key` in place of `https://bucket.host/key`. Default: yes with an endpoint of one's own.
    pub path_style: Option<bool>,
    /// A file of certificates (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Bytes per second for all uploads of this store together.
    pub limit_upload: Option<u64>,
    /// Bytes per second for all downloads of this store together.
    pub limit_download: Option<u64>,
    /// How many requests may be under way at once. Default: 16.
    pub connections: Option<usize>,
    /// For how long a transient failure is tried again. Default: 2 minutes.
    pub retry_for: Option<Duration>,
    /// A request that moves nothing for so long is given up, and tried again. Default: 1 minute.
    pub stall_after: Option<Duration>,
}

/// The variables and the home directory of the process, or of a test.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Environment variables. Empty ones count as not set.
    pub variables: HashMap<String, String>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: values hold secrets.
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Surroundings").field("variables", &names).field("home", &self.home).finish()
    }
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, home: std::env::home_dir() }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let options = StoreOptions {
            secret_access_key: Some(Secret::new("hunter2")),
            session_token: Some(Secret::new("hunter2")),
            ..StoreOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn empty_variables_are_not_set() {
        let variables = [("A".to_owned(), String::new()), ("B".to_owned(), "b".to_owned())].into();
        let surroundings = Surroundings { variables, home: None };
        assert_eq!(surroundings.var("A"), None);
        assert_eq!(surroundings.var("B"), Some("b"));
    }
}

//! Connection strings as libpq understands them, resolved to one value.

use crate::environment::Environment;
use crate::secret::Secret;
use std::ffi::OsString;

/// A connection string that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConninfoError {
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

/// Where and how to connect, everything resolved.
#[derive(Clone)]
pub struct ConnectOptions {}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectOptions({})", self.redacted())
    }
}

impl ConnectOptions {
    /// Resolves a URL or `key=value` string: given parameters, then the service file, then the environment, then
    /// defaults; then `.pgpass`.
    pub fn resolve(_conninfo: &str, _env: &Environment) -> Result<Self, ConninfoError> {
        todo!()
    }
    /// The same server, another database.
    pub fn with_database(&self, _name: &str) -> Self {
        todo!()
    }
    /// The same with this password.
    pub fn with_password(self, _password: Secret) -> Self {
        todo!()
    }
    /// Database name.
    pub fn database(&self) -> &str {
        todo!()
    }
    /// First host: a name, an address or a socket directory.
    pub fn host(&self) -> &str {
        todo!()
    }
    /// First port.
    pub fn port(&self) -> u16 {
        todo!()
    }
    /// Role.
    pub fn user(&self) -> &str {
        todo!()
    }
    /// URL without password.
    pub fn redacted(&self) -> String {
        todo!()
    }
    /// Everything a libpq program needs, as environment variables.
    pub fn child_environment(&self) -> Vec<(String, OsString)> {
        todo!()
    }
    /// Names of variables to remove from a child's environment before `child_environment` is set.
    pub fn child_environment_removed(&self) -> Vec<String> {
        todo!()
    }
}

//! Connection strings as libpq understands them, resolved to one value.
//!
//! Source of the rules: the PostgreSQL manual, "Connection Strings", "Parameter Key Words", "Environment Variables",
//! "The Password File" and "The Connection Service File".

mod keywords;
mod options;
mod parameters;
mod passfile;
mod service;
mod settings;
mod url;

pub use options::ConnectOptions;
pub(crate) use settings::{
    CertificateMode, ChannelBinding, Endpoint, Keepalives, Method, RootCertificates, Settings, SslMode,
    TargetSession, TlsSettings,
};

use crate::environment::Environment;
use parameters::{Parameters, fill_from_environment};

/// A connection string that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConninfoError {
    message: String,
    hints: Vec<String>,
}

impl ConninfoError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

/// Given parameters, then the service file, then the environment. Defaults are not yet filled in.
fn gather(conninfo: &str, env: &Environment) -> Result<Parameters, ConninfoError> {
    let conninfo = conninfo.trim();
    let mut parameters =
        if url::is_url(conninfo) { url::parse(conninfo)? } else { keywords::parse(conninfo)? };
    service::fill(&mut parameters, env)?;
    fill_from_environment(&mut parameters, env);
    Ok(parameters)
}

//! What can go wrong with one database, classified once. What the user can do about it is in `hints`.

mod hints;
mod server;

pub use server::ServerError;

use crate::conninfo::ConninfoError;
use std::io;
use std::time::Duration;

/// An error of a connection or a command on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// No connection could be made.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// `host:port` or the socket's path.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The host's name has no address.
    #[error("cannot find the host {host}: {source}")]
    HostNotFound {
        /// The name.
        host: String,
        /// The resolver's reason.
        source: io::Error,
    },
    /// The server is not of the kind that `target_session_attrs` asks for.
    #[error("{endpoint} is not a {wanted} server")]
    WrongServer {
        /// `host:port` or the socket's path.
        endpoint: String,
        /// The parameter's value.
        wanted: &'static str,
    },
    /// The connection broke.
    #[error("the connection to the server was lost: {0}")]
    Io(#[from] io::Error),
    /// TLS could not be set up as asked.
    #[error("TLS with {endpoint}: {reason}")]
    Tls {
        /// `host:port`.
        endpoint: String,
        /// What failed.
        reason: String,
    },
    /// The server's authentication request could not be met.
    #[error("authentication: {0}")]
    Authentication(String),
    /// The server asks for a password and none is known.
    #[error("the server asks for the password of {user}, and none was given")]
    PasswordMissing {
        /// The role.
        user: String,
        /// Why the password file was not used, when it is there.
        file_problem: Option<String>,
    },
    /// The server sent something that the protocol does not allow.
    #[error("unexpected answer from the server: {0}")]
    Protocol(String),
    /// The connection string is not usable.
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    /// Something took too long.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// The connection is not usable any more: a command on it was abandoned, or it was lost before.
    #[error("the connection is closed")]
    Closed,
    /// The caller used this crate wrongly.
    #[error("{0}")]
    Usage(String),
    /// A value in a result is not what was expected.
    #[error("column {column} of the result: {reason}")]
    Value {
        /// Index, from 0.
        column: usize,
        /// What was expected, without the value.
        reason: String,
    },
}

/// What the caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The server cannot be reached or does not take connections now.
    Unreachable,
    /// The password, certificate or role is refused.
    Authentication,
    /// The role lacks a privilege.
    Denied,
    /// The connection was there and broke; the same work may succeed on a new one.
    LostConnection,
    /// Any other error of the server.
    Server,
    /// The caller's input is wrong.
    Usage,
}

impl Error {
    /// The server's SQLSTATE.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(e) => Some(&e.code),
            _ => None,
        }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Server(e) => e.class(),
            Self::Connect { .. }
            | Self::HostNotFound { .. }
            | Self::WrongServer { .. }
            | Self::Timeout { .. } => ErrorClass::Unreachable,
            Self::Io(_) | Self::Closed => ErrorClass::LostConnection,
            Self::Tls { .. } | Self::Authentication(_) | Self::PasswordMissing { .. } => {
                ErrorClass::Authentication
            }
            Self::Protocol(_) | Self::Value { .. } => ErrorClass::Server,
            Self::Conninfo(_) | Self::Usage(_) => ErrorClass::Usage,
        }
    }

    /// What the user can do about it, most likely first.
    pub fn hints(&self) -> Vec<String> {
        hints::of(self)
    }
}

//! What can go wrong with one database, classified once, with hints that say what to do.

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
    /// The connection is not usable any more: a command on it was abandoned or it was lost before.
    #[error("the connection is closed")]
    Closed,
    /// A value in a result is not what was expected.
    #[error("column {column} of the result: {reason}")]
    Value {
        /// Index, from 0.
        column: usize,
        /// What was expected, without the value.
        reason: String,
    },
}

/// What the caller does about it.
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

/// An ErrorResponse of the server. Displays as message and SQLSTATE; `detail`, `context` and quoted values may hold row
/// values and are never printed by `Display` or `Debug`.
#[derive(Clone, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// May hold row values.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
    /// Position in the statement, in characters from 1.
    pub position: Option<u32>,
    /// Call stack; may hold row values.
    pub context: Option<String>,
    /// Schema of the object.
    pub schema: Option<String>,
    /// Table of the object.
    pub table: Option<String>,
    /// Column of the object.
    pub column: Option<String>,
    /// Data type of the object.
    pub data_type: Option<String>,
    /// Constraint.
    pub constraint: Option<String>,
    /// C function that reported it.
    pub routine: Option<String>,
}

impl std::error::Error for ServerError {}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::fmt::Debug for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerError({self})")
    }
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
        todo!()
    }

    /// What the user can do about it, most likely first.
    pub fn hints(&self) -> Vec<String> {
        todo!()
    }
}

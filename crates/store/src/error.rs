//! What can go wrong in a store, classified once: retries and exit codes follow the kind.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// The storage refuses: permissions, credentials, a read-only file system.
    Denied,
    /// The storage is full, or a quota is used up.
    NoSpace,
    /// May succeed when tried again.
    Transient,
    /// Will not succeed when tried again.
    Permanent,
    /// The object is not what it should be, for example shorter.
    Corrupt,
}

/// What was asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opening the store itself.
    Open,
    /// Writing an object.
    Put,
    /// Reading a whole object.
    Get,
    /// Reading a part of one.
    GetRange,
    /// Asking for its size.
    Size,
    /// Listing a folder.
    List,
    /// Deleting an object.
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "write",
            Self::Get | Self::GetRange => "read",
            Self::Size => "look up",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

/// A failed operation: "write data/3f/3fa9…: no space left on device".
#[derive(Debug, Clone)]
pub struct StoreError {
    /// The class of the failure.
    pub kind: ErrorKind,
    /// What was asked.
    pub operation: Operation,
    /// Of which object or folder.
    pub key: String,
    /// The cause.
    pub source: Arc<dyn Error + Send + Sync>,
    /// What the user can do about it.
    pub hint: Option<Arc<str>>,
    /// How long the server asked to be left alone before the next attempt.
    pub retry_after: Option<Duration>,
}

impl StoreError {
    /// An error of `kind`.
    pub fn new(
        kind: ErrorKind,
        operation: Operation,
        key: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = Arc::from(source.into());
        Self { kind, operation, key: key.to_owned(), source, hint: None, retry_after: None }
    }

    /// Adds a line that says what to do.
    pub fn hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Classifies an error of the operating system.
    pub(crate) fn io(operation: Operation, key: &str, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::WouldBlock => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        };
        Self::new(kind, operation, key, error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.operation, self.key.as_str()) {
            (Operation::Open, _) => write!(f, "{}", self.source),
            (operation, "") => write!(f, "{operation} the repository's folder: {}", self.source),
            (operation, key) => write!(f, "{operation} {key}: {}", self.source),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// What the user wrote cannot be opened.
pub(crate) fn unsupported(message: &str) -> StoreError {
    StoreError::new(ErrorKind::Permanent, Operation::Open, "", message)
}

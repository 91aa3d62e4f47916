//! The one error type of the engine: what happened, to what, what to do, and which exit code it means.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure this is; the command line turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Anything that has no kind of its own (exit code 1).
    Failed,
    /// The request itself is wrong: a name that does not exist, options that contradict each other (2).
    Usage,
    /// Verification or a drill found a difference (4).
    Difference,
    /// There is no repository at that place (10).
    NoRepository,
    /// Somebody else holds a lock that excludes this work (11).
    Locked,
    /// No key of the repository opens with this password (12).
    WrongPassword,
    /// The source or target database cannot be reached or refuses the login (13).
    Unreachable,
    /// The user interrupted the work (130).
    Interrupted,
}

/// An error with its context and hints. The cause stays in [`StdError::source`].
pub struct EngineError(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl EngineError {
    /// An error of `kind`; the message is lower case without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hints: Vec::new(), source: None }))
    }

    /// Shorthand for [`ErrorKind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// Shorthand for [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds a line that says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds several hints.
    pub fn hints_from(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.0.hints.extend(hints);
        self
    }

    /// Keeps `cause` as the source of this error.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Puts what was being done in front, and keeps kind, hints and cause.
    pub fn within(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user can do about it.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl StdError for EngineError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

/// Adds what was being done to any error that the engine can classify.
pub trait ResultExt<T> {
    /// `doing` reads like "read block range 8..16 of public.orders".
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, EngineError>;
}

impl<T, E: Into<EngineError>> ResultExt<T> for Result<T, E> {
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, EngineError> {
        self.map_err(|error| error.into().within(doing()))
    }
}

/// `invalid_catalog_name`: the server is there, the database is not.
const NO_SUCH_DATABASE: &str = "3D000";

impl From<basekeep_postgres::Error> for EngineError {
    fn from(error: basekeep_postgres::Error) -> Self {
        use basekeep_postgres::ErrorClass;
        let kind = match error.class() {
            _ if error.sqlstate() == Some(NO_SUCH_DATABASE) => ErrorKind::Unreachable,
            ErrorClass::Unreachable | ErrorClass::Authentication => ErrorKind::Unreachable,
            ErrorClass::Usage => ErrorKind::Usage,
            ErrorClass::Denied | ErrorClass::LostConnection | ErrorClass::Server => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string()).hints_from(error.hints()).caused_by(error)
    }
}

impl From<basekeep_postgres::ConninfoError> for EngineError {
    fn from(error: basekeep_postgres::ConninfoError) -> Self {
        Self::from(basekeep_postgres::Error::from(error))
    }
}

impl From<basekeep_store::StoreError> for EngineError {
    fn from(error: basekeep_store::StoreError) -> Self {
        let hint = store_hint(&error);
        Self::failed(error.to_string()).hints_from(hint).caused_by(error)
    }
}

impl From<basekeep_repository::RepositoryError> for EngineError {
    fn from(error: basekeep_repository::RepositoryError) -> Self {
        use basekeep_repository::RepositoryError as E;
        let (kind, hints): (_, Vec<String>) = match &error {
            E::NotFound { .. } => (
                ErrorKind::NoRepository,
                vec!["create one with `basekeep init`, or name another place with --repo".into()],
            ),
            E::WrongPassword => (
                ErrorKind::WrongPassword,
                vec![
                    "it comes from BASEKEEP_PASSWORD, BASEKEEP_PASSWORD_FILE, BASEKEEP_PASSWORD_COMMAND or basekeep.toml"
                        .into(),
                ],
            ),
            E::Locked { .. } => (
                ErrorKind::Locked,
                vec![
                    "wait until the other work is done, or let --retry-lock 10m wait for it".into(),
                    "a lock whose process is gone becomes stale after 30 minutes; `basekeep unlock` tells of each, and removes them"
                        .into(),
                ],
            ),
            E::LockLost { .. } => (ErrorKind::Locked, vec!["run it again; what was uploaded is found again".into()]),
            E::UnsupportedVersion { version: 1, .. } => (
                ErrorKind::Failed,
                vec!["`restic migrate upgrade_repo_v2` makes it version 2; what is in it stays".into()],
            ),
            E::AlreadyExists { .. }
            | E::NoSuchSnapshot { .. }
            | E::AmbiguousSnapshot { .. }
            | E::NoSuchFile { .. }
            | E::AmbiguousFile { .. } => (ErrorKind::Usage, Vec::new()),
            E::Damaged { .. } | E::DamagedBlob { .. } | E::MissingBlob { .. } | E::DamagedTree { .. } => (
                ErrorKind::Failed,
                vec!["`basekeep verify --read-data` names everything that is damaged and what it touches".into()],
            ),
            E::CannotPrune { hint, .. } => (ErrorKind::Failed, vec![(*hint).to_owned()]),
            E::Store(error) => (ErrorKind::Failed, store_hint(error).into_iter().collect()),
            _ => (ErrorKind::Failed, Vec::new()),
        };
        Self::new(kind, error.to_string()).hints_from(hints).caused_by(error)
    }
}

fn store_hint(error: &basekeep_store::StoreError) -> Option<String> {
    match (&error.hint, error.kind) {
        (Some(hint), _) => Some(hint.to_string()),
        (None, basekeep_store::ErrorKind::NoSpace) => {
            Some("free some space there, or raise the quota; no snapshot was made".into())
        }
        (None, basekeep_store::ErrorKind::Denied) => {
            Some("check the permissions of the repository's folder".into())
        }
        _ => None,
    }
}

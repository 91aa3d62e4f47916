//! What can go wrong with the Management API, classified once.

use std::fmt;
use std::time::Duration;

/// What kind of failure this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be made as it is configured.
    Usage,
    /// 401: the token is not valid (any more).
    Unauthorized,
    /// 403 (or 402): the token's account or the project's plan does not allow it.
    Forbidden,
    /// 404: there is no such project, or no such part of it.
    NotFound,
    /// 429, 5xx, no answer, an answer that breaks off. It has been tried again already.
    Unavailable,
    /// Anything else.
    Unexpected,
}

/// A failed request. The message is lower case and holds no secret.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// What kind.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
    /// How long the server wants us to wait.
    pub(super) retry_after: Option<Duration>,
}

impl ApiError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Unauthorized => Some(
                "make a new access token in the dashboard (account, access tokens), and set the variable to it",
            ),
            ErrorKind::Forbidden => Some("use a token of an account that may administer the project"),
            ErrorKind::NotFound => Some("check `project_ref`: the dashboard's address shows it"),
            ErrorKind::Unavailable => Some("back up again later; the rest of the snapshot is complete"),
            ErrorKind::Usage | ErrorKind::Unexpected => None,
        }
    }

    pub(super) fn of_network(error: &reqwest::Error) -> Self {
        let what = match (error.is_connect(), error.is_timeout()) {
            (true, _) => "no connection to the Management API can be made",
            (_, true) => "the Management API does not answer",
            _ => "the answer of the Management API broke off",
        };
        Self::new(ErrorKind::Unavailable, what)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

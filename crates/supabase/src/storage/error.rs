//! What a storage service answers when it refuses, and what the network does, classified once.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The service knows no such file (or bucket), or knows it and does not have it.
    NotFound,
    /// The key is wrong, or may not do this.
    Denied,
    /// The file is larger than the service or its bucket allows.
    TooLarge,
    /// The bucket does not allow this MIME type, or the service does not allow this name.
    NotAllowed,
    /// There is a file or a bucket of this name already.
    Exists,
    /// The name cannot be sent in a URL: HTTP clients and servers resolve `.` and `..` in paths.
    Unsendable,
    /// The file changed while it was read.
    Changed,
    /// The network, or a service that is busy: another try may succeed.
    Transient,
    /// What is to be sent could not be read.
    Content,
    /// Anything else.
    Refused,
}

/// A failed request. Never has a key in its text.
#[derive(Debug, Clone)]
pub struct StorageError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What happened, in one line.
    pub message: String,
    /// How long the service asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The service's word for it, such as `NoSuchKey`; may be empty.
    pub(super) code: String,
    /// Worth a few attempts and no more: with its files in a folder, the Storage API answers 500 for one that is lost.
    pub(super) doubtful: bool,
    /// The service answered.
    pub(super) answered: bool,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StorageError {}

/// What the body of a refusal says.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// The status that is meant: the Storage API answers 400 and says 404 in the body.
    pub(super) status: Option<u16>,
    pub(super) code: String,
    pub(super) message: String,
}

impl StorageError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            code: String::new(),
            doubtful: false,
            answered: false,
        }
    }

    /// The request did not get its answer.
    pub(super) fn of_network(error: &reqwest::Error) -> Self {
        let kind = if error.is_builder() { ErrorKind::Refused } else { ErrorKind::Transient };
        Self::new(kind, innermost(error))
    }

    /// The answer says no.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, refusal: Refusal) -> Self {
        let meant = refusal.status.unwrap_or(status.as_u16());
        let kind = match (meant, refusal.code.as_str()) {
            (_, "SlowDown" | "ServiceUnavailable" | "DatabaseTimeout" | "LockTimeout") => {
                ErrorKind::Transient
            }
            (_, "EntityTooLarge") | (413, _) => ErrorKind::TooLarge,
            (_, "InvalidMimeType" | "InvalidKey") | (415, _) => ErrorKind::NotAllowed,
            (
                _,
                "ResourceAlreadyExists"
                | "KeyAlreadyExists"
                | "BucketAlreadyExists"
                | "BucketAlreadyOwnedByYou",
            )
            | (409, _) => ErrorKind::Exists,
            (404, _) => ErrorKind::NotFound,
            (401 | 403, _) => ErrorKind::Denied,
            (408 | 425 | 429 | 500..=599, _) => ErrorKind::Transient,
            _ => ErrorKind::Refused,
        };
        let mut message = match refusal.message.trim() {
            "" => format!("the service answered {status}"),
            said => format!("the service answered {meant}: {}", one_line(said)),
        };
        if kind == ErrorKind::Denied {
            message += "; is it the service role's key, and of this project?";
        }
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        Self { kind, message, retry_after, code: refusal.code, doubtful: meant == 500, answered: true }
    }

    /// Whether the service answered at all.
    pub fn is_answer(&self) -> bool {
        self.answered
    }

    /// The service's own word for it, such as `NoSuchKey`; may be empty.
    pub fn code(&self) -> &str {
        &self.code
    }
}

fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    line.trim_end_matches('.').to_owned()
}

/// The innermost cause, which says most. URLs are not in it.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

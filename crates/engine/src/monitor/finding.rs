//! Something that alerts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// What can be restored is in doubt, or is getting old.
    Critical,
}

/// Something that alerts, as long as it is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The source; `None` where it concerns the repository.
    pub source: Option<String>,
    /// A stable word, such as `backup-age`; docs/MONITOR.md lists them.
    pub code: String,
    /// What of the source, where there can be several: a table, a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What, in one line, lower case.
    pub message: String,
    /// Since when it is so, where that is known.
    pub since: Option<Timestamp>,
    /// The command that shows more, or that helps.
    pub command: String,
}

impl Finding {
    /// A finding about a source.
    pub fn of_source(
        source: &str,
        code: &str,
        severity: Severity,
        message: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self {
            source: Some(source.to_owned()),
            code: code.to_owned(),
            subject: None,
            severity,
            message: message.into(),
            since: None,
            command: command.into(),
        }
    }

    /// A finding about the repository.
    pub fn of_repository(
        code: &str,
        severity: Severity,
        message: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self { source: None, ..Self::of_source("", code, severity, message, command) }
    }

    /// The same about one of several things.
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// The same since a time.
    pub fn since(self, since: Timestamp) -> Self {
        Self { since: Some(since), ..self }
    }
}

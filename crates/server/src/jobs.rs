//! What runs by itself: kinds of jobs, and which source each one is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of job. Its name is stable: it stands in the history, in leases and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// A snapshot of one source.
    Backup,
    /// The newest snapshot of one source is restored into a scratch server and compared.
    Drill,
    /// The retention policy of one source.
    Forget,
    /// Frees the space of what no snapshot needs; the whole repository.
    Prune,
    /// Structure, and a part of the data in turn; the whole repository.
    Check,
    /// Copies to the replicas what they have missed; the whole repository.
    Replicas,
    /// A snapshot of one source goes into a database. Only a person asks for it; it has no schedule.
    Restore,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Backup, Self::Drill, Self::Forget, Self::Prune, Self::Check, Self::Replicas, Self::Restore];

    /// The stable word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Drill => "drill",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Replicas => "replicas",
            Self::Restore => "restore",
        }
    }

    /// Whether it is about one source; the others are about the repository as a whole.
    pub fn of_source(self) -> bool {
        matches!(self, Self::Backup | Self::Drill | Self::Forget | Self::Restore)
    }

    /// Whether it deletes from the repository. Such jobs are never beside each other.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Forget | Self::Prune)
    }

    /// Whether nothing else may use the repository meanwhile (restic's exclusive lock).
    pub fn exclusive(self) -> bool {
        self == Self::Prune
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JobKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no job '{}'; the jobs are {}", text.escape_debug(), names.join(", "))
        })
    }
}

/// A kind of job and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Job {
    /// What is done.
    pub kind: JobKind,
    /// The source that it is about; `None` for jobs about the whole repository.
    pub source: Option<String>,
}

impl Job {
    /// A job about one source.
    pub fn of(kind: JobKind, source: impl Into<String>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// A job about the repository as a whole.
    pub fn repository(kind: JobKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{} of {source}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Its time had come.
    Schedule,
    /// Its time had passed while nobody could run it.
    Missed,
    /// The attempt before failed.
    Retry,
    /// Another job asks for it (retention after a backup).
    After,
    /// A person asked for it.
    Demand,
}

impl Trigger {
    /// The stable word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Missed => "missed",
            Self::Retry => "retry",
            Self::After => "after",
            Self::Demand => "demand",
        }
    }
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Schedule, Self::Missed, Self::Retry, Self::After, Self::Demand]
            .into_iter()
            .find(|trigger| trigger.name() == text)
            .ok_or_else(|| format!("'{}' starts nothing", text.escape_debug()))
    }
}

/// How a run ended. The exit code that belongs to it says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All of it was done (exit code 0).
    Done,
    /// Done, but something could not be captured, copied or removed (3).
    Incomplete,
    /// It was done and found a difference or damage (4).
    Difference,
    /// It failed.
    Failed,
    /// It was stopped, or the process ended while it ran (130).
    Interrupted,
}

impl Outcome {
    /// The stable word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Difference => "difference",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the job's work was done, so that it is not tried again before its next time.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Incomplete | Self::Difference)
    }

    /// What an exit code of the program means.
    pub fn of_exit_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            3 => Self::Incomplete,
            4 => Self::Difference,
            130 => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Done, Self::Incomplete, Self::Difference, Self::Failed, Self::Interrupted]
            .into_iter()
            .find(|outcome| outcome.name() == text)
            .ok_or_else(|| format!("'{}' is no outcome", text.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in JobKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        assert!("dump".parse::<JobKind>().unwrap_err().contains("backup, drill"));
        assert_eq!(Job::of(JobKind::Backup, "shop").to_string(), "backup of shop");
        assert_eq!(Job::repository(JobKind::Prune).to_string(), "prune");
    }

    #[test]
    fn a_difference_is_final_and_a_failure_is_not() {
        for (code, is_final) in [(0, true), (3, true), (4, true), (1, false), (11, false), (130, false)] {
            assert_eq!(Outcome::of_exit_code(code).is_final(), is_final, "{code}");
        }
    }
}

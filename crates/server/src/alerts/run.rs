//! What a run came to, in the words of alerts.

use basekeep_engine::monitor::{Finding, Severity};
use jiff::Timestamp;

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStart {
    /// `backup`, `drill`, `forget`, `prune`, `check`, `replicas`…
    pub job: String,
    /// The source; `None` for work on the whole repository.
    pub source: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// As it should.
    Done,
    /// Done, but something is missing or different, which is said in a line.
    Incomplete(String),
    /// It failed, for this reason.
    Failed(String),
    /// Somebody stopped it; that is no news, and changes no alert.
    Interrupted,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `backup`, `drill`…
    pub job: String,
    /// The source; `None` for work on the whole repository.
    pub source: Option<String>,
    /// How it ended.
    pub end: RunEnd,
    /// When it ended.
    pub ended: Timestamp,
    /// What came out, in a line: "42 tables, 310,000 rows".
    pub detail: Option<String>,
}

impl Run {
    /// What alerts about it, if anything.
    pub fn finding(&self) -> Option<Finding> {
        let job = &self.job;
        let source = self.source.as_deref();
        let (code, severity, message) = match &self.end {
            RunEnd::Done | RunEnd::Interrupted => return None,
            RunEnd::Failed(why) => ("run-failed", Severity::Critical, format!("{job} failed: {why}")),
            RunEnd::Incomplete(why) if job == "drill" || job == "check" => {
                ("run-incomplete", Severity::Critical, format!("{job} found a difference: {why}"))
            }
            RunEnd::Incomplete(why) => {
                ("run-incomplete", Severity::Warning, format!("{job} is incomplete: {why}"))
            }
        };
        let command = match (job.as_str(), source) {
            ("backup", Some(source)) => format!("basekeep backup {source}"),
            ("drill", Some(source)) => format!("basekeep drill --source {source}"),
            ("forget", Some(source)) => format!("basekeep forget --source {source} --dry-run"),
            ("replicas", _) => "basekeep doctor".to_owned(),
            ("backup" | "drill" | "forget" | "prune" | "check", _) => format!("basekeep {job}"),
            _ => "basekeep monitor".to_owned(),
        };
        let finding = Finding::of_source(source.unwrap_or_default(), code, severity, message, command);
        Some(Finding { source: self.source.clone(), ..finding }.about(job.clone()).since(self.ended))
    }

    /// In a line, for a ping and a log.
    pub(crate) fn line(&self) -> String {
        let what = match &self.source {
            Some(source) => format!("{} of {source}", self.job),
            None => self.job.clone(),
        };
        let end = match &self.end {
            RunEnd::Done => "done".to_owned(),
            RunEnd::Incomplete(why) => format!("incomplete: {why}"),
            RunEnd::Failed(why) => format!("failed: {why}"),
            RunEnd::Interrupted => "interrupted".to_owned(),
        };
        match &self.detail {
            Some(detail) => format!("{what} {end} ({detail})"),
            None => format!("{what} {end}"),
        }
    }
}

//! Findings of the doctor, grouped by what they are about.

use basekeep_engine::EngineError;

use crate::exit::Exit;
use crate::output::table::clean;
use crate::output::with_causes;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Warning,
    Failed,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One finding.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) code: String,
    pub(super) status: Status,
    pub(super) what: String,
    pub(super) hints: Vec<String>,
}

impl Check {
    pub(super) fn text(&self) -> String {
        let mut text = format!("  {:<7}  {}\n", self.status.word(), clean(&self.what));
        for hint in &self.hints {
            text += &format!("           hint: {}\n", clean(hint));
        }
        text
    }
}

/// Findings about one thing, and what its failure means for the exit code.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) checks: Vec<Check>,
    exit: Exit,
}

impl Group {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), checks: Vec::new(), exit: Exit::Done }
    }

    /// A group that ended with its first check.
    pub(super) fn failed(name: impl Into<String>, code: &str, error: &EngineError) -> Self {
        let mut group = Self::new(name);
        group.error(code, error);
        group
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    pub(super) fn ok(&mut self, code: &str, what: impl Into<String>) {
        self.add(code, Status::Ok, what.into(), Vec::new());
    }

    pub(super) fn warning(&mut self, code: &str, what: impl Into<String>, hints: Vec<String>) {
        self.add(code, Status::Warning, what.into(), hints);
    }

    pub(super) fn failure(&mut self, code: &str, what: impl Into<String>, hints: Vec<String>) {
        self.add(code, Status::Failed, what.into(), hints);
        self.exit = self.exit.worst(Exit::Failed);
    }

    pub(super) fn error(&mut self, code: &str, error: &EngineError) {
        self.add(code, Status::Failed, with_causes(error), error.hints().to_vec());
        self.exit = self.exit.worst(Exit::of(error));
    }

    fn add(&mut self, code: &str, status: Status, what: String, hints: Vec<String>) {
        self.checks.push(Check { code: code.to_owned(), status, what, hints });
    }
}

//! The end of a restore: the checklist for the database that it made.

use basekeep_engine::live::{LiveReport, Options, Outcome};
use basekeep_engine::postgres::ConnectOptions;
use basekeep_engine::{Event, Repository, Snapshot, live};

use crate::commands::verify::live::{CheckDocument, documents, text};
use crate::context::Context;
use crate::exit::Exit;

/// What came of it; nothing when nobody wanted it.
pub(super) struct Checklist(Option<LiveReport>);

impl Checklist {
    /// Goes through it. No trigger fires, so that sequences stay as they were restored. That it cannot be gone through takes
    /// nothing from the restore, and is said.
    pub(super) async fn of(
        wanted: bool,
        repository: &Repository,
        snapshot: &Snapshot,
        target: &ConnectOptions,
        context: &Context,
    ) -> Self {
        if !wanted {
            return Self(None);
        }
        let options = Options { triggers: false };
        let observer = context.observer();
        match live::check(repository, snapshot, target, options, &observer, &context.interrupt).await {
            Ok(report) => Self(Some(report)),
            Err(error) => {
                observer.event(Event::Warning {
                    code: "no-checklist".to_owned(),
                    message: format!("the checklist was not gone through: {error}"),
                    hint: Some("`basekeep verify --live` goes through it".to_owned()),
                });
                Self(None)
            }
        }
    }

    /// The exit code of the whole command. What could not be restored was said already, and explains failed lines.
    pub(super) fn exit(&self, exit: Exit) -> Exit {
        match &self.0 {
            Some(report) if exit == Exit::Done && !report.ok() => Exit::Difference,
            _ => exit,
        }
    }

    /// The lines for `--json`.
    pub(super) fn documents(&self) -> Option<Vec<CheckDocument<'_>>> {
        self.0.as_ref().map(documents)
    }

    /// For people: everything where it tells something, one line where all is well.
    pub(super) fn text(&self, in_full: bool) -> String {
        let Some(report) = &self.0 else { return String::new() };
        if in_full || !report.ok() {
            return text(report, "checklist");
        }
        let applicable = report.checks.iter().filter(|check| check.outcome == Outcome::Ok);
        let titles: Vec<&str> = applicable.map(|check| check.title).collect();
        format!("checked: {}\n", titles.join(", "))
    }
}

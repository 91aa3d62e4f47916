//! `basekeep verify --live`, and the end of a restore: the checklist for a database that should work as the project in a
//! snapshot did.

use basekeep_engine::live::{Check, LiveReport, Options, Outcome};
use basekeep_engine::postgres::ConnectOptions;
use basekeep_engine::{EngineError, Repository, Snapshot, live};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::{Align, Table, clean};
use crate::output::units;
use crate::progress;

/// The whole report, for `--json`.
#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    target: String,
    ok: bool,
    checks: Vec<CheckDocument<'a>>,
}

/// One line of the checklist, for `--json`.
#[derive(Serialize)]
pub(crate) struct CheckDocument<'a> {
    check: &'a str,
    title: &'a str,
    outcome: &'a str,
    detail: &'a str,
    problems: &'a [String],
}

/// Goes through the checklist on the target and prints it.
pub(super) async fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &ConnectOptions,
    context: &Context,
) -> Result<Exit, EngineError> {
    let options = Options { triggers: true };
    let observer = context.observer();
    let report = live::check(repository, snapshot, target, options, &observer, &context.interrupt).await?;
    let exit = exit(&report);
    if context.output.json {
        let document = Document {
            snapshot: snapshot.id.to_string(),
            target: target.redacted(),
            ok: report.ok(),
            checks: documents(&report),
        };
        progress::emit(&context.output, &document)?;
        return Ok(exit);
    }
    if exit != Exit::Done || !context.output.quiet {
        let against =
            format!("{} against snapshot {}", target.redacted(), units::short(&snapshot.id.to_string()));
        context.output.data(&text(&report, &against))?;
    }
    Ok(exit)
}

/// The exit code that the checklist means.
pub(crate) fn exit(report: &LiveReport) -> Exit {
    if report.ok() { Exit::Done } else { Exit::Difference }
}

/// The lines for `--json`.
pub(crate) fn documents<'a>(report: &'a LiveReport) -> Vec<CheckDocument<'a>> {
    let document = |check: &'a Check| CheckDocument {
        check: check.name,
        title: check.title,
        outcome: word(check.outcome),
        detail: &check.detail,
        problems: &check.problems,
    };
    report.checks.iter().map(document).collect()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "failed",
        Outcome::NotApplicable => "not applicable",
    }
}

/// The checklist as a table, what failed with its problems below, and a line that sums it up. `against` says what was
/// compared with what.
pub(crate) fn text(report: &LiveReport, against: &str) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]);
    for check in &report.checks {
        let outcome = match check.outcome {
            Outcome::Failed => "FAILED",
            other => word(other),
        };
        table.row([outcome.to_owned(), check.title.to_owned(), check.detail.clone()]);
    }
    let mut text = table.render();
    for check in report.checks.iter().filter(|check| check.outcome == Outcome::Failed) {
        for problem in &check.problems {
            text += &format!("failed: {}: {}\n", check.title, clean(problem));
        }
    }
    let count = |outcome| report.checks.iter().filter(|check| check.outcome == outcome).count() as u64;
    text += &format!(
        "{against}: {} ok, {} failed, {} not applicable\n",
        units::count(count(Outcome::Ok)),
        units::count(count(Outcome::Failed)),
        units::count(count(Outcome::NotApplicable)),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(title: &'static str, outcome: Outcome, detail: &str, problems: &[&str]) -> Check {
        let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
        Check { name: "name", title, outcome, detail: detail.to_owned(), problems }
    }

    #[test]
    fn the_checklist_names_each_line_and_each_problem() {
        let report = LiveReport {
            checks: vec![
                check("database connection", Outcome::Ok, "PostgreSQL 17", &[]),
                check(
                    "all tables accessible",
                    Outcome::Failed,
                    "2 tables",
                    &["public.a does not exist", "b\n"],
                ),
                check("approvals", Outcome::NotApplicable, "there is no table of that name", &[]),
            ],
        };
        assert_eq!(
            text(&report, "it"),
            "ok              database connection    PostgreSQL 17\n\
             FAILED          all tables accessible  2 tables\n\
             not applicable  approvals              there is no table of that name\n\
             failed: all tables accessible: public.a does not exist\n\
             failed: all tables accessible: b\\n\n\
             it: 1 ok, 1 failed, 1 not applicable\n"
        );
        assert_eq!(exit(&report), Exit::Difference);
    }
}

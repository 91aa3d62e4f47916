//! Each kind of job, and what the history keeps of it.

use std::collections::BTreeMap;

use basekeep_engine::check::{self, Subset};
use basekeep_engine::copy::{self, CopySelection};
use basekeep_engine::drill::{self, DrillOptions};
use basekeep_engine::forget::{self, ForgetOptions, Policies};
use basekeep_engine::{EngineError, ErrorKind, Repository, listing};
use basekeep_server::history::{RunResult, text_of};
use basekeep_server::jobs::{Job, JobKind};
use jiff::Timestamp;

use crate::commands::{backup, prune};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;

/// A check reads one of so many parts of the data. A prime number: whatever days a schedule has, it comes to all of them.
const PARTS: u32 = 31;

pub(super) async fn run(context: &Context, job: &Job) -> Result<RunResult, EngineError> {
    let source = || job.source.as_deref().ok_or_else(|| EngineError::failed("the job names no source"));
    match job.kind {
        JobKind::Backup => back_up(context, source()?).await,
        JobKind::Drill => drill(context, source()?).await,
        JobKind::Forget => everywhere(context, Deleting::Forget(source()?)).await,
        JobKind::Prune => everywhere(context, Deleting::Prune).await,
        JobKind::Check => check(context).await,
        JobKind::Replicas => replicas(context).await,
        JobKind::Restore => {
            Err(EngineError::usage("a restore has no schedule")
                .hint("use `basekeep restore`, or the dashboard"))
        }
    }
}

async fn back_up(context: &Context, source: &str) -> Result<RunResult, EngineError> {
    let done = backup::by_schedule(context, source).await?;
    let (manifest, exit) = (&done.report.manifest, done.exit);
    Ok(RunResult {
        snapshot: done.report.snapshot.clone(),
        rows: Some(manifest.totals.rows),
        bytes: Some(manifest.totals.bytes + manifest.large_objects.bytes),
        added_bytes: i64::try_from(manifest.totals.added_bytes).ok(),
        summary: Some(done.summary),
        error: (!done.problems.is_empty()).then(|| done.problems.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

async fn drill(context: &Context, source: &str) -> Result<RunResult, EngineError> {
    let repository = context.open_repository().await?;
    let snapshot = context.interrupt.guard(listing::find(&repository, "latest", Some(source))).await?;
    let options =
        DrillOptions { environment: Some(context.env.clone()), record: true, ..DrillOptions::default() };
    let report =
        drill::drill(&repository, &snapshot, &options, context.observer(), &context.interrupt).await?;
    let proof = &report.proof;
    let exit = if proof.equal { Exit::Done } else { Exit::Difference };
    let found = if proof.equal { "proven" } else { "NOT proven" };
    Ok(RunResult {
        snapshot: Some(proof.snapshot.clone()),
        rows: Some(proof.rows),
        summary: Some(format!(
            "{found}: snapshot {}, {} on PostgreSQL {}",
            units::short(&proof.snapshot),
            units::counted(proof.rows, "row", "rows"),
            proof.server
        )),
        error: (!proof.equal).then(|| proof.differences.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

/// What deletes is done in the repository and in those replicas that allow it.
#[derive(Clone, Copy)]
enum Deleting<'a> {
    Forget(&'a str),
    Prune,
}

/// What came out in one place.
struct Part {
    exit: Exit,
    summary: String,
    freed: u64,
    problems: Vec<String>,
}

async fn everywhere(context: &Context, what: Deleting<'_>) -> Result<RunResult, EngineError> {
    let (spec, origin) = context.repository_spec()?;
    let repository = context.open_repository().await?;
    let part = delete(context, &repository, what).await?;
    let Part { mut exit, summary, mut freed, mut problems } = part;
    for entry in context.replicas()?.iter().filter(|entry| !entry.storage.append_only) {
        let part = async {
            let replica = context.open_replica(entry, &spec.password, &origin).await?;
            delete(context, &replica, what).await
        };
        match part.await {
            Ok(part) => {
                exit = exit.worst(part.exit);
                freed += part.freed;
                problems
                    .extend(part.problems.iter().map(|problem| format!("replica {}: {problem}", entry.name)));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                exit = exit.worst(Exit::Incomplete);
                problems.push(format!("replica {}: {}", entry.name, text_of(&error)));
            }
        }
    }
    Ok(RunResult {
        added_bytes: i64::try_from(freed).ok().map(|freed| -freed).filter(|freed| *freed != 0),
        summary: Some(summary),
        error: (!problems.is_empty()).then(|| problems.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

async fn delete(context: &Context, repository: &Repository, what: Deleting<'_>) -> Result<Part, EngineError> {
    match what {
        Deleting::Forget(source) => forget(context, repository, source).await,
        Deleting::Prune => {
            let report = prune::after_forget(repository, context).await?;
            let done = report.done.clone().unwrap_or_default();
            Ok(Part {
                exit: prune::exit(&report),
                summary: format!(
                    "{} deleted, {} needed",
                    units::bytes(done.bytes_deleted),
                    units::bytes(report.plan.needed.bytes)
                ),
                freed: done.bytes_deleted.saturating_sub(done.bytes_written),
                problems: done.damaged.iter().map(|(file, problem)| format!("{file}: {problem}")).collect(),
            })
        }
    }
}

async fn forget(context: &Context, repository: &Repository, source: &str) -> Result<Part, EngineError> {
    let profile = context.config()?.and_then(|config| config.profile_of(source));
    let Some((profile, keep)) = profile.and_then(|profile| Some((profile, profile.keep.clone()?))) else {
        return Err(EngineError::usage(format!("nothing says what to keep of '{source}'")));
    };
    let options = ForgetOptions {
        snapshots: Vec::new(),
        policies: Policies::BySource(BTreeMap::from([(source.to_owned(), keep)])),
        source: Some(source.to_owned()),
        tags: Vec::new(),
        group_by_tags: false,
        dry_run: false,
        space: false,
        now: Timestamp::now(),
        zone: profile.zone(),
    };
    let report = forget::forget(repository, &options, &context.interrupt).await?;
    let kept: usize = report.groups.iter().map(|group| group.keep.len()).sum();
    let exit = match &report {
        report if report.interrupted => Exit::Interrupted,
        report if !report.failed.is_empty() => Exit::Incomplete,
        _ => Exit::Done,
    };
    let problem = |(id, reason): &(String, String)| format!("{} was not removed: {reason}", units::short(id));
    Ok(Part {
        exit,
        summary: format!(
            "{} removed, {} kept",
            units::counted(report.removed.len() as u64, "snapshot", "snapshots"),
            units::count(kept as u64)
        ),
        freed: 0,
        problems: report.failed.iter().map(problem).collect(),
    })
}

async fn check(context: &Context) -> Result<RunResult, EngineError> {
    let repository = context.open_repository().await?;
    let data = Some(part_of(Timestamp::now()));
    let report = check::check(&repository, data, context.observer(), &context.interrupt).await?;
    let exit = if report.damage.is_empty() { Exit::Done } else { Exit::Difference };
    let damage: Vec<String> = report.damage.iter().map(|d| format!("{}: {}", d.file, d.problem)).collect();
    Ok(RunResult {
        bytes: Some(report.bytes_read),
        summary: Some(match damage.len() {
            0 => format!("no damage; {} read", units::bytes(report.bytes_read)),
            number => units::counted(number as u64, "damaged file", "damaged files"),
        }),
        error: (!damage.is_empty()).then(|| damage.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

/// The part whose turn it is on this day.
fn part_of(now: Timestamp) -> Subset {
    let day = now.as_second().div_euclid(86_400);
    let number = u32::try_from(day.rem_euclid(i64::from(PARTS))).unwrap_or_default() + 1;
    Subset::Group { number, of: PARTS }
}

async fn replicas(context: &Context) -> Result<RunResult, EngineError> {
    let (spec, origin) = context.repository_spec()?;
    let repository = context.open_repository().await?;
    let (mut exit, mut bytes, mut copied) = (Exit::Done, 0, 0);
    let mut problems = Vec::new();
    for entry in context.replicas()? {
        let observer = context.observer();
        let copy = async {
            let replica = context.open_replica(entry, &spec.password, &origin).await?;
            copy::copy(&repository, &replica, &CopySelection::default(), &observer, &context.interrupt).await
        };
        match copy.await {
            Ok(report) => {
                (bytes, copied) = (bytes + report.bytes, copied + report.copied.len() as u64);
                for missing in &report.not_copied {
                    exit = exit.worst(Exit::Incomplete);
                    problems
                        .push(format!("replica {}: {}: {}", entry.name, missing.snapshot, missing.reason));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                // A replica that is away is a failure that is tried again.
                exit = exit.worst(Exit::of(&error));
                problems.push(format!("replica {}: {}", entry.name, text_of(&error)));
            }
        }
    }
    Ok(RunResult {
        bytes: Some(bytes),
        summary: Some(format!(
            "{} copied, {}",
            units::counted(copied, "snapshot", "snapshots"),
            units::bytes(bytes)
        )),
        error: (!problems.is_empty()).then(|| problems.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn checks_come_to_every_part_whatever_days_they_are_on() {
        for step in [1, 2, 3, 7, 14] {
            let day = |number: i64| Timestamp::from_second(number * 86_400).unwrap();
            let parts: BTreeSet<String> = (0..i64::from(PARTS))
                .map(|number| format!("{:?}", part_of(day(20_000 + number * step))))
                .collect();
            assert_eq!(parts.len(), PARTS as usize, "every {step} days");
        }
    }
}

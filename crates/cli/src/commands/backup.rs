//! `basekeep backup`: one snapshot of each source.

pub(super) mod detach;
pub(crate) mod plain;

use basekeep_engine::backup::{self, BackupOptions, BackupReport, Reading};
use basekeep_engine::files::FilesAccess;
use basekeep_engine::replicas::{BackupTarget, ReplicaReport, ReplicaState};
use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::alerts::RunEnd;
use basekeep_server::history::RunResult;
use basekeep_server::jobs::JobKind;
use clap::Args;
use serde::Serialize;

use super::manifest::{MissingDocument, WarningDocument};
use super::pace::PaceArguments;
use crate::alerting;
use crate::context::Context;
use crate::context::sources::Wanted;
use crate::exit::Exit;
use crate::output::{ErrorBody, units, with_causes};
use crate::progress;
use crate::record::Recording;
use crate::runs::{Own, Runs};

/// Back up databases, one snapshot each
#[derive(Debug, Args)]
#[command(
    after_long_help = "Only ranges of tables that changed since the last snapshot of the source are read; the others are taken over, and a \
few of them are read and compared all the same (docs/PERFORMANCE.md). `show` says how much, and why a table was read as a whole. \
Should a range have changed without a trace, everything is read, and the exit code is 3.\n\n\
With [[replica]] entries in basekeep.toml, and unless --repo names another repository than it does, \
each snapshot is written to the repository and to all replicas from one read of the database. One that fails does not stop \
the others: the exit code is 3, and the next backup copies to it what it has missed."
)]
pub(crate) struct Backup {
    /// Names from basekeep.toml or postgresql:// URLs [default: all configured sources]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Name the source that is given as a URL [default: its database and host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Tag the snapshots; can be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    pace: PaceArguments,
    /// Leave the files of Supabase storage out on purpose
    #[arg(long)]
    no_files: bool,
    /// Read everything, also what did not change since the last snapshot
    #[arg(long)]
    full: bool,
    /// Read everything, and compare what would have been taken over from the last snapshot
    #[arg(long, conflicts_with = "full")]
    paranoid: bool,
    /// Say what would be backed up; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Work in the background, and return at once with the process and the log (`basekeep log -f` follows it)
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// What to back up comes on standard input, from another process of this program
    #[arg(long, hide = true, conflicts_with = "detach")]
    handed_over: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshots: Vec<SourceDocument<'a>>,
}

#[derive(Serialize)]
struct SourceDocument<'a> {
    source: &'a str,
    /// `null` for a dry run or after an error.
    id: Option<&'a str>,
    #[serde(flatten)]
    done: Option<DoneDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

#[derive(Serialize)]
struct DoneDocument<'a> {
    time: String,
    tables: u64,
    rows: u64,
    bytes: u64,
    /// Of the bytes, taken over from the last snapshot without reading them.
    taken_over_bytes: u64,
    added_bytes: u64,
    seconds: f64,
    not_captured: Vec<MissingDocument<'a>>,
    warnings: Vec<WarningDocument<'a>>,
    /// All repositories, where there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replicas: Vec<ReplicaDocument<'a>>,
    /// The plain copy, where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    export: Option<plain::CopyDocument<'a>>,
}

#[derive(Serialize)]
struct ReplicaDocument<'a> {
    name: &'a str,
    url: &'a str,
    /// `written`, `caught-up`, `behind` or `failed`.
    state: &'static str,
    /// The snapshot's id there.
    id: Option<&'a str>,
    /// Earlier snapshots that were copied there.
    healed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(crate) async fn run(command: &Backup, context: &Context) -> Result<Exit, EngineError> {
    check_tags(&command.tags)?;
    if command.detach {
        return detach::start(command, context).await;
    }
    if command.handed_over {
        return detach::handed_over(command, context).await;
    }
    let mut own = own_run(command, context);
    let result = work(command, &command.sources, context, &mut own).await;
    end_run(own, &result);
    result
}

/// Takes note of this run for `status`. That it cannot be noted is no reason not to back up.
fn own_run(command: &Backup, context: &Context) -> Option<Own> {
    if command.dry_run {
        return None;
    }
    let wanted = context.wanted_sources(&command.sources, command.name.as_deref()).ok()?;
    let names = wanted.iter().map(|source| source.name().to_owned()).collect();
    let runs = Runs::of(&context.env)?;
    runs.begin(&runs.new_name(std::process::id()), names, false).ok()
}

fn end_run(own: Option<Own>, result: &Result<Exit, EngineError>) {
    let Some(mut own) = own else { return };
    if let Err(error) = result {
        own.failed(&with_causes(error));
    }
    own.end(result.as_ref().map_or_else(Exit::of, |exit| *exit).code());
}

async fn work(
    command: &Backup,
    sources: &[String],
    context: &Context,
    own: &mut Option<Own>,
) -> Result<Exit, EngineError> {
    let wanted = context.wanted_sources(sources, command.name.as_deref())?;
    let alerting = context.alerting()?;
    let targets = match context.backup_targets().await {
        Ok(targets) => targets,
        Err(error) => {
            for source in wanted.iter().filter(|_| !command.dry_run) {
                alerting.ended("backup", source.name(), alerting::failed(&error), None);
            }
            alerting.finish(context).await;
            return Err(error);
        }
    };
    let mut exit = Exit::Done;
    let mut results = Vec::new();
    for source in &wanted {
        let recording = (!command.dry_run).then(|| Recording::begin(JobKind::Backup, Some(source.name())));
        if !command.dry_run {
            alerting.started("backup", source.name());
        }
        let result = one(command, context, &targets, source).await;
        let stop = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted);
        exit = exit.worst(end_of(&result));
        note(own, source.name(), &result);
        report(context, source.name(), &result)?;
        let copy = match &result {
            Ok(report) => plain::write(context, &targets, report).await?,
            Err(_) => None,
        };
        exit = exit.worst(plain::end_of(&copy));
        if let Some(recording) = recording {
            let end = result.as_ref().map(|_| end_of(&result).worst(plain::end_of(&copy)));
            recording.end(context, end, |run| result.iter().for_each(|report| fill(run, report)));
            let (end, detail) = outcome_of(&result, plain::end_of(&copy));
            alerting.ended("backup", source.name(), end, detail);
        }
        if let Ok(report) = &result {
            context.keep_report(&targets, report, plain::removed(&copy)).await;
        }
        let stop = stop || exit == Exit::Interrupted;
        results.push((source.name(), result, copy));
        if stop {
            break;
        }
    }
    if context.output.json {
        progress::emit(&context.output, &document(&results))?;
    }
    alerting.finish(context).await;
    Ok(exit)
}

/// What came out, for the history of runs.
fn fill(run: &mut RunResult, report: &BackupReport) {
    let manifest = &report.manifest;
    let totals = &manifest.totals;
    run.snapshot = report.snapshot.clone();
    run.rows = Some(totals.rows);
    run.bytes = Some(totals.bytes + manifest.large_objects.bytes);
    run.added_bytes = i64::try_from(totals.added_bytes).ok();
    let tables = units::counted(totals.tables, "table", "tables");
    run.summary = Some(format!("{tables}, {}", units::counted(totals.rows, "row", "rows")));
    run.error = manifest
        .not_captured
        .first()
        .map(|missing| format!("not captured: {}: {}", missing.what, missing.reason));
    run.warnings = manifest.warnings.iter().map(|warning| warning.message.clone()).collect();
}

fn note(own: &mut Option<Own>, source: &str, result: &Result<BackupReport, EngineError>) {
    let Some(own) = own else { return };
    match result {
        Ok(report) => {
            if let Some(id) = &report.snapshot {
                own.made(source, id);
            }
        }
        Err(error) => own.failed(&format!("{source}: {}", with_causes(error))),
    }
}

fn check_tags(tags: &[String]) -> Result<(), EngineError> {
    let wrong =
        |tag: &&String| tag.trim().is_empty() || tag.contains(',') || tag.chars().any(char::is_control);
    match tags.iter().find(wrong) {
        Some(tag) => Err(EngineError::usage(format!("'{}' cannot be a tag", tag.escape_debug()))
            .hint("a tag is not empty and has no comma; give --tag several times for several tags")),
        None => Ok(()),
    }
}

async fn one(
    command: &Backup,
    context: &Context,
    targets: &[BackupTarget],
    wanted: &Wanted,
) -> Result<BackupReport, EngineError> {
    let mut source = wanted.resolve(context)?;
    if command.no_files {
        source.files = FilesAccess::Skip;
    }
    let options = BackupOptions {
        tags: command.tags.clone(),
        reading: match (command.full, command.paranoid) {
            (true, _) => Reading::Full,
            (_, true) => Reading::Paranoid,
            _ => Reading::Changed,
        },
        pace: command.pace.pace(),
        dry_run: command.dry_run,
        ..BackupOptions::default()
    };
    context.output.note(&format!("backing up {} ({})", source.name, source.connect.redacted()));
    let observer = context.observer_of(&source.name);
    backup::backup_to(targets, &source, &options, observer, &context.interrupt).await
}

/// A backup that nobody watches.
pub(super) struct Unattended {
    pub(super) report: BackupReport,
    pub(super) exit: Exit,
    /// One line.
    pub(super) summary: String,
    /// What is missing, a line each.
    pub(super) problems: Vec<String>,
}

/// For `serve`: one configured source, with its plain copy.
pub(super) async fn by_schedule(context: &Context, name: &str) -> Result<Unattended, EngineError> {
    let wanted = context.wanted_sources(&[name.to_owned()], None)?;
    let Some(wanted) = wanted.first() else {
        return Err(EngineError::usage(format!("there is no source '{name}'")));
    };
    let source = wanted.resolve(context)?;
    let targets = context.backup_targets().await?;
    let (options, observer) = (BackupOptions::default(), context.observer_of(name));
    let report = backup::backup_to(&targets, &source, &options, observer, &context.interrupt).await?;
    let copy = plain::write(context, &targets, &report).await?;
    context.keep_report(&targets, &report, plain::removed(&copy)).await;
    let exit = if report.is_complete() { Exit::Done } else { Exit::Incomplete }.worst(plain::end_of(&copy));
    let missing = report.manifest.not_captured.iter().map(|m| format!("{}: {}", m.what, m.reason));
    let mut problems: Vec<String> = missing.collect();
    let behind =
        report.replicas.iter().filter_map(|r| Some(format!("replica {}: {}", r.name, r.reason.as_ref()?)));
    problems.extend(behind);
    problems.extend(plain::problems(&copy));
    let summary = summary(name, &report).lines().next().unwrap_or_default().to_owned();
    Ok(Unattended { report, exit, summary, problems })
}

fn end_of(result: &Result<BackupReport, EngineError>) -> Exit {
    match result {
        Ok(report) if report.is_complete() => Exit::Done,
        Ok(_) => Exit::Incomplete,
        Err(error) => Exit::of(error),
    }
}

/// How one source ended, for alerts.
fn outcome_of(result: &Result<BackupReport, EngineError>, copy: Exit) -> (RunEnd, Option<String>) {
    let report = match result {
        Ok(report) => report,
        Err(error) => return (alerting::failed(error), None),
    };
    let totals = &report.manifest.totals;
    let detail = format!(
        "{}, {}",
        units::counted(totals.tables, "table", "tables"),
        units::counted(totals.rows, "row", "rows")
    );
    let missing = report.manifest.not_captured.first().map(|missing| missing.what.clone());
    let late =
        |replica: &&ReplicaReport| matches!(replica.state, ReplicaState::Behind | ReplicaState::Failed);
    let replica =
        report.replicas.iter().find(late).map(|replica| format!("replica {} was not written", replica.name));
    let end = match (missing, replica) {
        (None, None) if !report.is_complete() => RunEnd::Incomplete("see `basekeep show`".to_owned()),
        (None, None) if copy != Exit::Done => RunEnd::Incomplete("the plain copy was not written".to_owned()),
        (None, None) => RunEnd::Done,
        (Some(what), _) => RunEnd::Incomplete(format!("not captured: {what}")),
        (None, Some(what)) => RunEnd::Incomplete(what),
    };
    (end, Some(detail))
}

/// Tells how one source ended, as soon as it has.
fn report(
    context: &Context,
    name: &str,
    result: &Result<BackupReport, EngineError>,
) -> Result<(), EngineError> {
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            context.output.error(error);
            return Ok(());
        }
    };
    if context.output.json {
        return Ok(());
    }
    if !context.output.quiet {
        context.output.data(&summary(name, report))?;
    }
    Ok(())
}

fn summary(name: &str, report: &BackupReport) -> String {
    let manifest = &report.manifest;
    let totals = &manifest.totals;
    let what = match &report.snapshot {
        Some(id) => format!("snapshot {} of {name}:", units::short(id)),
        None => format!("dry run, nothing written: a snapshot of {name} would hold"),
    };
    let size = units::bytes(totals.bytes + manifest.large_objects.bytes);
    let mut text = format!(
        "{what} {}, {}, {size}",
        units::counted(totals.tables, "table", "tables"),
        units::counted(totals.rows, "row", "rows"),
    );
    if manifest.large_objects.count > 0 {
        text += &format!(
            " with {}",
            units::counted(manifest.large_objects.count, "large object", "large objects")
        );
    }
    if report.snapshot.is_some() {
        if totals.taken_over_bytes > 0 {
            text += &format!(", {} of it taken over", units::bytes(totals.taken_over_bytes));
        }
        text += &format!(
            "; {} added in {}",
            units::bytes(totals.added_bytes),
            units::duration(std::time::Duration::from_secs_f64(manifest.duration_seconds.max(0.0)))
        );
    }
    text += "\n";
    for replica in several(report) {
        text += &format!("  {}: {}\n", replica.name, outcome(replica));
    }
    text
}

/// The repositories, where there is more than one.
fn several(report: &BackupReport) -> &[ReplicaReport] {
    if report.replicas.len() > 1 { &report.replicas } else { &[] }
}

fn outcome(replica: &ReplicaReport) -> String {
    let id = replica.snapshot.as_deref().map(units::short).unwrap_or_default();
    let mut text = match replica.state {
        ReplicaState::Written => format!("snapshot {id}"),
        ReplicaState::CaughtUp => format!("snapshot {id}, copied afterwards"),
        ReplicaState::Behind => "not there yet".to_owned(),
        ReplicaState::Failed => "failed".to_owned(),
    };
    if replica.healed > 0 {
        let earlier = units::counted(replica.healed, "earlier snapshot", "earlier snapshots");
        text += &format!(", and {earlier} that it had missed");
    }
    text
}

fn replica(report: &ReplicaReport) -> ReplicaDocument<'_> {
    ReplicaDocument {
        name: &report.name,
        url: &report.place,
        state: match report.state {
            ReplicaState::Written => "written",
            ReplicaState::CaughtUp => "caught-up",
            ReplicaState::Behind => "behind",
            ReplicaState::Failed => "failed",
        },
        id: report.snapshot.as_deref(),
        healed: report.healed,
        reason: report.reason.as_deref(),
    }
}

fn document<'a>(results: &'a [(&'a str, Result<BackupReport, EngineError>, plain::Outcome)]) -> Document<'a> {
    let snapshots = results.iter().map(|(source, result, copy)| match result {
        Ok(report) => SourceDocument {
            source,
            id: report.snapshot.as_deref(),
            done: Some(done(report, copy)),
            error: None,
        },
        Err(error) => SourceDocument { source, id: None, done: None, error: Some(ErrorBody::of(error)) },
    });
    Document { snapshots: snapshots.collect() }
}

fn done<'a>(report: &'a BackupReport, copy: &'a plain::Outcome) -> DoneDocument<'a> {
    let manifest = &report.manifest;
    DoneDocument {
        time: manifest.time.to_string(),
        tables: manifest.totals.tables,
        rows: manifest.totals.rows,
        bytes: manifest.totals.bytes + manifest.large_objects.bytes,
        taken_over_bytes: manifest.totals.taken_over_bytes,
        added_bytes: manifest.totals.added_bytes,
        seconds: manifest.duration_seconds,
        not_captured: manifest.not_captured.iter().map(MissingDocument::of).collect(),
        warnings: manifest.warnings.iter().map(WarningDocument::of).collect(),
        replicas: several(report).iter().map(replica).collect(),
        export: plain::document(copy),
    }
}

//! Who does what the dashboard starts: this process, or the daemon that it is part of.

use std::sync::Arc;

use basekeep_engine::backup::{self, BackupOptions};
use basekeep_engine::drill::{self, DrillOptions};
use basekeep_engine::{EngineError, Interrupt, Observer, listing};
use basekeep_server::daemon::Handle;
use basekeep_server::history::RunResult;

use crate::arguments::Global;
use crate::commands::backup::plain;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Output, units, with_causes};

/// Who does it.
#[derive(Clone)]
pub(crate) enum Work {
    /// This process, beside the dashboard.
    Here,
    /// The daemon of this process, on its schedules and under its leases.
    Daemon(Handle),
}

/// What a job starts from: the configuration as it is now, nothing on the terminal.
pub(super) fn context(global: &Global, interrupt: Interrupt) -> Context {
    let quiet = Global { quiet: true, verbose: false, json: false, no_progress: true, ..global.clone() };
    let output = Output::new(&quiet);
    Context::new(quiet, output, interrupt)
}

/// One backup, as `basekeep backup SOURCE` makes it.
pub(super) async fn back_up(
    context: &Context,
    source: &str,
    observer: Arc<dyn Observer>,
) -> Result<RunResult, EngineError> {
    let wanted = context.wanted_sources(&[source.to_owned()], None)?;
    let targets = context.backup_targets().await?;
    let Some(wanted) = wanted.first() else { return Err(EngineError::usage("there is no such source")) };
    let source = wanted.resolve(context)?;
    let options = BackupOptions::default();
    let report = backup::backup_to(&targets, &source, &options, observer, &context.interrupt).await?;
    let copy = plain::write(context, &targets, &report).await?;
    let own = if report.is_complete() { Exit::Done } else { Exit::Incomplete };
    let exit = own.worst(plain::end_of(&copy));
    let manifest = &report.manifest;
    let totals = &manifest.totals;
    let bytes = totals.bytes + manifest.large_objects.bytes;
    let mut summary = format!(
        "{}, {}, {}",
        units::counted(totals.tables, "table", "tables"),
        units::counted(totals.rows, "row", "rows"),
        units::bytes(bytes)
    );
    if !manifest.not_captured.is_empty() {
        let number = manifest.not_captured.len() as u64;
        summary += &format!("; {} not captured", units::count(number));
    }
    Ok(RunResult {
        snapshot: report.snapshot.clone(),
        rows: Some(totals.rows),
        bytes: Some(bytes),
        added_bytes: i64::try_from(totals.added_bytes).ok(),
        summary: Some(summary),
        warnings: manifest.warnings.iter().map(|warning| warning.message.clone()).collect(),
        ..RunResult::of_exit_code(exit.code())
    })
}

/// One drill, as `basekeep drill` makes it.
pub(super) async fn drill(
    context: &Context,
    source: &str,
    snapshot: Option<&str>,
    observer: Arc<dyn Observer>,
) -> Result<RunResult, EngineError> {
    let repository = context.open_repository().await?;
    let find = listing::find(&repository, snapshot.unwrap_or("latest"), Some(source));
    let snapshot = context.interrupt.guard(find).await?;
    let options =
        DrillOptions { environment: Some(context.env.clone()), record: true, ..DrillOptions::default() };
    let report = drill::drill(&repository, &snapshot, &options, observer, &context.interrupt).await?;
    let proof = &report.proof;
    let exit = if proof.equal { Exit::Done } else { Exit::Difference };
    let compared = format!(
        "{}, {} and {} compared on PostgreSQL {}",
        units::counted(proof.tables, "table", "tables"),
        units::counted(proof.rows, "row", "rows"),
        units::counted(proof.definitions, "definition", "definitions"),
        proof.server
    );
    let summary = match proof.equal {
        true => format!("everything is equal: {compared}"),
        false => format!("{} differences: {compared}", proof.differences.len()),
    };
    Ok(RunResult {
        snapshot: Some(snapshot.id.to_string()),
        rows: Some(proof.rows),
        summary: Some(summary),
        error: (!proof.equal).then(|| proof.differences.join("\n")),
        ..RunResult::of_exit_code(exit.code())
    })
}

/// What the history says of an error.
pub(super) fn failed(error: &EngineError) -> RunResult {
    let mut text = with_causes(error);
    for hint in error.hints() {
        text += &format!("\nhint: {hint}");
    }
    RunResult { error: Some(text), ..RunResult::of_exit_code(Exit::of(error).code()) }
}

//! `basekeep drill`: the proof that a snapshot restores.

use std::path::PathBuf;
use std::time::Duration;

use basekeep_engine::drill::{self, DrillOptions, DrillReport};
use basekeep_engine::{EngineError, listing};
use basekeep_server::alerts::RunEnd;
use basekeep_server::jobs::JobKind;
use clap::Args;
use serde::Serialize;

use crate::alerting;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::{Align, Table, clean};
use crate::output::units;
use crate::progress;
use crate::record::Recording;

/// Restore a snapshot into a scratch Postgres and compare everything
#[derive(Debug, Args)]
#[command(
    after_long_help = "The scratch server is started from PostgreSQL's own programs on this machine and removed \
                             afterwards; BASEKEEP_POSTGRES_BIN names a folder that is not found by itself. The result \
                             is recorded in the repository: `basekeep list` shows which snapshots are proven."
)]
pub(crate) struct Drill {
    /// An id, its beginning, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Use a new database on this server instead of a scratch server
    #[arg(long, value_name = "URL|SOURCE")]
    on: Option<String>,
    /// Leave the restored database running and say how to connect
    #[arg(long)]
    keep: bool,
    /// Where the scratch server's files go [default: the system's temporary folder]
    #[arg(long, value_name = "DIR", conflicts_with = "on")]
    scratch: Option<PathBuf>,
    /// Connections [default: chosen by the machine]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: &'a str,
    equal: bool,
    time: String,
    server: &'a str,
    tables: u64,
    rows: u64,
    definitions: u64,
    restore_seconds: f64,
    compare_seconds: f64,
    differences: &'a [String],
    compared: Vec<TableDocument<'a>>,
    kept: Option<&'a str>,
}

#[derive(Serialize)]
struct TableDocument<'a> {
    table: &'a str,
    rows_expected: u64,
    rows_found: u64,
    equal: bool,
}

pub(crate) async fn run(command: &Drill, context: &Context) -> Result<Exit, EngineError> {
    let on = command.on.as_deref().map(|text| context.target(text)).transpose()?;
    let repository = context.open_repository().await?;
    let find = listing::find(&repository, &command.snapshot, command.source.as_deref());
    let snapshot = context.interrupt.guard(find).await?;
    context.output.note(&format!(
        "drilling snapshot {} of {} ({})",
        units::short(&snapshot.id.to_string()),
        snapshot.hostname,
        units::time(snapshot.time)
    ));
    let options = DrillOptions {
        on,
        keep: command.keep,
        scratch: command.scratch.clone(),
        jobs: command.jobs.map(usize::from),
        environment: Some(context.env.clone()),
        record: true,
    };
    let recording = Recording::begin(JobKind::Drill, Some(&snapshot.hostname));
    let alerting = context.alerting()?;
    alerting.started("drill", &snapshot.hostname);
    let drilled =
        drill::drill(&repository, &snapshot, &options, context.observer(), &context.interrupt).await;
    let exit = |report: &DrillReport| if report.proof.equal { Exit::Done } else { Exit::Difference };
    recording.end(context, drilled.as_ref().map(exit), |run| run.snapshot = Some(snapshot.id.to_string()));
    alerting.ended("drill", &snapshot.hostname, outcome_of(&drilled), None);
    alerting.finish(context).await;
    let report = drilled?;
    let exit = exit(&report);
    if context.output.json {
        progress::emit(&context.output, &document(&report))?;
        return Ok(exit);
    }
    if exit != Exit::Done || !context.output.quiet {
        context.output.data(&text(&report, context.output.verbose))?;
    }
    if let Some(kept) = &report.kept {
        context.output.data(&format!("{}\n", kept.trim_end()))?;
    }
    Ok(exit)
}

/// How it ended, for alerts.
fn outcome_of(result: &Result<DrillReport, EngineError>) -> RunEnd {
    match result {
        Ok(report) if report.proof.equal => RunEnd::Done,
        Ok(report) => {
            let differences = &report.proof.differences;
            let first = differences.first().map_or("rows differ", String::as_str);
            RunEnd::Incomplete(match differences.len() {
                0 | 1 => first.to_owned(),
                number => format!("{first}, and {} more", number - 1),
            })
        }
        Err(error) => alerting::failed(error),
    }
}

fn document(report: &DrillReport) -> Document<'_> {
    let proof = &report.proof;
    let compared = report.tables.iter().map(|table| TableDocument {
        table: &table.table,
        rows_expected: table.rows_expected,
        rows_found: table.rows_found,
        equal: table.equal,
    });
    Document {
        snapshot: &proof.snapshot,
        equal: proof.equal,
        time: proof.time.to_string(),
        server: &proof.server,
        tables: proof.tables,
        rows: proof.rows,
        definitions: proof.definitions,
        restore_seconds: proof.restore_seconds,
        compare_seconds: proof.compare_seconds,
        differences: &proof.differences,
        compared: compared.collect(),
        kept: report.kept.as_deref(),
    }
}

fn text(report: &DrillReport, every_table: bool) -> String {
    let proof = &report.proof;
    let mut text = String::new();
    let unequal = report.tables.iter().any(|table| !table.equal);
    if every_table || unequal {
        let mut table = Table::new(&[
            ("table", Align::Left),
            ("in the backup", Align::Right),
            ("restored", Align::Right),
            ("", Align::Left),
        ]);
        for t in report.tables.iter().filter(|t| every_table || !t.equal) {
            table.row([
                t.table.clone(),
                units::count(t.rows_expected),
                units::count(t.rows_found),
                if t.equal { "equal" } else { "DIFFERENT" }.to_owned(),
            ]);
        }
        text += &table.render();
    }
    for difference in &proof.differences {
        text += &format!("different: {}\n", clean(difference));
    }
    let time = |seconds: f64| units::duration(Duration::from_secs_f64(seconds.max(0.0)));
    text += &format!(
        "{} snapshot {}: {}, {} and {} compared on PostgreSQL {}; restored in {}, compared in {}\n",
        if proof.equal { "proven:" } else { "NOT proven:" },
        units::short(&proof.snapshot),
        units::counted(proof.tables, "table", "tables"),
        units::counted(proof.rows, "row", "rows"),
        units::counted(proof.definitions, "definition", "definitions"),
        proof.server,
        time(proof.restore_seconds),
        time(proof.compare_seconds),
    );
    text
}

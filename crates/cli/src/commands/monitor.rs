//! `basekeep monitor`: growth, trends, projections, and what alerts.

mod text;
mod watch;

use std::time::Duration;

use basekeep_engine::monitor::{self, Options, Report, Severity};
use basekeep_engine::{EngineError, Repository};
use basekeep_server::alerts::Observation;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;

/// Show growth, trends and projections, and what alerts
#[derive(Debug, Args)]
#[command(
    after_long_help = "Everything is calculated from the snapshots' manifests, as far back as the repository reaches: growth by day and \
by week, trends (the slope of Theil and Sen over 90 days, with the test of Mann and Kendall), and what is to be expected in \
30, 90, 180 and 365 days. Thresholds stand in [alerts] and [source.NAME.alerts] of basekeep.toml (docs/MONITOR.md).\n\n\
The exit code is 0 when all is well and 1 when something alerts."
)]
pub(crate) struct Monitor {
    /// Names of sources [default: those of basekeep.toml, and all that have snapshots]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// A dashboard on the terminal: arrows and tab look around, q ends
    #[arg(long, conflicts_with_all = ["json", "notify"])]
    watch: bool,
    /// How often the dashboard looks again, such as 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "watch", value_parser = every)]
    every: Duration,
    /// Tell the channels of [alerts] what is news: what began, what ended
    #[arg(long)]
    notify: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// Whether anything alerts.
    alerting: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// At least a second.
fn every(text: &str) -> Result<Duration, String> {
    let time = basekeep_engine::config::span(text)?;
    if time < Duration::from_secs(1) { Err("it is at least 1s".to_owned()) } else { Ok(time) }
}

pub(crate) async fn run(command: &Monitor, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    if command.watch {
        return watch::run(command, &repository, context).await;
    }
    let report = context.interrupt.guard(look(command, &repository, context)).await?;
    match context.output.json {
        true => {
            let alerting = report.worst().is_some();
            context.output.document(&Document { version: JSON_VERSION, alerting, report: &report })?;
        }
        false if context.output.quiet => context.output.data(&text::alerts(&report))?,
        false => context.output.data(&text::text(&report, context.output.verbose))?,
    }
    if command.notify {
        let alerting = context.alerting()?;
        alerting.observe(observations(&report, command.sources.is_empty()));
        alerting.finish(context).await;
    }
    Ok(if report.worst().is_some() { Exit::Failed } else { Exit::Done })
}

/// The report of this moment.
async fn look(command: &Monitor, repository: &Repository, context: &Context) -> Result<Report, EngineError> {
    let options = Options::of(context.config()?, &command.sources, Timestamp::now(), TimeZone::system());
    monitor::monitor(repository, &options).await
}

/// What was found, as observations. What was not looked at is none.
fn observations(report: &Report, everything: bool) -> Vec<Observation> {
    let of_sources = report.sources.iter().map(|source| Observation::Findings {
        source: Some(source.source.clone()),
        findings: source.findings.clone(),
    });
    let of_repository = Observation::Findings { source: None, findings: report.findings.clone() };
    of_sources.chain(everything.then_some(of_repository)).collect()
}

/// A severity as it is printed.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning ",
        Severity::Critical => "CRITICAL",
    }
}

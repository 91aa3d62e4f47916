//! Metrics in Prometheus' text format: what the repository knows, what the history knows, and what runs now.
//!
//! A scrape costs a look into the history. The repository is asked once a minute at most; while it cannot be asked, what it
//! said last stays, with `basekeep_repository_up 0`.

mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use basekeep_engine::EngineError;
use basekeep_engine::listing::SourceFacts;
use jiff::Timestamp;

use self::text::Text;
use crate::daemon::Handle;
use crate::history::{History, Query, Run};
use crate::jobs::{Job, JobKind, Outcome};

/// How long an answer of the repository is good.
const FRESH: Duration = Duration::from_secs(60);

/// What the repository knows.
#[derive(Debug, Clone, Default)]
pub struct RepositoryFacts {
    /// By source.
    pub sources: BTreeMap<String, SourceFacts>,
    /// Bytes of all packs.
    pub bytes: u64,
}

/// Asks the repository.
#[async_trait]
pub trait AskRepository: Send + Sync {
    /// What it knows now.
    async fn facts(&self) -> Result<RepositoryFacts, EngineError>;
}

/// The route `/metrics`, and `/healthz`. They need no login and tell no secret: names of sources, times and sizes.
pub fn routes(handle: Handle, repository: Arc<dyn AskRepository>) -> Router {
    let metrics = Metrics { handle, repository, known: tokio::sync::Mutex::default() };
    Router::new().route("/metrics", get(answer)).with_state(Arc::new(metrics))
}

/// The route `/healthz`, for whoever serves metrics alone.
pub fn health() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

struct Metrics {
    handle: Handle,
    repository: Arc<dyn AskRepository>,
    known: tokio::sync::Mutex<Known>,
}

/// The last answer, and when the repository was last asked.
#[derive(Default)]
struct Known {
    facts: Option<RepositoryFacts>,
    up: bool,
    asked: Option<Instant>,
}

async fn answer(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render(Timestamp::now()).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "no metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "the history cannot be read\n").into_response()
        }
    }
}

impl Metrics {
    async fn render(&self, now: Timestamp) -> Result<String, EngineError> {
        let mut text = Text::default();
        text.metric("basekeep_build_info", "gauge", "The version that runs.");
        text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        self.repository(&mut text, now).await;
        let upcoming = self.handle.upcoming().await;
        text.metric("basekeep_job_next_timestamp_seconds", "gauge", "When a job is due next.");
        for upcoming in &upcoming {
            if let Some(next) = upcoming.next {
                text.sample(&labels(&upcoming.job), seconds(next));
            }
        }
        text.metric("basekeep_job_running", "gauge", "Whether a job runs now.");
        for upcoming in &upcoming {
            text.sample(&labels(&upcoming.job), f64::from(u8::from(upcoming.running)));
        }
        text.metric(
            "basekeep_job_progress_bytes",
            "gauge",
            "Plain bytes that a job that runs has handled in its step.",
        );
        for run in self.handle.live().running() {
            text.sample(&labels(&run.job), number(run.progress.bytes));
        }
        history(&mut text, self.handle.history(), upcoming.iter().map(|upcoming| &upcoming.job))?;
        Ok(text.finish())
    }

    async fn repository(&self, text: &mut Text, now: Timestamp) {
        let mut known = self.known.lock().await;
        if known.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            known.asked = Some(Instant::now());
            match self.repository.facts().await {
                Ok(facts) => (known.facts, known.up) = (Some(facts), true),
                Err(error) => {
                    tracing::warn!(%error, "metrics: the repository did not answer");
                    known.up = false;
                }
            }
        }
        text.metric(
            "basekeep_repository_up",
            "gauge",
            "Whether the repository answered when it was last asked.",
        );
        text.sample(&[], f64::from(u8::from(known.up)));
        let Some(facts) = &known.facts else { return };
        text.metric("basekeep_repository_bytes", "gauge", "What the repository's packs take.");
        text.sample(&[], number(facts.bytes));
        let age = |time: Timestamp| now.duration_since(time).as_secs_f64().max(0.0);
        let mut each = |name, help, value: &dyn Fn(&SourceFacts) -> Option<f64>| {
            text.metric(name, "gauge", help);
            for (source, fact) in &facts.sources {
                if let Some(value) = value(fact) {
                    text.sample(&[("source", source)], value);
                }
            }
        };
        each("basekeep_snapshots", "Snapshots of a source.", &|fact| Some(number(fact.snapshots)));
        each("basekeep_snapshot_last_timestamp_seconds", "When the newest snapshot was taken.", &|fact| {
            Some(seconds(fact.last))
        });
        each("basekeep_snapshot_age_seconds", "The age of the newest snapshot.", &|fact| {
            Some(age(fact.last))
        });
        each("basekeep_proof_age_seconds", "How long ago a drill was last recorded.", &|fact| {
            fact.drilled.map(|(time, _)| age(time))
        });
        each("basekeep_proof_equal", "Whether that drill found everything equal.", &|fact| {
            fact.drilled.map(|(_, equal)| f64::from(u8::from(equal)))
        });
    }
}

fn history<'a>(
    text: &mut Text,
    history: &History,
    jobs: impl Iterator<Item = &'a Job>,
) -> Result<(), EngineError> {
    text.metric("basekeep_runs_total", "counter", "Runs that ended, of those that the history remembers.");
    for total in history.totals()? {
        let (job, outcome) = (Job { kind: total.job, source: total.source }, total.outcome.name());
        let mut labels = labels(&job);
        labels.push(("outcome", outcome));
        text.sample(&labels, number(total.runs));
    }
    let mut last: Vec<(Job, Run, u32)> = Vec::new();
    for job in jobs {
        if let Some(run) = history.last(job)? {
            let failures = failures_in_a_row(history, job)?;
            last.push((job.clone(), run, failures));
        }
    }
    let mut each = |name, help, value: &dyn Fn(&Run, u32) -> Option<f64>| {
        text.metric(name, "gauge", help);
        for (job, run, failures) in &last {
            if let Some(value) = value(run, *failures) {
                text.sample(&labels(job), value);
            }
        }
    };
    each("basekeep_run_last_end_timestamp_seconds", "When a job last ended.", &|run, _| {
        run.ended.map(seconds)
    });
    each("basekeep_run_last_duration_seconds", "How long it took.", &|run, _| {
        run.duration().map(|duration| duration.as_secs_f64())
    });
    each("basekeep_run_last_success", "Whether it did all of its work.", &|run, _| {
        Some(f64::from(u8::from(run.outcome == Some(Outcome::Done))))
    });
    each("basekeep_run_last_exit_code", "The exit code that the command would have had.", &|run, _| {
        run.exit_code.map(f64::from)
    });
    each("basekeep_run_last_rows", "Rows that it handled.", &|run, _| run.rows.map(number));
    each("basekeep_run_last_bytes", "Plain bytes that it handled.", &|run, _| run.bytes.map(number));
    each(
        "basekeep_run_last_added_bytes",
        "Bytes that it added to the repository; negative: freed.",
        &|run, _| run.added_bytes.map(|bytes| bytes as f64),
    );
    each("basekeep_run_failures", "Failures since it last did its work.", &|_, failures| {
        Some(f64::from(failures))
    });
    Ok(())
}

/// At most a hundred are counted.
fn failures_in_a_row(history: &History, job: &Job) -> Result<u32, EngineError> {
    let query = Query { source: job.source.clone(), job: Some(job.kind), ..Query::default() };
    let runs = history.runs(&query)?;
    let failed =
        |run: &&Run| run.outcome.is_none_or(|outcome| !outcome.is_final() && outcome != Outcome::Interrupted);
    let failures = runs.iter().filter(|run| run.ended.is_some()).take_while(failed).count();
    Ok(u32::try_from(failures).unwrap_or(u32::MAX))
}

fn labels(job: &Job) -> Vec<(&'static str, &str)> {
    let kind: JobKind = job.kind;
    let mut labels = vec![("job_kind", kind.name())];
    labels.extend(job.source.as_deref().map(|source| ("source", source)));
    labels
}

fn seconds(time: Timestamp) -> f64 {
    number(time.as_second().unsigned_abs())
}

/// Prometheus knows doubles alone.
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;

//! Telling people what became of the daemon's runs, where `[alerts]` says whom.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use basekeep_engine::Interrupt;
use basekeep_server::alerts::{Alerts, Observation, Patience, Run as Told, RunEnd, RunStart};
use basekeep_server::history::{NewRun, Run};
use basekeep_server::jobs::Outcome;
use basekeep_server::operations::AfterRun;
use jiff::Timestamp;

use super::work::Work;

/// How long channels may take, beside whatever the daemon does meanwhile.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) struct Telling(pub(super) Arc<Work>);

impl Telling {
    /// The channels as the configuration has them now; what is firing is remembered in the state folder.
    fn alerts(&self) -> Option<Alerts> {
        let config = self.0.config();
        if config.alerts.notify.is_empty() {
            return None;
        }
        Some(self.0.context(None, &Interrupt::never()).alerts(&config, Patience::default()))
    }

    /// Waits for the channels beside the daemon.
    fn finish(alerts: Alerts) {
        tokio::spawn(async move {
            for failure in alerts.flush(LIMIT).await {
                tracing::warn!(channel = failure.channel, reason = failure.reason, "a channel was not told");
            }
        });
    }
}

#[async_trait]
impl AfterRun for Telling {
    async fn started(&self, run: &NewRun) {
        if let Some(alerts) = self.alerts() {
            alerts.started(&RunStart { job: run.job.kind.name().to_owned(), source: run.job.source.clone() });
            Self::finish(alerts);
        }
    }

    async fn ended(&self, run: &Run) {
        let Some(alerts) = self.alerts() else { return };
        let ended = run.ended.unwrap_or_else(Timestamp::now);
        let told = Told {
            job: run.job.name().to_owned(),
            source: run.source.clone(),
            end: end_of(run),
            ended,
            detail: run.summary.clone(),
        };
        alerts.observe(Observation::Run(told), ended);
        Self::finish(alerts);
    }
}

fn end_of(run: &Run) -> RunEnd {
    let why = || run.error.as_deref().or(run.summary.as_deref()).unwrap_or_default().to_owned();
    match run.outcome {
        Some(Outcome::Done) => RunEnd::Done,
        Some(Outcome::Incomplete) => RunEnd::Incomplete(why()),
        Some(Outcome::Difference | Outcome::Failed) => RunEnd::Failed(why()),
        Some(Outcome::Interrupted) | None => RunEnd::Interrupted,
    }
}

//! One run: its lease, its entry in the history, its work, and what becomes of all three.

use std::sync::Arc;

use basekeep_engine::{EngineError, Interrupt, InterruptHandle};
use tracing::Instrument;

use crate::agenda::{AHEAD, Ended, Start};
use crate::clock::Clock;
use crate::history::{self, History, NewRun, RunResult};
use crate::jobs::Outcome;
use crate::live::Live;
use crate::operations::{AfterRun, Held, Leased, Operations};

pub(super) struct Runner {
    pub(super) operations: Arc<dyn Operations>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) history: Arc<History>,
    pub(super) live: Live,
    pub(super) after: Vec<Arc<dyn AfterRun>>,
}

impl Runner {
    pub(super) async fn run(&self, start: &Start, interrupt: &Interrupt) -> Ended {
        let span = tracing::info_span!(
            "job",
            job = start.job.kind.name(),
            source = start.job.source.as_deref().unwrap_or_default(),
            trigger = start.trigger.name(),
            attempt = start.attempt,
        );
        self.leased(start, interrupt).instrument(span).await
    }

    async fn leased(&self, start: &Start, interrupt: &Interrupt) -> Ended {
        let held = match interrupt.guard(self.operations.lease(&start.job)).await {
            Ok(Leased::Held(held)) => held,
            Ok(Leased::Busy(holder)) => {
                tracing::info!(holder, "another server is at it");
                return Ended::Busy;
            }
            Err(error) => {
                // Without the repository's word nothing runs; that it was wanted stands in the history.
                self.take_note(start, |_| async { failed(&error) }).await;
                return Ended::Ran(Outcome::Failed);
            }
        };
        let ahead = self.clock.now() + AHEAD;
        if let (Some(due), Some(done)) = (start.due, held.done(&start.job))
            && (due..=ahead).contains(&done)
        {
            tracing::info!("another server has done it");
            release(held, None).await;
            return Ended::DoneElsewhere(done);
        }
        let (stop, stopped) = InterruptHandle::new();
        let work = self
            .take_note(start, |observer| async move { self.operations.run(start, observer, &stopped).await });
        let watch = async {
            tokio::select! {
                () = interrupt.requested() => None,
                reason = held.lost() => Some(reason),
            }
        };
        tokio::pin!(work);
        let (outcome, lost) = tokio::select! {
            outcome = &mut work => (outcome, None),
            lost = watch => {
                if let Some(reason) = &lost {
                    tracing::error!(reason, "the lease is lost: the job is stopped");
                }
                stop.interrupt();
                (work.await, lost)
            }
        };
        let settled = outcome.is_final() || outcome != Outcome::Interrupted && start.is_last_attempt();
        let done = start.due.filter(|_| settled && lost.is_none()).map(|due| (&start.job, due));
        release(held, done).await;
        match (outcome, lost) {
            // Whoever has the lease now runs it.
            (Outcome::Interrupted, Some(_)) => Ended::Busy,
            (outcome, _) => Ended::Ran(outcome),
        }
    }

    /// Runs `work` with an entry in the history and among what runs.
    async fn take_note<F>(
        &self,
        start: &Start,
        work: impl FnOnce(Arc<dyn basekeep_engine::Observer>) -> F,
    ) -> Outcome
    where
        F: Future<Output = RunResult>,
    {
        let started = self.clock.now();
        let Start { job, due, trigger, attempt } = start.clone();
        let new = NewRun { job: job.clone(), trigger, due, attempt, started };
        // A full disk must not stop backups.
        let id = self.history.begin(&new).unwrap_or_else(|error| {
            tracing::error!(%error, "the run is missing in the history");
            -i64::from(started.subsec_nanosecond())
        });
        let observer = self.live.begin(id, job, trigger, due, started);
        tracing::info!("begins");
        for after in &self.after {
            after.started(&new).await;
        }
        let mut result = work(observer).await;
        let outcome = result.outcome;
        if let Some(run) = self.live.run(id) {
            result.warnings.extend(run.warnings);
        }
        if let Err(error) = self.history.finish(id, self.clock.now(), &result) {
            tracing::error!(%error, "how the run ended is missing in the history");
        }
        self.live.finish(id, outcome);
        match (&result.error, outcome) {
            (Some(error), Outcome::Failed | Outcome::Difference) => {
                tracing::error!(outcome = outcome.name(), error, "ended");
            }
            _ => tracing::info!(
                outcome = outcome.name(),
                summary = result.summary.as_deref().unwrap_or_default(),
                "ended"
            ),
        }
        if let Ok(Some(run)) = self.history.run(id) {
            for after in &self.after {
                after.ended(&run).await;
            }
        }
        outcome
    }
}

/// A run that could not begin.
fn failed(error: &EngineError) -> RunResult {
    RunResult { error: Some(history::text_of(error)), ..RunResult::of_exit_code(1) }
}

async fn release(held: Box<dyn Held>, done: Option<(&crate::jobs::Job, jiff::Timestamp)>) {
    if let Err(error) = held.release(done).await {
        tracing::warn!(%error, "the lease could not be given back; it expires by itself");
    }
}

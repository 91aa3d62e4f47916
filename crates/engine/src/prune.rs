//! Freeing the space of what no snapshot needs, and compressing old packs harder.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use basekeep_repository::{Amount, PruneOutcome, PruneSummary};
use basekeep_repository::{Lock, LockMode, PruneProgress, PruneStage, Repository};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::MaxUnused;
use crate::retention::Span;
use crate::words::{bytes, counted};
use crate::{EngineError, Event, Interrupt, Observer, Progress, ResultExt, Step};

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// What may stay unused in packs that stay; 5 % if `None`.
    pub max_unused: Option<MaxUnused>,
    /// Rewrite packs of at most so many bytes.
    pub max_repack_size: Option<u64>,
    /// Put small packs together.
    pub repack_small: bool,
    /// Compress packs harder that are needed by a snapshot of that age.
    pub recompress_after: Option<Span>,
    /// Change nothing.
    pub dry_run: bool,
    /// The present.
    pub now: Timestamp,
    /// Whose calendar counts days and months.
    pub zone: TimeZone,
}

/// What was (or would be) done.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// The plan, in figures.
    pub plan: PruneSummary,
    /// What was done; `None` for a dry run, or where there was nothing to do.
    pub done: Option<PruneOutcome>,
}

/// Plans, and unless it is a dry run does it, under an exclusive lock.
///
/// Errors: where something cannot be read that may need anything, nothing is removed and the error says what to repair.
pub async fn prune(
    repository: &Repository,
    options: &PruneOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<PruneReport, EngineError> {
    let locking = async { repository.lock(LockMode::Exclusive).await.doing(|| "lock the repository") };
    let lock = interrupt.guard(locking).await?;
    let result = interrupt.guard(locked(repository, &lock, options, &observer)).await;
    let released = lock.release().await;
    let report = result?;
    released.doing(|| "remove the repository's lock")?;
    Ok(report)
}

async fn locked(
    repository: &Repository,
    lock: &Lock,
    options: &PruneOptions,
    observer: &Arc<dyn Observer>,
) -> Result<PruneReport, EngineError> {
    let steps = Steps::new(observer.clone());
    steps.begin("plan");
    let plan = repository.plan_prune(&planning(options), lock).await.doing(|| "plan the prune")?;
    let summary = plan.summary.clone();
    steps.end(format!(
        "{} of {} needed by {}",
        bytes(summary.needed.bytes),
        bytes(summary.stored.bytes),
        counted(summary.snapshots, "snapshot", "snapshots"),
    ));
    if options.dry_run || plan.is_empty() {
        return Ok(PruneReport { plan: summary, done: None });
    }
    let outcome = repository.execute_prune(plan, lock, &|progress| steps.progress(progress)).await;
    let outcome = outcome.doing(|| "prune the repository")?;
    steps.end(String::new());
    Ok(PruneReport { plan: summary, done: Some(outcome) })
}

fn planning(options: &PruneOptions) -> basekeep_repository::PruneOptions {
    let defaults = basekeep_repository::PruneOptions::default();
    basekeep_repository::PruneOptions {
        max_unused: options.max_unused.map_or(defaults.max_unused, |max| match max {
            MaxUnused::Bytes(bytes) => basekeep_repository::MaxUnused::Bytes(bytes),
            MaxUnused::Percent(percent) => basekeep_repository::MaxUnused::Percent(percent),
            MaxUnused::Unlimited => basekeep_repository::MaxUnused::Unlimited,
        }),
        max_repack_size: options.max_repack_size,
        repack_small: options.repack_small,
        recompress_before: options.recompress_after.map(|age| age.before(options.now, &options.zone)),
        ..defaults
    }
}

/// Turns the repository's stages into steps.
struct Steps {
    observer: Arc<dyn Observer>,
    running: Mutex<Option<Running>>,
}

struct Running {
    step: Step,
    began: Instant,
    told: Option<Instant>,
    last: Option<PruneProgress>,
}

impl Steps {
    fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, running: Mutex::default() }
    }

    fn begin(&self, name: &'static str) {
        self.observer.event(Event::Began { step: Step(name) });
        let running = Running { step: Step(name), began: Instant::now(), told: None, last: None };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    /// Ends the running step; `detail` stands in where it has no counters.
    fn end(&self, detail: String) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { step, began, last, .. }) = running else { return };
        let detail = last.map_or(detail, |last| {
            let done = match last.stage {
                PruneStage::Indexing => return counted(last.done, "index file", "index files"),
                _ => counted(last.done, "pack", "packs"),
            };
            format!("{done}, {}", bytes(last.bytes_done))
        });
        self.observer.event(Event::Ended { step, elapsed: began.elapsed(), detail });
    }

    /// Passes progress on, at most ten times a second.
    fn progress(&self, progress: PruneProgress) {
        let name = match progress.stage {
            PruneStage::Verifying => "verify second copies",
            PruneStage::Copying => "rewrite packs",
            PruneStage::Indexing => "replace the index",
            PruneStage::Deleting => "delete packs",
        };
        let is_running =
            |running: &Option<Running>| running.as_ref().is_some_and(|one| one.step == Step(name));
        if !is_running(&self.running.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.end(String::new());
            self.begin(name);
        }
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(running) = running.as_mut() else { return };
            running.last = Some(progress);
            if running.told.is_some_and(|told| told.elapsed() < Duration::from_millis(100)) {
                return;
            }
            running.told = Some(Instant::now());
        }
        self.observer.event(Event::Progressed(Progress {
            bytes: progress.bytes_done,
            bytes_expected: progress.bytes_total,
            items: progress.done,
            items_expected: progress.total,
            ..Progress::default()
        }));
    }
}

//! What runs told, for their pages: the history keeps how a run ended, this keeps its steps, for the latest runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basekeep_server::live::{Live, LiveEvent};
use basekeep_server::web::panel::{EventKind, RunEvent};
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;

use crate::output::units;

/// The latest runs that are kept.
const RUNS: usize = 200;
/// Events of a run that are kept, the newest ones.
const EVENTS: usize = 300;

/// What is kept of a run.
#[derive(Debug, Default, Clone)]
pub(super) struct Kept {
    pub(super) events: VecDeque<RunEvent>,
    /// Who started it.
    pub(super) by: Option<String>,
}

/// Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Recorder(Arc<Mutex<BTreeMap<i64, Kept>>>, Arc<AtomicU64>);

impl Recorder {
    /// Listens from now on, as long as somebody has the registry.
    pub(super) fn begin(live: &Live) -> Self {
        let recorder = Self(Arc::default(), Arc::default());
        let (kept, mut events) = (recorder.clone(), live.events());
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => kept.note(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                }
            }
        });
        recorder
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many runs have ended: what was read before one did may not be true any more.
    pub(super) fn ended(&self) -> u64 {
        self.1.load(Relaxed)
    }

    fn note(&self, event: &LiveEvent) {
        if matches!(event, LiveEvent::Finished { .. }) {
            self.1.fetch_add(1, Relaxed);
        }
        let Some((id, event)) = told(event) else { return };
        self.change(id, |kept| {
            if kept.events.len() == EVENTS {
                kept.events.pop_front();
            }
            kept.events.push_back(event);
        });
    }

    fn change(&self, id: i64, change: impl FnOnce(&mut Kept)) {
        let mut runs = self.lock();
        change(runs.entry(id).or_default());
        while runs.len() > RUNS {
            runs.pop_first();
        }
    }

    /// Takes note of who started a run.
    pub(super) fn started_by(&self, id: i64, who: &str) {
        self.change(id, |kept| kept.by = Some(who.to_owned()));
    }

    pub(super) fn kept(&self, id: i64) -> Kept {
        self.lock().get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn by(&self, id: i64) -> Option<String> {
        self.lock().get(&id).and_then(|kept| kept.by.clone())
    }
}

/// An event as a line; counters and steps that begin are none.
pub(super) fn told(event: &LiveEvent) -> Option<(i64, RunEvent)> {
    let (id, kind, text) = match event {
        LiveEvent::Ended { id, step } => {
            let took = units::duration(std::time::Duration::from_secs_f64(step.seconds.max(0.0)));
            let detail = if step.detail.is_empty() { String::new() } else { format!(": {}", step.detail) };
            (*id, EventKind::Step, format!("{}{detail} ({took})", step.step))
        }
        LiveEvent::Warning { id, message } => (*id, EventKind::Warning, message.clone()),
        LiveEvent::Finished { id, outcome, .. } => (*id, EventKind::End, outcome.name().to_owned()),
        LiveEvent::Began(_) | LiveEvent::Step { .. } | LiveEvent::Progress { .. } => return None,
    };
    Some((id, RunEvent { time: Timestamp::now(), kind, text }))
}

//! Jobs that run now: their latest step and counters, and a stream of what happens, for the dashboard and for metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use basekeep_engine::{Event, Observer, Progress};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::jobs::{Job, Outcome, Trigger};

/// How many events a listener may be behind; older ones are lost to it.
const BACKLOG: usize = 256;
/// How many warnings of a run are kept at hand.
const WARNINGS: usize = 100;

/// The registry. Cloning is cheap; all clones are the same registry.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    running: Mutex<BTreeMap<i64, LiveRun>>,
    events: broadcast::Sender<LiveEvent>,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveRun {
    /// Its id in the history.
    pub id: i64,
    /// What is done.
    #[serde(flatten)]
    pub job: Job,
    /// Why.
    pub trigger: Trigger,
    /// The time of the schedule that it is for.
    pub due: Option<Timestamp>,
    /// When it began.
    pub started: Timestamp,
    /// The step that runs.
    pub step: Option<String>,
    /// The steps that ended, oldest first, with what came out of each.
    pub steps: Vec<Step>,
    /// Counters of the step that runs.
    pub progress: Counters,
    /// The newest warnings.
    pub warnings: VecDeque<String>,
}

/// A step that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// Seconds.
    pub seconds: f64,
    /// What came out.
    pub detail: String,
}

/// [`Progress`] as it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Plain bytes handled.
    pub bytes: u64,
    /// Plain bytes expected; 0 when unknown.
    pub bytes_expected: u64,
    /// Rows handled.
    pub rows: u64,
    /// Tables or objects finished.
    pub items: u64,
    /// How many there are.
    pub items_expected: u64,
    /// Bytes added to the repository.
    pub stored: u64,
}

impl From<Progress> for Counters {
    fn from(progress: Progress) -> Self {
        let Progress { bytes, bytes_expected, rows, items, items_expected, stored } = progress;
        Self { bytes, bytes_expected, rows, items, items_expected, stored }
    }
}

/// What happens to jobs. As JSON each has a field `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum LiveEvent {
    /// A job began.
    Began(Box<LiveRun>),
    /// A step of it began.
    Step {
        /// The run.
        id: i64,
        /// The step.
        step: String,
    },
    /// A step of it ended.
    Ended {
        /// The run.
        id: i64,
        /// Which, and what came out.
        #[serde(flatten)]
        step: Step,
    },
    /// Counters of the step that runs.
    Progress {
        /// The run.
        id: i64,
        /// The counters.
        #[serde(flatten)]
        progress: Counters,
    },
    /// Something to know that did not stop it.
    Warning {
        /// The run.
        id: i64,
        /// What.
        message: String,
    },
    /// The job ended; the history has the rest.
    Finished {
        /// The run.
        id: i64,
        /// What was done.
        #[serde(flatten)]
        job: Job,
        /// How it ended.
        outcome: Outcome,
    },
}

impl Default for Live {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared { running: Mutex::default(), events: broadcast::Sender::new(BACKLOG) }),
        }
    }
}

impl Live {
    /// What runs now, oldest first.
    pub fn running(&self) -> Vec<LiveRun> {
        self.lock().values().cloned().collect()
    }

    /// One run, while it runs.
    pub fn run(&self, id: i64) -> Option<LiveRun> {
        self.lock().get(&id).cloned()
    }

    /// What happens from now on. A listener that is slow loses the oldest events and is told how many.
    pub fn events(&self) -> broadcast::Receiver<LiveEvent> {
        self.shared.events.subscribe()
    }

    /// Takes note that a job began; its events go to the observer that this gives.
    pub fn begin(
        &self,
        id: i64,
        job: Job,
        trigger: Trigger,
        due: Option<Timestamp>,
        started: Timestamp,
    ) -> Arc<Watcher> {
        let run = LiveRun {
            id,
            job,
            trigger,
            due,
            started,
            step: None,
            steps: Vec::new(),
            progress: Counters::default(),
            warnings: VecDeque::new(),
        };
        self.lock().insert(id, run.clone());
        self.send(LiveEvent::Began(Box::new(run)));
        Arc::new(Watcher { live: self.clone(), id })
    }

    /// Takes note that it ended. Gives what was known of it.
    pub fn finish(&self, id: i64, outcome: Outcome) -> Option<LiveRun> {
        let run = self.lock().remove(&id)?;
        self.send(LiveEvent::Finished { id, job: run.job.clone(), outcome });
        Some(run)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, LiveRun>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: LiveEvent) {
        // Nobody has to listen.
        let _ = self.shared.events.send(event);
    }

    fn change(&self, id: i64, change: impl FnOnce(&mut LiveRun)) {
        if let Some(run) = self.lock().get_mut(&id) {
            change(run);
        }
    }

    fn warn(&self, id: i64, message: String) {
        self.change(id, |run| {
            if run.warnings.len() == WARNINGS {
                run.warnings.pop_front();
            }
            run.warnings.push_back(message.clone());
        });
        self.send(LiveEvent::Warning { id, message });
    }
}

/// The observer of one run.
#[derive(Debug)]
pub struct Watcher {
    live: Live,
    id: i64,
}

impl Watcher {
    /// The run's id in the history.
    pub fn id(&self) -> i64 {
        self.id
    }
}

impl Observer for Watcher {
    fn event(&self, event: Event) {
        let id = self.id;
        match event {
            Event::Began { step } => {
                let step = step.0.to_owned();
                self.live.change(id, |run| {
                    run.step = Some(step.clone());
                    run.progress = Counters::default();
                });
                self.live.send(LiveEvent::Step { id, step });
            }
            Event::Ended { step, elapsed, detail } => {
                let step = Step { step: step.0.to_owned(), seconds: seconds(elapsed), detail };
                self.live.change(id, |run| {
                    run.step = None;
                    // A piece of work has a few steps; something that repeats them without end is cut off.
                    if run.steps.len() < WARNINGS {
                        run.steps.push(step.clone());
                    }
                });
                self.live.send(LiveEvent::Ended { id, step });
            }
            Event::Progressed(progress) => {
                let progress = Counters::from(progress);
                self.live.change(id, |run| run.progress = progress);
                self.live.send(LiveEvent::Progress { id, progress });
            }
            Event::Warning { message, .. } => self.live.warn(id, message),
            Event::ObjectFailed { object, message } => self.live.warn(id, format!("{object}: {message}")),
        }
    }
}

fn seconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobKind;

    #[tokio::test]
    async fn what_runs_is_seen_with_its_steps_and_gone_when_it_ends() {
        let live = Live::default();
        let mut events = live.events();
        let job = Job::of(JobKind::Backup, "shop");
        let watcher = live.begin(7, job.clone(), Trigger::Schedule, None, Timestamp::UNIX_EPOCH);
        watcher.event(Event::Began { step: basekeep_engine::Step("rows") });
        watcher.event(Event::Progressed(Progress { bytes: 5, rows: 2, ..Progress::default() }));
        for number in 0..150 {
            let message = format!("warning {number}");
            watcher.event(Event::Warning { code: "x".into(), message, hint: None });
        }
        let run = live.run(7).unwrap();
        assert_eq!((run.step.as_deref(), run.progress.rows), (Some("rows"), 2));
        assert_eq!(run.warnings.len(), 100, "warnings are bounded");
        assert_eq!(run.warnings[0], "warning 50");
        assert!(matches!(events.recv().await, Ok(LiveEvent::Began(run)) if run.job == job));
        let step = events.recv().await.unwrap();
        assert_eq!(
            serde_json::to_value(&step).unwrap(),
            serde_json::json!({"event": "step", "id": 7, "step": "rows"})
        );
        live.finish(7, Outcome::Done);
        assert!(live.running().is_empty());
        assert!(live.finish(7, Outcome::Done).is_none());
    }
}

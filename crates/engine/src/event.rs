//! What the engine tells while it works. Measuring happens here, printing elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A phase of a piece of work, in the words that a user sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step(pub &'static str);

/// Counters of the step that is running. All values only grow within a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Plain bytes handled so far.
    pub bytes: u64,
    /// Plain bytes expected in all; an estimate, 0 when unknown.
    pub bytes_expected: u64,
    /// Rows handled so far.
    pub rows: u64,
    /// Tables (or objects) finished, and how many there are.
    pub items: u64,
    /// How many tables or objects there are in this step.
    pub items_expected: u64,
    /// Bytes added to the repository so far (after compression), where that means something.
    pub stored: u64,
}

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step began.
    Began {
        /// Which one.
        step: Step,
    },
    /// A step ended well.
    Ended {
        /// Which one.
        step: Step,
        /// How long it took.
        elapsed: Duration,
        /// What came out, in a few words ("42 tables, 310,000 rows").
        detail: String,
    },
    /// Counters of the running step; sent at most ten times a second.
    Progressed(Progress),
    /// Something to know that did not stop the work.
    Warning {
        /// A stable word such as `table-not-readable`.
        code: String,
        /// What was found.
        message: String,
        /// What to do, if anything.
        hint: Option<String>,
    },
    /// One object could not be restored (or was skipped because one that it needs failed).
    ObjectFailed {
        /// The object as a person would name it.
        object: String,
        /// Why.
        message: String,
    },
}

/// Receives events. Implementations must return quickly and never fail.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn event(&self, event: Event);
}

/// An observer that ignores everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: Event) {}
}

/// A step that is running.
pub(crate) struct Began<'a> {
    observer: &'a Arc<dyn Observer>,
    step: Step,
    started: Instant,
}

/// Tells that a step began.
pub(crate) fn begin<'a>(observer: &'a Arc<dyn Observer>, name: &'static str) -> Began<'a> {
    observer.event(Event::Began { step: Step(name) });
    Began { observer, step: Step(name), started: Instant::now() }
}

impl Began<'_> {
    /// Tells that it ended well; `detail` says what came out, in a few words.
    pub(crate) fn end(self, detail: String) {
        self.observer.event(Event::Ended { step: self.step, elapsed: self.started.elapsed(), detail });
    }
}

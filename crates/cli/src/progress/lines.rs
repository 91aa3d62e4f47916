//! One line per step, for logs and for terminals without bars.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use basekeep_engine::{Event, Observer, Progress, Step};

use crate::output::{Output, units};

/// The widest name of a step, "indexes and constraints", fits.
pub(super) const STEP: usize = 24;
/// A step that takes longer than this tells how far it is, that often.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub(super) struct Lines {
    output: Output,
    told: Mutex<Instant>,
}

impl Lines {
    pub(super) fn new(output: Output) -> Self {
        Self { output, told: Mutex::new(Instant::now()) }
    }

    /// Whether it is time for a sign of life; a line of any kind counts as one.
    fn due(&self, progressed: bool) -> bool {
        let Ok(mut told) = self.told.lock() else { return false };
        let due = !progressed || told.elapsed() >= HEARTBEAT;
        if due {
            *told = Instant::now();
        }
        due
    }
}

impl Observer for Lines {
    fn event(&self, event: Event) {
        let due = self.due(matches!(event, Event::Progressed(_)));
        match event {
            Event::Began { step } if self.output.verbose => self.output.line(&format!("{} …", step.0)),
            Event::Began { .. } => {}
            Event::Ended { step, elapsed, detail } => self.output.line(&ended(&step, elapsed, &detail)),
            Event::Progressed(progress) if due => self.output.line(&format!("  {}", sofar(&progress))),
            Event::Progressed(_) => {}
            Event::Warning { message, hint, .. } => self.output.warning(&message, hint.as_deref()),
            Event::ObjectFailed { object, message } => {
                self.output.warning(&format!("{object}: {message}"), None)
            }
        }
    }
}

/// `rows                     42 tables, 310,000 rows, 3.1 s`.
pub(super) fn ended(step: &Step, elapsed: Duration, detail: &str) -> String {
    let time = units::duration(elapsed);
    match detail {
        "" => format!("{:<STEP$} {time}", step.0),
        detail => format!("{:<STEP$} {detail}, {time}", step.0),
    }
}

/// What the counters say, leaving out what they do not know.
pub(super) fn sofar(progress: &Progress) -> String {
    let mut parts = Vec::new();
    match (progress.items, progress.items_expected) {
        (0, 0) => {}
        (done, 0) => parts.push(units::count(done)),
        (done, all) => parts.push(format!("{} of {}", units::count(done), units::count(all))),
    }
    match (progress.bytes, progress.bytes_expected) {
        (0, _) => {}
        (done, all) if all >= done => parts.push(format!("{} of {}", units::bytes(done), units::bytes(all))),
        (done, _) => parts.push(units::bytes(done)),
    }
    if progress.rows > 0 {
        parts.push(units::counted(progress.rows, "row", "rows"));
    }
    if progress.stored > 0 {
        parts.push(format!("{} added", units::bytes(progress.stored)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leave_out_what_is_not_known() {
        let progress =
            Progress { bytes: 2048, bytes_expected: 4096, rows: 1, items: 3, items_expected: 9, stored: 0 };
        assert_eq!(sofar(&progress), "3 of 9, 2.0 KiB of 4.0 KiB, 1 row");
        assert_eq!(sofar(&Progress { bytes: 10, ..Progress::default() }), "10 B");
        assert_eq!(sofar(&Progress::default()), "");
        assert_eq!(
            ended(&Step("rows"), Duration::from_millis(1500), "2 tables"),
            "rows                     2 tables, 1.5 s"
        );
    }
}

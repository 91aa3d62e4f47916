//! Showing what the engine tells: bars on a terminal, a line per step elsewhere, JSON lines for programs.

mod bars;
mod events;
mod lines;

use std::sync::Arc;

use basekeep_engine::{Event, Observer};

use crate::output::Output;

pub(crate) use events::emit;

/// The observer for this output. `source` names what the events are about, where several take turns.
pub(crate) fn observer(output: &Output, progress: bool, source: Option<&str>) -> Arc<dyn Observer> {
    let output = output.clone();
    if output.json {
        return Arc::new(events::Events::new(output, progress, source));
    }
    if output.quiet {
        return Arc::new(Quiet(output));
    }
    if output.bars {
        return Arc::new(bars::Bars::new(output));
    }
    Arc::new(lines::Lines::new(output))
}

/// Only what the user must know.
struct Quiet(Output);

impl Observer for Quiet {
    fn event(&self, event: Event) {
        match event {
            Event::Warning { message, hint, .. } => self.0.warning(&message, hint.as_deref()),
            Event::ObjectFailed { object, message } => self.0.warning(&format!("{object}: {message}"), None),
            Event::Began { .. } | Event::Ended { .. } | Event::Progressed(_) => {}
        }
    }
}

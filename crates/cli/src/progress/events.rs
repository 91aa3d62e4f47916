//! One JSON line per event on standard output, and the result as the last line.

use basekeep_engine::{EngineError, Event, Observer};
use serde::Serialize;

use crate::output::{JSON_VERSION, Output};

pub(super) struct Events {
    output: Output,
    progress: bool,
    source: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(flatten)]
    event: Body<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Body<'a> {
    Began {
        step: &'a str,
    },
    Ended {
        step: &'a str,
        seconds: f64,
        detail: &'a str,
    },
    Progress {
        bytes: u64,
        bytes_expected: u64,
        rows: u64,
        items: u64,
        items_expected: u64,
        stored: u64,
    },
    Warning {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    },
    ObjectFailed {
        object: &'a str,
        message: &'a str,
    },
}

#[derive(Serialize)]
struct Result_<'a, T> {
    version: u32,
    event: &'static str,
    #[serde(flatten)]
    result: &'a T,
}

/// The last line: the result of the work, marked as such.
pub(crate) fn emit<T: Serialize>(output: &Output, result: &T) -> Result<(), EngineError> {
    output.document(&Result_ { version: JSON_VERSION, event: "result", result })
}

impl Events {
    pub(super) fn new(output: Output, progress: bool, source: Option<&str>) -> Self {
        Self { output, progress, source: source.map(str::to_owned) }
    }
}

impl Observer for Events {
    fn event(&self, event: Event) {
        let body = match &event {
            Event::Began { step } => Body::Began { step: step.0 },
            Event::Ended { step, elapsed, detail } => {
                Body::Ended { step: step.0, seconds: elapsed.as_secs_f64(), detail }
            }
            Event::Progressed(p) => Body::Progress {
                bytes: p.bytes,
                bytes_expected: p.bytes_expected,
                rows: p.rows,
                items: p.items,
                items_expected: p.items_expected,
                stored: p.stored,
            },
            Event::Warning { code, message, hint } => Body::Warning { code, message, hint: hint.as_deref() },
            Event::ObjectFailed { object, message } => Body::ObjectFailed { object, message },
        };
        let wanted = match body {
            Body::Progress { .. } => self.progress && !self.output.quiet,
            Body::Began { .. } | Body::Ended { .. } => !self.output.quiet,
            Body::Warning { .. } | Body::ObjectFailed { .. } => true,
        };
        if wanted {
            let line = Line { version: JSON_VERSION, source: self.source.as_deref(), event: body };
            // The result that follows reports a standard output that cannot be written.
            let _ = self.output.document(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_event_and_source() {
        let event = Body::Ended { step: "rows", seconds: 1.5, detail: "2 tables" };
        let line = Line { version: 1, source: Some("shop"), event };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"version":1,"source":"shop","event":"ended","step":"rows","seconds":1.5,"detail":"2 tables"}"#
        );
    }
}

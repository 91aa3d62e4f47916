//! Prometheus' text format, version 0.0.4.

use std::fmt::Write;

#[derive(Default)]
pub(super) struct Text {
    text: String,
    name: &'static str,
}

impl Text {
    /// Begins a metric; its samples follow.
    pub(super) fn metric(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text += self.name;
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text += if index == 0 { "{" } else { "," };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{name}=\"{value}\"");
        }
        self.text += if labels.is_empty() { " " } else { "} " };
        let _ = writeln!(self.text, "{value}");
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

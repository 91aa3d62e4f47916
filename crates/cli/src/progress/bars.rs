//! A bar on the terminal for the running step, and a line for each that has ended.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use basekeep_engine::{Event, Observer, Progress, Step};
use indicatif::{ProgressBar, ProgressStyle};

use super::lines;
use crate::output::{Output, units};

const TICK: Duration = Duration::from_millis(100);

pub(super) struct Bars {
    output: Output,
    running: Mutex<Running>,
}

/// Steps may overlap (definitions are read beside rows): the bar shows the one that began last.
#[derive(Default)]
struct Running {
    steps: Vec<(Step, Instant)>,
    bar: Option<ProgressBar>,
    /// The counters belong to the step that began last before they came.
    progress: Progress,
}

impl Bars {
    pub(super) fn new(output: Output) -> Self {
        Self { output, running: Mutex::default() }
    }

    fn redraw(&self, running: &mut Running) {
        let Some((step, began)) = running.steps.last().cloned() else {
            if let Some(bar) = running.bar.take() {
                bar.finish_and_clear();
            }
            self.output.show_bar(None);
            return;
        };
        if running.bar.is_none() {
            let bar = ProgressBar::new(0);
            bar.enable_steady_tick(TICK);
            self.output.show_bar(Some(bar.clone()));
            running.bar = Some(bar);
        }
        let Some(bar) = &running.bar else { return };
        let progress = running.progress;
        let known = progress.bytes_expected > 0 || progress.items_expected > 0;
        bar.set_style(style(known));
        bar.set_prefix(format!("{:<width$}", step.0, width = lines::STEP));
        let (done, all) = match progress.bytes_expected {
            0 => (progress.items, progress.items_expected),
            expected => (progress.bytes, expected.max(progress.bytes)),
        };
        bar.set_length(all);
        bar.set_position(done);
        bar.set_message(message(&progress, began.elapsed()));
    }
}

fn style(known: bool) -> ProgressStyle {
    let template =
        if known { "{prefix} {bar:24} {percent:>3}%  {wide_msg}" } else { "{prefix} {spinner} {wide_msg}" };
    // The templates are constants that a test renders.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn message(progress: &Progress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let speed = match progress.bytes {
        bytes if bytes > 0 && seconds > 1.0 => {
            format!(", {}/s", units::bytes((bytes as f64 / seconds) as u64))
        }
        _ => String::new(),
    };
    format!("{}{speed}  {}", lines::sofar(progress), units::duration(elapsed))
}

impl Observer for Bars {
    fn event(&self, event: Event) {
        let Ok(mut running) = self.running.lock() else { return };
        match event {
            Event::Began { step } => {
                running.steps.push((step, Instant::now()));
                running.progress = Progress::default();
                self.redraw(&mut running);
            }
            Event::Ended { step, elapsed, detail } => {
                running.steps.retain(|(other, _)| *other != step);
                self.output.line(&lines::ended(&step, elapsed, &detail));
                self.redraw(&mut running);
            }
            Event::Progressed(progress) => {
                running.progress = progress;
                self.redraw(&mut running);
            }
            Event::Warning { message, hint, .. } => self.output.warning(&message, hint.as_deref()),
            Event::ObjectFailed { object, message } => {
                self.output.warning(&format!("{object}: {message}"), None)
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut() {
            running.steps.clear();
            if let Some(bar) = running.bar.take() {
                bar.finish_and_clear();
            }
        }
        self.output.show_bar(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in ["{prefix} {bar:24} {percent:>3}%  {wide_msg}", "{prefix} {spinner} {wide_msg}"] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn speed_is_shown_once_it_means_something() {
        let progress = Progress { bytes: 10 << 20, ..Progress::default() };
        assert_eq!(message(&progress, Duration::from_millis(10)), "10.0 MiB  0.0 s");
        assert_eq!(message(&progress, Duration::from_secs(5)), "10.0 MiB, 2.0 MiB/s  5.0 s");
    }
}

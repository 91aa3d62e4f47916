//! A bar on the terminal for the running step, and a line for each that has ended.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use basekeep_engine::{Event, Observer, Progress, Step};
use indicatif::{ProgressBar, ProgressStyle};

use super::lines;
use crate::output::{Output, units};

const TICK: Duration = Duration::from_millis(100);
/// Earlier than this nobody can say how long it takes.
const SOON: Duration = Duration::from_secs(3);

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
    let mut text = lines::sofar(progress);
    for part in [speed(progress, elapsed), left(progress, elapsed)].into_iter().flatten() {
        text += ", ";
        text += &part;
    }
    format!("{text}  {}", units::duration(elapsed))
}

/// Bytes and rows per second, once they mean something.
fn speed(progress: &Progress, elapsed: Duration) -> Option<String> {
    let seconds = elapsed.as_secs_f64();
    if progress.bytes == 0 || seconds <= 1.0 {
        return None;
    }
    let each = |count: u64| (count as f64 / seconds) as u64;
    let bytes = format!("{}/s", units::bytes(each(progress.bytes)));
    Some(match progress.rows {
        0 => bytes,
        rows => format!("{bytes}, {} rows/s", units::count(each(rows))),
    })
}

/// How long the rest takes at the speed so far.
fn left(progress: &Progress, elapsed: Duration) -> Option<String> {
    let (done, all) = match progress.bytes_expected {
        0 => (progress.items, progress.items_expected),
        expected => (progress.bytes, expected),
    };
    if done == 0 || done >= all || elapsed < SOON {
        return None;
    }
    let rest = elapsed.as_secs_f64() * (all - done) as f64 / done as f64;
    let rest = Duration::try_from_secs_f64(rest).ok()?;
    Some(format!("{} left", units::duration(Duration::from_secs(rest.as_secs().max(1)))))
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
        let progress = Progress { bytes_expected: 30 << 20, rows: 500, ..progress };
        assert_eq!(
            message(&progress, Duration::from_secs(5)),
            "10.0 MiB of 30.0 MiB, 500 rows, 2.0 MiB/s, 100 rows/s, 10.0 s left  5.0 s"
        );
    }
}

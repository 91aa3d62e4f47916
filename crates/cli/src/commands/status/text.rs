//! The same for people.

use jiff::Timestamp;

use super::{RunStatus, SourceStatus};
use crate::output::table::clean;
use crate::output::units;

/// `known` says that the repository could be read.
pub(super) fn text(sources: &[SourceStatus], now: Timestamp, known: bool) -> String {
    let mut text = String::new();
    for source in sources {
        text += &format!("{}\n", clean(&source.source));
        for run in &source.running {
            text += &line("running", &running(run, now));
        }
        if let Some(run) = source.last_run.as_ref().filter(|run| run.exit_code != Some(0)) {
            text += &line("last run", &ended(run));
        }
        if known {
            text += &line("last", &last(source));
            text += &line("proof", &proof(source));
        }
        text += &line("next", &next(source));
    }
    if sources.is_empty() && known {
        text += "nothing is backed up yet; `basekeep backup` begins\n";
    }
    text
}

fn line(name: &str, text: &str) -> String {
    format!("  {name:<9} {}\n", clean(text))
}

fn running(run: &RunStatus, now: Timestamp) -> String {
    let since = ago(now.duration_since(run.started).as_secs());
    let mut text = format!("{}, for {since}", run.job);
    if let Some(pid) = run.pid {
        text += &format!(", process {pid}");
    }
    if let (Some(run), Some(_)) = (&run.run, &run.log) {
        text += &format!(" (basekeep log -f {run})");
    }
    text
}

fn ended(run: &RunStatus) -> String {
    let what = match run.exit_code {
        Some(3) => "was incomplete, exit code 3".to_owned(),
        Some(130) => "was interrupted".to_owned(),
        Some(code) => format!("failed, exit code {code}"),
        None => "was killed".to_owned(),
    };
    let mut text = format!("{} of {} {what}", run.job, units::time(run.started));
    if let Some(error) = run.error.as_deref().and_then(|error| error.lines().next()) {
        text += &format!(": {error}");
    }
    if let (Some(run), Some(_)) = (&run.run, &run.log) {
        text += &format!(" (basekeep log {run})");
    }
    text
}

fn last(source: &SourceStatus) -> String {
    let Some(last) = &source.last else { return "no snapshot".to_owned() };
    let mut text =
        format!("{}, {} ago ({})", units::short(&last.id), ago(last.age_seconds), units::time(last.time));
    if let (Some(tables), Some(rows), Some(bytes)) = (last.tables, last.rows, last.bytes) {
        let tables = units::counted(tables, "table", "tables");
        text += &format!(": {tables}, {}, {}", units::counted(rows, "row", "rows"), units::bytes(bytes));
    }
    if last.not_captured > 0 {
        text += &format!("; {} not captured", units::counted(last.not_captured, "thing", "things"));
    }
    text
}

fn proof(source: &SourceStatus) -> String {
    let failed = source.last.as_ref().is_some_and(|last| last.proven == Some(false));
    let now = if failed { "the newest snapshot was drilled and differs" } else { "" };
    match &source.proof {
        _ if failed && source.proof.is_none() => now.to_owned(),
        None => "never drilled".to_owned(),
        Some(proof) => {
            let newest = source.last.as_ref().is_some_and(|last| last.id == proof.id);
            let which =
                if newest { "the newest snapshot".to_owned() } else { units::short(&proof.id).to_owned() };
            let and = if failed { format!("; {now}") } else { String::new() };
            format!("{which}, of {} ago, restores and is equal{and}", ago(proof.age_seconds))
        }
    }
}

fn next(source: &SourceStatus) -> String {
    if source.next.is_empty() {
        return "no schedule".to_owned();
    }
    let one = |next: &super::NextStatus| {
        format!("{} {} (in {})", next.job, units::time(next.time), ago(next.in_seconds))
    };
    source.next.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `5 s`, `12 min`, `3 h`, `4 days`.
fn ago(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

//! The summary for a terminal.

use std::time::Duration;

use basekeep_engine::report::{Line, Report};

use crate::output::table::{Align, Table, clean};
use crate::output::units;

/// Tables that are listed; the rest is counted.
const TABLES: usize = 20;

pub(super) fn text(report: &Report) -> String {
    let seconds = Duration::try_from_secs_f64(report.seconds.max(0.0)).unwrap_or_default();
    let state = if report.complete { "complete" } else { "incomplete" };
    let mut text = format!(
        "snapshot {} of {}, {}: {state}, in {}\n",
        units::short(&report.snapshot),
        clean(&report.source),
        units::time(report.time),
        units::duration(seconds)
    );
    match &report.before {
        Some(before) => {
            text +=
                &format!("compared with {}, {}\n", units::short(&before.snapshot), units::time(before.time));
        }
        None => text += "it is the first one\n",
    }
    for (name, value) in &report.facts {
        text += &format!("{}: {}\n", clean(name), clean(value));
    }
    text += "\n";
    let mut table = Table::new(&[
        ("", Align::Left),
        ("now", Align::Right),
        ("before", Align::Right),
        ("change", Align::Right),
    ]);
    let lines = report.totals.iter().chain(&report.project).chain(&report.components);
    lines.for_each(|line| table.row(row(line, report.before.is_some())));
    let changed = report.tables.iter().take(TABLES);
    let changed: Vec<Line> = changed
        .map(|one| Line {
            name: format!("rows of {}", one.table),
            now: one.rows,
            before: one.rows_before,
            bytes: false,
        })
        .collect();
    changed.iter().for_each(|line| table.row(row(line, true)));
    text += &table.render();
    if let Some(rest @ 1..) = report.tables.len().checked_sub(TABLES) {
        text += &format!("and {} more tables that changed\n", units::count(rest as u64));
    }
    for missing in &report.not_captured {
        text += &format!("\nnot captured: {}: {}\n", clean(&missing.what), clean(&missing.reason));
    }
    for warning in &report.warnings {
        text += &format!("\nwarning: {}\n", clean(&warning.message));
    }
    if let Some(cleanup) = &report.cleanup {
        text += &format!("\ncleaned up: {} freed\n", units::bytes(cleanup.freed_bytes));
        cleanup.done.iter().for_each(|done| text += &format!("  {}\n", clean(done)));
    }
    text += match report.proof.equal {
        Some(true) => "\nproven: a drill found everything equal\n",
        Some(false) => "\nNOT PROVEN: a drill found differences\n",
        None => "\nnot drilled yet\n",
    };
    for command in &report.restore {
        text += &format!("\n{}:\n  {}\n", clean(&command.about), clean(&command.line));
    }
    text
}

fn row(line: &Line, compared: bool) -> [String; 4] {
    let number = |value: u64| if line.bytes { units::bytes(value) } else { units::count(value) };
    let change = match (line.now, line.before) {
        _ if !compared => String::new(),
        (Some(_), None) => "new".to_owned(),
        (None, Some(_)) => "gone".to_owned(),
        (Some(now), Some(before)) if now > before => format!("+{}", number(now - before)),
        (Some(now), Some(before)) if now < before => format!("-{}", number(before - now)),
        _ => String::new(),
    };
    let shown = |value: Option<u64>| value.map_or_else(String::new, number);
    [line.name.clone(), shown(line.now), shown(line.before), change]
}

//! The report in Markdown, which reads well as it is.

use std::fmt::{self, Write};
use std::time::Duration;

use super::{Line, Report};
use crate::words::{bytes, count, counted};

/// Tables that are listed; the rest is counted.
const TABLES: usize = 30;
/// Warnings and things that are missing, likewise.
const LINES: usize = 100;

/// Renders it.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    // `fmt::Write` for `String` never returns an error.
    let _ = write_to(&mut text, report);
    text
}

fn write_to(out: &mut String, r: &Report) -> fmt::Result {
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    writeln!(out, "# Backup of {}\n", line(&r.source))?;
    let state = match (r.complete, r.not_captured.len()) {
        (true, _) => "complete".to_owned(),
        (false, number) => {
            format!("incomplete: {} missing", counted(number as u64, "thing is", "things are"))
        }
    };
    writeln!(out, "| | |\n| --- | --- |")?;
    writeln!(out, "| snapshot | {} |", short(&r.snapshot))?;
    writeln!(out, "| taken | {} |", r.time.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
    writeln!(out, "| state | {state} |")?;
    writeln!(out, "| database | {}, PostgreSQL {} |", cell(&r.database), cell(&r.server))?;
    writeln!(out, "| duration | {} |", seconds(r.seconds))?;
    for (name, value) in &r.facts {
        writeln!(out, "| {} | {} |", cell(name), cell(value))?;
    }
    match &r.before {
        Some(before) => {
            let time = before.time.strftime("%Y-%m-%d %H:%M:%S UTC");
            writeln!(out, "| compared with | {}, of {time} |", short(&before.snapshot))?;
        }
        None => writeln!(out, "| compared with | nothing: it is the first one |")?,
    }

    for (title, lines) in
        [("What was saved", &r.totals), ("The project", &r.project), ("Definitions", &r.components)]
    {
        if lines.is_empty() {
            continue;
        }
        writeln!(out, "\n## {title}\n\n| | now | before | change |\n| --- | ---: | ---: | ---: |")?;
        for one in lines {
            let number = |value: Option<u64>| value.map_or_else(String::new, |value| shown(one, value));
            let (now, before) = (number(one.now), number(one.before));
            let change = if r.before.is_some() { change(one) } else { String::new() };
            writeln!(out, "| {} | {now} | {before} | {change} |", cell(&one.name))?;
        }
    }
    if !r.tables.is_empty() {
        writeln!(
            out,
            "\n## Tables that changed\n\n| table | rows | before | change |\n| --- | ---: | ---: | ---: |"
        )?;
        for table in r.tables.iter().take(TABLES) {
            let number = |value: Option<u64>| value.map_or_else(String::new, count);
            let one = Line { name: String::new(), now: table.rows, before: table.rows_before, bytes: false };
            let (now, before) = (number(table.rows), number(table.rows_before));
            writeln!(out, "| {} | {now} | {before} | {} |", cell(&table.table), change(&one))?;
        }
        more(out, r.tables.len(), TABLES, "tables")?;
    }
    if !r.not_captured.is_empty() {
        writeln!(out, "\n## Not in this backup\n")?;
        for missing in r.not_captured.iter().take(LINES) {
            writeln!(out, "- {}: {}", line(&missing.what), line(&missing.reason))?;
            hint(out, missing.hint.as_deref())?;
        }
        more(out, r.not_captured.len(), LINES, "things")?;
    }
    if !r.warnings.is_empty() {
        writeln!(out, "\n## Warnings\n")?;
        for warning in r.warnings.iter().take(LINES) {
            writeln!(out, "- {}", line(&warning.message))?;
            hint(out, warning.hint.as_deref())?;
        }
        more(out, r.warnings.len(), LINES, "warnings")?;
    }
    if !r.circles.is_empty() {
        writeln!(
            out,
            "\n## Circular foreign keys\n\nA restore adds keys after the rows, so this is no fault.\n"
        )?;
        for group in &r.circles {
            writeln!(out, "- {}", line(&group.join(", ")))?;
        }
    }
    if let Some(cleanup) = &r.cleanup {
        writeln!(out, "\n## Cleaned up\n")?;
        match cleanup.freed_bytes {
            0 => writeln!(out, "Nothing was freed.")?,
            freed => writeln!(out, "{} freed.", bytes(freed))?,
        }
        for (n, done) in cleanup.done.iter().enumerate() {
            writeln!(out, "{}- {}", if n == 0 { "\n" } else { "" }, line(done))?;
        }
    }
    writeln!(out, "\n## Proof\n")?;
    writeln!(out, "{}", proof(r))?;
    writeln!(out, "\n## Put it back\n")?;
    for command in &r.restore {
        writeln!(out, "{}:\n\n```sh\n{}\n```\n", capital(&command.about), command.line)?;
    }
    Ok(())
}

/// What drills found, in a sentence.
fn proof(r: &Report) -> String {
    let newest = r.proof.newest.as_ref().filter(|(id, _)| *id != r.snapshot).map(|(id, time)| {
        let id = id.get(..8).unwrap_or(id);
        format!("The newest proven one is {id}, of {}.", time.strftime("%Y-%m-%d %H:%M UTC"))
    });
    let this = match r.proof.equal {
        Some(true) => "A drill restored this snapshot and found everything equal.",
        Some(false) => "A drill restored this snapshot and found DIFFERENCES: `basekeep drill` lists them.",
        None => "This snapshot was not drilled yet: `basekeep drill` restores it and compares everything.",
    };
    match newest {
        Some(newest) => format!("{this} {newest}"),
        None => this.to_owned(),
    }
}

fn hint(out: &mut String, hint: Option<&str>) -> fmt::Result {
    match hint {
        Some(hint) => writeln!(out, "  {}", line(hint)),
        None => Ok(()),
    }
}

fn more(out: &mut String, all: usize, shown: usize, what: &str) -> fmt::Result {
    match all.checked_sub(shown) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(out, "\nand {} more {what}", count(rest as u64)),
    }
}

fn shown(line: &Line, value: u64) -> String {
    if line.bytes { bytes(value) } else { count(value) }
}

/// `+12`, `-3`, `new`, `gone`; nothing where nothing changed.
pub(super) fn change(line: &Line) -> String {
    match (line.now, line.before) {
        (Some(_), None) => "new".to_owned(),
        (None, Some(_)) => "gone".to_owned(),
        (Some(now), Some(before)) if now > before => format!("+{}", shown(line, now - before)),
        (Some(now), Some(before)) if now < before => format!("-{}", shown(line, before - now)),
        _ => String::new(),
    }
}

fn seconds(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    match time.as_secs() {
        0..60 => format!("{seconds:.1} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A text that stays on its line.
pub(super) fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The same in a table's cell.
pub(super) fn cell(text: &str) -> String {
    line(&text.replace('\\', "\\\\").replace('|', "\\|"))
}

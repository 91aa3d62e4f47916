//! The report as text.

use std::time::Duration;

use basekeep_engine::monitor::{Outlook, Period, Rate, Report, SourceReport, TableReport, Trend};

use super::severity;
use crate::output::table::{Align, Table, clean};
use crate::output::units;

/// Days, weeks and tables that are shown unless everything is wanted.
const DAYS: usize = 7;
const WEEKS: usize = 4;
const TABLES: usize = 20;

/// Everything; with `all`, every day, week and table.
pub(super) fn text(report: &Report, all: bool) -> String {
    let mut text = String::new();
    for source in &report.sources {
        text += &of_source(source, all);
        text.push('\n');
    }
    text += &repository(report);
    text.push('\n');
    text + &alerts(report)
}

/// What alerts, worst first.
pub(super) fn alerts(report: &Report) -> String {
    let mut findings: Vec<_> = report.findings().collect();
    if findings.is_empty() {
        return "nothing alerts\n".to_owned();
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut text = String::new();
    for finding in findings {
        let place = finding.source.as_deref().unwrap_or("repository");
        text += &clean(&format!("{} {place}: {}", severity(finding.severity), finding.message));
        let since = finding.since.map(|time| format!("since {}; ", units::time(time)));
        text += &format!("\n         {}`{}`\n", since.unwrap_or_default(), clean(&finding.command));
    }
    text
}

fn of_source(source: &SourceReport, all: bool) -> String {
    let mut text = head(source);
    let Some(newest) = &source.newest else { return text };
    let mut table = Table::new(&[
        ("", Align::Left),
        ("now", Align::Right),
        ("in a day", Align::Right),
        ("in a week", Align::Right),
        ("trend", Align::Left),
        ("in 30 days", Align::Right),
        ("90", Align::Right),
        ("180", Align::Right),
        ("365", Align::Right),
    ]);
    let rows = |rate: Rate| signed(rate.rows, rate.rows_percent, units::count);
    let size = |rate: Rate| signed(rate.bytes, rate.bytes_percent, units::bytes);
    let mut line =
        |name: &str, now: String, day: String, week: String, outlook: &Outlook, show: fn(u64) -> String| {
            let mut cells = vec![name.to_owned(), now, day, week, trend(outlook.trend).to_owned()];
            let range = |p: &basekeep_engine::monitor::Projection| {
                if p.low == p.high {
                    show(p.expected)
                } else {
                    format!("{} ({}–{})", show(p.expected), show(p.low), show(p.high))
                }
            };
            cells.extend(outlook.projections.iter().map(range));
            table.row(cells);
        };
    let known = |rate: Option<Rate>, show: &dyn Fn(Rate) -> String| rate.map_or_else(|| "-".to_owned(), show);
    line(
        "rows",
        units::count(newest.rows),
        known(source.daily, &rows),
        known(source.weekly, &rows),
        &source.rows,
        units::count,
    );
    line(
        "size",
        units::bytes(newest.bytes),
        known(source.daily, &size),
        known(source.weekly, &size),
        &source.bytes,
        units::bytes,
    );
    text += &indented(&table.render());
    text += &indented(&periods("day", &source.days, if all { usize::MAX } else { DAYS }));
    text += &indented(&periods("week from", &source.weeks, if all { usize::MAX } else { WEEKS }));
    text + &indented(&tables(&source.tables, if all { usize::MAX } else { TABLES }))
}

fn head(source: &SourceReport) -> String {
    let name = clean(&source.source);
    let (Some(newest), Some(since)) = (&source.newest, source.since) else {
        return format!("{name}: no snapshot that can be read\n");
    };
    let age = |seconds: u64| units::duration(Duration::from_secs(seconds));
    let limit =
        source.age_limit_seconds.map_or_else(String::new, |limit| format!(", alerts from {} on", age(limit)));
    let mut text = format!(
        "{name}: {} since {}; the newest, {}, is {} old{limit}\n",
        units::counted(source.snapshots, "snapshot", "snapshots"),
        units::time(since),
        units::short(&newest.id),
        age(source.age_seconds.unwrap_or_default()),
    );
    text += &match (&source.drilled, &source.proven) {
        (None, _) => "  never drilled\n".to_owned(),
        (Some(last), Some(proven)) if last.equal => {
            format!("  proven {}, snapshot {}\n", units::time(proven.time), units::short(&proven.snapshot))
        }
        (Some(last), _) => format!(
            "  the drill of {} found a DIFFERENCE in snapshot {}\n",
            units::time(last.time),
            units::short(&last.snapshot)
        ),
    };
    text
}

fn periods(name: &str, periods: &[Period], most: usize) -> String {
    let mut table = Table::new(&[
        (name, Align::Left),
        ("snapshots", Align::Right),
        ("rows", Align::Right),
        ("change", Align::Right),
        ("size", Align::Right),
        ("change", Align::Right),
    ]);
    for period in &periods[periods.len().saturating_sub(most)..] {
        let change = |change: Option<i64>, show: fn(u64) -> String| {
            change.map_or_else(|| "-".to_owned(), |change| signed(change, None, show))
        };
        table.row([
            period.start.to_string(),
            units::count(period.snapshots),
            units::count(period.rows),
            change(period.rows_change, units::count),
            units::bytes(period.bytes),
            change(period.bytes_change, units::bytes),
        ]);
    }
    table.render()
}

fn tables(tables: &[TableReport], most: usize) -> String {
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("in a day", Align::Right),
        ("in a week", Align::Right),
        ("trend", Align::Left),
        ("in 30 days", Align::Right),
        ("365", Align::Right),
    ]);
    for one in tables.iter().take(most) {
        let rate = |rate: Option<Rate>| {
            rate.map_or_else(|| "-".to_owned(), |rate| signed(rate.rows, rate.rows_percent, units::count))
        };
        let ahead = |days: u32| {
            let found = one.outlook.projections.iter().find(|projection| projection.days == days);
            found.map_or_else(|| "-".to_owned(), |projection| units::count(projection.expected))
        };
        table.row([
            one.table.clone(),
            units::count(one.rows),
            units::bytes(one.bytes),
            rate(one.daily),
            rate(one.weekly),
            trend(one.outlook.trend).to_owned(),
            ahead(30),
            ahead(365),
        ]);
    }
    let mut text = table.render();
    if tables.len() > most {
        text += &format!("and {} more; --verbose shows all\n", units::count((tables.len() - most) as u64));
    }
    text
}

fn repository(report: &Report) -> String {
    let health = &report.health;
    let mut text =
        format!("repository: {}", units::counted(health.snapshots, "snapshot file", "snapshot files"));
    if !health.held.is_empty() {
        text += &format!("; in use by {}", clean(&health.held.join(", ")));
    }
    if !health.stale.is_empty() {
        text += &format!(
            "; {}",
            units::counted(health.stale.len() as u64, "lock left behind", "locks left behind")
        );
    }
    text += &match &health.last_check {
        None => "; no check is known on this machine".to_owned(),
        Some(check) => format!(
            "; checked {}, {} of {} read, {}",
            units::time(check.time),
            units::count(check.packs_read),
            units::counted(check.packs, "pack", "packs"),
            if check.damage == 0 { "nothing damaged" } else { "DAMAGED" },
        ),
    };
    text + "\n"
}

/// `+3,700 (1.2 %)`.
pub(super) fn signed(change: i64, percent: Option<f64>, show: fn(u64) -> String) -> String {
    let sign = match change {
        0 => return "0".to_owned(),
        1.. => '+',
        _ => '-',
    };
    let number = show(change.unsigned_abs());
    match percent {
        Some(percent) => format!("{sign}{number} ({:.1} %)", percent.abs()),
        None => format!("{sign}{number}"),
    }
}

pub(super) fn trend(trend: Trend) -> &'static str {
    match trend {
        Trend::Unknown => "unknown",
        Trend::Growing => "growing",
        Trend::Stable => "stable",
        Trend::Shrinking => "shrinking",
    }
}

fn indented(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(signed(3_700, Some(1.234), units::count), "+3,700 (1.2 %)");
        assert_eq!(signed(-2048, None, units::bytes), "-2.0 KiB");
        assert_eq!(signed(0, None, units::count), "0");
    }
}

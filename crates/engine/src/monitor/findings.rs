//! What is wrong: thresholds, ages and anomalies.

use std::time::Duration;

use jiff::Timestamp;

use super::anomaly;
use super::growth::{Point, Rate};
use super::health::Health;
use super::past::Past;
use super::report::SourceReport;
use super::{Finding, Severity, Wanted};
use crate::words::{bytes, count, counted};

/// Findings about single tables that are told; the rest is counted.
const TABLES: usize = 50;

/// A table that lost fewer rows lost nothing worth telling.
const FEW_ROWS: u64 = 10;

/// Less growth is no alert, however small the database: rows and bytes.
const LITTLE: (i64, i64) = (100, 1 << 20);

/// A backup that is smaller by less is not worth telling.
const LITTLE_SMALLER: u64 = 64 << 10;

/// A lock that was left behind by less is normal: whoever comes next removes it.
const OLD_LOCK: u64 = 3600;

/// What is wrong with one source.
pub(super) fn of_source(
    wanted: &Wanted,
    past: &Past,
    report: &SourceReport,
    age_limit: Option<Duration>,
    now: Timestamp,
) -> Vec<Finding> {
    let name = &wanted.source;
    let mut findings = Vec::new();
    for (id, time, reason) in &past.damaged {
        let short = id.get(..8).unwrap_or(id);
        let message = format!("the manifest of snapshot {short} cannot be read: {reason}");
        let finding =
            Finding::of_source(name, "snapshot-damaged", Severity::Critical, message, "basekeep verify");
        findings.push(finding.about(short).since(*time));
    }
    let Some(newest) = &report.newest else {
        if past.damaged.is_empty() && age_limit.is_some() {
            let run = format!("basekeep backup {name}");
            let message = "it was never backed up";
            findings.push(Finding::of_source(name, "never-backed-up", Severity::Critical, message, run));
        }
        return findings;
    };
    let of = |code: &str, severity, message: String| {
        let run = match code {
            "backup-age" => format!("basekeep backup {name}"),
            "proof-age" | "proof-failed" => format!("basekeep drill --source {name}"),
            "backup-incomplete" => format!("basekeep show {}", short(&newest.id)),
            _ => format!("basekeep monitor {name}"),
        };
        Finding::of_source(name, code, severity, message, run)
    };
    let age = report.age_seconds.unwrap_or_default();
    if let Some(limit) = age_limit.filter(|limit| age > limit.as_secs()) {
        let message =
            format!("the newest backup is {} old; {} is the limit", hours(age), hours(limit.as_secs()));
        let since = newest.time.checked_add(limit).unwrap_or(now);
        findings.push(of("backup-age", Severity::Critical, message).since(since));
    }
    if newest.not_captured > 0 {
        let things = counted(newest.not_captured, "thing", "things");
        let message = format!("{things} could not be captured in the newest backup");
        let complete = past.samples.iter().rposition(|sample| sample.missing == 0).map_or(0, |at| at + 1);
        let since = past.samples.get(complete).map_or(newest.time, |sample| sample.time);
        findings.push(of("backup-incomplete", Severity::Warning, message).since(since));
    }
    findings.extend(proofs(wanted, report, now, &of));
    findings.extend(sizes(wanted, past, report, &of));
    findings.extend(falls(wanted, past, &of));
    if let Some(times) = wanted.thresholds.backup_slower_times {
        let last_is_full = past.samples.last().is_some_and(|sample| sample.full);
        let seconds: Vec<f64> =
            past.samples.iter().filter(|s| s.full == last_is_full).map(|s| s.seconds).collect();
        if let Some(usual) = anomaly::slower(&seconds, times) {
            let message = format!("the newest backup took {:.0} s; {usual:.0} s are usual", newest.seconds);
            findings.push(of("backup-slower", Severity::Warning, message).since(newest.time));
        }
    }
    findings
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn proofs(
    wanted: &Wanted,
    report: &SourceReport,
    now: Timestamp,
    of: &impl Fn(&str, Severity, String) -> Finding,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(drilled) = report.drilled.as_ref().filter(|drilled| !drilled.equal) {
        let message = format!("the newest drill found a difference in snapshot {}", short(&drilled.snapshot));
        findings.push(of("proof-failed", Severity::Critical, message).since(drilled.time));
    }
    let Some(limit) = wanted.thresholds.proof_age else { return findings };
    let proven = report.proven.as_ref().map(|proof| proof.time);
    let from = proven.or(report.since).unwrap_or(now);
    let since = from.checked_add(limit).unwrap_or(Timestamp::MAX);
    if since < now {
        let message = match proven {
            Some(time) => {
                let age = now.duration_since(time).as_secs();
                format!("the newest proof is {} old", hours(u64::try_from(age).unwrap_or_default()))
            }
            None => "no backup was ever proven by a drill".to_owned(),
        };
        findings.push(of("proof-age", Severity::Warning, message).since(since));
    }
    findings
}

/// Thresholds of size and growth.
fn sizes(
    wanted: &Wanted,
    past: &Past,
    report: &SourceReport,
    of: &impl Fn(&str, Severity, String) -> Finding,
) -> Vec<Finding> {
    let limits = &wanted.thresholds;
    let mut findings = Vec::new();
    let since = |above: &dyn Fn(&Point) -> bool, points: &[Point]| {
        let low = points.iter().rposition(|point| !above(point)).map_or(0, |at| at + 1);
        points.get(low).map(|point| point.time)
    };
    let points = past.points();
    let mut push = |finding: Finding, since: Option<Timestamp>| findings.push(Finding { since, ..finding });
    let growths = [
        ("growth-daily", limits.growth_daily_percent, report.daily, "a day"),
        ("growth-weekly", limits.growth_weekly_percent, report.weekly, "a week"),
    ];
    for (code, limit, rate, time) in growths {
        let Some((rate, limit)) = rate.zip(limit) else { continue };
        if let Some(what) = grown(&rate, limit) {
            let message = format!("it grew by {what} in {time}; {limit} % is the limit");
            push(of(code, Severity::Warning, message), report.newest.as_ref().map(|newest| newest.time));
        }
    }
    let Some(newest) = &report.newest else { return findings };
    if let Some(limit) = limits.total_rows.filter(|limit| newest.rows > *limit) {
        let message = format!("all tables hold {} rows; {} is the limit", count(newest.rows), count(limit));
        push(of("total-rows", Severity::Warning, message), since(&|p| p.rows > limit, &points));
    }
    if let Some(limit) = limits.backup_bytes.filter(|limit| newest.bytes > *limit) {
        let message = format!("a backup holds {}; {} is the limit", bytes(newest.bytes), bytes(limit));
        push(of("backup-size", Severity::Warning, message), since(&|p| p.bytes > limit, &points));
    }
    let Some(limit) = limits.table_rows else { return findings };
    // They are sorted by their rows.
    for table in report.tables.iter().take_while(|table| table.rows > limit).take(TABLES) {
        let message =
            format!("{} has {} rows; {} is the limit", table.table, count(table.rows), count(limit));
        let finding = of("table-rows", Severity::Warning, message).about(&table.table);
        push(finding, since(&|point| point.rows > limit, &table.days));
    }
    findings
}

/// How much it grew, if by more than `limit` percent and not just a little.
fn grown(rate: &Rate, limit: f64) -> Option<String> {
    let rows = rate.rows_percent.filter(|percent| *percent > limit && rate.rows >= LITTLE.0);
    let size = rate.bytes_percent.filter(|percent| *percent > limit && rate.bytes >= LITTLE.1);
    match (rows, size) {
        (Some(percent), _) => Some(format!("{percent:.0} % ({} rows)", count(rate.rows.unsigned_abs()))),
        (None, Some(percent)) => Some(format!("{percent:.0} % ({})", bytes(rate.bytes.unsigned_abs()))),
        (None, None) => None,
    }
}

/// Tables that lost rows or vanished, and backups that became smaller.
fn falls(wanted: &Wanted, past: &Past, of: &impl Fn(&str, Severity, String) -> Finding) -> Vec<Finding> {
    let mut findings = Vec::new();
    let limits = &wanted.thresholds;
    if let Some(percent) = limits.backup_smaller_percent {
        let levels: Vec<(Timestamp, u64)> = past.samples.iter().map(|s| (s.time, s.bytes)).collect();
        if let Some(fall) = anomaly::fall(&levels, percent, LITTLE_SMALLER) {
            let message =
                format!("backups are much smaller: {} before, {} now", bytes(fall.before), bytes(fall.now));
            findings.push(of("backup-smaller", Severity::Critical, message).since(fall.since));
        }
    }
    let Some(percent) = limits.table_loss_percent else { return findings };
    let detailed: Vec<usize> = (0..past.samples.len()).filter(|at| past.samples[*at].detailed).collect();
    let Some(newest) = detailed.last() else { return findings };
    let mut more = 0u64;
    for (table, cells) in &past.tables {
        let Some(first) = cells.first() else { continue };
        let vanished = cells.last().is_some_and(|cell| cell.0 != *newest);
        if vanished && recent_loss(past, &detailed, cells).is_none() {
            continue;
        }
        // Where it is missing it has no rows.
        let mut own = cells.iter().peekable();
        let levels: Vec<(Timestamp, u64)> = detailed
            .iter()
            .filter(|at| **at >= first.0)
            .map(|at| {
                let here = own.next_if(|cell| cell.0 == *at);
                (past.samples[*at].time, here.map_or(0, |cell| cell.1))
            })
            .collect();
        let finding = if vanished {
            recent_loss(past, &detailed, cells).map(|(since, rows)| {
                let message = format!("{table} is not in the backup any more; it had {} rows", count(rows));
                of("table-vanished", Severity::Critical, message).since(since)
            })
        } else {
            anomaly::fall(&levels, percent, FEW_ROWS).map(|fall| match fall.now {
                0 => {
                    let message = format!("{table} is empty; it had {} rows", count(fall.before));
                    of("table-empty", Severity::Critical, message).since(fall.since)
                }
                now => {
                    let message =
                        format!("{table} lost many rows: {} before, {} now", count(fall.before), count(now));
                    of("table-lost-rows", Severity::Warning, message).since(fall.since)
                }
            })
        };
        match finding {
            Some(_) if findings.len() >= TABLES => more += 1,
            Some(finding) => findings.push(finding.about(table)),
            None => {}
        }
    }
    if more > 0 {
        let message = format!("{} further tables lost rows or vanished", count(more));
        findings.push(of("tables-lost", Severity::Critical, message));
    }
    findings
}

/// When a table that is not in the newest snapshot was first missing, and its rows before; `None` if that is long ago and
/// not since the snapshot before.
fn recent_loss(past: &Past, detailed: &[usize], cells: &[(usize, u64, u64)]) -> Option<(Timestamp, u64)> {
    let (last, rows, _) = cells.last()?;
    let newest = past.samples.get(*detailed.last()?)?;
    let missing = *detailed.iter().find(|at| *at > last)?;
    let was = past.samples.get(*last)?;
    let before = detailed.len() >= 2 && detailed[detailed.len() - 2] == *last;
    let recent = newest.time.duration_since(was.time) <= anomaly::FALL;
    (recent || before).then(|| (past.samples[missing].time, *rows))
}

/// What is wrong with the repository.
pub(super) fn of_repository(health: &Health, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((id, reason)) = health.unreadable.first() {
        let number = counted(health.unreadable.len() as u64, "snapshot file", "snapshot files");
        let message = format!("{number} cannot be read, such as {}: {reason}", short(id));
        findings.push(Finding::of_repository(
            "snapshot-unreadable",
            Severity::Critical,
            message,
            "basekeep verify",
        ));
    }
    let old: Vec<_> = health.stale.iter().filter(|(_, age, _)| *age > OLD_LOCK).collect();
    if let Some((_, age, why)) = old.iter().max_by_key(|(_, age, _)| *age) {
        let number = counted(old.len() as u64, "lock was", "locks were");
        let message = format!("{number} left behind: {why}");
        let since = now.checked_sub(Duration::from_secs(*age)).unwrap_or(now);
        let finding = Finding::of_repository("lock-stale", Severity::Warning, message, "basekeep unlock");
        findings.push(finding.since(since));
    }
    if let Some(check) = health.last_check.as_ref().filter(|check| check.damage > 0) {
        let number = counted(check.damage, "damaged file", "damaged files");
        let first = check.first.as_deref().unwrap_or_default();
        let message = format!("the last check found {number}, such as {first}");
        let finding =
            Finding::of_repository("check-failed", Severity::Critical, message, "basekeep repair --dry-run");
        findings.push(finding.since(check.time));
    }
    findings
}

/// `90 minutes`, `30 hours`, `5 days`.
fn hours(seconds: u64) -> String {
    match seconds {
        0..7_200 => counted(seconds / 60, "minute", "minutes"),
        7_200..172_800 => counted(seconds / 3600, "hour", "hours"),
        _ => counted(seconds / 86_400, "day", "days"),
    }
}

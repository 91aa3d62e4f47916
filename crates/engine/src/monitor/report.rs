//! The report: what is known of each source, and what is wrong with it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::findings;
use super::growth::{self, Outlook, Period, Point, Rate};
use super::health::Health;
use super::past::Past;
use super::{Finding, Options, Severity, Wanted};
use crate::config::AgeLimit;

/// Days that trends look at, at most: points of the source, of a table, and of a table where there are very many.
const DAYS: usize = 100;
const DAYS_OF_MANY: usize = 31;
const MANY: usize = 2_000;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// When it was made.
    pub time: Timestamp,
    /// Each source.
    pub sources: Vec<SourceReport>,
    /// The repository.
    pub health: Health,
    /// What is wrong with the repository.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Everything that alerts, the repository's first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.sources.iter().flat_map(|source| &source.findings))
    }

    /// The worst of it; `None` if all is well.
    pub fn worst(&self) -> Option<Severity> {
        self.findings().map(|finding| finding.severity).max()
    }
}

/// The newest snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Newest {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Rows.
    pub rows: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// Tables.
    pub tables: u64,
    /// Bytes that it added to the repository.
    pub added_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Things that could not be captured.
    pub not_captured: u64,
    /// Warnings.
    pub warnings: u64,
}

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// When it was.
    pub time: Timestamp,
    /// Whether everything was equal.
    pub equal: bool,
    /// Of which snapshot.
    pub snapshot: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub source: String,
    /// Snapshots that there are.
    pub snapshots: u64,
    /// The oldest of them.
    pub since: Option<Timestamp>,
    /// The newest one.
    pub newest: Option<Newest>,
    /// Its age in seconds.
    pub age_seconds: Option<u64>,
    /// From which age on it alerts, in seconds; `None` where it does not.
    pub age_limit_seconds: Option<u64>,
    /// The newest drill.
    pub drilled: Option<Proof>,
    /// The newest drill that found everything equal.
    pub proven: Option<Proof>,
    /// Growth within a day.
    pub daily: Option<Rate>,
    /// Growth within a week.
    pub weekly: Option<Rate>,
    /// Trend and projections of the rows.
    pub rows: Outlook,
    /// Trend and projections of the bytes.
    pub bytes: Outlook,
    /// Every day that has snapshots, oldest first.
    pub days: Vec<Period>,
    /// Every week that has snapshots, oldest first.
    pub weeks: Vec<Period>,
    /// Tables of the newest snapshot, those with the most rows first.
    pub tables: Vec<TableReport>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// Schema and name.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Growth within a day.
    pub daily: Option<Rate>,
    /// Growth within a week.
    pub weekly: Option<Rate>,
    /// Trend and projections of the rows.
    pub outlook: Outlook,
    /// The last of each day, oldest first.
    pub days: Vec<Point>,
}

/// Calculates everything about one source.
pub(super) fn source(wanted: &Wanted, past: &Past, options: &Options) -> SourceReport {
    let points = past.points();
    let daily = growth::daily(&points, &options.zone);
    let newest = past.samples.last();
    let proof = |(time, equal, snapshot): &(Timestamp, bool, String)| Proof {
        time: *time,
        equal: *equal,
        snapshot: snapshot.clone(),
    };
    let limit = age_limit(wanted, past);
    let mut report = SourceReport {
        source: wanted.source.clone(),
        snapshots: (past.samples.len() + past.damaged.len()) as u64,
        since: past.samples.first().map(|sample| sample.time),
        newest: newest.map(|sample| Newest {
            id: sample.id.clone(),
            time: sample.time,
            rows: sample.rows,
            bytes: sample.bytes,
            tables: sample.tables,
            added_bytes: sample.added_bytes,
            seconds: sample.seconds,
            not_captured: sample.missing,
            warnings: sample.warnings,
        }),
        age_seconds: newest.map(|sample| {
            u64::try_from(options.now.duration_since(sample.time).as_secs()).unwrap_or_default()
        }),
        age_limit_seconds: limit.map(|limit| limit.as_secs()),
        drilled: past.drilled.as_ref().map(proof),
        proven: past.proven.as_ref().map(|(time, id)| proof(&(*time, true, id.clone()))),
        daily: growth::rate(&points, 1.0),
        weekly: growth::rate(&points, 7.0),
        rows: growth::outlook(&daily, DAYS, |point| point.rows),
        bytes: growth::outlook(&daily, DAYS, |point| point.bytes),
        days: growth::periods(&points, &options.zone, |date| date),
        weeks: growth::periods(&points, &options.zone, growth::monday),
        tables: tables(past, options),
        findings: Vec::new(),
    };
    report.findings = findings::of_source(wanted, past, &report, limit, options.now);
    report
}

/// From which age on the newest backup alerts.
fn age_limit(wanted: &Wanted, past: &Past) -> Option<Duration> {
    const UNSCHEDULED: Duration = Duration::from_secs(24 * 3600);
    /// How long after it was due a backup may begin or still run.
    const GRACE: Duration = Duration::from_secs(3600);
    match wanted.thresholds.backup_age {
        AgeLimit::Off => None,
        AgeLimit::After(limit) => Some(limit),
        AgeLimit::Schedule => Some(match (&wanted.schedule, past.samples.last()) {
            (Some(expected), Some(newest)) => {
                let due = expected.schedule.next(newest.time, &expected.zone)?;
                let until_due = Duration::try_from(due.duration_since(newest.time)).unwrap_or_default();
                let own = Duration::try_from_secs_f64(2.0 * newest.seconds).unwrap_or_default();
                until_due + expected.jitter + GRACE.max(own)
            }
            _ => UNSCHEDULED,
        }),
    }
}

fn tables(past: &Past, options: &Options) -> Vec<TableReport> {
    let Some(newest) = past.samples.iter().rposition(|sample| sample.detailed) else { return Vec::new() };
    let most = if past.tables.len() > MANY { DAYS_OF_MANY } else { DAYS };
    let present = past.tables.iter().filter(|(_, cells)| cells.last().is_some_and(|cell| cell.0 == newest));
    let mut tables: Vec<TableReport> = present
        .map(|(name, cells)| {
            let points = past.points_of(cells);
            let days = growth::daily(&points, &options.zone);
            let (rows, bytes) = cells.last().map_or((0, 0), |(_, rows, bytes)| (*rows, *bytes));
            TableReport {
                table: name.clone(),
                rows,
                bytes,
                daily: growth::rate(&points, 1.0),
                weekly: growth::rate(&points, 7.0),
                outlook: growth::outlook(&days, most, |point| point.rows),
                days,
            }
        })
        .collect();
    tables.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.table.cmp(&b.table)));
    tables
}

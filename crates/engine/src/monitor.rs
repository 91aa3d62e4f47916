//! What a repository's snapshots tell about its sources: growth, trends, projections, and what is wrong.
//!
//! Everything is calculated from the manifests, as far back as there are snapshots; those that were read once are kept in
//! the local cache. docs/MONITOR.md describes the methods and each finding.

mod anomaly;
mod finding;
mod findings;
mod growth;
pub mod health;
mod past;
mod report;
mod statistics;

use std::collections::BTreeMap;
use std::time::Duration;

use basekeep_repository::Repository;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{AgeLimit, Config, Schedule, Thresholds};
use crate::{EngineError, ResultExt};

pub use anomaly::FALL;
pub use finding::{Finding, Severity};
pub use growth::{HORIZONS, Outlook, Period, Point, Projection, Rate, Trend, WINDOW};
pub use health::Health;
pub use report::{Newest, Proof, Report, SourceReport, TableReport};
pub use statistics::{FEWEST, Slope};

/// A source to look at.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub source: String,
    /// From when on it alerts.
    pub thresholds: Thresholds,
    /// When it is backed up by itself, if it is. Used where no age is set.
    pub schedule: Option<Expected>,
}

/// When backups are expected.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The schedule.
    pub schedule: Schedule,
    /// Whose clock it goes by.
    pub zone: TimeZone,
    /// How much later a backup may begin.
    pub jitter: Duration,
}

impl Wanted {
    /// As the configuration says. A source whose profile has no schedule is backed up by hand, and has no age that alerts
    /// unless one is set; one without a profile is expected to be backed up each day.
    pub fn of(config: &Config, source: &str) -> Self {
        let mut thresholds = config.thresholds(source);
        let profile = config.profile_of(source);
        let schedule = profile.and_then(|profile| {
            Some(Expected {
                schedule: profile.backup.clone()?,
                zone: profile.timezone.clone().unwrap_or_else(TimeZone::system),
                jitter: profile.jitter,
            })
        });
        if thresholds.backup_age == AgeLimit::Schedule && profile.is_some() && schedule.is_none() {
            thresholds.backup_age = AgeLimit::Off;
        }
        Self { source: source.to_owned(), thresholds, schedule }
    }
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// The present time.
    pub now: Timestamp,
    /// Whose days and weeks are meant.
    pub zone: TimeZone,
    /// These sources. One without a snapshot is a finding.
    pub wanted: Vec<Wanted>,
    /// Further sources that have snapshots are looked at with these thresholds; `None` leaves them out.
    pub others: Option<Thresholds>,
}

impl Options {
    /// These sources; without any name all that the configuration has, and whatever else has snapshots. What nobody names
    /// any more is not expected to be backed up or proven.
    pub fn of(config: Option<&Config>, names: &[String], now: Timestamp, zone: TimeZone) -> Self {
        let of = |name: &str| match config {
            Some(config) => Wanted::of(config, name),
            None => Wanted { source: name.to_owned(), thresholds: Thresholds::default(), schedule: None },
        };
        if !names.is_empty() {
            return Self { now, zone, wanted: names.iter().map(|name| of(name)).collect(), others: None };
        }
        let entries = config.map_or(&[][..], |config| &config.sources);
        let wanted: Vec<Wanted> = entries.iter().map(|entry| of(&entry.name)).collect();
        let mut others = config.map(|config| config.thresholds("")).unwrap_or_default();
        if !wanted.is_empty() {
            others.backup_age = AgeLimit::Off;
            others.proof_age = None;
        }
        Self { now, zone, wanted, others: Some(others) }
    }
}

/// Looks at everything. Damage is in the report; an error means that the repository cannot be read.
pub async fn monitor(repository: &Repository, options: &Options) -> Result<Report, EngineError> {
    let (all, unreadable) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let mut names: Vec<&str> =
        all.iter().filter(|s| past::is_backup(s)).map(|s| s.hostname.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut wanted = options.wanted.clone();
    if let Some(thresholds) = options.others {
        let further = names.iter().filter(|name| !options.wanted.iter().any(|w| w.source == **name));
        wanted.extend(further.map(|name| Wanted { source: (*name).to_owned(), thresholds, schedule: None }));
    }
    let meant = |name: &str| wanted.iter().any(|wanted| wanted.source == name);
    let mut pasts: BTreeMap<String, past::Past> = past::read(repository, &all, meant).await?;
    let health = health::health(repository, all.len(), unreadable).await?;
    let sources: Vec<SourceReport> = wanted
        .iter()
        .map(|wanted| {
            let past = pasts.remove(&wanted.source).unwrap_or_default();
            report::source(wanted, &past, options)
        })
        .collect();
    let repository_findings = findings::of_repository(&health, options.now);
    Ok(Report { time: options.now, sources, health, findings: repository_findings })
}

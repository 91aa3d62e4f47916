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

use basekeep_repository::Repository;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Thresholds;
use crate::{EngineError, ResultExt, listing};

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
    /// When its schedule wanted the next backup after the newest one, if it has a schedule. Used where no age is set.
    pub due: Option<Timestamp>,
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
        wanted.extend(further.map(|name| Wanted { source: (*name).to_owned(), thresholds, due: None }));
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

/// When the newest backup of each source was taken; cheap, no manifest is read.
pub async fn newest(repository: &Repository) -> Result<BTreeMap<String, Timestamp>, EngineError> {
    let (all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let backups =
        all.into_iter().filter(|snapshot| past::is_backup(snapshot) && !listing::is_proof(snapshot));
    Ok(backups.map(|snapshot| (snapshot.hostname.clone(), snapshot.time)).collect())
}

//! The repository's own health: files that cannot be read, locks that were left behind, the last check.

use basekeep_repository::Repository;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::unlock::LockSummary;
use crate::verify::VerifyReport;
use crate::{EngineError, ResultExt};

const RECORD: &str = "last-check";
const VERSION: u32 = 1;

/// What the last check on this machine came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    version: u32,
    /// When it ended.
    pub time: Timestamp,
    /// Damaged files that it found.
    pub damage: u64,
    /// The first of them, with what is wrong.
    pub first: Option<String>,
    /// Packs whose content was read, and how many there were.
    pub packs_read: u64,
    /// Packs in all.
    pub packs: u64,
}

/// The repository's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Snapshot files, proofs included.
    pub snapshots: u64,
    /// Snapshot files that cannot be read: id and reason.
    pub unreadable: Vec<(String, String)>,
    /// Locks that somebody holds: who, since when.
    pub held: Vec<String>,
    /// Locks that were left behind: file, age in seconds, and why nobody honours them.
    pub stale: Vec<(String, u64, String)>,
    /// The last check on this machine; `None` where there was none, or no cache is kept.
    pub last_check: Option<LastCheck>,
}

/// Takes note of a check.
pub(crate) async fn checked(repository: &Repository, report: &VerifyReport, now: Timestamp) {
    let check = LastCheck {
        version: VERSION,
        time: now,
        damage: report.damage.len() as u64,
        first: report.damage.first().map(|damage| format!("{}: {}", damage.file, damage.problem)),
        packs_read: report.packs_read,
        packs: report.packs,
    };
    if let Ok(json) = serde_json::to_vec(&check) {
        repository.keep_record(RECORD, json).await;
    }
}

pub(super) async fn health(
    repository: &Repository,
    snapshots: usize,
    unreadable: Vec<(String, String)>,
) -> Result<Health, EngineError> {
    let locks = repository.locks().await.doing(|| "list the locks")?;
    let json = repository.cached_record(RECORD).await;
    let last_check = json.and_then(|json| serde_json::from_slice::<LastCheck>(&json).ok());
    let mut health = Health {
        snapshots: snapshots as u64,
        unreadable,
        held: Vec::new(),
        stale: Vec::new(),
        last_check: last_check.filter(|check| check.version == VERSION),
    };
    for lock in locks.into_iter().map(LockSummary::of) {
        match lock.stale {
            Some(why) => health.stale.push((lock.file, lock.age_seconds, why)),
            None => health.held.push(lock.holder.map_or(lock.file, |holder| {
                let kind = if holder.exclusive { "exclusive, " } else { "" };
                format!("{kind}{} on {} (process {})", holder.username, holder.hostname, holder.pid)
            })),
        }
    }
    Ok(health)
}

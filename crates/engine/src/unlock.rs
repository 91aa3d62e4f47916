//! Removing locks that nobody holds any more, or all of them.

use basekeep_repository::{LockInfo, LockSelection, Repository};
use jiff::Timestamp;

use crate::{EngineError, ResultExt};

/// What happened to the locks of a repository.
#[derive(Debug, Clone, Default)]
pub struct UnlockReport {
    /// Those that are gone.
    pub removed: Vec<LockSummary>,
    /// Those that somebody holds.
    pub held: Vec<LockSummary>,
    /// Those that could not be removed, each with the reason.
    pub failed: Vec<(LockSummary, String)>,
}

/// A lock, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSummary {
    /// Its file in the repository, `locks/3fa9…`.
    pub file: String,
    /// Who holds it; `None` where the file cannot be read.
    pub holder: Option<Holder>,
    /// Seconds since it was made or refreshed.
    pub age_seconds: u64,
    /// Why nobody needs to honour it, if so.
    pub stale: Option<String>,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The user.
    pub username: String,
    /// The machine.
    pub hostname: String,
    /// The process there.
    pub pid: u32,
    /// Whether it excludes everybody else.
    pub exclusive: bool,
    /// When it was made or refreshed, by that machine's clock.
    pub since: Timestamp,
}

/// Removes stale locks; with `all`, also those that are held: whoever works under one stops before it can do harm.
pub async fn unlock(repository: &Repository, all: bool) -> Result<UnlockReport, EngineError> {
    let which = if all { LockSelection::All } else { LockSelection::Stale };
    let done = repository.remove_locks(which).await.doing(|| "remove the locks")?;
    Ok(UnlockReport {
        removed: done.removed.into_iter().map(LockSummary::of).collect(),
        held: done.kept.into_iter().map(LockSummary::of).collect(),
        failed: done
            .failed
            .into_iter()
            .map(|(lock, error)| (LockSummary::of(lock), error.to_string()))
            .collect(),
    })
}

impl LockSummary {
    pub(crate) fn of(lock: LockInfo) -> Self {
        let unreadable = lock.holder.as_ref().err().map(|reason| format!("it cannot be read: {reason}"));
        Self {
            file: lock.file,
            age_seconds: lock.age.as_secs(),
            stale: lock.stale.map(|reason| reason.to_string()).or(unreadable),
            holder: lock.holder.ok().map(|holder| Holder {
                username: holder.username,
                hostname: holder.hostname,
                pid: holder.pid,
                exclusive: holder.exclusive,
                since: holder.since,
            }),
        }
    }
}

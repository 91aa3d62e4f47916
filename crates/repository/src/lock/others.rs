//! Everybody's locks: who holds them, which are stale, and removing them.
//!
//! How old a lock is, is told by the storage's clock where it has one: our own new lock file was written now, and theirs
//! so much earlier. The times that lock files hold come from clocks that may be hours off, and decide only where the
//! storage does not tell.

use std::fmt;
use std::time::{Duration, SystemTime};

use basekeep_store::{ErrorKind, StoreError};
use futures::StreamExt;

use crate::lock::file::LockFile;
use crate::lock::state::LockState;
use crate::lock::{LEFT_BEHIND, LockMode, LockOptions};
use crate::{LockHolder, Repository, RepositoryError, Result, layout, sync};

/// Lock files that are read at the same time. There are many where the storage refuses to delete them.
const READS: usize = 16;

/// A lock file in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// Its key in the store.
    pub file: String,
    /// Whose it is; an error says why that cannot be read. Unreadable ones hold nobody up.
    pub holder: Result<LockHolder, String>,
    /// How long ago it was made or refreshed.
    pub age: Duration,
    /// Why nobody needs to honour it any more, if so.
    pub stale: Option<StaleReason>,
}

/// Why a lock is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReason {
    /// It was made on this machine, and its process is gone.
    ProcessGone,
    /// It was not refreshed for so long.
    NotRefreshed(Duration),
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessGone => f.write_str("its process is gone"),
            Self::NotRefreshed(age) if age.as_secs() < 120 => {
                write!(f, "it was not refreshed for {} seconds", age.as_secs())
            }
            Self::NotRefreshed(age) => write!(f, "it was not refreshed for {} minutes", age.as_secs() / 60),
        }
    }
}

/// Which locks to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockSelection {
    /// Those that nobody needs to honour.
    Stale,
    /// All. Whoever works under one of them stops when it notices.
    All,
}

/// What [`Repository::remove_locks`] did.
#[derive(Debug, Clone, Default)]
pub struct RemovedLocks {
    /// Those that are gone.
    pub removed: Vec<LockInfo>,
    /// Those that are held.
    pub kept: Vec<LockInfo>,
    /// Those that could not be deleted, and why.
    pub failed: Vec<(LockInfo, StoreError)>,
}

/// What time it is, for the age of a lock file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// The storage's, as it wrote a file of ours just now.
    Storage(SystemTime),
    /// The storage does not tell: ours, against the time that the lock file holds.
    Ours,
    /// Not asked yet: a lock is only old if both would say so by our clock.
    Guessed,
}

/// A lock file as it was read.
#[derive(Debug)]
struct Seen {
    key: String,
    file: Result<LockFile, String>,
    written: Option<SystemTime>,
}

impl Seen {
    fn age(&self, clock: Clock) -> Duration {
        let since = |now: SystemTime| self.written.map(|then| now.duration_since(then).unwrap_or_default());
        let claimed = self.file.as_ref().ok().map(LockFile::age);
        match clock {
            Clock::Storage(now) => since(now).or(claimed),
            Clock::Ours => claimed.or_else(|| since(SystemTime::now())),
            Clock::Guessed => match (since(SystemTime::now()), claimed) {
                (Some(since), Some(claimed)) => Some(since.min(claimed)),
                (since, claimed) => since.or(claimed),
            },
        }
        .unwrap_or_default()
    }

    fn stale(&self, clock: Clock, limit: Duration) -> Option<StaleReason> {
        if self.file.as_ref().is_ok_and(LockFile::process_is_gone) {
            return Some(StaleReason::ProcessGone);
        }
        let age = self.age(clock);
        (age > limit).then_some(StaleReason::NotRefreshed(age))
    }

    /// Whether it is worth asking the storage for the time: one of the clocks takes it for stale.
    fn may_be_stale(&self, limit: Duration) -> bool {
        let written = self.written.and_then(|then| SystemTime::now().duration_since(then).ok());
        self.stale(Clock::Ours, limit).is_some() || written.is_some_and(|age| age > limit)
    }

    fn into_info(self, clock: Clock, limit: Duration) -> LockInfo {
        let (age, stale) = (self.age(clock), self.stale(clock, limit));
        LockInfo { holder: self.file.map(|file| file.holder(self.key.clone())), file: self.key, age, stale }
    }
}

impl Repository {
    /// All locks, oldest first. Nothing is written for it, so ages are guesses where clocks differ: a lock is called stale
    /// only if no clock contradicts.
    pub async fn locks(&self) -> Result<Vec<LockInfo>> {
        self.locks_by(Clock::Guessed).await
    }

    /// Removes locks, those of living processes too if told so.
    pub async fn remove_locks(&self, which: LockSelection) -> Result<RemovedLocks> {
        let clock = match which {
            LockSelection::All => Clock::Guessed,
            LockSelection::Stale => self.storage_clock().await?,
        };
        let mut report = RemovedLocks::default();
        for lock in self.locks_by(clock).await? {
            if which == LockSelection::Stale && lock.stale.is_none() {
                report.kept.push(lock);
                continue;
            }
            match self.shared.store.delete(&lock.file).await {
                Ok(()) => report.removed.push(lock),
                Err(error) => report.failed.push((lock, error)),
            }
        }
        Ok(report)
    }

    async fn locks_by(&self, clock: Clock) -> Result<Vec<LockInfo>> {
        let mut locks = Vec::new();
        for (key, file) in self.read_locks(|_| true).await? {
            if let Some(seen) = self.see(key, file).await? {
                locks.push(seen.into_info(clock, LockOptions::default().stale));
            }
        }
        locks.sort_by(|a, b| (b.age, &a.file).cmp(&(a.age, &b.file)));
        Ok(locks)
    }

    /// The storage's time, by a lock file that is made and removed. Where there is no lock it is not needed.
    async fn storage_clock(&self) -> Result<Clock> {
        if self.list_ids(layout::LOCKS).await?.is_empty() {
            return Ok(Clock::Guessed);
        }
        let probe = LockState::make(self.clone(), LockMode::Shared, LockOptions::default()).await?;
        let clock = self.clock_of(&probe.file()).await;
        probe.give_back(None).await?;
        clock
    }

    /// The time at which the storage wrote `file`.
    pub(super) async fn clock_of(&self, file: &str) -> Result<Clock> {
        match self.shared.store.modified(file).await {
            Ok(Some(now)) => Ok(Clock::Storage(now)),
            Ok(None) => Ok(Clock::Ours),
            // Removed already; whoever needs the lock finds out by itself.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Clock::Guessed),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the lock files that are `wanted`.
    async fn read_locks(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Result<LockFile, String>)>> {
        let mut keys: Vec<String> = self.list_ids(layout::LOCKS).await?.into_iter().map(|o| o.key).collect();
        keys.retain(|key| wanted(key));
        let reads = keys.into_iter().map(|key| {
            let repository = self.clone();
            async move {
                match repository.read_json(&key, LockFile::decode).await {
                    Ok(file) => Ok(Some((key, Ok(file)))),
                    Err(RepositoryError::Damaged { reason, .. }) => Ok(Some((key, Err(reason)))),
                    // Released meanwhile.
                    Err(RepositoryError::Store(error)) if error.kind == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            }
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS);
        let mut files = Vec::new();
        while let Some(read) = reads.next().await {
            files.extend(read?);
        }
        Ok(files)
    }

    /// When the storage wrote a lock file; `None` for one that was released meanwhile.
    async fn see(&self, key: String, file: Result<LockFile, String>) -> Result<Option<Seen>> {
        match self.shared.store.modified(&key).await {
            Ok(written) => Ok(Some(Seen { key, file, written })),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at everybody's locks but our own, and removes those that are stale.
    ///
    /// With [`Clock::Guessed`] nothing is removed, and a lock that may turn out to be stale is passed over.
    pub(super) async fn refuse_conflicts(
        &self,
        mode: LockMode,
        stale: Duration,
        clock: Clock,
        own: Option<&str>,
    ) -> Result<()> {
        let guessed = matches!(clock, Clock::Guessed);
        let others = |key: &str| own != Some(key) && !sync::lock(&LEFT_BEHIND).contains(key);
        for (key, file) in self.read_locks(others).await? {
            let file = match file {
                Ok(file) => file,
                // Whoever crashed while writing it does not hold it; stock restic passes such locks over too.
                Err(reason) => {
                    tracing::warn!(file = %key, %reason, "a lock file is damaged and is ignored");
                    continue;
                }
            };
            let conflicts = mode == LockMode::Exclusive || file.exclusive;
            let looks_stale = file.process_is_gone() || file.age() > stale;
            if !conflicts && (guessed || !looks_stale) {
                continue;
            }
            let Some(seen) = self.see(key, Ok(file)).await? else { continue };
            match seen.stale(clock, stale) {
                Some(reason) if !guessed => self.remove_stale(&seen, reason).await,
                Some(_) => {}
                None if guessed && seen.may_be_stale(stale) => {}
                None if conflicts => {
                    let holder = seen.into_info(clock, stale).holder;
                    let holder = holder.map_err(|reason| RepositoryError::damaged(layout::LOCKS, reason))?;
                    return Err(RepositoryError::Locked { holder: Box::new(holder) });
                }
                None => {}
            }
        }
        Ok(())
    }

    async fn remove_stale(&self, seen: &Seen, reason: StaleReason) {
        let key = &seen.key;
        if let Ok(file) = &seen.file {
            let (host, user) = (&file.hostname, &file.username);
            tracing::info!(file = %key, %host, %user, "removing a stale lock: {reason}");
        }
        match self.shared.store.delete(key).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::debug!(%error, "a stale lock stays behind");
            }
            Err(error) => tracing::warn!(%error, "a stale lock could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests;

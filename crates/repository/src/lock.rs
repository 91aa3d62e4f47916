//! Locks, as stock restic makes and honours them: a shared one for readers and writers, an exclusive one for whoever
//! deletes. A lock is refreshed every 5 minutes and stale after 30.
//!
//! A lock file is only advice: nothing stops a process whose lock was removed. So whoever writes or deletes asks the
//! storage, at the moments that matter, whether its lock is still there ([`Lock::confirm`]).

mod file;
mod moment;
mod others;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use crate::lock::others::{LockInfo, LockSelection, RemovedLocks, StaleReason};

use crate::lock::others::Clock;
pub(crate) use crate::lock::state::LockState;
use crate::{Repository, RepositoryError, Result, sync};

/// Lock files that this process is done with and may not delete. They never conflict with its next locks.
static LEFT_BEHIND: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Between two looks at the locks of others. A moment without any can be short where many write.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Whom a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Those who want it exclusively.
    Shared,
    /// Everybody.
    Exclusive,
}

/// Times of a lock. The defaults are stock restic's; tests shorten them.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// How long to wait for others to release theirs. Zero by default.
    pub wait: Duration,
    /// How often it is refreshed.
    pub refresh: Duration,
    /// After how long without a refresh others may ignore it.
    pub stale: Duration,
    /// How long to wait for locks that were made at the same moment, where the storage may show them late (object storage, network mounts). Where a list
    /// shows everything, two who lock at once need not wait: at least one of them sees the other.
    pub settle: Duration,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            wait: Duration::ZERO,
            refresh: Duration::from_secs(5 * 60),
            stale: Duration::from_secs(30 * 60),
            settle: Duration::from_millis(200),
        }
    }
}

/// A lock that is held. Release it; a lock that is dropped is removed as well as that can be done.
#[derive(Debug)]
pub struct Lock {
    state: Arc<LockState>,
    /// `None` once it is released.
    refreshing: Option<JoinHandle<()>>,
}

/// What is left of a lock that was released.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Lock files that the storage does not let us delete. They become stale by themselves.
    pub left_behind: Vec<String>,
}

impl Repository {
    /// How long [`Repository::lock`] waits for others to release theirs; zero unless this was called.
    pub fn wait_for_locks(&self, wait: Duration) {
        *sync::lock(&self.shared.lock_wait) = wait;
    }

    /// Locks the repository. Locks of others are honoured unless they are stale.
    ///
    /// Errors: [`RepositoryError::Locked`] names the holder.
    pub async fn lock(&self, mode: LockMode) -> Result<Lock> {
        let wait = *sync::lock(&self.shared.lock_wait);
        self.lock_with(mode, LockOptions { wait, ..LockOptions::default() }).await
    }

    /// Like [`Repository::lock`], with other times.
    pub async fn lock_with(&self, mode: LockMode, options: LockOptions) -> Result<Lock> {
        let deadline = Instant::now() + options.wait;
        let mut pause = Duration::from_millis(500);
        let mut told = false;
        loop {
            match self.try_lock(mode, &options).await {
                Err(error @ RepositoryError::Locked { .. }) if Instant::now() < deadline => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("{error}; waiting for it");
                    }
                    tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    async fn try_lock(&self, mode: LockMode, options: &LockOptions) -> Result<Lock> {
        // Looking first spares others a lock that would be given back at once.
        self.refuse_conflicts(mode, options.stale, Clock::Guessed, None).await?;
        let state = Arc::new(LockState::make(self.clone(), mode, options.clone()).await?);
        let refreshing = Some(tokio::spawn(state::keep_fresh(state.clone())));
        let lock = Lock { state, refreshing };
        if !self.shared.store.lists_at_once() {
            tokio::time::sleep(options.settle).await;
        }
        let own = lock.state.file();
        let alone = async {
            let clock = self.clock_of(&own).await?;
            self.refuse_conflicts(mode, options.stale, clock, Some(&own)).await
        };
        match alone.await {
            Ok(()) => Ok(lock),
            Err(error) => {
                if let Err(left) = lock.release().await {
                    tracing::warn!(error = %left, "a lock that was not needed could not be removed");
                }
                Err(error)
            }
        }
    }
}

impl Lock {
    /// Whether it is held no more: it could not be refreshed in time, or somebody removed it.
    pub fn is_lost(&self) -> bool {
        self.state.check().is_err()
    }

    /// Asks the storage whether the lock is still there. To be called before every step that would do harm without it:
    /// a process that was suspended does not know for how long.
    ///
    /// Errors: [`RepositoryError::LockLost`], or why the storage could not be asked.
    pub async fn confirm(&self) -> Result<()> {
        self.state.confirm().await
    }

    /// Ends when the lock is lost, with the reason.
    pub async fn lost(&self) -> String {
        self.state.lost().await
    }

    /// Releases it. Writers that still use it refuse to finish. Storage that refuses deletes is no error: the files stay
    /// and become stale.
    pub async fn release(mut self) -> Result<Released> {
        let refreshing = self.refreshing.take();
        self.state.give_back(refreshing).await
    }

    /// Whom it excludes.
    pub fn mode(&self) -> LockMode {
        self.state.mode()
    }

    pub(crate) fn state(&self) -> Arc<LockState> {
        self.state.clone()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some(refreshing) = self.refreshing.take() else { return };
        let state = self.state.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = state.give_back(Some(refreshing)).await {
                    tracing::warn!(%error, "a lock could not be removed");
                }
            });
        }
    }
}

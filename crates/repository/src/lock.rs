//! Locks, as stock restic makes and honours them: a shared one for readers and writers, an exclusive one for whoever
//! deletes. A lock is refreshed every 5 minutes and stale after 30.

mod file;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use basekeep_store::ErrorKind;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::lock::file::LockFile;
use crate::{Repository, RepositoryError, Result, layout, sync};

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
    /// How long to wait for locks that were made at the same moment.
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

/// What a writer watches.
#[derive(Debug)]
pub(crate) struct LockState {
    repository: Repository,
    mode: LockMode,
    options: LockOptions,
    held: Mutex<Held>,
    lost: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct Held {
    file: String,
    since: Timestamp,
    /// Replaced ones that could not be deleted yet.
    old: Vec<String>,
}

impl Repository {
    /// Locks the repository. Locks of others are honoured unless they are stale.
    ///
    /// Errors: [`RepositoryError::Locked`] names the holder.
    pub async fn lock(&self, mode: LockMode) -> Result<Lock> {
        self.lock_with(mode, LockOptions::default()).await
    }

    /// Like [`Repository::lock`], with other times.
    pub async fn lock_with(&self, mode: LockMode, options: LockOptions) -> Result<Lock> {
        let deadline = Instant::now() + options.wait;
        let mut pause = Duration::from_millis(500);
        loop {
            match self.try_lock(mode, &options).await {
                Err(RepositoryError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
                result => return result,
            }
        }
    }

    async fn try_lock(&self, mode: LockMode, options: &LockOptions) -> Result<Lock> {
        self.refuse_conflicts(mode, options, None).await?;
        let file = LockFile::ours(mode == LockMode::Exclusive);
        let since = file.time;
        let key = self.write_json(layout::LOCKS, file.encode()?).await?;
        let state = Arc::new(LockState {
            repository: self.clone(),
            mode,
            options: options.clone(),
            held: Mutex::new(Held { file: key.clone(), since, old: Vec::new() }),
            lost: watch::Sender::new(None),
        });
        let refreshing = Some(tokio::spawn(keep_fresh(state.clone())));
        let lock = Lock { state, refreshing };
        tokio::time::sleep(options.settle).await;
        match self.refuse_conflicts(mode, options, Some(&key)).await {
            Ok(()) => Ok(lock),
            Err(error) => {
                lock.release().await?;
                Err(error)
            }
        }
    }

    /// Looks at everybody's locks but our own, and removes those that are stale.
    async fn refuse_conflicts(&self, mode: LockMode, options: &LockOptions, own: Option<&str>) -> Result<()> {
        for object in self.list_ids(layout::LOCKS).await? {
            if own == Some(object.key.as_str()) {
                continue;
            }
            let file = match self.read_json(&object.key, LockFile::decode).await {
                Ok(file) => file,
                // Released meanwhile.
                Err(RepositoryError::Store(error)) if error.kind == ErrorKind::NotFound => continue,
                // Whoever crashed while writing it does not hold it; stock restic passes such locks over too.
                Err(RepositoryError::Damaged { file, reason }) => {
                    tracing::warn!(%file, %reason, "a lock file is damaged and is ignored");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if file.is_stale(options.stale) {
                tracing::info!(file = %object.key, "removing a stale lock");
                if let Err(error) = self.shared.store.delete(&object.key).await {
                    tracing::warn!(%error, "a stale lock could not be removed");
                }
            } else if mode == LockMode::Exclusive || file.exclusive {
                return Err(RepositoryError::Locked { holder: Box::new(file.holder(object.key)) });
            }
        }
        Ok(())
    }
}

impl Lock {
    /// Whether it is held no more: it could not be refreshed in time, or somebody removed it.
    pub fn is_lost(&self) -> bool {
        self.state.check().is_err()
    }

    /// Ends when the lock is lost, with the reason.
    pub async fn lost(&self) -> String {
        let mut lost = self.state.lost.subscribe();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Releases it. Writers that still use it refuse to finish.
    pub async fn release(mut self) -> Result<()> {
        let refreshing = self.refreshing.take();
        self.state.give_back(refreshing).await
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

impl LockState {
    /// An error if the lock is held no more.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(reason) = self.lost.borrow().clone() {
            return Err(RepositoryError::LockLost { reason });
        }
        let age = self.age();
        if age >= self.give_up() {
            // The machine slept, for example: the refreshing task has not noticed yet.
            let reason = format!("it was not refreshed for {} seconds", age.as_secs());
            return Err(RepositoryError::LockLost { reason });
        }
        Ok(())
    }

    /// By the wall clock, as others judge it.
    fn age(&self) -> Duration {
        let since = sync::lock(&self.held).since;
        Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default()
    }

    /// The age from which others may soon take it for stale.
    fn give_up(&self) -> Duration {
        self.options.stale.saturating_sub(self.options.refresh)
    }

    fn lose(&self, reason: String) {
        tracing::error!(%reason, "the lock on the repository is lost");
        self.lose_first(reason);
    }

    /// The first reason stays.
    fn lose_first(&self, reason: String) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(reason);
            first
        });
    }

    /// Makes a new file and deletes the old one, so that there is one at any time.
    async fn refresh(&self) -> Result<()> {
        let store = &self.repository.shared.store;
        let old = sync::lock(&self.held).file.clone();
        match store.size(&old).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.lose("somebody removed its file".to_owned());
                return Ok(());
            }
            result => result?,
        };
        let file = LockFile::ours(self.mode == LockMode::Exclusive);
        let since = file.time;
        let key = self.repository.write_json(layout::LOCKS, file.encode()?).await?;
        let old = {
            let mut held = sync::lock(&self.held);
            let replaced = std::mem::replace(&mut held.file, key);
            held.old.push(replaced);
            held.since = since;
            held.old.clone()
        };
        for file in old {
            match store.delete(&file).await {
                Ok(()) => sync::lock(&self.held).old.retain(|left| *left != file),
                Err(error) => tracing::warn!(%error, "a replaced lock file could not be deleted"),
            }
        }
        Ok(())
    }

    /// Stops refreshing, after a refresh that is under way, and removes the files.
    async fn give_back(&self, refreshing: Option<JoinHandle<()>>) -> Result<()> {
        self.lose_first("it was released".to_owned());
        if let Some(refreshing) = refreshing {
            let _ = refreshing.await;
        }
        let files = {
            let mut held = sync::lock(&self.held);
            let mut files = std::mem::take(&mut held.old);
            files.push(held.file.clone());
            files
        };
        let mut result = Ok(());
        for file in files {
            if let Err(error) = self.repository.shared.store.delete(&file).await {
                result = Err(error.into());
            }
        }
        result
    }
}

async fn keep_fresh(state: Arc<LockState>) {
    let mut pause = state.options.refresh;
    let mut lost = state.lost.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = lost.wait_for(Option::is_some) => return,
        }
        pause = match state.refresh().await {
            Ok(()) => state.options.refresh,
            Err(error) => {
                tracing::warn!(%error, "the lock could not be refreshed yet");
                state.options.refresh / 10
            }
        };
        if let Err(RepositoryError::LockLost { reason }) = state.check() {
            state.lose(reason);
            return;
        }
    }
}

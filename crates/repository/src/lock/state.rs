//! A lock that is held: kept fresh, confirmed, given back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use basekeep_store::ErrorKind;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lock::file::LockFile;
use crate::lock::moment::Moment;
use crate::lock::{LEFT_BEHIND, LockMode, LockOptions, Released};
use crate::repository::put_new;
use crate::{Repository, RepositoryError, Result, layout, sync};

/// A confirmation holds this long, for steps that happen often and do little harm.
const CONFIRMED_FOR: Duration = Duration::from_secs(10);
/// How often a confirmation that took long is repeated.
const CONFIRMATIONS: usize = 5;

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
    /// When it was made.
    since: Moment,
    /// When it was last seen in the storage.
    confirmed: Moment,
    /// Replaced ones that could not be deleted yet.
    old: Vec<String>,
    /// Those that may not be deleted.
    left_behind: Vec<String>,
}

impl LockState {
    /// Writes a lock file, whoever else has one.
    pub(super) async fn make(repository: Repository, mode: LockMode, options: LockOptions) -> Result<Self> {
        let since = Moment::now();
        let (file, sealed) = seal(&repository, mode).await?;
        if let Err(error) = put_new(&*repository.shared.store, &file, sealed).await {
            // The answer may be lost and the file there, and nobody would know that it is not held.
            let _ = repository.shared.store.delete(&file).await;
            return Err(error.into());
        }
        let held = Held { file, since, confirmed: since, old: Vec::new(), left_behind: Vec::new() };
        Ok(Self { repository, mode, options, held: Mutex::new(held), lost: watch::Sender::new(None) })
    }

    /// The file that stands for the lock now.
    pub(super) fn file(&self) -> String {
        sync::lock(&self.held).file.clone()
    }

    /// Whom it excludes.
    pub(super) fn mode(&self) -> LockMode {
        self.mode
    }

    /// An error if the lock is known to be held no more.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(reason) = self.lost.borrow().clone() {
            return Err(RepositoryError::LockLost { reason });
        }
        let age = sync::lock(&self.held).since.elapsed();
        if age >= self.give_up() {
            // The machine slept, for example: the refreshing task has not noticed yet.
            let reason = format!("it was not refreshed for {} seconds", age.as_secs());
            return Err(RepositoryError::LockLost { reason });
        }
        Ok(())
    }

    /// Asks the storage whether the file is still there.
    pub(crate) async fn confirm(&self) -> Result<()> {
        for _ in 0..CONFIRMATIONS {
            self.check()?;
            let (file, asked) = (self.file(), Moment::now());
            match self.repository.shared.store.size(&file).await {
                // An answer may be older than it looks: the process may have been suspended while it waited.
                Ok(_) if asked.elapsed() >= CONFIRMED_FOR => {}
                Ok(_) => {
                    sync::lock(&self.held).confirmed = asked;
                    return self.check();
                }
                Err(error) if error.kind == ErrorKind::NotFound => {
                    // Otherwise it was replaced by a refresh meanwhile.
                    if self.file() == file {
                        self.lose("somebody removed its file".to_owned());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.check()
    }

    /// Like [`LockState::confirm`], but an answer of the last seconds will do.
    pub(crate) async fn confirm_now_and_then(&self) -> Result<()> {
        let confirmed = sync::lock(&self.held).confirmed;
        if confirmed.elapsed() < CONFIRMED_FOR { self.check() } else { self.confirm().await }
    }

    /// Ends when the lock is lost, with the reason.
    pub(crate) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
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

    /// Makes a new file and deletes the old one, so that there is one at any time. The old one is looked for when the new
    /// one is there: if it is gone, there was a time without any, and somebody may have used it.
    async fn refresh(&self) -> Result<()> {
        let store = &self.repository.shared.store;
        let old = self.file();
        let since = Moment::now();
        let (new, sealed) = seal(&self.repository, self.mode).await?;
        if let Err(error) = put_new(&**store, &new, sealed).await {
            // It may be there, though.
            sync::lock(&self.held).old.push(new);
            return Err(error.into());
        }
        match store.size(&old).await {
            Ok(_) => {
                let mut held = sync::lock(&self.held);
                held.file = new;
                held.old.push(old);
                (held.since, held.confirmed) = (since, since);
            }
            Err(error) => {
                sync::lock(&self.held).old.push(new);
                if error.kind != ErrorKind::NotFound {
                    return Err(error.into());
                }
                self.lose("somebody removed its file".to_owned());
                return Ok(());
            }
        }
        let replaced = std::mem::take(&mut sync::lock(&self.held).old);
        if let Err(error) = self.delete(replaced).await {
            tracing::warn!(%error, "a replaced lock file could not be deleted");
        }
        Ok(())
    }

    /// Deletes lock files of ours. Those that may not be deleted are noted, and are no error.
    async fn delete(&self, files: Vec<String>) -> Result<()> {
        let mut result = Ok(());
        for file in files {
            match self.repository.shared.store.delete(&file).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Denied => {
                    tracing::debug!(%error, "a lock file stays behind");
                    sync::lock(&LEFT_BEHIND).insert(file.clone());
                    sync::lock(&self.held).left_behind.push(file);
                }
                Err(error) => {
                    sync::lock(&self.held).old.push(file);
                    result = Err(error.into());
                }
            }
        }
        result
    }

    /// Stops refreshing, after a refresh that is under way, and removes the files.
    pub(super) async fn give_back(&self, refreshing: Option<JoinHandle<()>>) -> Result<Released> {
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
        self.delete(files).await?;
        Ok(Released { left_behind: sync::lock(&self.held).left_behind.clone() })
    }
}

/// A new lock file.
async fn seal(repository: &Repository, mode: LockMode) -> Result<(String, Bytes)> {
    let file = LockFile::ours(mode == LockMode::Exclusive);
    repository.seal_json(layout::LOCKS, file.encode()?).await
}

/// Refreshes a lock until it is lost or given back.
pub(super) async fn keep_fresh(state: Arc<LockState>) {
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

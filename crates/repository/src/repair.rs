//! Repairing a repository: packs that hold damaged blobs, and snapshots that need what is lost.
//!
//! Nothing is taken away before what replaces it is durable: new packs, then index files that name them, then what is
//! damaged goes. An interrupted repair leaves both, and the next one goes on.

mod packs;
mod replace;

use basekeep_store::ErrorKind;

pub use packs::RepairedPack;

use crate::{Lock, Repository, RepositoryError, Result, SnapshotId, layout};

impl Repository {
    /// Removes a snapshot's file; what it refers to stays until the next prune. One that is not there is no error.
    ///
    /// Errors: a lost lock; the storage's, with [`ErrorKind::Denied`] where it only appends.
    pub async fn remove_snapshot(&self, lock: &Lock, id: SnapshotId) -> Result<()> {
        self.remove_file(lock, &layout::snapshot(id)).await
    }

    async fn remove_file(&self, lock: &Lock, key: &str) -> Result<()> {
        lock.state().confirm_now_and_then().await?;
        Ok(self.shared.store.delete(key).await?)
    }

    /// Removes a file unless the storage only appends; then it is told in `kept`.
    async fn try_remove(&self, lock: &Lock, key: &str, kept: &mut Vec<String>) -> Result<()> {
        match self.remove_file(lock, key).await {
            Err(RepositoryError::Store(error)) if error.kind == ErrorKind::Denied => {
                kept.push(key.to_owned());
                Ok(())
            }
            result => result,
        }
    }
}

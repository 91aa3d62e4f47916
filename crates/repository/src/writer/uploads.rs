//! Packs and index files on their way to the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::index_file::{self, PackContents};
use crate::repository::{blocking, put_new};
use crate::writer::packs::FullPack;
use crate::writer::pipeline::{Pending, Pipeline};
use crate::{RepositoryError, Result, layout, sync};

/// Blobs in one index file: about 8 MiB of JSON.
const INDEX_BLOBS: usize = 50_000;
/// A long backup leaves an index behind now and then, so that the next run finds the packs even if this one is killed.
const INDEX_EVERY: Duration = Duration::from_secs(5 * 60);

impl Pipeline {
    /// Puts a pack in a task of its own.
    pub(super) fn upload(self: &Arc<Self>, pack: FullPack) {
        let pending = self.pending();
        let pipeline = self.clone();
        self.spawn(async move {
            if let Err(error) = pipeline.put_pack(pack, &pending).await {
                pipeline.fail(error);
            }
        });
    }

    async fn put_pack(&self, pack: FullPack, _pending: &Pending) -> Result<()> {
        let _slot =
            self.upload_slots.acquire().await.map_err(|e| RepositoryError::internal("upload a pack", e))?;
        self.check()?;
        self.lock.confirm_now_and_then().await?;
        let FullPack { id, bytes, blobs, permit } = pack;
        put_new(&*self.repository.shared.store, &layout::pack(id), Bytes::from(bytes)).await?;
        drop(permit);
        let due = {
            let mut unindexed = sync::lock(&self.unindexed);
            unindexed.packs.push((id, blobs));
            let count: usize = unindexed.packs.iter().map(|(_, blobs)| blobs.len()).sum();
            count >= INDEX_BLOBS || unindexed.since.elapsed() >= INDEX_EVERY
        };
        if due { self.write_index().await } else { Ok(()) }
    }

    /// Writes index files for the packs that are durable.
    pub(super) async fn write_index(&self) -> Result<()> {
        let _alone = self.indexing.lock().await;
        loop {
            let packs = {
                let mut unindexed = sync::lock(&self.unindexed);
                unindexed.since = Instant::now();
                take_for_one_file(&mut unindexed.packs)
            };
            if packs.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.write_index_file(&packs).await {
                sync::lock(&self.unindexed).packs.extend(packs);
                return Err(error);
            }
        }
    }

    async fn write_index_file(&self, packs: &[PackContents]) -> Result<()> {
        let copy = packs.to_vec();
        let json = blocking(move || index_file::encode(&copy)).await?;
        let json = json.map_err(|e| RepositoryError::internal("write an index", e))?;
        // Somebody who deletes packs may be at work.
        self.lock.confirm().await?;
        let file = self.repository.write_json(layout::INDEX, json).await?;
        self.undo_if_lost(&file).await?;
        self.repository.add_to_index(file, packs);
        Ok(())
    }

    /// Takes a file back that was written by a process that had lost its lock by then: it was suspended between the
    /// question and the write.
    pub(super) async fn undo_if_lost(&self, file: &str) -> Result<()> {
        match self.lock.confirm().await {
            Err(lost @ RepositoryError::LockLost { .. }) => {
                if let Err(error) = self.repository.shared.store.delete(file).await {
                    tracing::warn!(%error, "a file that was written without a lock could not be deleted");
                }
                Err(lost)
            }
            // The file is there and was allowed; who could not be asked just now does not make it wrong.
            _ => Ok(()),
        }
    }

    /// After a failure: waits for what is under way, and leaves an index of what arrived.
    pub(super) async fn wind_up(&self) {
        self.queue.close();
        self.wait_idle().await;
        if let Err(error) = self.write_index().await {
            tracing::warn!(%error, "no index was written for packs that were uploaded; the next run uploads them again");
        }
    }
}

fn take_for_one_file(packs: &mut Vec<PackContents>) -> Vec<PackContents> {
    let mut blobs = 0;
    let count = packs.iter().take_while(|(_, contents)| {
        let fits = blobs == 0 || blobs + contents.len() <= INDEX_BLOBS;
        blobs += contents.len();
        fits
    });
    let count = count.count();
    packs.drain(..count).collect()
}

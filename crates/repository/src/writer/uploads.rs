//! Packs and index files on their way to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::index_file::{self, PackContents};
use crate::repository::{blocking, put_new};
use crate::writer::packs::FullPack;
use crate::writer::pipeline::{Pending, Pipeline};
use crate::writer::target::Target;
use crate::{RepositoryError, Result, layout, sync};

/// Blobs in one index file: about 8 MiB of JSON.
const INDEX_BLOBS: usize = 50_000;
/// A long backup leaves an index behind now and then, so that the next run finds the packs even if this one is killed.
const INDEX_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long a writer that gave up goes on with what is sealed already, so that the next run need not do it again.
const LEAVING: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Puts a pack in a task of its own.
    pub(super) fn upload(self: &Arc<Self>, target: &Arc<Target>, pack: FullPack) {
        let pending = self.pending(Some(target.number));
        let (pipeline, target) = (self.clone(), target.clone());
        self.spawn(async move {
            if let Err(error) = pipeline.put_pack(&target, pack, &pending).await {
                pipeline.fail_target(&target, error);
            }
        });
    }

    async fn put_pack(&self, target: &Target, pack: FullPack, _pending: &Pending) -> Result<()> {
        let _slot =
            target.upload_slots.acquire().await.map_err(|e| RepositoryError::internal("upload a pack", e))?;
        if target.check().is_err() || self.in_a_hurry.load(SeqCst) {
            return Ok(());
        }
        target.lock.confirm_now_and_then().await?;
        let FullPack { id, bytes, blobs, room } = pack;
        let bytes = Bytes::from(bytes);
        put_new(&*target.repository.shared.store, &layout::pack(id), bytes.clone()).await?;
        drop(room);
        if let Ok(bytes) = bytes.try_into_mut() {
            self.spare_packs.give(bytes.into());
        }
        let due = {
            let mut unindexed = sync::lock(&target.unindexed);
            unindexed.packs.push((id, blobs));
            let count: usize = unindexed.packs.iter().map(|(_, blobs)| blobs.len()).sum();
            count >= INDEX_BLOBS || unindexed.since.elapsed() >= INDEX_EVERY
        };
        if due { target.write_index().await } else { Ok(()) }
    }

    /// Gives up: what is sealed is still put, for a while, and an index names what arrived.
    pub(super) async fn wind_up(self: &Arc<Self>) {
        self.queue.close();
        self.wait(|| self.is_idle()).await;
        let pipeline = self.clone();
        let completed = blocking(move || {
            pipeline.targets.iter().try_for_each(|target| pipeline.complete_open_packs(target))
        });
        if let Err(error) = completed.await.flatten() {
            tracing::warn!(%error, "an open pack could not be completed");
        }
        let uploaded = || self.targets.iter().all(|target| target.is_idle());
        if tokio::time::timeout(LEAVING, self.wait(uploaded)).await.is_err() {
            self.in_a_hurry.store(true, SeqCst);
            self.wait(uploaded).await;
        }
        futures::future::join_all(self.targets.iter().map(|target| target.leave_an_index())).await;
    }
}

impl Target {
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

    /// Writes a snapshot file; gives its key. Everything that it refers to must be durable and indexed.
    pub(super) async fn put_snapshot(&self, json: Vec<u8>) -> Result<String> {
        self.lock.confirm().await?;
        let key = self.repository.write_json(layout::SNAPSHOTS, json).await?;
        self.undo_if_lost(&key).await?;
        Ok(key)
    }

    /// Takes a file back that was written by a process that had lost its lock by then: it was suspended between the
    /// question and the write.
    async fn undo_if_lost(&self, file: &str) -> Result<()> {
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

    /// After a failure.
    pub(super) async fn leave_an_index(&self) {
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

//! Copying what is needed out of packs that go: packs are read, opened and perhaps compressed in parallel, and new packs
//! are put meanwhile. What is in memory is bounded: by bytes on the reading side,
//! by packs on the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::index::Index;
use crate::index_file::PackContents;
use crate::index_write::{INDEX_BLOBS, write_index_file};
use crate::lock::LockState;
use crate::prune::copy::{self, Brought, Job};
use crate::prune::packer::{Copied, FullPack, Packer};
use crate::prune::{PruneOutcome, PruneProgress, PruneStage};
use crate::repository::put_new;
use crate::{Repository, RepositoryError, Result, layout};

/// Bytes of blobs that were read and are not in a new pack yet. A pack that has more is read alone.
const IN_FLIGHT: usize = 128 << 20;
/// Packs that are put at the same time.
const UPLOADS: usize = 2;
/// An index file is written now and then, so that the next run finds the copies even if this one is killed.
const INDEX_EVERY: Duration = Duration::from_secs(5 * 60);

/// Copies blobs into new packs.
pub(super) struct Rewrite<'a> {
    pub(super) repository: &'a Repository,
    pub(super) lock: Arc<LockState>,
    pub(super) index: Arc<Index>,
    pub(super) outcome: &'a mut PruneOutcome,
    pub(super) progress: &'a (dyn Fn(PruneProgress) + Send + Sync),
    /// New packs that are durable and in no index file yet.
    pub(super) unindexed: Vec<PackContents>,
    /// Packs, by number, that have to stay because a blob in them is damaged and good nowhere else.
    pub(super) damaged: Vec<usize>,
}

impl Rewrite<'_> {
    /// Does all jobs; then the copies are durable, and those in [`Rewrite::unindexed`] have still to get into an index file.
    pub(super) async fn run(&mut self, jobs: Vec<Job>, pack_size: usize) -> Result<()> {
        let total = jobs.len() as u64;
        let blobs = jobs.iter().flat_map(|job| &job.blobs);
        let bytes = blobs.map(|blob| u64::from(blob.length)).sum();
        let (sender, receiver) = mpsc::channel(1);
        let packer = Packer::new(self.repository.shared.key.clone(), pack_size);
        let reading = read_all(self.repository.clone(), self.index.clone(), jobs, sender);
        let writing = self.write_all(receiver, packer, total, bytes);
        futures::future::try_join(reading, writing).await.map(|_| ())
    }

    async fn write_all(
        &mut self,
        mut receiver: mpsc::Receiver<(Brought, OwnedSemaphorePermit)>,
        mut packer: Packer,
        total: u64,
        bytes_total: u64,
    ) -> Result<()> {
        let mut uploads = FuturesUnordered::new();
        let mut indexed = Instant::now();
        let mut done =
            PruneProgress { stage: PruneStage::Copying, done: 0, total, bytes_done: 0, bytes_total };
        (self.progress)(done);
        loop {
            let brought = tokio::select! {
                Some(put) = uploads.next(), if !uploads.is_empty() => {
                    self.durable(put?);
                    continue;
                }
                brought = receiver.recv() => brought,
            };
            let Some((brought, permit)) = brought else { break };
            done.done += 1;
            done.bytes_done = (done.bytes_done + brought.bytes).min(bytes_total);
            let full = match brought.result {
                Ok(blobs) => self.pack(blobs, &mut packer)?,
                Err(damage) => {
                    let key = layout::pack(self.index.packs()[brought.pack]);
                    let blobs = if damage.blobs == 1 { "1 blob that is" } else { "blobs that are" };
                    let reason = format!("{blobs} needed cannot be read: {}", damage.reason);
                    self.outcome.damaged.push((key, reason));
                    self.damaged.push(brought.pack);
                    Vec::new()
                }
            };
            drop(permit);
            for pack in full {
                while uploads.len() >= UPLOADS
                    && let Some(put) = uploads.next().await
                {
                    self.durable(put?);
                }
                self.lock.confirm_now_and_then().await?;
                uploads.push(put(self.repository.clone(), pack));
            }
            (self.progress)(done);
            let blobs: usize = self.unindexed.iter().map(|(_, blobs)| blobs.len()).sum();
            if blobs >= INDEX_BLOBS || (blobs > 0 && indexed.elapsed() >= INDEX_EVERY) {
                self.write_index().await?;
                indexed = Instant::now();
            }
        }
        self.lock.confirm_now_and_then().await?;
        for pack in packer.finish()? {
            uploads.push(put(self.repository.clone(), pack));
        }
        while let Some(put) = uploads.next().await {
            self.durable(put?);
        }
        Ok(())
    }

    fn pack(&mut self, blobs: Vec<Copied>, packer: &mut Packer) -> Result<Vec<FullPack>> {
        let mut full = Vec::new();
        for copied in blobs {
            self.outcome.blobs_copied += 1;
            self.outcome.blobs_recompressed += u64::from(copied.saved > 0);
            self.outcome.bytes_saved += copied.saved;
            full.extend(packer.add(copied)?);
        }
        Ok(full)
    }

    fn durable(&mut self, (contents, bytes): (PackContents, u64)) {
        self.outcome.packs_written += 1;
        self.outcome.bytes_written += bytes;
        self.unindexed.push(contents);
    }

    /// Writes an index file of the copies so far.
    async fn write_index(&mut self) -> Result<()> {
        let packs = std::mem::take(&mut self.unindexed);
        write_index_file(self.repository, &self.lock, packs).await?;
        self.outcome.index_files_written += 1;
        Ok(())
    }
}

/// Reads ahead, in the order of the jobs.
async fn read_all(
    repository: Repository,
    index: Arc<Index>,
    jobs: Vec<Job>,
    sender: mpsc::Sender<(Brought, OwnedSemaphorePermit)>,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let budget = Arc::new(Semaphore::new(IN_FLIGHT));
    let reads = futures::stream::iter(jobs)
        .then(|job| admit(budget.clone(), job))
        .map(|admitted| bring(repository.clone(), index.clone(), admitted))
        .buffered(cores.clamp(2, 4));
    let mut reads = std::pin::pin!(reads);
    while let Some(brought) = reads.next().await {
        if sender.send(brought?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Waits until there is room for what a job reads. Jobs are admitted in their order, so that none waits for a later one.
async fn admit(budget: Arc<Semaphore>, job: Job) -> Result<(Job, OwnedSemaphorePermit)> {
    let bytes: usize = job.blobs.iter().map(|blob| blob.length as usize).sum();
    let permits = u32::try_from(bytes.min(IN_FLIGHT)).unwrap_or(u32::MAX);
    let permit = budget.acquire_many_owned(permits).await;
    Ok((job, permit.map_err(|e| RepositoryError::internal("read a pack", e))?))
}

async fn bring(
    repository: Repository,
    index: Arc<Index>,
    admitted: Result<(Job, OwnedSemaphorePermit)>,
) -> Result<(Brought, OwnedSemaphorePermit)> {
    let (job, permit) = admitted?;
    Ok((copy::bring(repository, index, job).await?, permit))
}

async fn put(repository: Repository, pack: FullPack) -> Result<(PackContents, u64)> {
    let FullPack { contents, bytes } = pack;
    let size = bytes.len() as u64;
    put_new(&*repository.shared.store, &layout::pack(contents.0), bytes).await?;
    Ok((contents, size))
}

//! Writing a snapshot: many streams of file content at once into one set of packs.
//!
//! `chunk → SHA-256 → known? → zstd → seal → verify → pack → put → index → snapshot`. The caller's tasks cut chunks; worker
//! threads, one for each core, do the rest up to the full pack; tasks of the runtime put packs meanwhile. Bytes between
//! the cut and the durable pack are capped.
//!
//! The same streams can go to several repositories. A chunk is cut, hashed and compressed once, then sealed with each one's
//! key. A repository that fails is left out from then on; one that is slow is left behind ([`Ended`]).
//!
//! *Must*: the snapshot is written only if every stream was finished, every pack and index file is durable, and
//! the lock is still held.

mod file;
mod finish;
mod packs;
mod payload;
mod pipeline;
mod queue;
mod rewrite;
mod roles;
mod seal;
mod spare;
mod target;
mod uploads;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use file::{FileContent, FileWriter};
pub use finish::Ended;
pub(crate) use payload::Payload;
pub use rewrite::Changes;

use crate::writer::pipeline::Pipeline;
use crate::{Lock, NewSnapshot, Repository, RepositoryError, Result, Snapshot, TreeBuilder};

/// Average chunk of files that are written in one go.
const SMALL_FILE_AVERAGE: usize = 256 << 10;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Bytes between the cut of a chunk and its durable pack; at least 64 MiB.
    pub in_flight: usize,
    /// zstd level.
    pub compression: i32,
    /// Open every blob that was sealed and compare what comes out with what went in, before it is uploaded.
    pub verify: bool,
    /// A pack is full at this size; at most a quarter of `in_flight`.
    pub pack_size: usize,
    /// Threads that hash, compress and seal; as many as there are cores if 0.
    pub workers: usize,
    /// Sealed bytes that wait for each repository but the one that leads, beside those in flight; at least two packs. What
    /// does not fit is left out there.
    pub replica_queue: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            in_flight: 128 << 20,
            compression: 1,
            verify: true,
            pack_size: 32 << 20,
            workers: 0,
            replica_queue: 64 << 20,
        }
    }
}

/// What a writer has done so far, in the repository that leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Blobs that the repository did not have.
    pub blobs_new: u64,
    /// Blobs that it had, or that were taken over.
    pub blobs_known: u64,
    /// Bytes of file content that were cut into blobs.
    pub bytes_in: u64,
    /// Plain bytes of new blobs.
    pub bytes_new: u64,
    /// Bytes of new blobs as they are stored: compressed and sealed.
    pub bytes_stored: u64,
}

/// Writes one snapshot, to one repository or several. Cheap to clone; all clones feed the same packs.
#[derive(Debug, Clone)]
pub struct Writer {
    owner: Arc<Owner>,
}

/// Ends the worker threads with the last handle.
#[derive(Debug)]
struct Owner {
    pipeline: Arc<Pipeline>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.pipeline.queue.close();
    }
}

impl Repository {
    /// A writer for one snapshot. Call it within a tokio runtime, after [`Repository::load_index`]; what the index
    /// does not know is stored again.
    pub fn writer(&self, lock: &Lock, options: WriterOptions) -> Writer {
        Writer::to(&[(self, lock)], options)
    }
}

impl Writer {
    /// A writer of the same snapshot to several repositories, each with its index loaded and its lock. The first one leads,
    /// and its chunker settings are used. Every one can fail without harm to the others.
    pub fn to(targets: &[(&Repository, &Lock)], options: WriterOptions) -> Self {
        Self { owner: Arc::new(Owner { pipeline: Pipeline::start(targets, options) }) }
    }

    /// A new file, written piece by piece. Several can be open at once. `chunk_average` is in bytes; keep it the same for
    /// a file from one snapshot to the next.
    pub fn file(&self, chunk_average: usize) -> FileWriter {
        FileWriter::new(self.clone(), chunk_average)
    }

    /// A whole file.
    pub async fn put_file(&self, data: &[u8]) -> Result<FileContent> {
        let mut file = self.file(SMALL_FILE_AVERAGE);
        file.write(data).await?;
        file.finish().await
    }

    /// Ends the open packs, so that what is written from here on lies in packs of its own and is not lost with the data
    /// before it. No file may be open.
    pub async fn end_packs(&self) -> Result<()> {
        self.pipeline().end_packs().await
    }

    /// Writes the trees, then everything that is not durable yet, then the index, and the snapshot last. Gives the snapshot
    /// of the first repository that has it.
    ///
    /// Errors: any failure of any stream; an unfinished one; a lost lock; a tree that names blobs nobody wrote. Then
    /// there is no snapshot, and the next run finds what was uploaded.
    pub async fn finish(self, tree: TreeBuilder, snapshot: NewSnapshot) -> Result<Snapshot> {
        let ends = self.finish_all(tree, snapshot, std::future::pending()).await?;
        let written = ends.into_iter().find_map(|end| match end {
            Ended::Written(snapshot) => Some(*snapshot),
            Ended::Behind { .. } | Ended::Failed(_) => None,
        });
        written.ok_or_else(|| RepositoryError::internal("write a snapshot", "no repository has it"))
    }

    /// Like [`Writer::finish`]; says for each repository how it ended, in the order they were given. None waits for another.
    /// Once one has the snapshot, `stop` ends the waiting for the rest. A parent is that of the first repository.
    ///
    /// Errors: as [`Writer::finish`], when no repository has the snapshot: what the first one failed with, if it did.
    pub async fn finish_all(
        self,
        tree: TreeBuilder,
        snapshot: NewSnapshot,
        stop: impl Future<Output = ()>,
    ) -> Result<Vec<Ended>> {
        let pipeline = self.pipeline();
        let result = pipeline.finish(tree, snapshot, stop).await;
        if let Err(error) = &result {
            pipeline.fail(error.clone());
            pipeline.wind_up().await;
        }
        pipeline.queue.close();
        result
    }

    /// Gives up: there will be no snapshot. What was uploaded stays, with an index, so that the next run finds it; what is
    /// sealed already is still uploaded if that takes seconds.
    pub async fn abort(self) {
        let pipeline = self.pipeline();
        pipeline.fail(RepositoryError::Incomplete { reason: "the work was given up".to_owned() });
        pipeline.wind_up().await;
        pipeline.queue.close();
    }

    /// Waits until there can be no snapshot any more, and says why. Looks after the locks meanwhile: a repository whose
    /// lock is lost is left out.
    pub async fn failed(&self) -> RepositoryError {
        let pipeline = self.pipeline();
        let locks = pipeline.targets.iter().map(async |target| {
            let reason = target.lock.lost().await;
            pipeline.fail_target(target, RepositoryError::LockLost { reason });
        });
        let locks = async {
            futures::future::join_all(locks).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = pipeline.wait(|| pipeline.check().is_err()) => {}
            () = locks => {}
        }
        let unknown = || RepositoryError::internal("watch a writer", "it did not fail");
        pipeline.check().err().unwrap_or_else(unknown)
    }

    /// Why each repository was left out; `None` for those that go on.
    pub fn failures(&self) -> Vec<Option<RepositoryError>> {
        self.pipeline().targets.iter().map(|target| target.failure()).collect()
    }

    /// What was done so far.
    pub fn stats(&self) -> WriterStats {
        let counters = &self.pipeline().leader().counters;
        WriterStats {
            blobs_new: counters.data_new.load(Relaxed),
            blobs_known: counters.data_known.load(Relaxed),
            bytes_in: self.pipeline().bytes_in.load(Relaxed),
            bytes_new: counters.bytes_new.load(Relaxed),
            bytes_stored: counters.bytes_stored.load(Relaxed),
        }
    }

    fn pipeline(&self) -> &Arc<Pipeline> {
        &self.owner.pipeline
    }
}

/// Hashes, compresses, seals and perhaps verifies, as a worker thread does.
#[cfg(test)]
pub(crate) fn bench_sealer(verify: bool) -> impl FnMut(&crate::crypto::Key, &[u8]) {
    let mut sealer = seal::Sealer::new(1, verify).unwrap();
    move |key, data| {
        let mut packed = sealer.pack(seal::Plain::new(data), false).unwrap();
        std::hint::black_box(sealer.seal(key, &mut packed).unwrap());
    }
}

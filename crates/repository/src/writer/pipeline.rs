//! What all streams of a writer share, and the worker threads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::chunker::{self, Gear};
use crate::index_file::PackContents;
use crate::lock::LockState;
use crate::pack::BlobKind;
use crate::writer::file::FileState;
use crate::writer::packs::OpenPack;
use crate::writer::queue::Queue;
use crate::writer::seal::{Plain, Sealer};
use crate::{BlobId, Repository, RepositoryError, Result, WriterOptions, sync};

const LEAST_IN_FLIGHT: usize = 64 << 20;
/// What a job holds at least, so that tiny blobs do not make a long queue.
const LEAST_PERMITS: usize = 1 << 10;
/// Packs that are put at the same time.
const UPLOADS: usize = 4;

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) repository: Repository,
    pub(super) lock: Arc<LockState>,
    pub(super) options: WriterOptions,
    pub(super) gear: Box<Gear>,
    pub(super) queue: Queue<Job>,
    pub(super) counters: Counters,
    pub(super) started: jiff::Timestamp,
    /// Bytes in flight.
    budget: Arc<Semaphore>,
    /// Blobs that this writer stores, with their plain lengths. Whoever enters one stores it; nobody else does.
    claims: Mutex<HashMap<(BlobKind, BlobId), u32>>,
    /// One open pack for each kind of blob.
    pub(super) data_pack: Mutex<OpenPack>,
    pub(super) tree_pack: Mutex<OpenPack>,
    /// Packs that are durable and in no index file yet.
    pub(super) unindexed: Mutex<Unindexed>,
    pub(super) indexing: tokio::sync::Mutex<()>,
    pub(super) upload_slots: Semaphore,
    runtime: OnceLock<tokio::runtime::Handle>,
    /// The first failure; it decides how `finish` ends.
    failure: OnceLock<RepositoryError>,
    /// Jobs, full packs and uploads that are not done.
    pending: AtomicUsize,
    pub(super) open_files: AtomicUsize,
    changed: Notify,
}

#[derive(Debug)]
pub(super) struct Unindexed {
    pub(super) packs: Vec<PackContents>,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) data_new: AtomicU64,
    pub(super) data_known: AtomicU64,
    pub(super) trees_new: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_new: AtomicU64,
    pub(super) bytes_stored: AtomicU64,
}

impl Counters {
    /// Counts a blob: one to store, or one that is known.
    pub(super) fn count(&self, kind: BlobKind, new: bool) {
        match (kind, new) {
            (BlobKind::Data, true) => self.data_new.fetch_add(1, Relaxed),
            (BlobKind::Data, false) => self.data_known.fetch_add(1, Relaxed),
            (BlobKind::Tree, true) => self.trees_new.fetch_add(1, Relaxed),
            (BlobKind::Tree, false) => 0,
        };
    }
}

/// A blob to store.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) data: Vec<u8>,
    pub(super) kind: BlobKind,
    /// Who wants to know the id, and its place there.
    pub(super) file: Option<(Arc<FileState>, usize)>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) pending: Pending,
}

/// Something that is not done. Dropping it tells those who wait.
#[derive(Debug)]
pub(super) struct Pending(Arc<Pipeline>);

impl Drop for Pending {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl Pipeline {
    pub(super) fn start(repository: Repository, lock: Arc<LockState>, options: WriterOptions) -> Arc<Self> {
        let in_flight =
            options.in_flight.clamp(LEAST_IN_FLIGHT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let options =
            WriterOptions { in_flight, pack_size: options.pack_size.clamp(1, in_flight / 4), ..options };
        let gear = chunker::gear(repository.shared.config.chunker_polynomial);
        let pipeline = Arc::new(Self {
            gear,
            queue: Queue::new(),
            counters: Counters::default(),
            started: jiff::Timestamp::now(),
            budget: Arc::new(Semaphore::new(in_flight)),
            claims: Mutex::default(),
            data_pack: Mutex::default(),
            tree_pack: Mutex::default(),
            unindexed: Mutex::new(Unindexed { packs: Vec::new(), since: Instant::now() }),
            indexing: tokio::sync::Mutex::default(),
            upload_slots: Semaphore::new(UPLOADS),
            runtime: OnceLock::new(),
            failure: OnceLock::new(),
            pending: AtomicUsize::new(0),
            open_files: AtomicUsize::new(0),
            changed: Notify::new(),
            repository,
            lock,
            options,
        });
        if let Err(error) = pipeline.set_up() {
            pipeline.fail(error);
        }
        pipeline
    }

    fn set_up(self: &Arc<Self>) -> Result<()> {
        let version = self.repository.version();
        if version != 2 {
            return Err(RepositoryError::UnsupportedVersion {
                version,
                needed: "version 2 is needed for writing",
            });
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| RepositoryError::internal("start a writer", e))?;
        let _ = self.runtime.set(runtime);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if self.options.workers == 0 { cores } else { self.options.workers };
        for number in 0..workers {
            let pipeline = self.clone();
            let sealer = Sealer::new(self.options.compression, self.options.verify)?;
            std::thread::Builder::new()
                .name(format!("seal-{number}"))
                .spawn(move || work(&pipeline, sealer))
                .map_err(|e| RepositoryError::internal("start a worker thread", e))?;
        }
        Ok(())
    }

    /// The first failure counts. It wakes everybody who waits.
    pub(super) fn fail(&self, error: RepositoryError) {
        if self.failure.set(error).is_ok() {
            self.budget.close();
        }
        self.changed.notify_waiters();
    }

    /// The failure, if there was one.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Waits for room for `length` bytes.
    pub(super) async fn room(&self, length: usize) -> Result<OwnedSemaphorePermit> {
        let permits = length.clamp(LEAST_PERMITS, self.options.in_flight / 4);
        let permits = u32::try_from(permits).map_err(|e| RepositoryError::internal("count bytes", e))?;
        match self.budget.clone().acquire_many_owned(permits).await {
            Ok(permit) => Ok(permit),
            Err(_) => {
                self.check()?;
                Err(RepositoryError::Incomplete { reason: "the writer is closed".to_owned() })
            }
        }
    }

    /// Hands a blob to the workers.
    pub(super) fn submit(
        self: &Arc<Self>,
        data: Vec<u8>,
        kind: BlobKind,
        file: Option<(Arc<FileState>, usize)>,
        permit: OwnedSemaphorePermit,
    ) {
        let pending = self.pending();
        self.queue.push(Job { data, kind, file, permit, pending });
    }

    pub(super) fn pending(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, SeqCst);
        Pending(self.clone())
    }

    /// Waits until `done` or a failure.
    pub(super) async fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            self.check()?;
            if done() {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Waits until nothing is pending, failed or not.
    pub(super) async fn wait_idle(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_idle() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.load(SeqCst) == 0
    }

    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(task);
        }
    }

    /// The plain length of a blob that is stored, or is being stored by this writer.
    pub(super) fn known_length(&self, kind: BlobKind, id: BlobId) -> Option<u32> {
        let claimed = sync::lock(&self.claims).get(&(kind, id)).copied();
        claimed.or_else(|| {
            self.repository.with_index(|index| index.find(kind, id)).map(|l| l.blob.plain_length())
        })
    }

    /// Whether the caller is the one who has to store it.
    pub(super) fn claim(&self, kind: BlobKind, id: BlobId, length: u32) -> bool {
        let mut claims = sync::lock(&self.claims);
        match claims.entry((kind, id)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                let new = self.repository.with_index(|index| index.find(kind, id).is_none());
                if new {
                    vacant.insert(length);
                }
                new
            }
        }
    }

    fn store(self: &Arc<Self>, job: Job, sealer: &mut Sealer) -> Result<()> {
        let Job { data, kind, file, permit, pending } = job;
        let blob = Plain::new(&data);
        let id = blob.id;
        let length = u32::try_from(data.len()).map_err(|e| RepositoryError::internal("store a blob", e))?;
        let new = self.claim(kind, id, length);
        let counters = &self.counters;
        counters.count(kind, new);
        if kind == BlobKind::Data {
            counters.bytes_in.fetch_add(u64::from(length), Relaxed);
        }
        if new {
            let sealed = sealer.seal(&self.repository.shared.key, blob)?;
            counters.bytes_new.fetch_add(u64::from(length), Relaxed);
            counters.bytes_stored.fetch_add(sealed.bytes.len() as u64, Relaxed);
            self.append(kind, id, &sealed, permit)?;
        }
        if let Some((file, place)) = file
            && file.set(place, id)
        {
            self.tell();
        }
        drop(pending);
        Ok(())
    }
}

/// A worker thread's life.
fn work(pipeline: &Arc<Pipeline>, mut sealer: Sealer) {
    let guard = FailOnPanic(pipeline);
    while let Some(job) = pipeline.queue.pop() {
        if pipeline.check().is_ok()
            && let Err(error) = pipeline.store(job, &mut sealer)
        {
            pipeline.fail(error);
        }
    }
    drop(guard);
}

/// A thread that dies must not leave others waiting for it.
struct FailOnPanic<'a>(&'a Pipeline);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(RepositoryError::internal("store a blob", "a worker thread died"));
        }
    }
}

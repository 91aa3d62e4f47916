//! What all streams of a writer share, and the worker threads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::chunker::{self, Gear};
use crate::pack::BlobKind;
use crate::writer::file::FileState;
use crate::writer::packs::Permit;
use crate::writer::queue::Queue;
use crate::writer::roles::Roles;
use crate::writer::seal::{Plain, Sealer};
use crate::writer::spare::Spare;
use crate::writer::target::{Mask, Target};
use crate::{BlobId, Lock, Repository, RepositoryError, Result, WriterOptions, sync};

const LEAST_IN_FLIGHT: usize = 64 << 20;
/// What a job holds at least, so that tiny blobs do not make a long queue.
const LEAST_PERMITS: usize = 1 << 10;
/// Memory of chunks that is kept for the next ones.
const SPARE_CHUNKS: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Pipeline {
    /// Where everything goes, in the caller's order. Their number never changes.
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) roles: Roles,
    pub(super) options: WriterOptions,
    pub(super) gear: Box<Gear>,
    pub(super) queue: Queue<Job>,
    pub(super) spare_chunks: Spare,
    /// Of one pack.
    pub(super) spare_packs: Spare,
    /// Bytes of file content that were cut into blobs.
    pub(super) bytes_in: AtomicU64,
    pub(super) started: jiff::Timestamp,
    /// Bytes in flight.
    budget: Arc<Semaphore>,
    /// Blobs that this writer stores. Whoever enters one for a target stores it there; nobody else does.
    claims: Mutex<HashMap<(BlobKind, BlobId), Claim>>,
    runtime: OnceLock<tokio::runtime::Handle>,
    /// The first failure; it decides how `finish` ends.
    failure: OnceLock<RepositoryError>,
    /// Packs that still wait for their upload are dropped.
    pub(super) in_a_hurry: AtomicBool,
    /// Jobs that are not done.
    jobs: AtomicUsize,
    pub(super) open_files: AtomicUsize,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    /// Plain length.
    length: u32,
    targets: Mask,
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

/// Something that is not done: a job, or an upload to a target. Dropping it tells those who wait.
#[derive(Debug)]
pub(super) struct Pending {
    pipeline: Arc<Pipeline>,
    target: Option<usize>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.pipeline.counter(self.target).fetch_sub(1, SeqCst) == 1 {
            self.pipeline.tell();
        }
    }
}

impl Pipeline {
    pub(super) fn start(targets: &[(&Repository, &Lock)], options: WriterOptions) -> Arc<Self> {
        let in_flight =
            options.in_flight.clamp(LEAST_IN_FLIGHT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let pack_size = options.pack_size.clamp(1, in_flight / 4);
        // A pack is filled while another one is put.
        let replica_queue = options.replica_queue.clamp(pack_size * 2, Semaphore::MAX_PERMITS);
        let options = WriterOptions { in_flight, pack_size, replica_queue, ..options };
        let polynomial = targets.first().map_or(0, |(first, _)| first.shared.config.chunker_polynomial);
        let pipeline = Arc::new(Self {
            roles: Roles::new(targets.len()),
            targets: targets
                .iter()
                .enumerate()
                .map(|(n, (repository, lock))| Target::new(n, repository, lock, replica_queue))
                .collect(),
            gear: chunker::gear(polynomial),
            queue: Queue::new(),
            spare_chunks: Spare::new(SPARE_CHUNKS),
            spare_packs: Spare::new(pack_size + pack_size / 2),
            bytes_in: AtomicU64::new(0),
            started: jiff::Timestamp::now(),
            budget: Arc::new(Semaphore::new(in_flight)),
            claims: Mutex::default(),
            runtime: OnceLock::new(),
            failure: OnceLock::new(),
            in_a_hurry: AtomicBool::new(false),
            jobs: AtomicUsize::new(0),
            open_files: AtomicUsize::new(0),
            changed: Notify::new(),
            options,
        });
        if let Err(error) = pipeline.set_up() {
            pipeline.fail(error);
        }
        pipeline
    }

    fn set_up(self: &Arc<Self>) -> Result<()> {
        self.check_targets()?;
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
        self.tell();
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
        let pending = self.pending(None);
        self.queue.push(Job { data, kind, file, permit, pending });
    }

    /// Counts a job, or an upload to a target.
    pub(super) fn pending(self: &Arc<Self>, target: Option<usize>) -> Pending {
        self.counter(target).fetch_add(1, SeqCst);
        Pending { pipeline: self.clone(), target }
    }

    fn counter(&self, target: Option<usize>) -> &AtomicUsize {
        target.map_or(&self.jobs, |number| &self.targets[number].pending)
    }

    /// Waits until `done` or a failure.
    pub(super) async fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        self.wait(|| self.check().is_err() || done()).await;
        self.check()
    }

    /// Waits until `done`, failed or not.
    pub(super) async fn wait(&self, done: impl Fn() -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if done() {
                return;
            }
            changed.await;
        }
    }

    /// Whether the workers have nothing left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.load(SeqCst) == 0
    }

    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(task);
        }
    }

    /// The plain length of a blob that is stored in the target, or is being stored there by this writer.
    pub(super) fn known_length(&self, target: &Target, kind: BlobKind, id: BlobId) -> Option<u32> {
        let claim = sync::lock(&self.claims).get(&(kind, id)).copied();
        let claimed = claim.filter(|claim| claim.targets & target.bit() != 0).map(|claim| claim.length);
        claimed.or_else(|| {
            target.repository.with_index(|index| index.find(kind, id)).map(|l| l.blob.plain_length())
        })
    }

    /// Where the caller has to store it.
    pub(super) fn claim(&self, kind: BlobKind, id: BlobId, length: u32) -> Mask {
        let alive = self.roles.alive();
        let mut claims = sync::lock(&self.claims);
        match claims.entry((kind, id)) {
            Entry::Occupied(mut claim) => {
                let wanted = self.lacking(alive & !claim.get().targets, kind, id);
                claim.get_mut().targets |= wanted;
                wanted
            }
            Entry::Vacant(vacant) => {
                let wanted = self.lacking(alive, kind, id);
                if wanted != 0 {
                    vacant.insert(Claim { length, targets: wanted });
                }
                wanted
            }
        }
    }

    /// Those of the targets whose index does not know the blob.
    fn lacking(&self, targets: Mask, kind: BlobKind, id: BlobId) -> Mask {
        let asked = self.targets.iter().filter(|target| targets & target.bit() != 0);
        let lacks =
            |target: &&Arc<Target>| target.repository.with_index(|index| index.find(kind, id).is_none());
        asked.filter(lacks).fold(0, |mask, target| mask | target.bit())
    }

    /// The target does not get this blob after all.
    pub(super) fn unclaim(&self, target: &Target, kind: BlobKind, id: BlobId) {
        if let Some(claim) = sync::lock(&self.claims).get_mut(&(kind, id)) {
            claim.targets &= !target.bit();
        }
    }

    fn store(self: &Arc<Self>, job: Job, sealer: &mut Sealer) -> Result<()> {
        let Job { data, kind, file, permit, pending } = job;
        let blob = Plain::new(&data);
        let id = blob.id;
        let length = u32::try_from(data.len()).map_err(|e| RepositoryError::internal("store a blob", e))?;
        let wanted = self.claim(kind, id, length);
        if kind == BlobKind::Data {
            self.bytes_in.fetch_add(u64::from(length), Relaxed);
        }
        for target in &self.targets {
            target.count(kind, wanted & target.bit() != 0);
        }
        if wanted != 0 {
            self.seal(kind, blob, wanted, permit, sealer)?;
        }
        if let Some((file, place)) = file
            && file.set(place, id)
        {
            self.tell();
        }
        if kind == BlobKind::Data {
            self.spare_chunks.give(data);
        }
        drop(pending);
        Ok(())
    }

    /// Compresses once, and seals for each target that wants it.
    fn seal(
        self: &Arc<Self>,
        kind: BlobKind,
        blob: Plain<'_>,
        wanted: Mask,
        permit: OwnedSemaphorePermit,
        sealer: &mut Sealer,
    ) -> Result<()> {
        let (id, length) = (blob.id, blob.length() as u64);
        let mut packed = sealer.pack(blob, wanted.count_ones() > 1)?;
        let mut flight = Some(permit);
        for target in self.targets.iter().filter(|target| wanted & target.bit() != 0) {
            let permit = match self.roles.is_leading(target) {
                true => flight.take().map_or(Permit::None, Permit::Flight),
                false => match target.room(packed.length()) {
                    Some(room) => Permit::Queue(room),
                    None if self.owe(target, kind, id) => continue,
                    None => flight.take().map_or(Permit::None, Permit::Flight),
                },
            };
            let sealed = sealer.seal(&target.repository.shared.key, &mut packed)?;
            target.counters.bytes_new.fetch_add(length, Relaxed);
            target.counters.bytes_stored.fetch_add(sealed.bytes.len() as u64, Relaxed);
            self.append(target, kind, id, &sealed, permit)?;
        }
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

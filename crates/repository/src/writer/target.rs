//! One repository that a writer writes to: its open packs, its index, its queue, and whether it still goes on.
//!
//! One of them leads. The bytes that it has in flight hold the streams up when they become too many. The others never
//! hold anything up: a blob for which their queue has no room is *owed*, and whoever owes a blob cannot finish.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::index_file::PackContents;
use crate::lock::LockState;
use crate::pack::BlobKind;
use crate::writer::packs::OpenPack;
use crate::{Lock, Repository, RepositoryError, Result, sync};

/// Packs that are put at the same time.
const UPLOADS: usize = 4;

/// One bit for each target.
pub(super) type Mask = u16;

/// More repositories than this cannot be written at once.
pub(super) const MOST_TARGETS: usize = Mask::BITS as usize;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) number: usize,
    pub(super) repository: Repository,
    pub(super) lock: Arc<LockState>,
    pub(super) counters: Counters,
    /// One open pack for each kind of blob.
    data_pack: Mutex<OpenPack>,
    tree_pack: Mutex<OpenPack>,
    /// Packs that are durable and in no index file yet.
    pub(super) unindexed: Mutex<Unindexed>,
    pub(super) indexing: tokio::sync::Mutex<()>,
    pub(super) upload_slots: Semaphore,
    /// Sealed bytes that may wait here, unless it leads.
    queue: Arc<Semaphore>,
    /// Why it stopped.
    failure: OnceLock<RepositoryError>,
    /// Blobs that were left out.
    owed: AtomicU64,
    /// Full packs and uploads that are not done.
    pub(super) pending: AtomicUsize,
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
    pub(super) bytes_new: AtomicU64,
    pub(super) bytes_stored: AtomicU64,
}

impl Target {
    pub(super) fn new(number: usize, repository: &Repository, lock: &Lock, queue: usize) -> Arc<Self> {
        Arc::new(Self {
            number,
            repository: repository.clone(),
            lock: lock.state(),
            counters: Counters::default(),
            data_pack: Mutex::default(),
            tree_pack: Mutex::default(),
            unindexed: Mutex::new(Unindexed { packs: Vec::new(), since: Instant::now() }),
            indexing: tokio::sync::Mutex::default(),
            upload_slots: Semaphore::new(UPLOADS),
            queue: Arc::new(Semaphore::new(queue)),
            failure: OnceLock::new(),
            owed: AtomicU64::new(0),
            pending: AtomicUsize::new(0),
        })
    }

    pub(super) fn bit(&self) -> Mask {
        1 << self.number
    }

    pub(super) fn open_pack(&self, kind: BlobKind) -> &Mutex<OpenPack> {
        match kind {
            BlobKind::Data => &self.data_pack,
            BlobKind::Tree => &self.tree_pack,
        }
    }

    /// Room for a sealed blob in the queue, if there is some now.
    pub(super) fn room(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(length).ok()?;
        self.queue.clone().try_acquire_many_owned(permits).ok()
    }

    /// An error if it has stopped.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Why it has stopped.
    pub(super) fn failure(&self) -> Option<RepositoryError> {
        self.failure.get().cloned()
    }

    /// Stops it, unless it has stopped already; the first reason stays.
    pub(super) fn stop(&self, error: RepositoryError) -> bool {
        if self.failure.set(error).is_err() {
            return false;
        }
        // What they hold no longer counts as in flight. Nothing is added any more: whoever does looks first.
        for kind in [BlobKind::Data, BlobKind::Tree] {
            drop(std::mem::take(&mut *sync::lock(self.open_pack(kind))));
        }
        true
    }

    /// Notes that a blob was left out.
    pub(super) fn owe(&self) {
        self.owed.fetch_add(1, SeqCst);
    }

    pub(super) fn owes(&self) -> u64 {
        self.owed.load(SeqCst)
    }

    /// Everything so far is in it, or on its way.
    pub(super) fn is_complete(&self) -> bool {
        self.failure.get().is_none() && self.owes() == 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.load(SeqCst) == 0
    }

    /// Counts a blob: `new` ones are about to be sealed.
    pub(super) fn count(&self, kind: BlobKind, new: bool) {
        let counters = &self.counters;
        match (kind, new) {
            (BlobKind::Data, true) => counters.data_new.fetch_add(1, Relaxed),
            (BlobKind::Data, false) => counters.data_known.fetch_add(1, Relaxed),
            (BlobKind::Tree, true) => counters.trees_new.fetch_add(1, Relaxed),
            (BlobKind::Tree, false) => 0,
        };
    }
}

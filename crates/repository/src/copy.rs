//! Copying snapshots from one repository to another. Only blobs that are missing there travel, as they are compressed
//! already; ids of blobs and trees stay, since they are hashes of the plain content.
//!
//! *Must*: a snapshot appears in the target only after everything that it refers to is durable and indexed there. What
//! cannot be read in the source costs the snapshots that need it, and no others.

mod missing;
mod present;
mod transfer;

use std::collections::HashSet;

use basekeep_store::ErrorKind;
use futures::StreamExt;

use crate::copy::missing::Missing;
use crate::{
    Lock, Repository, RepositoryError, Result, Snapshot, SnapshotId, TreeId, Writer, WriterOptions, layout,
    snapshot,
};

/// While less than this moves, more snapshots are taken together, so that small ones share packs.
const SMALL_BATCH: u64 = 64 << 20;
const MOST_IN_BATCH: usize = 256;
/// Snapshot files that are written at the same time.
const WRITES: usize = 8;

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Snapshots that are done: copied, there already, or given up.
    pub snapshots_done: u64,
    /// Snapshots that were asked for.
    pub snapshots_total: u64,
    /// Blobs that have travelled.
    pub blobs: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Bytes that are known to be missing so far, those that have travelled included.
    pub bytes_found: u64,
}

/// A snapshot that could not be copied.
#[derive(Debug, Clone)]
pub struct NotCopied {
    /// The snapshot in the source.
    pub snapshot: SnapshotId,
    /// What of it is damaged or missing there.
    pub error: RepositoryError,
}

/// What a copy did.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Copied snapshots: the id in the source, and in the target.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// Those that the target had already: the id in the source, and in the target.
    pub present: Vec<(SnapshotId, SnapshotId)>,
    /// Those that are damaged in the source.
    pub not_copied: Vec<NotCopied>,
    /// Blobs that travelled.
    pub blobs: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
}

impl Repository {
    /// Copies snapshots into `to`, in the order given. Both are locked by the caller (shared is enough). Snapshots that the
    /// target has already are passed over: the same tree, and either the same time, host and paths or the same original.
    ///
    /// Fields that this program does not know are kept; `parent` is left out and `original` set, as stock restic's copy
    /// does it. A repeated call goes on where an interrupted one ended.
    ///
    /// Once `stop` ends, the copy ends too, as [`RepositoryError::Incomplete`].
    ///
    /// Errors: those of the target, and of the source's storage. Damage in the source is in the report.
    pub async fn copy_to(
        &self,
        to: &Self,
        locks: (&Lock, &Lock),
        snapshots: &[Snapshot],
        options: WriterOptions,
        progress: &(dyn Fn(CopyProgress) + Send + Sync),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<CopyReport> {
        if self.id() == to.id() && self.location() == to.location() {
            return Err(RepositoryError::Refused("source and target are the same repository".to_owned()));
        }
        self.load_index().await?;
        to.load_index().await?;
        // What the target has lost travels again.
        to.forget_missing_packs().await?;
        let (there, _) = to.snapshots().await?;
        let mut report = CopyReport::default();
        let mut wanted = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots {
            match present::find(snapshot, &there) {
                Some(copy) => report.present.push((snapshot.id, copy)),
                None => wanted.push(snapshot.clone()),
            }
        }
        let writer = to.writer(locks.1, options);
        let mut copying = Copying {
            from: self,
            from_lock: locks.0,
            writer: &writer,
            complete: HashSet::new(),
            total: snapshots.len() as u64,
            found: 0,
            progress,
            report,
        };
        let stopped = || RepositoryError::Incomplete { reason: "the copy was given up".to_owned() };
        let result = tokio::select! {
            biased;
            () = stop => Err(stopped()),
            result = copying.run(&wanted) => result,
        };
        match result {
            Ok(()) => Ok(copying.report),
            Err(error) => {
                // Leaves an index of what arrived.
                writer.clone().abort().await;
                Err(error)
            }
        }
    }
}

/// A copy that is under way.
struct Copying<'a> {
    from: &'a Repository,
    from_lock: &'a Lock,
    writer: &'a Writer,
    /// Trees that are in the target with everything below them.
    complete: HashSet<TreeId>,
    total: u64,
    found: u64,
    progress: &'a (dyn Fn(CopyProgress) + Send + Sync),
    report: CopyReport,
}

impl Copying<'_> {
    async fn run(&mut self, wanted: &[Snapshot]) -> Result<()> {
        self.tell();
        let (mut rest, mut size) = (wanted, 1);
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let before = self.report.bytes;
            self.copy_batch(batch).await?;
            let small = self.report.bytes - before < SMALL_BATCH;
            size = if small { (size * 2).min(MOST_IN_BATCH) } else { 1 };
            rest = later;
        }
        Ok(())
    }

    async fn copy_batch(&mut self, batch: &[Snapshot]) -> Result<()> {
        let mut missing = Missing::new(self.from, self.writer);
        let mut complete = std::mem::take(&mut self.complete);
        let mut walk = missing.walk(batch.iter().map(|snapshot| snapshot.tree), &complete);
        while let Some(blobs) = walk.next().await? {
            self.found += blobs.iter().map(|place| u64::from(place.blob.length)).sum::<u64>();
            self.tell();
            let failed = self.transfer(blobs).await?;
            walk.note_failed(failed);
        }
        let trees = walk.end();
        self.writer.settle().await?;
        // Damage that is told below must not be somebody's prune.
        self.from_lock.state().confirm().await?;
        let mut whole = Vec::with_capacity(batch.len());
        for snapshot in batch {
            let checked = match missing.failed.is_empty() {
                true => Ok(()),
                false => missing.check_whole(snapshot.tree).await,
            };
            if self.or_not_copied(snapshot.id, checked)?.is_some() {
                whole.push(snapshot.id);
            }
        }
        self.write_snapshots(whole).await?;
        if missing.failed.is_empty() {
            complete.extend(trees);
        }
        self.complete = complete;
        Ok(())
    }

    /// The snapshots' files, last.
    async fn write_snapshots(&mut self, whole: Vec<SnapshotId>) -> Result<()> {
        let (from, writer) = (self.from.clone(), self.writer.clone());
        let mut writes = futures::stream::iter(whole)
            .map(move |id| write_snapshot(from.clone(), writer.clone(), id))
            .buffered(WRITES);
        while let Some((id, written)) = writes.next().await {
            if let Some(copy) = self.or_not_copied(id, written)? {
                self.report.copied.push((id, copy));
            }
            self.tell();
        }
        Ok(())
    }

    /// Notes damage; other errors end the copy.
    fn or_not_copied<T>(&mut self, snapshot: SnapshotId, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_damage(&error) => {
                self.report.not_copied.push(NotCopied { snapshot, error });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self) {
        let report = &self.report;
        let done = report.copied.len() + report.present.len() + report.not_copied.len();
        (self.progress)(CopyProgress {
            snapshots_done: done as u64,
            snapshots_total: self.total,
            blobs: report.blobs,
            bytes: report.bytes,
            bytes_found: self.found,
        });
    }
}

async fn write_snapshot(
    from: Repository,
    writer: Writer,
    id: SnapshotId,
) -> (SnapshotId, Result<SnapshotId>) {
    let write = async {
        let json = from.read_json(&layout::snapshot(id), |json| Ok(json.to_vec())).await?;
        let json =
            snapshot::for_copy(id, &json).map_err(|e| RepositoryError::internal("write a snapshot", e))?;
        writer.put_snapshot(json).await
    };
    (id, write.await)
}

/// Something in the repository is not what it should be, as opposed to a storage that does not answer.
fn is_damage(error: &RepositoryError) -> bool {
    match error {
        RepositoryError::Damaged { .. }
        | RepositoryError::DamagedBlob { .. }
        | RepositoryError::DamagedTree { .. }
        | RepositoryError::MissingBlob { .. } => true,
        RepositoryError::Store(error) => matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt),
        _ => false,
    }
}

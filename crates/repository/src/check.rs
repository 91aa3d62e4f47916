//! Checking a repository: which files are damaged, and which snapshots and paths each of them touches.
//!
//! What cannot be noticed: a snapshot or key file that is gone altogether, since nothing else names it.

mod files;
mod needs;
mod packs;
mod subset;
mod touched;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

pub use subset::Subset;

use basekeep_store::ErrorKind;

use crate::bits::Bits;
use crate::index::{ByPack, Index, Location};
use crate::pack::BlobKind;
use crate::{BlobId, Repository, RepositoryError, Result, Snapshot, SnapshotId, layout};

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Read every pack, not only the lists of packs and the trees. With `snapshots`, only packs that these need.
    pub read_data: bool,
    /// Only these; all if `None`.
    pub snapshots: Option<Vec<SnapshotId>>,
}

/// How far reading packs has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// Packs that were read.
    pub packs_done: u64,
    /// Packs to read.
    pub packs_total: u64,
    /// Their bytes that were read.
    pub bytes_done: u64,
    /// Their bytes.
    pub bytes_total: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Packs that an index lists.
    pub packs: u64,
    /// Blobs that an index lists.
    pub blobs: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Blobs whose content was read and verified: trees, and with `read_data` all.
    pub blobs_read: u64,
    /// Their plain bytes.
    pub bytes_read: u64,
    /// Damage, by file. Empty means that all is well.
    pub damage: Vec<Damage>,
    /// Harmless findings.
    pub notes: Vec<String>,
}

/// A damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its key in the store, `data/3f/3fa9…`; `index/` alone where an index file is missing and its name is not known.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
    /// What cannot be read because of it, sorted. Empty if nothing is lost: every blob in it exists elsewhere, or nothing
    /// needs it, or (`config`, `keys/`) it concerns the repository as a whole.
    pub touches: Vec<Touched>,
}

/// A place in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// `/source/database/12.dat`; `/` for the whole snapshot. A folder means all that is in it.
    pub path: String,
}

/// A blob of a kind.
type Handle = (BlobKind, BlobId);

/// What is known while the check goes on.
#[derive(Default)]
struct Checking {
    report: CheckReport,
    snapshots: Vec<Snapshot>,
    /// All that index files list, and what the headers of packs in no index list.
    index: Arc<Index>,
    by_pack: ByPack,
    /// Packs with smaller numbers are listed by an index file.
    listed: usize,
    /// By pack number: its size in the store.
    stored: Vec<Option<u64>>,
    bad_index_files: Vec<String>,
    /// By position: it is not what it should be.
    bad: Arc<Bits>,
    /// By first position: the snapshots need it.
    needed: Arc<Bits>,
    /// What they need and no pack holds.
    nowhere: HashSet<Handle>,
    found: BTreeMap<String, Found>,
}

#[derive(Default)]
struct Found {
    reasons: Vec<String>,
    /// Blobs that are lost because of it.
    lost: HashSet<Handle>,
    touches: BTreeSet<Touched>,
}

impl Checking {
    fn damage(&mut self, file: impl Into<String>, reason: impl Into<String>) -> &mut Found {
        let found = self.found.entry(file.into()).or_default();
        let reason = reason.into();
        if !found.reasons.contains(&reason) {
            found.reasons.push(reason);
        }
        found
    }

    /// The positions of a blob's places that are good as far as is known.
    fn good(&self, (kind, id): Handle) -> impl Iterator<Item = usize> {
        self.index.positions(kind, id).filter(|position| !self.bad.get(*position))
    }

    fn places(&self, handle: Handle) -> Vec<Location> {
        self.good(handle).map(|position| self.index.at(position)).collect()
    }
}

impl Repository {
    /// Checks the repository. Damage is in the report; an error means that the check could not go on, because the storage
    /// fails or a snapshot of `options` does not exist. Hold a lock while it runs.
    pub async fn check(
        &self,
        options: &CheckOptions,
        progress: &(dyn Fn(CheckProgress) + Send + Sync),
    ) -> Result<CheckReport> {
        self.check_subset(options, Subset::All, progress).await
    }

    /// Like [`Repository::check`]; where `read_data` is set, only a part of the packs is read.
    pub async fn check_subset(
        &self,
        options: &CheckOptions,
        subset: Subset,
        progress: &(dyn Fn(CheckProgress) + Send + Sync),
    ) -> Result<CheckReport> {
        if self.cache.is_some() {
            // What is to be checked is what the storage has.
            return Box::pin(self.without_cache().check_subset(options, subset, progress)).await;
        }
        let mut checking = Checking::default();
        checking.check_config(self).await?;
        checking.check_keys(self).await?;
        // Snapshots before the index, as every reader does: what a snapshot needs was indexed before it.
        checking.check_snapshots(self, options).await?;
        checking.check_index(self).await?;
        checking.find_needed(self).await?;
        checking.read_packs(self, options, subset, progress).await?;
        checking.find_lost();
        checking.find_touched(self).await?;
        Ok(checking.finish(options))
    }
}

impl Checking {
    /// Which blobs that are needed have no good place left, and whose fault that is.
    fn find_lost(&mut self) {
        let mut unindexed = HashSet::new();
        let mut in_packs: BTreeMap<usize, HashSet<Handle>> = BTreeMap::new();
        for first in (0..self.index.len()).filter(|position| self.needed.get(*position)) {
            let blob = self.index.at(first).blob;
            let is_listed = |position: &usize| self.index.pack_at(*position) < self.listed;
            let is_good = |position: &usize| !self.bad.get(*position);
            let places = self.index.same(first);
            if places.clone().any(|position| is_listed(&position) && is_good(&position)) {
                continue;
            }
            let handle = (blob.kind, blob.id);
            let mut listed = places.clone().filter(is_listed).peekable();
            if listed.peek().is_none() {
                if places.clone().any(|position| is_good(&position)) {
                    unindexed.insert(handle);
                } else {
                    self.nowhere.insert(handle);
                }
            }
            for position in listed {
                in_packs.entry(self.index.pack_at(position)).or_default().insert(handle);
            }
        }
        for (pack, lost) in in_packs {
            let file = layout::pack(self.index.packs()[pack]);
            self.found.entry(file).or_default().lost.extend(lost);
        }
        let nowhere = std::mem::take(&mut self.nowhere);
        self.blame_index(unindexed, nowhere);
    }

    fn blame_index(&mut self, unindexed: HashSet<Handle>, nowhere: HashSet<Handle>) {
        let lost: HashSet<Handle> = unindexed.union(&nowhere).copied().collect();
        if lost.is_empty() {
            return;
        }
        let mut files = self.bad_index_files.clone();
        if files.is_empty() {
            if !unindexed.is_empty() {
                let reason = "an index file is missing: packs that snapshots need are in no index";
                self.damage(
                    layout::INDEX,
                    format!("{reason} (their blobs are good; `basekeep repair index` finds them)"),
                );
            }
            if !nowhere.is_empty() {
                let reason =
                    format!("{} blobs that snapshots need are in no index and in no pack", nowhere.len());
                self.damage(layout::INDEX, reason);
            }
            files.push(layout::INDEX.to_owned());
        }
        for file in files {
            self.found.entry(file).or_default().lost.extend(&lost);
        }
    }

    /// Blobs that an index file lists and no snapshot needs, and their bytes in the packs.
    fn unused(&self) -> (u64, u64) {
        let (mut blobs, mut bytes, mut first) = (0, 0, 0);
        while first < self.index.len() {
            let places = self.index.same(first);
            if !self.needed.get(first) {
                for position in places.clone().filter(|position| self.index.pack_at(*position) < self.listed)
                {
                    blobs += 1;
                    bytes += u64::from(self.index.at(position).blob.length);
                }
            }
            first = places.end;
        }
        (blobs, bytes)
    }

    fn finish(mut self, options: &CheckOptions) -> CheckReport {
        let mut report = std::mem::take(&mut self.report);
        if options.snapshots.is_none() && self.found.is_empty() {
            let (count, bytes) = self.unused();
            if count > 0 {
                report.notes.push(format!(
                    "{count} blobs ({bytes} bytes) belong to no snapshot; `basekeep prune` frees the space"
                ));
            }
        }
        report.damage = std::mem::take(&mut self.found)
            .into_iter()
            .map(|(file, found)| Damage {
                file,
                reason: found.reasons.join("; "),
                touches: found.touches.into_iter().collect(),
            })
            .collect();
        report
    }
}

/// Whether an error is damage rather than a failure of the storage; then what is wrong.
fn as_damage(error: &RepositoryError) -> Option<String> {
    match error {
        RepositoryError::Damaged { reason, .. }
        | RepositoryError::DamagedBlob { reason, .. }
        | RepositoryError::DamagedTree { reason, .. } => Some(reason.clone()),
        RepositoryError::MissingBlob { .. } => Some("it is in no index".to_owned()),
        RepositoryError::Store(error) if error.kind == ErrorKind::NotFound => {
            Some("it is missing".to_owned())
        }
        RepositoryError::Store(error) if error.kind == ErrorKind::Corrupt => Some(error.source.to_string()),
        _ => None,
    }
}

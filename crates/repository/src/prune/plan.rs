//! What a prune will do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bits::Bits;
use crate::index::{ByPack, Index};
use crate::prune::choose::{self, Verdict};
use crate::prune::packs::Packs;
use crate::prune::survey::{IndexFile, Survey};
use crate::prune::usage::Usage;
use crate::prune::{PruneOptions, recompress};
use crate::{Lock, LockMode, PackId, Repository, RepositoryError, Result, Snapshot, SnapshotId};

/// Packs, and what is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packs.
    pub packs: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes as they are stored.
    pub bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, blobs: u64, bytes: u64) {
        self.packs += 1;
        self.blobs += blobs;
        self.bytes += bytes;
    }
}

/// A plan in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneSummary {
    /// Snapshots whose needs were counted.
    pub snapshots: u64,
    /// Everything that is stored in packs now.
    pub stored: Amount,
    /// What snapshots need, each blob once. `packs` counts packs that hold any of it.
    pub needed: Amount,
    /// What no snapshot needs, in `packs` packs.
    pub unused: Amount,
    /// Second copies of needed blobs, in `packs` packs.
    pub duplicates: Amount,
    /// Packs that stay as they are.
    pub kept: Amount,
    /// Packs that are deleted, since nothing in them is needed.
    pub deleted: Amount,
    /// Packs that are rewritten without what is not needed, or put together.
    pub repacked: Amount,
    /// Packs that are rewritten for the sake of a better compression alone.
    pub recompressed: Amount,
    /// Packs that are in no index file: leftovers of runs that were interrupted. They are deleted.
    pub unindexed: Amount,
    /// Packs that an index file lists, that are not there, and that nothing needs. They leave the index.
    pub gone: u64,
    /// Bytes that are copied into new packs, before any recompression.
    pub copied_bytes: u64,
    /// Bytes that are not needed and stay all the same.
    pub unused_after: u64,
    /// Bytes that are freed, before any recompression.
    pub freed: u64,
    /// Index files that there are.
    pub index_files: u64,
    /// Index files that are replaced.
    pub index_files_replaced: u64,
    /// Packs with the wrong size that are left alone, by key.
    pub suspect: Vec<String>,
}

/// What a prune will do. Looking at it changes nothing.
#[derive(Debug)]
pub struct PrunePlan {
    /// In figures.
    pub summary: PruneSummary,
    /// The snapshots that count.
    pub(super) snapshots: BTreeSet<SnapshotId>,
    pub(super) index: Arc<Index>,
    pub(super) by_pack: ByPack,
    pub(super) files: Vec<IndexFile>,
    /// Which of the index files are replaced.
    pub(super) replaced: Vec<bool>,
    /// By pack number.
    pub(super) stored: Vec<Option<u64>>,
    /// By pack number.
    pub(super) verdicts: Vec<Verdict>,
    /// By pack number: if it is rewritten, its blobs are compressed again, unless they were before.
    pub(super) again: Vec<bool>,
    /// By position: of the places of a blob that is needed, the one that counts.
    pub(super) chosen: Bits,
    /// Needed blobs that are at several places: the first position of each.
    pub(super) duplicates: Vec<u32>,
    pub(super) unindexed: Vec<(PackId, u64)>,
    pub(super) recompress_level: i32,
    pub(super) pack_size: usize,
}

impl PrunePlan {
    /// A pack's bytes.
    pub(super) fn size(&self, pack: usize) -> u64 {
        self.stored.get(pack).copied().flatten().unwrap_or(0)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.unindexed.is_empty() && !self.replaced.contains(&true)
    }
}

impl Repository {
    /// Finds out what to prune. Reads all trees and index files, and changes nothing. It makes an
    /// index of its own: 48 bytes for each blob beside what [`Repository::load_index`] holds.
    ///
    /// Errors: [`RepositoryError::CannotPrune`] where something cannot be read that may need anything, or where something
    /// that a snapshot needs is not there; [`RepositoryError::Refused`] if the lock is not exclusive.
    pub async fn plan_prune(&self, options: &PruneOptions, lock: &Lock) -> Result<PrunePlan> {
        self.may_prune(lock)?;
        let mut survey = Survey::begin(self).await?;
        survey.snapshots.retain(|snapshot| !options.without.contains(&snapshot.id));
        let usage = Arc::new(Usage::new(survey.index.clone(), survey.sound.clone()));
        let (early, late) = by_age(&survey.snapshots, options);
        usage.walk(self, early).await?;
        let needed_early = usage.needed.copy();
        usage.walk(self, late).await?;

        let mut packs = Packs::new(&survey);
        let duplicates = packs.choose_places(&survey, &usage.needed, &needed_early);
        let mut verdicts = choose::verdicts(&survey, &packs, options);
        if options.recompress_before.is_some() {
            recompress::choose(self, &survey, &packs, options, &mut verdicts).await?;
        }
        let wanted = options.recompress_before.is_some();
        let again = packs.figures.iter().map(|pack| wanted && pack.early && !pack.trees).collect();
        let replaced = choose::replaced_files(&survey, &verdicts);
        let mut summary = packs.summary(&survey, &verdicts);
        summary.index_files_replaced = replaced.iter().filter(|replaced| **replaced).count() as u64;
        Ok(PrunePlan {
            summary,
            snapshots: survey.snapshots.iter().map(|snapshot| snapshot.id).collect(),
            index: survey.index,
            by_pack: survey.by_pack,
            files: survey.files,
            replaced,
            stored: survey.stored,
            verdicts,
            again,
            chosen: packs.chosen,
            duplicates,
            unindexed: survey.unindexed,
            recompress_level: options.recompress_level,
            pack_size: options.pack_size,
        })
    }

    /// Whether this repository can be pruned under this lock.
    pub(super) fn may_prune(&self, lock: &Lock) -> Result<()> {
        if self.version() != 2 {
            return Err(RepositoryError::UnsupportedVersion {
                version: self.version(),
                needed: "version 2 is needed for pruning (`restic migrate upgrade_repo_v2` makes it one)",
            });
        }
        if lock.mode() != LockMode::Exclusive {
            return Err(RepositoryError::Refused("pruning needs an exclusive lock".to_owned()));
        }
        lock.state().check()
    }
}

/// Snapshots that are old enough for recompression, and the others.
fn by_age<'a>(snapshots: &'a [Snapshot], options: &PruneOptions) -> (&'a [Snapshot], &'a [Snapshot]) {
    let Some(limit) = options.recompress_before else { return (&[], snapshots) };
    snapshots.split_at(snapshots.partition_point(|snapshot| snapshot.time <= limit))
}

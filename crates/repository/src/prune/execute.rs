//! Doing what was planned, in the order that the format demands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basekeep_store::{ErrorKind, Operation};
use futures::StreamExt;

use crate::index_file::PackContents;
use crate::index_write::write_index;
use crate::lock::LockState;
use crate::prune::choose::Verdict;
use crate::prune::copy::{self, Job};
use crate::prune::plan::PrunePlan;
use crate::prune::rewrite::Rewrite;
use crate::prune::{PruneOutcome, PruneProgress, PruneStage};
use crate::repository::exists;
use crate::{Lock, PackId, Repository, RepositoryError, Result, SnapshotId, layout};

/// Files that are deleted at the same time.
const DELETES: usize = 8;
/// Packs that are verified at the same time.
const READS: usize = 4;

type Progress<'a> = &'a (dyn Fn(PruneProgress) + Send + Sync);

impl Repository {
    /// Does what was planned. It can be stopped at any moment without harm: drop the future, and release the lock.
    ///
    /// Errors: [`RepositoryError::Refused`] if the repository has changed since the plan was made;
    /// [`RepositoryError::CannotPrune`] if the storage does not allow deleting; a failed storage; a lost lock.
    pub async fn execute_prune(
        &self,
        plan: PrunePlan,
        lock: &Lock,
        progress: &(dyn Fn(PruneProgress) + Send + Sync),
    ) -> Result<PruneOutcome> {
        self.may_prune(lock)?;
        self.refuse_changes(&plan).await?;
        let outcome = PruneOutcome::default();
        let mut execution = Execution { repository: self, lock: lock.state(), plan, outcome, progress };
        if !execution.plan.is_empty() {
            execution.run().await?;
        }
        let Execution { outcome, plan, .. } = execution;
        drop(plan);
        self.reload_index().await?;
        Ok(outcome)
    }

    /// The plan was made under a lock; it may have been another one. What is listed and not there is no change: see
    /// [`Repository::load_index`].
    async fn refuse_changes(&self, plan: &PrunePlan) -> Result<()> {
        let refused = |what: &str| {
            Err(RepositoryError::Refused(format!("the repository changed since the plan was made: {what}")))
        };
        for file in self.list_ids(layout::SNAPSHOTS).await? {
            let id = layout::id_of(&file.key).map(SnapshotId::from_bytes);
            let known = id.is_none_or(|id| plan.snapshots.contains(&id));
            if !known && exists(&*self.shared.store, &file.key).await? {
                return refused("it has snapshots that the plan does not know");
            }
        }
        let mut files: BTreeSet<&str> = plan.files.iter().map(|file| file.key.as_str()).collect();
        for file in self.list_ids(layout::INDEX).await? {
            if !files.remove(file.key.as_str()) && exists(&*self.shared.store, &file.key).await? {
                return refused("its index is another");
            }
        }
        if files.is_empty() { Ok(()) } else { refused("its index is another") }
    }
}

struct Execution<'a> {
    repository: &'a Repository,
    lock: Arc<LockState>,
    plan: PrunePlan,
    outcome: PruneOutcome,
    progress: Progress<'a>,
}

impl Execution<'_> {
    async fn run(&mut self) -> Result<()> {
        self.verify_duplicates().await?;
        // Nothing names these. They go first, for the sake of a disk that is full.
        let unindexed = std::mem::take(&mut self.plan.unindexed);
        self.delete_packs(unindexed).await?;
        let copies = self.copy().await?;
        self.replace_index(copies).await?;
        let gone = (0..self.plan.verdicts.len()).filter(|number| self.goes(*number));
        let gone = gone.map(|number| (self.plan.index.packs()[number], self.plan.size(number))).collect();
        self.delete_packs(gone).await?;
        self.outcome.damaged.sort();
        Ok(())
    }

    /// Whether a pack is there now and is not to be there at the end.
    fn goes(&self, number: usize) -> bool {
        matches!(self.plan.verdicts[number], Verdict::Delete | Verdict::Repack | Verdict::Recompress)
    }

    /// Of two copies of a blob the one that stays must be the good one. What is copied is verified on the way; what stays
    /// where it is has not been read by anybody.
    async fn verify_duplicates(&mut self) -> Result<()> {
        let index = self.plan.index.clone();
        let mut packs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for first in &self.plan.duplicates {
            let places = index.same(*first as usize);
            let last_chance = places.clone().any(|at| self.goes(index.pack_at(at)));
            let stays = places.into_iter().find(|at| self.plan.chosen.get(*at));
            if let Some(at) = stays.filter(|at| last_chance && !self.goes(index.pack_at(*at))) {
                packs.entry(index.pack_at(at)).or_default().push(at);
            }
        }
        if packs.is_empty() {
            return Ok(());
        }
        let mut done = PruneProgress {
            stage: PruneStage::Verifying,
            done: 0,
            total: packs.len() as u64,
            bytes_done: 0,
            bytes_total: packs.values().flatten().map(|at| u64::from(index.at(*at).blob.length)).sum(),
        };
        (self.progress)(done);
        let mut reads = futures::stream::iter(packs)
            .map(|(number, positions)| {
                let mut blobs: Vec<_> = positions.iter().map(|at| index.at(*at).blob).collect();
                blobs.sort_by_key(|blob| blob.offset);
                copy::find_bad(self.repository.clone(), index.packs()[number], blobs)
            })
            .buffer_unordered(READS);
        let mut bad = Vec::new();
        while let Some(result) = reads.next().await {
            let (pack, found, bytes) = result?;
            bad.extend(found.into_iter().map(|(blob, reason)| (pack, blob, reason)));
            done.done += 1;
            done.bytes_done = (done.bytes_done + bytes).min(done.bytes_total);
            (self.progress)(done);
        }
        drop(reads);
        for (pack, blob, reason) in bad {
            self.outcome.damaged.push((layout::pack(pack), format!("blob {}: {reason}", blob.id.short())));
            self.take_from_elsewhere(pack, blob).await?;
        }
        self.outcome.damaged.dedup_by(|one, other| one.0 == other.0);
        Ok(())
    }

    /// The chosen place of a blob is bad: chooses one that is good, if there is any, and has it copied.
    async fn take_from_elsewhere(&mut self, pack: PackId, blob: crate::pack::PackedBlob) -> Result<()> {
        let index = self.plan.index.clone();
        let places = index.positions(blob.kind, blob.id);
        for at in places.clone().filter(|at| index.at(*at).pack != pack) {
            let (number, place) = (index.pack_at(at), index.at(at));
            let found = copy::find_bad(self.repository.clone(), place.pack, vec![place.blob]).await?;
            if found.1.is_empty() {
                for other in places {
                    self.plan.chosen.clear(other);
                }
                self.plan.chosen.set(at);
                if self.plan.verdicts[number] == Verdict::Delete {
                    self.plan.verdicts[number] = Verdict::Repack;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Copies what is needed of the packs that are rewritten. Gives new packs that are in no index file yet.
    async fn copy(&mut self) -> Result<Vec<PackContents>> {
        let jobs = self.jobs();
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.may_delete().await?;
        let mut rewrite = Rewrite {
            repository: self.repository,
            lock: self.lock.clone(),
            index: self.plan.index.clone(),
            outcome: &mut self.outcome,
            progress: self.progress,
            unindexed: Vec::new(),
            damaged: Vec::new(),
        };
        rewrite.run(jobs, self.plan.pack_size).await?;
        let Rewrite { unindexed, damaged, .. } = rewrite;
        for number in damaged {
            self.plan.verdicts[number] = Verdict::Keep;
        }
        Ok(unindexed)
    }

    fn jobs(&self) -> Vec<Job> {
        let plan = &self.plan;
        let mut jobs: Vec<Job> = (0..plan.verdicts.len())
            .filter_map(|pack| {
                if !matches!(plan.verdicts[pack], Verdict::Repack | Verdict::Recompress) {
                    return None;
                }
                let level = plan.again[pack].then_some(plan.recompress_level);
                let chosen = plan.by_pack.positions(pack).filter(|at| plan.chosen.get(*at));
                Some(Job { pack, blobs: chosen.map(|at| plan.index.at(at).blob).collect(), level })
            })
            .collect();
        // What is in one pack together stays near each other.
        jobs.sort_by_key(|job| (job.level.is_some(), job.pack));
        jobs
    }

    /// Asks before the work whether deleting is allowed at all: a file that nobody can have is deleted.
    async fn may_delete(&self) -> Result<()> {
        let nobody = PackId::from_bytes(rand::random());
        for key in [layout::pack(nobody), format!("{}{nobody}", layout::INDEX)] {
            self.repository.shared.store.delete(&key).await.map_err(explain)?;
        }
        Ok(())
    }

    /// New index files first; what they replace is deleted when they are durable.
    async fn replace_index(&mut self, copies: Vec<PackContents>) -> Result<()> {
        let plan = &self.plan;
        let replaced: Vec<usize> = (0..plan.files.len()).filter(|file| plan.replaced[*file]).collect();
        let stays = |pack: &u32| plan.verdicts[*pack as usize] == Verdict::Keep;
        let staying: BTreeSet<u32> =
            replaced.iter().flat_map(|file| &plan.files[*file].packs).copied().filter(stays).collect();
        let old: Vec<String> = replaced.iter().map(|file| plan.files[*file].key.clone()).collect();
        let mut done = PruneProgress {
            stage: PruneStage::Indexing,
            done: 0,
            total: old.len() as u64,
            bytes_done: 0,
            bytes_total: 0,
        };
        (self.progress)(done);

        let listed = staying.into_iter().map(|number| {
            let number = number as usize;
            (plan.index.packs()[number], plan.by_pack.blobs(&plan.index, number))
        });
        let packs = copies.into_iter().chain(listed);
        self.outcome.index_files_written += write_index(self.repository, &self.lock, packs).await?;
        self.lock.confirm().await?;
        for key in old {
            delete(self.repository.clone(), self.lock.clone(), key, 0).await?;
            self.outcome.index_files_deleted += 1;
            done.done += 1;
            (self.progress)(done);
        }
        Ok(())
    }

    async fn delete_packs(&mut self, packs: Vec<(PackId, u64)>) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let mut done = PruneProgress {
            stage: PruneStage::Deleting,
            done: 0,
            total: packs.len() as u64,
            bytes_done: 0,
            bytes_total: packs.iter().map(|(_, size)| size).sum(),
        };
        (self.progress)(done);
        self.lock.confirm().await?;
        let mut deletes = futures::stream::iter(packs)
            .map(|(pack, size)| delete(self.repository.clone(), self.lock.clone(), layout::pack(pack), size))
            .buffer_unordered(DELETES);
        while let Some(result) = deletes.next().await {
            let size = result?;
            self.outcome.packs_deleted += 1;
            self.outcome.bytes_deleted += size;
            done.done += 1;
            done.bytes_done += size;
            (self.progress)(done);
        }
        Ok(())
    }
}

async fn delete(repository: Repository, lock: Arc<LockState>, key: String, size: u64) -> Result<u64> {
    lock.confirm_now_and_then().await?;
    repository.shared.store.delete(&key).await.map_err(explain)?;
    Ok(size)
}

/// Storage that only lets append is set up so on purpose.
fn explain(error: basekeep_store::StoreError) -> RepositoryError {
    if error.kind != ErrorKind::Denied || error.operation != Operation::Delete {
        return error.into();
    }
    RepositoryError::CannotPrune {
        reason: format!("the storage does not allow deleting ({})", error.source),
        hint: "append-only storage is pruned with credentials that may delete, from a machine that is trusted with them",
    }
}

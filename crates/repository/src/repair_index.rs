//! Making the index right again, from what the packs say of themselves.
//!
//! What a readable index file says of a pack that is there and has the right size is kept; only the headers of other packs
//! are read. New index files are written first; what they replace is deleted afterwards, so that it can stop anywhere.

use std::collections::HashMap;

use basekeep_store::ErrorKind;
use futures::StreamExt;

use crate::index::{Builder, ByPack, Index};
use crate::index_file::PackContents;
use crate::index_write::write_index;
use crate::pack::PackedBlob;
use crate::pack_header::read_header;
use crate::{Lock, LockMode, PackId, Repository, RepositoryError, Result, layout, pack};

/// Small reads at the same time.
const FETCHES: usize = 8;

/// What is wrong with the index, and what would be done. Looking at it changes nothing.
#[derive(Debug, Default)]
pub struct IndexRepairPlan {
    /// Index files that there are.
    pub index_files: u64,
    /// Index files that cannot be read, each with the reason. They are removed.
    pub damaged: Vec<(String, String)>,
    /// Packs that no readable index file lists, and whose headers are good: they get into the index.
    pub added: Vec<String>,
    /// Packs whose size is not what the index says, and whose headers are good: the header counts.
    pub corrected: Vec<String>,
    /// Packs that an index file lists and that are not there: they leave the index.
    pub gone: Vec<String>,
    /// Packs whose headers cannot be read either, each with the reason. What an index file says of them stays as it is.
    pub unreadable: Vec<(String, String)>,
    /// What headers said.
    contents: Vec<PackContents>,
    /// Of the index files that are replaced: what stays.
    staying: Vec<u32>,
    replaced: Vec<String>,
    index: Index,
    by_pack: ByPack,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexRepairOutcome {
    /// Index files that were written.
    pub written: u64,
    /// Index files that were deleted.
    pub deleted: u64,
    /// Index files that the storage did not let go. They do no harm, but checks will go on naming those that are damaged.
    pub still_there: Vec<String>,
}

impl IndexRepairPlan {
    /// Whether the index is good as it is.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty() && self.replaced.is_empty()
    }
}

impl Repository {
    /// Plans and repairs the index in one go.
    pub async fn repair_index(&self, lock: &Lock) -> Result<IndexRepairOutcome> {
        let plan = self.plan_index_repair(lock, &|_, _| {}).await?;
        self.execute_index_repair(plan, lock).await
    }

    /// Finds out what is wrong with the index. Tells how many of the headers were read, of how many.
    ///
    /// Errors: [`RepositoryError::Refused`] if the lock is not exclusive; failures of the storage.
    pub async fn plan_index_repair(
        &self,
        lock: &Lock,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<IndexRepairPlan> {
        self.may_repair(lock)?;
        let mut plan = IndexRepairPlan::default();
        let (stored, files) = plan.take_stock(self).await?;
        let mut unknown = stored.clone();
        let mut bad = vec![false; plan.index.packs().len()];
        for (number, pack) in plan.index.packs().iter().enumerate() {
            match unknown.remove(pack) {
                None => {
                    plan.gone.push(layout::pack(*pack));
                    bad[number] = true;
                }
                Some(size) if size != size_of(&plan.by_pack.blobs(&plan.index, number)) => {
                    unknown.insert(*pack, size);
                }
                Some(_) => {}
            }
        }
        plan.read_headers(self, unknown, &mut bad, progress).await?;
        for (file, packs) in files {
            if packs.iter().any(|pack| bad[*pack as usize]) {
                plan.replaced.push(file);
                plan.staying.extend(packs.into_iter().filter(|pack| !bad[*pack as usize]));
            }
        }
        plan.staying.sort_unstable();
        plan.staying.dedup();
        plan.replaced.extend(plan.damaged.iter().map(|(file, _)| file.clone()));
        plan.gone.sort();
        Ok(plan)
    }

    /// Does what was planned, under the lock that it was planned with.
    ///
    /// Errors: a lost lock; failures of the storage other than a refusal to delete.
    pub async fn execute_index_repair(
        &self,
        plan: IndexRepairPlan,
        lock: &Lock,
    ) -> Result<IndexRepairOutcome> {
        self.may_repair(lock)?;
        let state = lock.state();
        let IndexRepairPlan { contents, staying, replaced, index, by_pack, .. } = plan;
        let staying = staying.into_iter().map(|number| {
            let number = number as usize;
            (index.packs()[number], by_pack.blobs(&index, number))
        });
        let mut outcome = IndexRepairOutcome {
            written: write_index(self, &state, contents.into_iter().chain(staying)).await?,
            ..IndexRepairOutcome::default()
        };
        state.confirm().await?;
        for file in replaced {
            state.confirm_now_and_then().await?;
            match self.shared.store.delete(&file).await {
                Ok(()) => outcome.deleted += 1,
                Err(error) if error.kind == ErrorKind::Denied => outcome.still_there.push(file),
                Err(error) => return Err(error.into()),
            }
        }
        self.reload_index().await?;
        Ok(outcome)
    }

    fn may_repair(&self, lock: &Lock) -> Result<()> {
        if self.version() != 2 {
            let needed = "version 2 is needed for repairing";
            return Err(RepositoryError::UnsupportedVersion { version: self.version(), needed });
        }
        if lock.mode() != LockMode::Exclusive {
            return Err(RepositoryError::Refused("repairing the index needs an exclusive lock".to_owned()));
        }
        lock.state().check()
    }
}

/// Packs in the store with their sizes; and the index files that can be read, each with the packs that it lists.
type Stock = (HashMap<PackId, u64>, Vec<(String, Vec<u32>)>);

impl IndexRepairPlan {
    async fn take_stock(&mut self, repository: &Repository) -> Result<Stock> {
        let keys = repository.list_ids(layout::INDEX).await?;
        self.index_files = keys.len() as u64;
        let mut builder = Builder::default();
        let mut files = Vec::new();
        let mut reads = futures::stream::iter(keys)
            .map(|file| repository.read_index_file(file.key))
            .buffer_unordered(FETCHES);
        while let Some((key, result)) = reads.next().await {
            match result {
                Ok(None) => {}
                Ok(Some(packs)) => {
                    let numbers = packs.iter().filter_map(|(pack, blobs)| builder.add(*pack, blobs));
                    files.push((key, numbers.collect()));
                }
                Err(RepositoryError::Damaged { file, reason }) => self.damaged.push((file, reason)),
                Err(error) if error.is_damage() => self.damaged.push((key, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        self.damaged.sort();
        files.sort();
        self.index = builder.build();
        self.by_pack = ByPack::new(&self.index);
        // After the index: a pack that is listed was there before.
        let mut stored = HashMap::new();
        for file in repository.list_ids(layout::DATA).await? {
            if let Some(id) = layout::id_of(&file.key).map(PackId::from_bytes)
                && layout::pack(id) == file.key
            {
                stored.insert(id, file.size);
            }
        }
        Ok((stored, files))
    }

    async fn read_headers(
        &mut self,
        repository: &Repository,
        packs: HashMap<PackId, u64>,
        bad: &mut [bool],
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<()> {
        let (mut done, total) = (0, packs.len() as u64);
        progress(done, total);
        let mut reads = futures::stream::iter(packs)
            .map(|(pack, size)| read(repository.clone(), pack, size))
            .buffer_unordered(FETCHES);
        while let Some((pack, result)) = reads.next().await {
            let (key, listed) = (layout::pack(pack), self.index.pack_number(pack));
            match result {
                Ok(blobs) => {
                    match listed {
                        Some(number) => {
                            bad[number as usize] = true;
                            self.corrected.push(key);
                        }
                        None => self.added.push(key),
                    }
                    self.contents.push((pack, blobs));
                }
                Err(RepositoryError::Damaged { file, reason }) => self.unreadable.push((file, reason)),
                Err(error) if error.is_damage() => self.unreadable.push((key, error.to_string())),
                Err(error) => return Err(error),
            }
            done += 1;
            progress(done, total);
        }
        drop(reads);
        self.added.sort();
        self.corrected.sort();
        self.unreadable.sort();
        self.contents.sort_unstable_by_key(|(pack, _)| *pack);
        Ok(())
    }
}

async fn read(repository: Repository, pack: PackId, size: u64) -> (PackId, Result<Vec<PackedBlob>>) {
    let result = read_header(&repository, pack, size).await;
    (pack, result)
}

fn size_of(blobs: &[PackedBlob]) -> u64 {
    blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>() + pack::tail_size(blobs)
}

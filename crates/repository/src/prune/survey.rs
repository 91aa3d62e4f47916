//! What is there, before anything is decided: snapshots, index files, packs.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;

use crate::bits::Bits;
use crate::index::{Builder, ByPack, Index};
use crate::pack;
use crate::{PackId, Repository, RepositoryError, Result, Snapshot, layout};

/// Index files that are read at the same time.
const FETCHES: usize = 8;

/// An index file and the numbers of the packs that it lists.
#[derive(Debug, Clone)]
pub(super) struct IndexFile {
    pub(super) key: String,
    pub(super) packs: Vec<u32>,
}

/// The repository as it is.
#[derive(Debug)]
pub(super) struct Survey {
    /// Oldest first.
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) index: Arc<Index>,
    pub(super) by_pack: ByPack,
    pub(super) files: Vec<IndexFile>,
    /// By pack number: what its size must be.
    pub(super) sizes: Vec<u64>,
    /// By pack number: its size in the store, if it is there.
    pub(super) stored: Vec<Option<u64>>,
    /// By pack number: it is there and has the right size.
    pub(super) sound: Arc<Bits>,
    /// Packs that are in no index, with their sizes.
    pub(super) unindexed: Vec<(PackId, u64)>,
}

impl Survey {
    /// Reads snapshots, index files and the list of packs, in this order, as every reader does.
    ///
    /// Errors: [`RepositoryError::CannotPrune`] names a snapshot or an index file that cannot be read.
    pub(super) async fn begin(repository: &Repository) -> Result<Self> {
        let (snapshots, unreadable) = repository.snapshots().await?;
        if let Some((file, reason)) = unreadable.into_iter().next() {
            let reason = format!("{file} cannot be read ({reason}), so nobody knows what it needs");
            let hint = "`basekeep repair snapshots` removes it; then prune again";
            return Err(RepositoryError::CannotPrune { reason, hint });
        }
        let (index, files) = read_index(repository).await?;
        let by_pack = ByPack::new(&index);
        let count = index.packs().len();
        let mut survey = Self {
            snapshots,
            sizes: (0..count).map(|number| expected_size(&index, &by_pack, number)).collect(),
            stored: vec![None; count],
            sound: Arc::new(Bits::new(count)),
            index: Arc::new(index),
            by_pack,
            files,
            unindexed: Vec::new(),
        };
        survey.list_packs(repository).await?;
        Ok(survey)
    }

    async fn list_packs(&mut self, repository: &Repository) -> Result<()> {
        let mut unindexed = HashMap::new();
        for file in repository.list_ids(layout::DATA).await? {
            let Some(id) = layout::id_of(&file.key).map(PackId::from_bytes) else { continue };
            // A file at another place is not a pack of ours.
            if layout::pack(id) != file.key {
                continue;
            }
            match self.index.pack_number(id) {
                None => {
                    unindexed.insert(id, file.size);
                }
                Some(number) => {
                    let number = number as usize;
                    self.stored[number] = Some(file.size);
                    if file.size == self.sizes[number] {
                        self.sound.set(number);
                    }
                }
            }
        }
        self.unindexed = unindexed.into_iter().collect();
        self.unindexed.sort_unstable();
        Ok(())
    }
}

fn expected_size(index: &Index, by_pack: &ByPack, number: usize) -> u64 {
    let blobs = by_pack.positions(number).map(|position| index.at(position).blob);
    blobs.map(|blob| u64::from(blob.length) + blob.entry_size() as u64).sum::<u64>() + pack::tail_size([])
}

async fn read_index(repository: &Repository) -> Result<(Index, Vec<IndexFile>)> {
    let keys = repository.list_ids(layout::INDEX).await?;
    let mut builder = Builder::default();
    let mut files = Vec::new();
    let mut reads = futures::stream::iter(keys)
        .map(|file| repository.read_index_file(file.key))
        .buffer_unordered(FETCHES);
    while let Some((key, result)) = reads.next().await {
        let contents = match result {
            Ok(Some(contents)) => contents,
            Ok(None) => continue,
            Err(error) if error.is_damage() => {
                let reason = format!("{error}, so packs that only it lists would be taken for leftovers");
                let hint = "`basekeep repair index` makes a new index from the packs; then prune again";
                return Err(RepositoryError::CannotPrune { reason, hint });
            }
            Err(error) => return Err(error),
        };
        let packs = contents.iter().filter_map(|(pack, blobs)| builder.add(*pack, blobs)).collect();
        files.push(IndexFile { key, packs });
    }
    files.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    Ok((builder.build(), files))
}

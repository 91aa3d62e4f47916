//! Reading the index files into memory: several at a time, each taken in before the next ones are asked for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use basekeep_store::ErrorKind;
use futures::StreamExt;

use crate::index::{Builder, Index};
use crate::index_file::{self, PackContents};
use crate::{PackId, Repository, RepositoryError, Result, layout, sync};

/// Index files that are fetched and parsed at the same time; each is some 8 MiB of JSON.
const FETCHES: usize = 8;
/// How often the list of index files is read while files of it go away, and the pause in between.
const ROUNDS: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// What is in memory, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct LoadedIndex {
    index: Index,
    files: BTreeSet<String>,
    unreadable: Vec<(String, String)>,
}

impl Repository {
    /// Reads the index files that were not read yet. Call it after locking; it is cheap when nothing changed.
    ///
    /// A damaged index file is no error here: what only it lists is not found later, and [`Repository::check`] names
    /// it. [`Repository::unreadable_index_files`] tells.
    pub async fn load_index(&self) -> Result<()> {
        let _alone = self.shared.loading.lock().await;
        // A file that goes away between listing and reading was replaced by another one. One that is gone and listed all the same
        // was removed some time ago: storage on several servers may list it until all of them know.
        let mut gone = BTreeSet::new();
        for _ in 0..ROUNDS {
            if self.try_load_index(&mut gone).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(RepositoryError::Refused(
            "the index files keep changing; is somebody pruning without a lock?".into(),
        ))
    }

    /// Whether no file went away that was not in `gone` before.
    async fn try_load_index(&self, gone: &mut BTreeSet<String>) -> Result<bool> {
        let present: BTreeSet<String> =
            self.list_ids(layout::INDEX).await?.into_iter().map(|o| o.key).collect();
        let (fresh, rebuild) = {
            let loaded = sync::read(&self.shared.index);
            let rebuild = !loaded.files.is_subset(&present);
            let fresh: Vec<String> = if rebuild {
                present.iter().cloned().collect()
            } else {
                present.difference(&loaded.files).cloned().collect()
            };
            (fresh, rebuild)
        };
        let mut builder = Builder::default();
        let (mut files, mut unreadable, mut again) = (Vec::new(), Vec::new(), false);
        let mut reads = futures::stream::iter(fresh)
            .map(|key| read_index_file(self.clone(), key))
            .buffer_unordered(FETCHES);
        while let Some((key, result)) = reads.next().await {
            match result {
                Ok(Some(contents)) => {
                    for (pack, blobs) in contents {
                        builder.add(pack, &blobs);
                    }
                    files.push(key);
                }
                Ok(None) => again |= gone.insert(key),
                Err(RepositoryError::Damaged { file, reason }) => {
                    tracing::warn!(%file, %reason, "an index file is damaged");
                    unreadable.push((file, reason));
                }
                Err(error) => return Err(error),
            }
        }
        drop(reads);
        if again {
            return Ok(false);
        }
        let fresh = builder.build();
        self.take_in(fresh, files, unreadable, rebuild);
        self.clean_cache(&present).await;
        Ok(true)
    }

    fn take_in(&self, fresh: Index, files: Vec<String>, unreadable: Vec<(String, String)>, rebuild: bool) {
        let mut loaded = sync::write(&self.shared.index);
        if rebuild {
            *loaded = LoadedIndex::default();
        }
        loaded.index.absorb(fresh);
        loaded.files.extend(files);
        loaded.unreadable = unreadable;
    }

    /// Index files that the last [`Repository::load_index`] could not read, each with the reason.
    pub fn unreadable_index_files(&self) -> Vec<(String, String)> {
        sync::read(&self.shared.index).unreadable.clone()
    }

    /// Compares the index with the packs that are there, by name and size, and forgets (in memory) the blobs of those that
    /// are missing or cut off, so that a writer stores them again. Gives the keys of these packs. Call it before a backup,
    /// after [`Repository::load_index`]; it costs one listing.
    pub async fn forget_missing_packs(&self) -> Result<Vec<String>> {
        let stored = self.list_ids(layout::DATA).await?;
        let stored: HashMap<String, u64> = stored.into_iter().map(|pack| (pack.key, pack.size)).collect();
        let mut index = sync::write(&self.shared.index);
        let bad: HashSet<PackId> = index
            .index
            .pack_sizes()
            .into_iter()
            .filter_map(|(pack, size)| (stored.get(&layout::pack(pack)) != Some(&size)).then_some(pack))
            .collect();
        if !bad.is_empty() {
            index.index.forget(&bad);
        }
        let mut bad: Vec<String> = bad.into_iter().map(layout::pack).collect();
        bad.sort();
        Ok(bad)
    }

    /// Looks into the index.
    pub(crate) fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&sync::read(&self.shared.index).index)
    }

    /// Adds an index file that this process has just written.
    pub(crate) fn add_to_index(&self, file: String, packs: &[PackContents]) {
        let mut loaded = sync::write(&self.shared.index);
        for (pack, blobs) in packs {
            loaded.index.add(*pack, blobs);
        }
        loaded.files.insert(file);
    }

    /// After index files were replaced: reads them anew, if they were in memory.
    pub(crate) async fn reload_index(&self) -> Result<()> {
        let loaded = std::mem::take(&mut *sync::write(&self.shared.index));
        if loaded.files.is_empty() { Ok(()) } else { self.load_index().await }
    }

    /// Reads one index file from the storage, whatever the cache has. The key comes back with the result; `None` for a file that
    /// is listed and not there.
    pub(crate) fn read_index_file(
        &self,
        key: String,
    ) -> impl Future<Output = (String, Result<Option<Vec<PackContents>>>)> + Send + use<> {
        read_index_file(self.without_cache(), key)
    }
}

async fn read_index_file(repository: Repository, key: String) -> (String, Result<Option<Vec<PackContents>>>) {
    let result = match repository.read_json(&key, index_file::decode).await {
        Err(RepositoryError::Store(error)) if error.kind == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    };
    (key, result)
}

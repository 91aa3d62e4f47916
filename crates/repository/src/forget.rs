//! Removing snapshots: the files that name them. What only they needed stays in its packs until prune.
//!
//! A shared lock is enough: nothing that another process reads goes away. A backup that took a removed snapshot for its parent
//! has its blobs, since only prune deletes them, and prune excludes everybody.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use basekeep_store::{ErrorKind, Object};

use crate::index::Location;
use crate::pack::BlobKind;
use crate::walk::{Place, Visitor, walk};
use crate::{
    BlobId, Lock, PackId, Repository, RepositoryError, Result, Snapshot, SnapshotId, TreeId, layout, sync,
};

/// Files that are deleted at the same time.
const AT_ONCE: usize = 8;

/// Packs and their sizes, as a listing gave them.
#[derive(Debug, Clone)]
pub struct StoredPacks(Arc<HashMap<PackId, u64>>);

impl Repository {
    /// Removes the files of these snapshots. Gives a result for each, in the order of `ids`.
    ///
    /// One that is not there any more counts as removed. Once the storage refuses to delete, or the lock is lost, nothing more is
    /// tried, and the rest fails for the same reason.
    pub async fn remove_snapshots(&self, lock: &Lock, ids: &[SnapshotId]) -> Vec<(SnapshotId, Result<()>)> {
        let mut results = Vec::with_capacity(ids.len());
        // What was decided may be old by now, if this process slept and somebody removed its lock.
        let mut hopeless: Option<RepositoryError> = lock.confirm().await.err();
        for some in ids.chunks(AT_ONCE) {
            if let Some(error) = &hopeless {
                results.extend(some.iter().map(|id| (*id, Err(error.clone()))));
                continue;
            }
            let deletes = some.iter().map(|id| self.remove_snapshot(lock, *id));
            let done = futures::future::join_all(deletes).await;
            hopeless = done.iter().find_map(|result| match result {
                Err(error @ RepositoryError::LockLost { .. }) => Some(error.clone()),
                Err(error) if error.store_kind() == Some(ErrorKind::Denied) => Some(error.clone()),
                _ => None,
            });
            results.extend(some.iter().copied().zip(done));
        }
        results
    }

    /// The packs that the storage has, by one listing, for [`Repository::lacks`].
    pub async fn stored_packs(&self) -> Result<StoredPacks> {
        let packs = self.list_ids(layout::DATA).await?;
        let named = |pack: Object| Some((PackId::from_bytes(layout::id_of(&pack.key)?), pack.size));
        Ok(StoredPacks(Arc::new(packs.into_iter().filter_map(named).collect())))
    }

    /// What a snapshot lacks, if anything: a tree that cannot be read, or a blob that is in no pack that is there. No data is
    /// read. Call it after [`Repository::load_index`].
    pub async fn lacks(&self, snapshot: &Snapshot, packs: &StoredPacks) -> Result<Option<String>> {
        let search = Arc::new(Search {
            repository: self.clone(),
            packs: packs.clone(),
            seen: Mutex::default(),
            found: Mutex::default(),
        });
        walk(self, vec![(snapshot.id, snapshot.tree)], &search).await?;
        Ok(sync::lock(&search.found).take())
    }
}

/// For the first thing that a snapshot lacks.
struct Search {
    repository: Repository,
    packs: StoredPacks,
    seen: Mutex<HashSet<TreeId>>,
    found: Mutex<Option<String>>,
}

impl Search {
    fn lacking(&self, what: String) {
        sync::lock(&self.found).get_or_insert(what);
    }
}

impl Visitor for Search {
    fn tree(&self, tree: TreeId, place: &Place) -> Vec<Location> {
        if !sync::lock(&self.seen).insert(tree) {
            return Vec::new();
        }
        let places: Vec<Location> =
            self.repository.with_index(|index| index.locations(BlobKind::Tree, tree.into()).collect());
        if places.is_empty() {
            self.lacking(format!("the folder {} is in no index file", place.folder()));
        }
        places
    }

    fn content(&self, blob: BlobId, place: &Place, name: &str) {
        let stored = self.repository.with_index(|index| {
            index.locations(BlobKind::Data, blob).any(|location| self.packs.hold(&location))
        });
        if !stored {
            self.lacking(format!("blob {} of {} is in no pack", blob.short(), place.entry(name)));
        }
    }

    fn unreadable(&self, _: TreeId, place: &Place, error: RepositoryError) -> Result<()> {
        if !error.is_damage() {
            return Err(error);
        }
        self.lacking(format!("the folder {}: {error}", place.folder()));
        Ok(())
    }

    fn enough(&self) -> bool {
        sync::lock(&self.found).is_some()
    }
}

impl StoredPacks {
    fn hold(&self, place: &Location) -> bool {
        let end = u64::from(place.blob.offset) + u64::from(place.blob.length);
        self.0.get(&place.pack).is_some_and(|size| *size >= end)
    }
}

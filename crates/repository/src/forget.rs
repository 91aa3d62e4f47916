//! Removing snapshots: the files that name them. What only they needed stays in its packs until prune.
//!
//! A shared lock is enough: nothing that another process reads goes away. A backup that took a removed snapshot for its parent
//! has its blobs, since only prune deletes them, and prune excludes everybody.

use std::collections::{HashMap, HashSet};

use basekeep_store::{ErrorKind, Object};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::index::Location;
use crate::pack::BlobKind;
use crate::{Lock, PackId, Repository, RepositoryError, Result, Snapshot, SnapshotId, TreeId, layout};

/// Trees that are read, and files that are deleted, at the same time.
const AT_ONCE: usize = 8;

/// Packs and their sizes, as a listing gave them.
#[derive(Debug)]
pub struct StoredPacks(HashMap<PackId, u64>);

impl Repository {
    /// Removes the files of these snapshots. Gives a result for each, in the order of `ids`.
    ///
    /// One that is not there any more counts as removed. Once the storage refuses to delete, or the lock is lost, nothing more is
    /// tried, and the rest fails for the same reason.
    pub async fn remove_snapshots(&self, lock: &Lock, ids: &[SnapshotId]) -> Vec<(SnapshotId, Result<()>)> {
        let mut results = Vec::with_capacity(ids.len());
        let mut hopeless: Option<RepositoryError> = None;
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
        Ok(StoredPacks(packs.into_iter().filter_map(named).collect()))
    }

    /// What a snapshot lacks, if anything: a tree that cannot be read, or a blob that is in no pack that is there. No data is
    /// read. Call it after [`Repository::load_index`].
    pub async fn lacks(&self, snapshot: &Snapshot, packs: &StoredPacks) -> Result<Option<String>> {
        let mut waiting = vec![snapshot.tree];
        let mut seen: HashSet<TreeId> = HashSet::new();
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < AT_ONCE {
                let Some(id) = waiting.pop() else { break };
                if seen.insert(id) {
                    reads.push(async move { self.tree(&id).await });
                }
            }
            let Some(result) = reads.next().await else { return Ok(None) };
            let tree = match result {
                Ok(tree) => tree,
                Err(error) if means_damage(&error) => return Ok(Some(error.to_string())),
                Err(error) => return Err(error),
            };
            for node in tree.nodes {
                waiting.extend(node.subtree);
                let missing = self.with_index(|index| {
                    let stored = |blob| index.locations(BlobKind::Data, blob).any(|place| packs.hold(&place));
                    node.content.iter().copied().find(|blob| !stored(*blob))
                });
                if let Some(blob) = missing {
                    return Ok(Some(format!("blob {} of {} is in no pack", blob.short(), node.name)));
                }
            }
        }
    }
}

impl StoredPacks {
    fn hold(&self, place: &Location) -> bool {
        let end = u64::from(place.blob.offset) + u64::from(place.blob.length);
        self.0.get(&place.pack).is_some_and(|size| *size >= end)
    }
}

/// Whether the repository rather than the way to it is at fault.
fn means_damage(error: &RepositoryError) -> bool {
    use RepositoryError as E;
    match error {
        E::Damaged { .. } | E::DamagedBlob { .. } | E::MissingBlob { .. } | E::DamagedTree { .. } => true,
        E::Store(error) => matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt),
        _ => false,
    }
}

//! From the snapshots' roots down, every tree once. What is met is told on the threads that read it, so that no list of
//! blobs is ever held; trees that are read at the same time are bounded by their bytes.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::index::Location;
use crate::repository::blocking;
use crate::tree::{Reference, scan};
use crate::{BlobId, Repository, RepositoryError, Result, SnapshotId, TreeId};

/// Trees that are read at the same time.
const FETCHES: usize = 8;
/// Bytes of trees, sealed and plain, that are in memory at the same time; a single tree may be larger.
const BYTES: usize = 96 << 20;

/// A folder of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) snapshot: SnapshotId,
    /// Empty for the root, else `/source/database`.
    pub(crate) path: Arc<str>,
}

impl Place {
    /// The path of an entry in it.
    pub(crate) fn entry(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The folder's own path.
    pub(crate) fn folder(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }
}

/// What a walk is for.
pub(crate) trait Visitor: Send + Sync + 'static {
    /// A snapshot needs this tree. Gives the places to read it from; none if it has been read before, or cannot be.
    fn tree(&self, tree: TreeId, place: &Place) -> Vec<Location>;

    /// The file `name` in `place` needs this blob.
    fn content(&self, blob: BlobId, place: &Place, name: &str);

    /// None of a tree's places is good. An error ends the walk.
    fn unreadable(&self, tree: TreeId, place: &Place, error: RepositoryError) -> Result<()>;

    /// The walk should end early.
    fn enough(&self) -> bool {
        false
    }
}

/// Walks from these roots.
pub(crate) async fn walk<V: Visitor>(
    repository: &Repository,
    roots: Vec<(SnapshotId, TreeId)>,
    visitor: &Arc<V>,
) -> Result<()> {
    let root = |(snapshot, tree)| (tree, Place { snapshot, path: "".into() });
    let mut waiting: Vec<(TreeId, Place)> = roots.into_iter().rev().map(root).collect();
    let mut reads = FuturesUnordered::new();
    let mut bytes = 0;
    loop {
        while reads.len() < FETCHES && bytes < BYTES {
            let Some((tree, place)) = waiting.pop() else { break };
            let from = visitor.tree(tree, &place);
            let size = from.iter().map(|at| at.blob.length as usize + at.blob.plain_length() as usize).max();
            if let Some(size) = size {
                bytes += size;
                reads.push(read(repository.clone(), visitor.clone(), tree, place, from, size));
            }
        }
        match reads.next().await {
            Some(done) => {
                let done: Read = done;
                bytes -= done.size;
                match done.below {
                    Ok(below) => waiting.extend(below),
                    Err(error) => visitor.unreadable(done.tree, &done.place, error)?,
                }
            }
            None if waiting.is_empty() => return Ok(()),
            None => {}
        }
        if visitor.enough() {
            return Ok(());
        }
    }
}

/// A tree that was read: the folders in it, or why it cannot be.
struct Read {
    tree: TreeId,
    place: Place,
    size: usize,
    below: Result<Vec<(TreeId, Place)>>,
}

async fn read<V: Visitor>(
    repository: Repository,
    visitor: Arc<V>,
    tree: TreeId,
    place: Place,
    from: Vec<Location>,
    size: usize,
) -> Read {
    let below = match repository.read_places(from).await {
        Ok(json) => {
            let at = place.clone();
            let scanned = blocking(move || below(&json, &*visitor, &at)).await;
            scanned.and_then(|below| below.map_err(|reason| RepositoryError::DamagedTree { tree, reason }))
        }
        Err(error) => Err(error),
    };
    Read { tree, place, size, below }
}

fn below<V: Visitor>(json: &[u8], visitor: &V, place: &Place) -> Result<Vec<(TreeId, Place)>, String> {
    let mut below = Vec::new();
    scan(json, |name, reference| match reference {
        Reference::Content(blob) => visitor.content(blob, place, name),
        Reference::Subtree(tree) => {
            let path = place.entry(name).into();
            below.push((tree, Place { snapshot: place.snapshot, path }));
        }
    })?;
    Ok(below)
}

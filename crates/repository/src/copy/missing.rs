//! Finding out which blobs the target lacks: all trees of the snapshots are read, each once. What is missing is handed
//! over in portions, so that a list of blobs is bounded however large a snapshot is.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::copy::is_damage;
use crate::index::Location;
use crate::pack::BlobKind;
use crate::{BlobId, Repository, RepositoryError, Result, Tree, TreeId, Writer};

/// Trees that are read at the same time.
const FETCHES: usize = 8;
/// Blobs and bytes in a portion.
const PORTION_BLOBS: usize = 1 << 16;
const PORTION_BYTES: u64 = 1 << 30;

/// A blob, by what tells it apart.
pub(super) type Blob = (BlobKind, BlobId);

/// What the target lacks, and what of it the source cannot give.
pub(super) struct Missing {
    from: Repository,
    writer: Writer,
    /// Blobs that are damaged or missing in the source, with the reason.
    pub(super) failed: HashMap<Blob, RepositoryError>,
}

/// Trees that are being read.
type Reads = FuturesUnordered<futures::future::BoxFuture<'static, (TreeId, Result<Tree>)>>;

/// A walk down the trees of some snapshots.
pub(super) struct Walk<'a> {
    missing: &'a mut Missing,
    complete: &'a HashSet<TreeId>,
    waiting: Vec<TreeId>,
    seen: HashSet<TreeId>,
    reads: Reads,
    portion: Vec<Location>,
    in_portion: HashSet<Blob>,
    bytes: u64,
}

impl Missing {
    pub(super) fn new(from: &Repository, writer: &Writer) -> Self {
        Self { from: from.clone(), writer: writer.clone(), failed: HashMap::new() }
    }

    /// Walks from these roots. Trees of `complete` are in the target with everything below them.
    pub(super) fn walk<'a>(
        &'a mut self,
        roots: impl Iterator<Item = TreeId>,
        complete: &'a HashSet<TreeId>,
    ) -> Walk<'a> {
        Walk {
            missing: self,
            complete,
            waiting: roots.collect(),
            seen: HashSet::new(),
            reads: FuturesUnordered::new(),
            portion: Vec::new(),
            in_portion: HashSet::new(),
            bytes: 0,
        }
    }

    /// Whether the target has everything below a root. The error names what the source could not give.
    pub(super) async fn check_whole(&self, root: TreeId) -> Result<()> {
        let (mut waiting, mut seen) = (vec![root], HashSet::from([root]));
        while let Some(id) = waiting.pop() {
            self.check((BlobKind::Tree, id.into()))?;
            for node in self.from.tree(&id).await?.nodes {
                node.content.iter().try_for_each(|blob| self.check((BlobKind::Data, *blob)))?;
                waiting.extend(node.subtree.filter(|subtree| seen.insert(*subtree)));
            }
        }
        Ok(())
    }

    fn check(&self, blob: Blob) -> Result<()> {
        match self.failed.get(&blob) {
            Some(error) => Err(error.clone()),
            None if self.writer.knows(blob.0, blob.1) => Ok(()),
            None => Err(RepositoryError::internal("copy a snapshot", "a blob was passed over")),
        }
    }
}

impl Walk<'_> {
    /// The next portion of missing blobs; `None` when all trees were read.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Location>>> {
        loop {
            while self.reads.len() < FETCHES {
                let Some(tree) = self.waiting.pop() else { break };
                self.read(tree);
            }
            match self.reads.next().await {
                Some((tree, read)) => self.take(tree, read)?,
                None if self.waiting.is_empty() => break,
                None => {}
            }
            if self.portion.len() >= PORTION_BLOBS || self.bytes >= PORTION_BYTES {
                break;
            }
        }
        self.in_portion.clear();
        self.bytes = 0;
        let portion = std::mem::take(&mut self.portion);
        Ok((!portion.is_empty()).then_some(portion))
    }

    /// These blobs of the last portion could not be read.
    pub(super) fn note_failed(&mut self, failed: Vec<(Blob, RepositoryError)>) {
        self.missing.failed.extend(failed);
    }

    /// The trees that were read.
    pub(super) fn end(self) -> HashSet<TreeId> {
        self.seen
    }

    fn read(&mut self, id: TreeId) {
        if self.complete.contains(&id) || !self.seen.insert(id) {
            return;
        }
        let from = self.missing.from.clone();
        self.reads.push(Box::pin(async move { (id, from.tree(&id).await) }));
    }

    fn take(&mut self, id: TreeId, read: Result<Tree>) -> Result<()> {
        let tree = match read {
            Ok(tree) => tree,
            Err(error) if is_damage(&error) => {
                self.missing.failed.insert((BlobKind::Tree, id.into()), error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.want((BlobKind::Tree, id.into()));
        for node in tree.nodes {
            node.content.into_iter().for_each(|blob| self.want((BlobKind::Data, blob)));
            self.waiting.extend(node.subtree);
        }
        Ok(())
    }

    fn want(&mut self, blob: Blob) {
        let (kind, id) = blob;
        if self.missing.failed.contains_key(&blob)
            || self.missing.writer.knows(kind, id)
            || !self.in_portion.insert(blob)
        {
            return;
        }
        match self.missing.from.places(kind, id) {
            Ok(places) => {
                self.bytes += u64::from(places[0].blob.length);
                self.portion.push(places[0]);
            }
            Err(error) => {
                self.missing.failed.insert(blob, error);
            }
        }
    }
}

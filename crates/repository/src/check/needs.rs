//! From the snapshots' roots down: which trees and blobs do they need, and are the trees good.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::bits::Bits;
use crate::check::{Checking, Handle, as_damage};
use crate::index::{Index, Location};
use crate::pack::BlobKind;
use crate::walk::{Place, Visitor, walk};
use crate::{BlobId, Repository, RepositoryError, Result, TreeId, layout, sync};

/// What a walk finds out.
struct Needs {
    index: Arc<Index>,
    bad: Arc<Bits>,
    needed: Arc<Bits>,
    nowhere: Mutex<HashSet<Handle>>,
    /// Trees of which no place is good, with what is wrong.
    unreadable: Mutex<Vec<(TreeId, String)>>,
    trees: AtomicU64,
}

impl Checking {
    pub(super) async fn find_needed(&mut self, repository: &Repository) -> Result<()> {
        let roots = self.snapshots.iter().map(|snapshot| (snapshot.id, snapshot.tree)).collect();
        let needs = Arc::new(Needs {
            index: self.index.clone(),
            bad: self.bad.clone(),
            needed: Arc::new(Bits::new(self.index.len())),
            nowhere: Mutex::default(),
            unreadable: Mutex::default(),
            trees: AtomicU64::new(0),
        });
        walk(repository, roots, &needs).await?;
        self.needed = needs.needed.clone();
        self.nowhere = std::mem::take(&mut *sync::lock(&needs.nowhere));
        let unreadable = std::mem::take(&mut *sync::lock(&needs.unreadable));
        self.report.blobs_read += needs.trees.load(Relaxed) - unreadable.len() as u64;
        for (tree, reason) in unreadable {
            self.tree_is_bad(tree, &reason);
        }
        Ok(())
    }

    /// None of its places is good.
    fn tree_is_bad(&mut self, id: TreeId, reason: &str) {
        let places: Vec<usize> = self.good((BlobKind::Tree, id.into())).collect();
        for position in places {
            self.bad.set(position);
            let file = layout::pack(self.index.at(position).pack);
            self.damage(file, format!("tree {}: {reason}", id.short()));
        }
    }
}

impl Needs {
    /// The positions of a blob that is met for the first time.
    fn need(&self, kind: BlobKind, blob: BlobId) -> std::ops::Range<usize> {
        let places = self.index.positions(kind, blob);
        if places.is_empty() {
            sync::lock(&self.nowhere).insert((kind, blob));
        } else if self.needed.set(places.start) {
            return 0..0;
        }
        places
    }
}

impl Visitor for Needs {
    fn tree(&self, tree: TreeId, _: &Place) -> Vec<Location> {
        let places = self.need(BlobKind::Tree, tree.into()).filter(|position| !self.bad.get(*position));
        let places: Vec<Location> = places.map(|position| self.index.at(position)).collect();
        self.trees.fetch_add(u64::from(!places.is_empty()), Relaxed);
        places
    }

    fn content(&self, blob: BlobId, _: &Place, _: &str) {
        self.need(BlobKind::Data, blob);
    }

    fn unreadable(&self, tree: TreeId, _: &Place, error: RepositoryError) -> Result<()> {
        let reason = as_damage(&error).ok_or(error)?;
        sync::lock(&self.unreadable).push((tree, reason));
        Ok(())
    }
}

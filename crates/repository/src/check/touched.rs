//! Which snapshots and paths need a blob that is lost.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::check::{Checking, Handle, Touched};
use crate::pack::BlobKind;
use crate::{NodeKind, Repository, Result, SnapshotId, TreeId};

/// Lost blobs, with the files to blame for each.
type Blamed<'a> = HashMap<Handle, Vec<&'a str>>;

impl Checking {
    /// Walks all snapshots once more, if anything is lost.
    pub(super) async fn find_touched(&mut self, repository: &Repository) -> Result<()> {
        let mut blamed: Blamed<'_> = HashMap::new();
        for (file, found) in &self.found {
            for handle in &found.lost {
                blamed.entry(*handle).or_default().push(file);
            }
        }
        if blamed.is_empty() {
            return Ok(());
        }
        let mut touched: HashMap<String, BTreeSet<Touched>> = HashMap::new();
        let mut clean = HashSet::new();
        for snapshot in &self.snapshots {
            let mut walk = Walk {
                checking: self,
                repository,
                blamed: &blamed,
                snapshot: snapshot.id,
                touched: &mut touched,
            };
            walk.folder(snapshot.tree, "", &mut clean).await?;
        }
        for (file, places) in touched {
            self.found.entry(file).or_default().touches.extend(places);
        }
        Ok(())
    }
}

struct Walk<'a> {
    checking: &'a Checking,
    repository: &'a Repository,
    blamed: &'a Blamed<'a>,
    snapshot: SnapshotId,
    touched: &'a mut HashMap<String, BTreeSet<Touched>>,
}

impl Walk<'_> {
    /// Notes what is lost below a folder; `false` if nothing is. Clean folders are not looked at again.
    async fn folder(&mut self, tree: TreeId, path: &str, clean: &mut HashSet<TreeId>) -> Result<bool> {
        if clean.contains(&tree) {
            return Ok(false);
        }
        let handle = (BlobKind::Tree, tree.into());
        let mut lost = self.note(handle, if path.is_empty() { "/" } else { path });
        let places = self.checking.places(handle);
        if places.is_empty() {
            return Ok(true);
        }
        let Ok(tree_found) = self.repository.tree_at(tree, places).await else { return Ok(true) };
        for node in tree_found.nodes {
            let path = format!("{path}/{}", node.name);
            if let (NodeKind::Dir, Some(subtree)) = (node.kind, node.subtree) {
                lost |= Box::pin(self.folder(subtree, &path, clean)).await?;
            }
            for blob in node.content {
                lost |= self.note((BlobKind::Data, blob), &path);
            }
        }
        if !lost {
            clean.insert(tree);
        }
        Ok(lost)
    }

    fn note(&mut self, handle: Handle, path: &str) -> bool {
        let Some(files) = self.blamed.get(&handle) else { return false };
        for file in files {
            let place = Touched { snapshot: self.snapshot, path: path.to_owned() };
            self.touched.entry((*file).to_owned()).or_default().insert(place);
        }
        true
    }
}

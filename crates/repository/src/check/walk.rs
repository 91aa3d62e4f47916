//! From the snapshots' roots down: which trees and blobs do they need, and are the trees good.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::check::{Checking, as_damage};
use crate::pack::BlobKind;
use crate::{Repository, Result, TreeId, layout};

/// Trees that are read at the same time.
const FETCHES: usize = 8;

impl Checking {
    pub(super) async fn walk(&mut self, repository: &Repository) -> Result<()> {
        let mut waiting: Vec<TreeId> = self.snapshots.iter().map(|snapshot| snapshot.tree).collect();
        let mut seen: HashSet<TreeId> = HashSet::new();
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < FETCHES {
                let Some(id) = waiting.pop() else { break };
                if seen.insert(id) {
                    let handle = (BlobKind::Tree, id.into());
                    self.needed.insert(handle);
                    let places = self.places(handle);
                    if !places.is_empty() {
                        reads.push(async move { (id, repository.tree_at(id, places).await) });
                    }
                }
            }
            let Some((id, result)) = reads.next().await else {
                if waiting.is_empty() {
                    return Ok(());
                } else {
                    continue;
                };
            };
            match result {
                Ok(tree) => {
                    self.report.blobs_read += 1;
                    for node in tree.nodes {
                        waiting.extend(node.subtree);
                        self.needed.extend(node.content.into_iter().map(|blob| (BlobKind::Data, blob)));
                    }
                }
                Err(error) => {
                    let reason = as_damage(&error).ok_or(error)?;
                    self.tree_is_bad(id, &reason);
                }
            }
        }
    }

    /// None of its places is good.
    fn tree_is_bad(&mut self, id: TreeId, reason: &str) {
        let handle = (BlobKind::Tree, id.into());
        for place in self.places(handle) {
            self.bad.insert((place.pack, handle));
            self.damage(layout::pack(place.pack), format!("tree {}: {reason}", id.short()));
        }
    }
}

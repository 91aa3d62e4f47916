//! The end of a snapshot: trees, open packs, index, snapshot file.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use jiff::Timestamp;

use crate::pack::BlobKind;
use crate::repository::blocking;
use crate::snapshot::{self, Summary};
use crate::tree::Owner;
use crate::tree_builder::{Entry, Folder};
use crate::writer::file::FileContent;
use crate::writer::pipeline::Pipeline;
use crate::{
    NewSnapshot, Node, NodeKind, RepositoryError, Result, Snapshot, SnapshotId, Tree, TreeBuilder, TreeId,
    host, layout,
};

/// What the trees hold.
#[derive(Debug, Default)]
struct Totals {
    files: u64,
    folders: u64,
    bytes: u64,
}

impl Pipeline {
    /// The last steps of a writer, in the order that the format demands.
    pub(super) async fn finish(self: &Arc<Self>, tree: TreeBuilder, new: NewSnapshot) -> Result<Snapshot> {
        tree.check()?;
        self.ready_to_finish().await?;
        let mut totals = Totals::default();
        let root = self.write_folder(&tree.root, tree.time, "", &mut totals).await?;
        self.end_packs().await?;
        self.wait_until(|| self.is_idle()).await?;
        self.write_index().await?;

        let json = snapshot::encode(&new, root, self.summary(&totals))
            .map_err(|e| RepositoryError::internal("write a snapshot", e))?;
        self.check()?;
        self.lock.confirm().await?;
        let key = self.repository.write_json(layout::SNAPSHOTS, json.clone()).await?;
        self.undo_if_lost(&key).await?;
        let id = layout::id_of(&key).ok_or_else(|| RepositoryError::InvalidId(key.clone()))?;
        snapshot::decode(SnapshotId::from_bytes(id), &json).map_err(|e| RepositoryError::damaged(key, e))
    }

    /// Every file was written to its end, nothing failed, and the lock is held. Ends the packs of the files.
    pub(super) async fn ready_to_finish(self: &Arc<Self>) -> Result<()> {
        self.check()?;
        let open = self.open_files.load(SeqCst);
        if open > 0 {
            return Err(RepositoryError::Incomplete {
                reason: format!("{open} of its files are still being written"),
            });
        }
        self.lock.check()?;
        self.end_packs().await
    }

    /// Completes the open packs once everything that was handed over is in them.
    pub(super) async fn end_packs(self: &Arc<Self>) -> Result<()> {
        self.wait_until(|| self.is_idle()).await?;
        let pipeline = self.clone();
        blocking(move || pipeline.complete_open_packs()).await?
    }

    /// Writes a folder's tree after those below it.
    async fn write_folder(
        self: &Arc<Self>,
        folder: &Folder,
        time: Timestamp,
        path: &str,
        totals: &mut Totals,
    ) -> Result<TreeId> {
        let mut nodes = Vec::with_capacity(folder.entries.len());
        for (name, entry) in &folder.entries {
            let path = format!("{path}/{name}");
            let mut node = Node {
                name: name.clone(),
                kind: NodeKind::File,
                mode: 0,
                modified: Some(time),
                size: 0,
                content: Vec::new(),
                subtree: None,
            };
            match entry {
                Entry::File { content, mode } => {
                    self.check_content(content, &path)?;
                    totals.files += 1;
                    totals.bytes += content.size;
                    (node.mode, node.size, node.content) = (*mode, content.size, content.blobs.clone());
                }
                Entry::Folder(below) => {
                    let subtree = Box::pin(self.write_folder(below, time, &path, totals)).await?;
                    totals.folders += 1;
                    (node.kind, node.mode, node.subtree) = (NodeKind::Dir, below.mode, Some(subtree));
                }
            }
            nodes.push(node);
        }
        let user = host::username();
        let json = Tree { nodes }.encode(Owner { uid: host::uid(), gid: host::gid(), user: &user });
        let id = TreeId::of(&json);
        let permit = self.room(json.len()).await?;
        self.submit(json, BlobKind::Tree, None, permit);
        Ok(id)
    }

    /// A snapshot must not name a blob that is not stored, nor a size that its blobs do not have.
    pub(super) fn check_content(&self, content: &FileContent, path: &str) -> Result<()> {
        let mut size = 0;
        for blob in &content.blobs {
            match self.known_length(BlobKind::Data, *blob) {
                Some(length) => size += u64::from(length),
                None => {
                    let reason = format!("nobody has written blob {blob} of {path}");
                    return Err(RepositoryError::Incomplete { reason });
                }
            }
        }
        if size == content.size {
            return Ok(());
        }
        let reason =
            format!("the blobs of {path} have {size} bytes, but it is said to have {}", content.size);
        Err(RepositoryError::Incomplete { reason })
    }

    fn summary(&self, totals: &Totals) -> Summary {
        let counters = &self.counters;
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Summary {
            backup_start: self.started,
            backup_end: Timestamp::now(),
            files_new: totals.files,
            dirs_new: totals.folders,
            data_blobs: count(counters.data_new.load(Relaxed)),
            tree_blobs: count(counters.trees_new.load(Relaxed)),
            data_added: counters.bytes_new.load(Relaxed),
            data_added_packed: counters.bytes_stored.load(Relaxed),
            total_files_processed: totals.files,
            total_bytes_processed: totals.bytes,
            ..Summary::default()
        }
    }
}

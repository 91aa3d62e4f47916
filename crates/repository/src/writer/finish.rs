//! The end of a snapshot: trees, open packs, index, snapshot file.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use crate::pack::BlobKind;
use crate::repository::blocking;
use crate::snapshot::{self, Summary};
use crate::tree::Owner;
use crate::tree_builder::{Entry, Folder};
use crate::writer::file::FileContent;
use crate::writer::pipeline::Pipeline;
use crate::writer::target::Target;
use crate::{
    BlobId, NewSnapshot, Node, NodeKind, RepositoryError, Result, Snapshot, SnapshotId, Tree, TreeBuilder,
    TreeId, host, layout,
};

/// What the trees hold.
#[derive(Debug, Default)]
struct Totals {
    files: u64,
    folders: u64,
    bytes: u64,
}

/// How a writer ended in one of its repositories.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The snapshot is there.
    Written(Box<Snapshot>),
    /// Some blobs were left out, since it was slow or had lost them: there is no snapshot. What came is there, with an
    /// index; the snapshot can be copied from one that has it.
    Behind {
        /// How many blobs were left out.
        blobs: u64,
    },
    /// It failed: there is no snapshot, unless just the answer to its writing was lost.
    Failed(RepositoryError),
}

impl Pipeline {
    /// The last steps of a writer, in the order that the format demands. Each target takes them for itself. Once the
    /// snapshot is in one of them, `stop` ends the waiting for the others.
    ///
    /// An error if none has the snapshot.
    pub(super) async fn finish(
        self: &Arc<Self>,
        tree: TreeBuilder,
        new: NewSnapshot,
        stop: impl Future<Output = ()>,
    ) -> Result<Vec<Ended>> {
        tree.check()?;
        self.ready_to_finish().await?;
        let mut totals = Totals::default();
        let root = self.write_folder(&tree.root, tree.time, "", &mut totals).await?;
        self.wait_until(|| self.is_idle()).await?;

        let mut running: FuturesUnordered<_> = self
            .targets
            .iter()
            .map(|target| {
                let new = NewSnapshot { parent: new.parent.filter(|_| target.number == 0), ..new.clone() };
                let json = snapshot::encode(&new, root, self.summary(target, &totals))
                    .map_err(|e| RepositoryError::internal("write a snapshot", e));
                self.clone().finish_target(target.clone(), json)
            })
            .collect();
        let mut ends = vec![None; self.targets.len()];
        let mut stop = std::pin::pin!(stop);
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                end = running.next() => match end {
                    Some((number, end)) => ends[number] = Some(end),
                    None => break,
                },
                () = &mut stop, if !stopped => stopped = true,
            }
            if stopped && ends.iter().flatten().any(|end| matches!(end, Ended::Written(_))) {
                break;
            }
        }
        drop(running);
        let interrupted = || Ended::Failed(RepositoryError::Incomplete { reason: "interrupted".to_owned() });
        let ends: Vec<Ended> = ends.into_iter().map(|end| end.unwrap_or_else(interrupted)).collect();
        if ends.iter().any(|end| matches!(end, Ended::Written(_))) {
            return Ok(ends);
        }
        self.check()?;
        Err(RepositoryError::internal("write a snapshot", "no repository has it"))
    }

    /// The same for a snapshot whose trees are written already, in the repository that leads.
    pub(super) async fn finish_leader(self: &Arc<Self>, json: Vec<u8>) -> Result<Snapshot> {
        self.wait_until(|| self.is_idle()).await?;
        let leader = self.leader().clone();
        let written = self.write_snapshot(&leader, Ok(json)).await?;
        written.ok_or_else(|| RepositoryError::internal("write a snapshot", "something was left out"))
    }

    /// Packs, index, snapshot: of one target, however the others fare.
    async fn finish_target(self: Arc<Self>, target: Arc<Target>, json: Result<Vec<u8>>) -> (usize, Ended) {
        let end = match self.write_snapshot(&target, json).await {
            Ok(Some(snapshot)) => Ended::Written(Box::new(snapshot)),
            Ok(None) => Ended::Behind { blobs: target.owes() },
            Err(error) => {
                self.fail_target(&target, error.clone());
                target.leave_an_index().await;
                Ended::Failed(error)
            }
        };
        (target.number, end)
    }

    /// Makes everything durable that was handed over, and writes the index for it.
    pub(super) async fn flush(self: &Arc<Self>, target: &Arc<Target>) -> Result<()> {
        target.check()?;
        self.end_packs_of(target).await?;
        self.wait(|| target.is_idle()).await;
        target.check()?;
        target.write_index().await
    }

    /// `None` for a target that lacks something.
    async fn write_snapshot(
        self: &Arc<Self>,
        target: &Arc<Target>,
        json: Result<Vec<u8>>,
    ) -> Result<Option<Snapshot>> {
        let json = json?;
        self.flush(target).await?;
        if target.owes() > 0 {
            return Ok(None);
        }
        let key = target.put_snapshot(json.clone()).await?;
        let id = layout::id_of(&key).ok_or_else(|| RepositoryError::InvalidId(key.clone()))?;
        let snapshot = snapshot::decode(SnapshotId::from_bytes(id), &json);
        snapshot.map(Some).map_err(|e| RepositoryError::damaged(key, e))
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
        let leader = self.leader().clone();
        leader.lock.check().or_else(|error| {
            self.fail_target(&leader, error);
            self.check()
        })?;
        self.end_packs().await
    }

    /// Completes the open packs once everything that was handed over is in them.
    pub(super) async fn end_packs(self: &Arc<Self>) -> Result<()> {
        self.wait_until(|| self.is_idle()).await?;
        futures::future::try_join_all(self.targets.iter().map(|target| self.end_packs_of(target))).await?;
        Ok(())
    }

    /// Makes everything so far durable and indexed in the repository that leads. The writer can go on.
    pub(super) async fn settle(self: &Arc<Self>) -> Result<()> {
        self.end_packs().await?;
        let leader = self.leader().clone();
        self.wait_until(|| leader.is_idle()).await?;
        leader.write_index().await
    }

    async fn end_packs_of(self: &Arc<Self>, target: &Arc<Target>) -> Result<()> {
        let (pipeline, target) = (self.clone(), target.clone());
        blocking(move || pipeline.complete_open_packs(&target)).await?
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
        let missing = |blob: BlobId| RepositoryError::Incomplete {
            reason: format!("nobody has written blob {blob} of {path}"),
        };
        let mut size = 0;
        for blob in &content.blobs {
            let length = self.known_length(self.leader(), BlobKind::Data, *blob);
            size += u64::from(length.ok_or_else(|| missing(*blob))?);
        }
        self.owe_unknown(&content.blobs).map_err(missing)?;
        if size == content.size {
            return Ok(());
        }
        let reason =
            format!("the blobs of {path} have {size} bytes, but it is said to have {}", content.size);
        Err(RepositoryError::Incomplete { reason })
    }

    fn summary(&self, target: &Target, totals: &Totals) -> Summary {
        let counters = &target.counters;
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

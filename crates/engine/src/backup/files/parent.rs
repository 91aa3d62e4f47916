//! The files of the parent snapshot, or of the last one before it that has some: its index, read side by side with the rows, and the trees that hold their blobs.

use basekeep_repository::{BlobId, Repository, Snapshot, SnapshotId};
use basekeep_supabase::storage::index::{Line, Object, Reader};

use crate::files::Folders;
use crate::listing;

/// Snapshots among which the last one with files is looked for.
const LOOKED_AT: usize = 20;

/// What the parent has of an upload.
pub(super) struct Before {
    /// Its line in the parent's index.
    pub(super) object: Object,
    /// Its blobs, each with its plain length.
    pub(super) blobs: Vec<(BlobId, u32)>,
}

/// The parent, or nothing.
pub(super) struct Parent(Option<Open>);

struct Open {
    repository: Repository,
    reader: Reader,
    /// The object of the index that is looked at.
    next: Option<Object>,
    folders: Folders,
}

impl Parent {
    /// Without an index, and with one that cannot be read, nothing is taken over.
    pub(super) async fn open(repository: &Repository, parent: Option<&SnapshotId>) -> Self {
        Self(Self::try_open(repository, parent).await)
    }

    async fn try_open(repository: &Repository, parent: Option<&SnapshotId>) -> Option<Open> {
        let (snapshots, _) = repository.snapshots().await.ok()?;
        let parent = snapshots.iter().find(|snapshot| Some(&snapshot.id) == parent)?;
        let of_source =
            |snapshot: &&Snapshot| snapshot.hostname == parent.hostname && !listing::is_proof(snapshot);
        let mut found = None;
        // One without files (the key was missing, say) should not cost a transfer of all of them.
        for snapshot in snapshots.iter().rev().filter(of_source).take(LOOKED_AT) {
            match Reader::open(repository, snapshot, listing::folder(snapshot)).await {
                Ok(Some(reader)) => {
                    found = Some((snapshot, reader));
                    break;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a snapshot's files are not taken over"),
            }
        }
        let (snapshot, reader) = found?;
        let folders = Folders::new(repository, snapshot);
        let mut open = Open { repository: repository.clone(), reader, next: None, folders };
        open.advance().await.then_some(open)
    }

    /// What it has of the same upload. Objects must come in the order of the index.
    pub(super) async fn find(&mut self, object: &Object) -> Option<Before> {
        let open = self.0.as_mut()?;
        let wanted = (object.bucket(), object.name());
        while open.next.as_ref().is_some_and(|next| (next.bucket(), next.name()) < wanted) {
            if !open.advance().await {
                self.0 = None;
                return None;
            }
        }
        let before = open.next.as_ref().filter(|next| {
            (next.bucket(), next.name()) == wanted && !next.changed && next.same_upload(object)
        })?;
        let before = before.clone();
        let node = open.folders.file(before.path.as_deref()?).await.ok()??;
        let length = |blob: &BlobId| Some((*blob, open.repository.blob_length(*blob)?));
        let blobs = node.content.iter().map(length).collect::<Option<Vec<_>>>()?;
        (node.size == before.size).then_some(Before { object: before, blobs })
    }
}

impl Open {
    /// Goes to the next object; `false` at the end, and when the index is damaged.
    async fn advance(&mut self) -> bool {
        loop {
            match self.reader.next().await {
                Ok(Some(Line::Object(object))) => {
                    self.next = Some(*object);
                    return true;
                }
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(%error, "the rest of the last snapshot's files is not taken over");
                    return false;
                }
            }
        }
    }
}

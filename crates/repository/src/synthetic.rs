//! For `xtask synthetic` alone: index files and snapshots of what is not there, to measure with a repository that would fill a
//! disk. The store that goes with it has to claim that the packs exist.

use jiff::Timestamp;

use crate::index_write::write_index;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::snapshot;
use crate::{BlobId, Lock, NewSnapshot, PackId, Repository, RepositoryError, Result, Snapshot, layout};

/// A blob that is said to exist.
#[derive(Debug, Clone, Copy)]
pub struct PlantedBlob {
    /// Its id.
    pub id: BlobId,
    /// Its plain bytes.
    pub plain: u32,
    /// Its bytes in the pack.
    pub stored: u32,
}

impl Repository {
    /// Writes index files that list these packs. Gives the packs' keys and sizes.
    pub async fn plant_packs(
        &self,
        lock: &Lock,
        packs: impl Iterator<Item = Vec<PlantedBlob>> + Send,
    ) -> Result<Vec<(String, u64)>> {
        let mut planted = Vec::new();
        let contents = packs.map(|blobs| {
            let mut offset = 0;
            let blobs: Vec<PackedBlob> = blobs
                .iter()
                .map(|blob| {
                    let at = offset;
                    offset += blob.stored;
                    PackedBlob {
                        id: blob.id,
                        kind: BlobKind::Data,
                        offset: at,
                        length: blob.stored,
                        uncompressed: blob.plain,
                    }
                })
                .collect();
            let id = PackId::from_bytes(rand::random());
            planted.push((layout::pack(id), u64::from(offset) + pack::tail_size(&blobs)));
            (id, blobs)
        });
        write_index(self, &lock.state(), contents).await?;
        Ok(planted)
    }

    /// Writes a snapshot file that is like another one but for its time.
    pub async fn plant_snapshot(&self, like: &Snapshot, time: Timestamp) -> Result<()> {
        let new = NewSnapshot {
            time,
            hostname: like.hostname.clone(),
            username: like.username.clone(),
            paths: like.paths.clone(),
            tags: like.tags.clone(),
            parent: like.parent,
            program_version: like.program_version.clone(),
        };
        let json = snapshot::encode(&new, like.tree, like.summary.clone().unwrap_or_default());
        let json = json.map_err(|e| RepositoryError::internal("write a snapshot", e))?;
        self.write_json(layout::SNAPSHOTS, json).await.map(|_| ())
    }
}

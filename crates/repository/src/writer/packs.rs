//! Filling packs: one is open for each kind of blob, since format version 2 keeps them apart.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::pack::{self, BlobKind, PackedBlob};
use crate::writer::pipeline::Pipeline;
use crate::writer::seal::Sealed;
use crate::{BlobId, PackId, RepositoryError, Result, sync};

/// Keeps headers far below the size that stock restic accepts.
const MOST_BLOBS: usize = 50_000;

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A pack that is complete.
#[derive(Debug)]
pub(super) struct FullPack {
    pub(super) id: PackId,
    pub(super) bytes: Vec<u8>,
    pub(super) blobs: Vec<PackedBlob>,
    /// Its bytes are in flight until it is durable.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl OpenPack {
    fn is_full(&self, size: usize) -> bool {
        self.bytes.len() >= size || self.blobs.len() >= MOST_BLOBS
    }
}

impl Pipeline {
    /// Adds a sealed blob to the open pack, and sends full packs on their way.
    pub(super) fn append(
        self: &Arc<Self>,
        kind: BlobKind,
        id: BlobId,
        sealed: &Sealed<'_>,
        permit: OwnedSemaphorePermit,
    ) -> Result<()> {
        let too_large = |e| RepositoryError::internal("fill a pack", e);
        let length = u32::try_from(sealed.bytes.len()).map_err(too_large)?;
        let mut full = Vec::new();
        {
            let mut open = sync::lock(self.open_pack(kind));
            if !open.blobs.is_empty() && open.bytes.len() + sealed.bytes.len() > self.options.pack_size {
                full.push(std::mem::take(&mut *open));
            }
            if open.bytes.capacity() == 0 {
                open.bytes.reserve(sealed.bytes.len().max(self.options.pack_size / 4));
            }
            let offset = u32::try_from(open.bytes.len()).map_err(too_large)?;
            open.bytes.extend_from_slice(sealed.bytes);
            open.blobs.push(PackedBlob { id, kind, offset, length, uncompressed: sealed.uncompressed });
            merge(&mut open.permit, shrink(permit, sealed.bytes.len()));
            if open.is_full(self.options.pack_size) {
                full.push(std::mem::take(&mut *open));
            }
        }
        full.into_iter().try_for_each(|pack| self.complete(pack))
    }

    fn open_pack(&self, kind: BlobKind) -> &std::sync::Mutex<OpenPack> {
        match kind {
            BlobKind::Data => &self.data_pack,
            BlobKind::Tree => &self.tree_pack,
        }
    }

    /// Completes the open packs, however full they are.
    pub(super) fn complete_open_packs(self: &Arc<Self>) -> Result<()> {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let pack = std::mem::take(&mut *sync::lock(self.open_pack(kind)));
            if !pack.blobs.is_empty() {
                self.complete(pack)?;
            }
        }
        Ok(())
    }

    /// Adds the header and uploads.
    fn complete(self: &Arc<Self>, pack: OpenPack) -> Result<()> {
        let OpenPack { mut bytes, blobs, permit } = pack;
        let header = self.repository.shared.key.seal(&pack::encode_header(&blobs));
        let length = u32::try_from(header.len()).map_err(|e| RepositoryError::internal("close a pack", e))?;
        bytes.reserve_exact(header.len() + pack::TRAILER);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&length.to_le_bytes());
        let id = PackId::of(&bytes);
        self.upload(FullPack { id, bytes, blobs, permit });
        Ok(())
    }
}

/// Sealed bytes are fewer than plain ones as a rule: gives the difference back.
fn shrink(mut permit: OwnedSemaphorePermit, length: usize) -> OwnedSemaphorePermit {
    let excess = permit.num_permits().saturating_sub(length);
    drop(permit.split(excess));
    permit
}

fn merge(all: &mut Option<OwnedSemaphorePermit>, permit: OwnedSemaphorePermit) {
    match all {
        Some(all) => all.merge(permit),
        None => *all = Some(permit),
    }
}

//! Filling packs: one is open for each kind of blob, since format version 2 keeps them apart.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::pack::{self, BlobKind, PackedBlob};
use crate::writer::pipeline::Pipeline;
use crate::writer::seal::Sealed;
use crate::writer::target::Target;
use crate::{BlobId, PackId, RepositoryError, Result, sync};

/// Keeps headers far below the size that stock restic accepts.
const MOST_BLOBS: usize = 50_000;

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
    room: Room,
}

/// A pack that is complete.
#[derive(Debug)]
pub(super) struct FullPack {
    pub(super) id: PackId,
    pub(super) bytes: Vec<u8>,
    pub(super) blobs: Vec<PackedBlob>,
    /// Its bytes are in flight until it is durable.
    pub(super) room: Room,
}

/// What a pack's bytes take up: of the bytes in flight, and of its target's queue. Permits of the two do not mix.
#[derive(Debug, Default)]
pub(super) struct Room {
    flight: Option<OwnedSemaphorePermit>,
    queue: Option<OwnedSemaphorePermit>,
}

/// Where the room for one blob came from.
#[derive(Debug)]
pub(super) enum Permit {
    /// The writer's bytes in flight.
    Flight(OwnedSemaphorePermit),
    /// The target's own queue.
    Queue(OwnedSemaphorePermit),
    /// Nowhere: a target has just begun to lead and its queue is full. At most one blob for each worker.
    None,
}

impl Room {
    /// Sealed bytes are fewer than plain ones as a rule: gives the difference back.
    fn add(&mut self, permit: Permit, length: usize) {
        let (all, permit) = match permit {
            Permit::Flight(permit) => (&mut self.flight, permit),
            Permit::Queue(permit) => (&mut self.queue, permit),
            Permit::None => return,
        };
        let permit = shrink(permit, length);
        match all {
            Some(all) => all.merge(permit),
            None => *all = Some(permit),
        }
    }
}

impl OpenPack {
    fn is_full(&self, size: usize) -> bool {
        self.bytes.len() >= size || self.blobs.len() >= MOST_BLOBS
    }
}

impl Pipeline {
    /// Adds a sealed blob to the target's open pack, and sends full packs on their way.
    pub(super) fn append(
        self: &Arc<Self>,
        target: &Arc<Target>,
        kind: BlobKind,
        id: BlobId,
        sealed: &Sealed<'_>,
        permit: Permit,
    ) -> Result<()> {
        let too_large = |e| RepositoryError::internal("fill a pack", e);
        let length = u32::try_from(sealed.bytes.len()).map_err(too_large)?;
        let mut full = Vec::new();
        {
            let mut open = sync::lock(target.open_pack(kind));
            if target.check().is_err() {
                return Ok(());
            }
            if !open.blobs.is_empty() && open.bytes.len() + sealed.bytes.len() > self.options.pack_size {
                full.push(std::mem::take(&mut *open));
            }
            if open.bytes.capacity() == 0 {
                open.bytes = self.spare_packs.take();
                open.bytes.reserve(sealed.bytes.len().max(self.options.pack_size / 4));
            }
            let offset = u32::try_from(open.bytes.len()).map_err(too_large)?;
            open.bytes.extend_from_slice(sealed.bytes);
            open.blobs.push(PackedBlob { id, kind, offset, length, uncompressed: sealed.uncompressed });
            open.room.add(permit, sealed.bytes.len());
            if open.is_full(self.options.pack_size) {
                full.push(std::mem::take(&mut *open));
            }
        }
        full.into_iter().try_for_each(|pack| self.complete(target, pack))
    }

    /// Completes the target's open packs, however full they are.
    pub(super) fn complete_open_packs(self: &Arc<Self>, target: &Arc<Target>) -> Result<()> {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let pack = std::mem::take(&mut *sync::lock(target.open_pack(kind)));
            if !pack.blobs.is_empty() {
                self.complete(target, pack)?;
            }
        }
        Ok(())
    }

    /// Adds the header and uploads.
    fn complete(self: &Arc<Self>, target: &Arc<Target>, pack: OpenPack) -> Result<()> {
        let OpenPack { mut bytes, blobs, room } = pack;
        let header = target.repository.shared.key.seal(&pack::encode_header(&blobs));
        let length = u32::try_from(header.len()).map_err(|e| RepositoryError::internal("close a pack", e))?;
        bytes.reserve_exact(header.len() + pack::TRAILER);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&length.to_le_bytes());
        let id = PackId::of(&bytes);
        self.upload(target, FullPack { id, bytes, blobs, room });
        Ok(())
    }
}

fn shrink(mut permit: OwnedSemaphorePermit, length: usize) -> OwnedSemaphorePermit {
    let excess = permit.num_permits().saturating_sub(length);
    drop(permit.split(excess));
    permit
}

//! New packs of sealed blobs. Trees, data, and data that is marked as compressed again stay apart, since a pack is judged
//! by its first compressed blob.

use bytes::Bytes;

use crate::crypto::Key;
use crate::index_file::PackContents;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::{BlobId, PackId, RepositoryError, Result};

/// Keeps headers far below the size that stock restic accepts.
const MOST_BLOBS: usize = 50_000;

/// A sealed blob that was verified.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) kind: BlobKind,
    pub(super) id: BlobId,
    pub(super) uncompressed: u32,
    pub(super) bytes: Bytes,
    /// Its frame is marked.
    pub(super) marked: bool,
}

/// A blob on its way into a pack.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) blob: Sealed,
    /// It belongs to what is compressed again, also where it was no use.
    pub(super) again: bool,
    /// The same blob compressed again, where that was no use.
    pub(super) instead: Option<Sealed>,
    /// Bytes that compressing it again saved; 0 if it was no use, or not tried.
    pub(super) saved: u64,
}

/// A pack that is complete.
#[derive(Debug)]
pub(super) struct FullPack {
    pub(super) contents: PackContents,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
struct OpenPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
    compressed: bool,
}

/// Fills packs.
#[derive(Debug)]
pub(super) struct Packer {
    key: Key,
    pack_size: usize,
    trees: OpenPack,
    data: OpenPack,
    again: OpenPack,
}

impl Packer {
    pub(super) fn new(key: Key, pack_size: usize) -> Self {
        let pack_size = pack_size.clamp(1, 512 << 20);
        let (trees, data, again) = Default::default();
        Self { key, pack_size, trees, data, again }
    }

    /// Adds a blob; gives a pack that has become full.
    pub(super) fn add(&mut self, copied: Copied) -> Result<Option<FullPack>> {
        let Copied { mut blob, again, instead, .. } = copied;
        let open = match (blob.kind, again || blob.marked) {
            (BlobKind::Tree, _) => &mut self.trees,
            (BlobKind::Data, false) => &mut self.data,
            (BlobKind::Data, true) => &mut self.again,
        };
        let crowded = open.bytes.len() + blob.bytes.len() > self.pack_size || open.blobs.len() >= MOST_BLOBS;
        let full = (!open.blobs.is_empty() && crowded).then(|| std::mem::take(open));
        // The first one tells of all.
        if let (false, Some(instead)) = (open.compressed, instead) {
            blob = instead;
        }
        let too_large = |e| RepositoryError::internal("fill a pack", e);
        if open.bytes.capacity() == 0 {
            open.bytes.reserve(blob.bytes.len().max(self.pack_size / 4));
        }
        open.blobs.push(PackedBlob {
            id: blob.id,
            kind: blob.kind,
            offset: u32::try_from(open.bytes.len()).map_err(too_large)?,
            length: u32::try_from(blob.bytes.len()).map_err(too_large)?,
            uncompressed: blob.uncompressed,
        });
        open.bytes.extend_from_slice(&blob.bytes);
        open.compressed |= blob.uncompressed > 0;
        full.map(|pack| complete(&self.key, pack)).transpose()
    }

    /// The packs that are open.
    pub(super) fn finish(&mut self) -> Result<Vec<FullPack>> {
        let open = [&mut self.trees, &mut self.data, &mut self.again];
        let open = open.into_iter().map(std::mem::take).filter(|pack| !pack.blobs.is_empty());
        open.map(|pack| complete(&self.key, pack)).collect()
    }
}

/// Adds the header.
fn complete(key: &Key, pack: OpenPack) -> Result<FullPack> {
    let OpenPack { mut bytes, blobs, .. } = pack;
    let header = key.seal(&pack::encode_header(&blobs));
    let length = u32::try_from(header.len()).map_err(|e| RepositoryError::internal("close a pack", e))?;
    bytes.reserve_exact(header.len() + pack::TRAILER);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(FullPack { contents: (PackId::of(&bytes), blobs), bytes: bytes.into() })
}

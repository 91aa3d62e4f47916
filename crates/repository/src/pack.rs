//! Pack files: sealed blobs one after the other, then a sealed header that lists them, then its length
//! (restic's design document, "Pack Format").

use serde::{Deserialize, Serialize};

use crate::BlobId;
use crate::crypto::OVERHEAD;

/// What a blob holds. Format version 2 keeps the two kinds in packs of their own; older packs mix them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobKind {
    Data,
    Tree,
}

/// One blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedBlob {
    pub(crate) id: BlobId,
    pub(crate) kind: BlobKind,
    /// Where it begins in the pack.
    pub(crate) offset: u32,
    /// Its length there, sealed.
    pub(crate) length: u32,
    /// Its plain length if it is compressed, else 0: then it is `length` without the overhead.
    pub(crate) uncompressed: u32,
}

impl PackedBlob {
    /// The length of the content.
    pub(crate) fn plain_length(&self) -> u32 {
        if self.uncompressed > 0 { self.uncompressed } else { self.length.saturating_sub(OVERHEAD as u32) }
    }

    /// Its size in the header.
    pub(crate) fn entry_size(&self) -> usize {
        if self.uncompressed > 0 { COMPRESSED_ENTRY } else { PLAIN_ENTRY }
    }
}

const PLAIN_ENTRY: usize = 1 + 4 + 32;
const COMPRESSED_ENTRY: usize = PLAIN_ENTRY + 4;
/// The length of the header's length.
pub(crate) const TRAILER: usize = 4;
/// Stock restic refuses larger headers.
pub(crate) const LARGEST_HEADER: usize = 16 << 20;

/// The header's plain text.
pub(crate) fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY);
    for blob in blobs {
        let compressed = blob.uncompressed > 0;
        header.push(u8::from(blob.kind == BlobKind::Tree) | (u8::from(compressed) << 1));
        header.extend_from_slice(&blob.length.to_le_bytes());
        if compressed {
            header.extend_from_slice(&blob.uncompressed.to_le_bytes());
        }
        header.extend_from_slice(blob.id.as_bytes());
    }
    header
}

/// The size of everything after the blobs, trailer included.
pub(crate) fn tail_size<'a>(blobs: impl IntoIterator<Item = &'a PackedBlob>) -> u64 {
    let header: usize = blobs.into_iter().map(PackedBlob::entry_size).sum();
    (header + OVERHEAD + TRAILER) as u64
}

/// Reads a header's plain text. The offsets follow from the lengths.
pub(crate) fn decode_header(mut header: &[u8]) -> Result<Vec<PackedBlob>, String> {
    let mut blobs = Vec::with_capacity(header.len() / COMPRESSED_ENTRY + 1);
    let mut offset = 0_u32;
    while let Some((&kind, rest)) = header.split_first() {
        if kind > 3 {
            return Err(format!("its header has a blob of unknown type {kind}"));
        }
        let cut = || "its header ends within an entry".to_owned();
        let (length, rest) = take_u32(rest).ok_or_else(cut)?;
        let (uncompressed, rest) = if kind & 2 == 0 { (0, rest) } else { take_u32(rest).ok_or_else(cut)? };
        let (id, rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
        if (length as usize) < OVERHEAD {
            return Err(format!("its header has a blob of {length} bytes"));
        }
        let kind = if kind & 1 == 0 { BlobKind::Data } else { BlobKind::Tree };
        blobs.push(PackedBlob { id: BlobId::from_bytes(*id), kind, offset, length, uncompressed });
        offset = offset.checked_add(length).ok_or("its header describes more than 4 GiB")?;
        header = rest;
    }
    Ok(blobs)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(number, rest)| (u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blobs() -> Vec<PackedBlob> {
        let blob = |n: u8, kind, offset, length, uncompressed| PackedBlob {
            id: BlobId::of(&[n]),
            kind,
            offset,
            length,
            uncompressed,
        };
        vec![
            blob(0, BlobKind::Data, 0, 40, 0),
            blob(1, BlobKind::Tree, 40, 50, 900),
            blob(2, BlobKind::Data, 90, 60, 70),
            blob(3, BlobKind::Tree, 150, 33, 0),
        ]
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        let header = encode_header(&blobs());
        assert_eq!(header.len() as u64 + 32 + 4, tail_size(&blobs()));
        assert_eq!(decode_header(&header).unwrap(), blobs());
        assert!(decode_header(&header[..header.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_header(&bytes);
        }
    }
}

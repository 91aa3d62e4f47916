//! Index files: JSON that lists packs and the blobs in them (restic's design document, "Indexing").

use serde::{Deserialize, Serialize};

use crate::pack::{BlobKind, PackedBlob};
use crate::{BlobId, PackId};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    /// `null` is how Go writes an empty list.
    packs: Option<Vec<IndexedPack>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct IndexedPack {
    id: PackId,
    blobs: Option<Vec<IndexedBlob>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct IndexedBlob {
    id: BlobId,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncompressed_length: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's calling convention
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A pack and what is in it.
pub(crate) type PackContents = (PackId, Vec<PackedBlob>);

/// The JSON of an index file.
pub(crate) fn encode(packs: &[PackContents]) -> Result<Vec<u8>, serde_json::Error> {
    let packs = packs.iter().map(|(id, blobs)| IndexedPack {
        id: *id,
        blobs: Some(
            blobs
                .iter()
                .map(|blob| IndexedBlob {
                    id: blob.id,
                    kind: blob.kind,
                    offset: blob.offset,
                    length: blob.length,
                    uncompressed_length: blob.uncompressed,
                })
                .collect(),
        ),
    });
    serde_json::to_vec(&IndexFile { packs: Some(packs.collect()) })
}

/// Reads an index file's JSON.
pub(crate) fn decode(json: &[u8]) -> Result<Vec<PackContents>, String> {
    let file: IndexFile = serde_json::from_slice(json).map_err(|e| format!("not an index: {e}"))?;
    let packs = file.packs.unwrap_or_default().into_iter();
    Ok(packs
        .map(|pack| {
            let blobs = pack.blobs.unwrap_or_default().into_iter();
            let blobs = blobs.map(|blob| PackedBlob {
                id: blob.id,
                kind: blob.kind,
                offset: blob.offset,
                length: blob.length,
                uncompressed: blob.uncompressed_length,
            });
            (pack.id, blobs.collect())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_as_it_was_and_other_fields_are_passed_over() {
        let blob = |n: u8, uncompressed| PackedBlob {
            id: BlobId::of(&[n]),
            kind: BlobKind::Data,
            offset: 100,
            length: 200,
            uncompressed,
        };
        let packs = vec![(PackId::of(b"a"), vec![blob(1, 0), blob(2, 300)]), (PackId::of(b"b"), vec![])];
        let json = encode(&packs).unwrap();
        assert_eq!(decode(&json).unwrap(), packs);
        assert_eq!(String::from_utf8(json).unwrap().matches("uncompressed_length").count(), 1);
        assert_eq!(decode(br#"{"supersedes":["00"],"packs":null}"#).unwrap(), vec![]);
        assert!(decode(b"[1]").is_err());
    }
}

//! Reading what a pack says of itself: the list of its blobs at its end.

use crate::crypto::{Key, OVERHEAD};
use crate::pack::{self, PackedBlob, TRAILER};
use crate::{PackId, Repository, RepositoryError, Result, layout};

/// What is read at first: enough for the headers of most packs.
const GUESS: u64 = 16 << 10;

/// The header at the end of `data`, which is the whole pack or its last part.
pub(crate) fn open_header(key: &Key, data: &[u8]) -> Result<Vec<PackedBlob>, String> {
    let length = header_length(data)?;
    let rest = &data[..data.len() - TRAILER];
    let start = rest.len().checked_sub(length).ok_or_else(cut_off)?;
    let header = key.open(&rest[start..]).map_err(|e| format!("its header: {e}"))?;
    pack::decode_header(&header)
}

/// The header's length without the trailer, by the trailer.
fn header_length(data: &[u8]) -> Result<usize, String> {
    let (_, length) = data.split_last_chunk::<TRAILER>().ok_or_else(cut_off)?;
    let length = u32::from_le_bytes(*length) as usize;
    if (OVERHEAD..=pack::LARGEST_HEADER).contains(&length) {
        Ok(length)
    } else {
        Err("the length of its header cannot be".to_owned())
    }
}

fn cut_off() -> String {
    "its header is cut off".to_owned()
}

/// Reads the header of a pack of `size` bytes.
///
/// Errors: [`RepositoryError::Damaged`]; failures of the storage.
pub(crate) async fn read_header(repository: &Repository, id: PackId, size: u64) -> Result<Vec<PackedBlob>> {
    let (store, name) = (&repository.shared.store, layout::pack(id));
    let damaged = |reason: String| RepositoryError::damaged(name.clone(), reason);
    let mut data = store.get_range(&name, size.saturating_sub(GUESS)..size).await?;
    let tail = (header_length(&data).map_err(damaged)? + TRAILER) as u64;
    if tail > size {
        return Err(damaged(cut_off()));
    }
    if tail > data.len() as u64 {
        data = store.get_range(&name, size - tail..size).await?;
    }
    open_header(&repository.shared.key, &data).map_err(damaged)
}

//! The places of an index by pack: four bytes for each.

use crate::index::Index;
use crate::pack::PackedBlob;

/// The positions in each pack, by offset.
#[derive(Debug, Default)]
pub(crate) struct ByPack {
    starts: Vec<u32>,
    positions: Vec<u32>,
}

impl ByPack {
    /// Of an index that is settled.
    pub(crate) fn new(index: &Index) -> Self {
        let mut starts = vec![0_u32; index.packs().len() + 1];
        for position in 0..index.len() {
            starts[index.pack_at(position) + 1] += 1;
        }
        for number in 1..starts.len() {
            starts[number] += starts[number - 1];
        }
        let mut next = starts.clone();
        let mut positions = vec![0; index.len()];
        for position in 0..index.len() {
            let slot = &mut next[index.pack_at(position)];
            positions[*slot as usize] = position as u32;
            *slot += 1;
        }
        for window in starts.windows(2) {
            positions[window[0] as usize..window[1] as usize]
                .sort_unstable_by_key(|position| index.at(*position as usize).blob.offset);
        }
        Self { starts, positions }
    }

    /// The positions in the pack of this number.
    pub(crate) fn positions(&self, pack: usize) -> impl Iterator<Item = usize> + '_ {
        let range = match (self.starts.get(pack), self.starts.get(pack + 1)) {
            (Some(start), Some(end)) => *start as usize..*end as usize,
            _ => 0..0,
        };
        self.positions[range].iter().map(|position| *position as usize)
    }

    /// The blobs in the pack of this number.
    pub(crate) fn blobs(&self, index: &Index, pack: usize) -> Vec<PackedBlob> {
        self.positions(pack).map(|position| index.at(position).blob).collect()
    }
}

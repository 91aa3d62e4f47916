//! Which pack holds which blob: all index files together, in memory, 48 bytes for each blob.

use std::collections::{HashMap, HashSet};

use crate::pack::{self, BlobKind, PackedBlob};
use crate::{BlobId, PackId};

/// Marks trees in [`Entry::pack`].
const TREE: u32 = 1 << 31;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: BlobId,
    /// Number of the pack, and the kind.
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed: u32,
}

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) blob: PackedBlob,
}

/// The index. A blob can be in several packs; all of its places are kept.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    /// Sorted.
    entries: Vec<Entry>,
    /// What came after the last [`Index::settle`].
    recent: HashMap<BlobId, Vec<Entry>>,
}

impl Index {
    /// Adds a pack. One that is known already (two index files may list it) is passed over.
    pub(crate) fn add(&mut self, pack: PackId, blobs: &[PackedBlob]) {
        let Some(number) = self.number(pack) else { return };
        for blob in blobs {
            self.recent.entry(blob.id).or_default().push(entry(number, blob));
        }
    }

    /// Builds the index from all packs at once; cheaper than adding one by one.
    pub(crate) fn extend(&mut self, packs: impl IntoIterator<Item = (PackId, Vec<PackedBlob>)>) {
        for (pack, blobs) in packs {
            if let Some(number) = self.number(pack) {
                self.entries.extend(blobs.iter().map(|blob| entry(number, blob)));
            }
        }
        self.settle();
    }

    fn number(&mut self, pack: PackId) -> Option<u32> {
        let next = u32::try_from(self.packs.len()).ok().filter(|number| *number < TREE)?;
        match self.numbers.entry(pack) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(next);
                self.packs.push(pack);
                Some(next)
            }
        }
    }

    fn settle(&mut self) {
        self.entries.extend(self.recent.drain().flat_map(|(_, entries)| entries));
        self.entries.sort_unstable();
        self.entries.shrink_to_fit();
    }

    /// Every place of a blob.
    pub(crate) fn locations(&self, kind: BlobKind, id: BlobId) -> impl Iterator<Item = Location> {
        let first = self.entries.partition_point(|entry| entry.id < id);
        let settled = self.entries[first..].iter().take_while(move |entry| entry.id == id);
        let recent = self.recent.get(&id).into_iter().flatten();
        settled.chain(recent).filter(move |entry| entry.kind() == kind).map(|entry| self.location(entry))
    }

    /// The first place of a blob.
    pub(crate) fn find(&self, kind: BlobKind, id: BlobId) -> Option<Location> {
        self.locations(kind, id).next()
    }

    /// The number of blobs, each place counted.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.recent.values().map(Vec::len).sum::<usize>()
    }

    /// Every place of every blob, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Location> {
        self.entries.iter().chain(self.recent.values().flatten()).map(|entry| self.location(entry))
    }

    /// What the size of each pack must be.
    pub(crate) fn pack_sizes(&self) -> HashMap<PackId, u64> {
        let mut sizes = HashMap::with_capacity(self.packs.len());
        for place in self.iter() {
            let size = sizes.entry(place.pack).or_insert_with(|| pack::tail_size([]));
            *size += u64::from(place.blob.length) + place.blob.entry_size() as u64;
        }
        sizes
    }

    /// Forgets what these packs hold. They stay known: a file that lists them again changes nothing.
    pub(crate) fn forget(&mut self, packs: &HashSet<PackId>) {
        let numbers: HashSet<u32> = packs.iter().filter_map(|pack| self.numbers.get(pack).copied()).collect();
        let stays = |entry: &Entry| !numbers.contains(&(entry.pack & !TREE));
        self.entries.retain(stays);
        self.recent.retain(|_, entries| {
            entries.retain(stays);
            !entries.is_empty()
        });
    }

    /// Whether any index lists this pack.
    pub(crate) fn knows(&self, pack: PackId) -> bool {
        self.numbers.contains_key(&pack)
    }

    fn location(&self, entry: &Entry) -> Location {
        Location {
            pack: self.packs[(entry.pack & !TREE) as usize],
            blob: PackedBlob {
                id: entry.id,
                kind: entry.kind(),
                offset: entry.offset,
                length: entry.length,
                uncompressed: entry.uncompressed,
            },
        }
    }
}

impl Entry {
    fn kind(&self) -> BlobKind {
        if self.pack & TREE == 0 { BlobKind::Data } else { BlobKind::Tree }
    }
}

fn entry(number: u32, blob: &PackedBlob) -> Entry {
    let kind = if blob.kind == BlobKind::Tree { TREE } else { 0 };
    Entry {
        id: blob.id,
        pack: number | kind,
        offset: blob.offset,
        length: blob.length,
        uncompressed: blob.uncompressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u32, kind: BlobKind) -> PackedBlob {
        PackedBlob { id: BlobId::of(&n.to_le_bytes()), kind, offset: n * 10, length: 40, uncompressed: n }
    }

    #[test]
    fn blobs_are_found_by_kind_in_every_pack_that_holds_them() {
        let (one, two, three) = (PackId::of(b"1"), PackId::of(b"2"), PackId::of(b"3"));
        let data = |range: std::ops::Range<u32>| range.map(|n| blob(n, BlobKind::Data)).collect::<Vec<_>>();
        let mut index = Index::default();
        index.extend([(one, data(0..100)), (two, data(50..150)), (one, data(0..100))]);
        index.add(three, &[blob(7, BlobKind::Tree), blob(60, BlobKind::Data), blob(200, BlobKind::Data)]);
        assert_eq!(index.len(), 203);
        assert_eq!(index.iter().count(), 203);
        let packs = |n: u32, kind| -> Vec<PackId> {
            index.locations(kind, BlobId::of(&n.to_le_bytes())).map(|l| l.pack).collect()
        };
        assert_eq!(packs(7, BlobKind::Data), [one]);
        assert_eq!(packs(7, BlobKind::Tree), [three]);
        assert_eq!(packs(60, BlobKind::Data), [one, two, three]);
        assert_eq!(packs(200, BlobKind::Data), [three]);
        assert!(packs(200, BlobKind::Tree).is_empty());
        let found = index.find(BlobKind::Data, BlobId::of(&149_u32.to_le_bytes())).unwrap();
        assert_eq!((found.pack, found.blob), (two, blob(149, BlobKind::Data)));
    }
}

//! Which pack holds which blob: all index files together, in memory, 48 bytes for each blob.

mod by_pack;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

pub(crate) use by_pack::ByPack;

use crate::pack::{self, BlobKind, PackedBlob};
use crate::{BlobId, PackId};

/// Marks trees in [`Entry::pack`]. Being the highest bit it keeps the places of a blob of one kind together.
const TREE: u32 = 1 << 31;
/// Places that are added one by one wait in a map, which takes a few times more room, until there are that many; or a
/// sixteenth of all.
const RECENT: usize = 1 << 15;

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

/// The index. A blob can be in several packs; all of its places are kept. A pack that several index files list holds
/// what any of them lists.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    /// Packs whose contents do not count any more.
    forgotten: HashSet<u32>,
    /// Sorted, each once.
    entries: Vec<Entry>,
    /// What was added one by one and is not among the entries yet.
    recent: HashMap<BlobId, Vec<Entry>>,
    recent_length: usize,
}

/// Makes an index of many packs at once.
#[derive(Debug, Default)]
pub(crate) struct Builder(Index);

impl Builder {
    /// Adds a pack; gives its number.
    pub(crate) fn add(&mut self, pack: PackId, blobs: &[PackedBlob]) -> Option<u32> {
        let number = self.0.number(pack)?;
        self.0.entries.extend(blobs.iter().map(|blob| entry(number, blob)));
        Some(number)
    }

    /// The number of packs so far: higher than any of their numbers.
    pub(crate) fn packs(&self) -> usize {
        self.0.packs.len()
    }

    /// Whether this pack was added.
    pub(crate) fn knows(&self, pack: PackId) -> bool {
        self.0.numbers.contains_key(&pack)
    }

    pub(crate) fn build(self) -> Index {
        let mut index = self.0;
        index.entries.sort_unstable();
        index.entries.dedup();
        index.entries.shrink_to_fit();
        index
    }
}

impl Index {
    /// Adds a pack.
    pub(crate) fn add(&mut self, pack: PackId, blobs: &[PackedBlob]) {
        let Some(number) = self.number(pack) else { return };
        if self.forgotten.contains(&number) {
            return;
        }
        for entry in blobs.iter().map(|blob| entry(number, blob)) {
            if self.entries.binary_search(&entry).is_ok() {
                continue;
            }
            let places = self.recent.entry(entry.id).or_default();
            if !places.contains(&entry) {
                places.push(entry);
                self.recent_length += 1;
            }
        }
        if self.recent_length > RECENT.max(self.entries.len() / 16) {
            self.settle();
        }
    }

    /// Adds all that another index lists.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        other.settle();
        if self.packs.is_empty() {
            *self = other;
            return;
        }
        let numbers: Vec<Option<u32>> = other.packs.iter().map(|pack| self.number(*pack)).collect();
        let mut entries = other.entries;
        entries.retain_mut(|entry| {
            let Some(Some(number)) = numbers.get((entry.pack & !TREE) as usize) else { return false };
            entry.pack = (entry.pack & TREE) | number;
            !self.forgotten.contains(number)
        });
        entries.sort_unstable();
        self.merge(entries);
    }

    /// The pack's number, a new one if it is not known; `None` if there are too many packs.
    fn number(&mut self, pack: PackId) -> Option<u32> {
        let next = u32::try_from(self.packs.len()).ok().filter(|number| *number < TREE)?;
        Some(match self.numbers.entry(pack) {
            Slot::Occupied(known) => *known.get(),
            Slot::Vacant(vacant) => {
                vacant.insert(next);
                self.packs.push(pack);
                next
            }
        })
    }

    /// Puts what was added one by one where it belongs. Needed before anything is asked for by position.
    pub(crate) fn settle(&mut self) {
        let mut recent: Vec<Entry> = std::mem::take(&mut self.recent).into_values().flatten().collect();
        self.recent_length = 0;
        recent.sort_unstable();
        self.merge(recent);
    }

    /// Merges sorted entries from the end, so that it needs no second copy.
    fn merge(&mut self, new: Vec<Entry>) {
        let Some(filler) = new.first().copied() else { return };
        let (mut old, mut left) = (self.entries.len(), new.len());
        self.entries.reserve_exact(left);
        self.entries.resize(old + left, filler);
        while left > 0 {
            if old > 0 && self.entries[old - 1] > new[left - 1] {
                self.entries[old + left - 1] = self.entries[old - 1];
                old -= 1;
            } else {
                self.entries[old + left - 1] = new[left - 1];
                left -= 1;
            }
        }
        self.entries.dedup();
    }

    /// Every place of a blob.
    pub(crate) fn locations(&self, kind: BlobKind, id: BlobId) -> impl Iterator<Item = Location> {
        let settled = &self.entries[self.positions(kind, id)];
        let recent = self.recent.get(&id).into_iter().flatten();
        settled
            .iter()
            .chain(recent.filter(move |entry| entry.kind() == kind))
            .map(|entry| self.location(entry))
    }

    /// The first place of a blob.
    pub(crate) fn find(&self, kind: BlobKind, id: BlobId) -> Option<Location> {
        self.locations(kind, id).next()
    }

    /// The number of blobs, each place counted.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.recent_length
    }

    /// Every place of every blob, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Location> {
        self.entries.iter().chain(self.recent.values().flatten()).map(|entry| self.location(entry))
    }

    /// What the size of each pack must be.
    pub(crate) fn pack_sizes(&self) -> HashMap<PackId, u64> {
        let mut sizes = vec![0; self.packs.len()];
        for entry in self.entries.iter().chain(self.recent.values().flatten()) {
            let blob = entry.blob();
            sizes[(entry.pack & !TREE) as usize] += u64::from(blob.length) + blob.entry_size() as u64;
        }
        let sizes = self.packs.iter().zip(sizes).filter(|(_, size)| *size > 0);
        sizes.map(|(pack, size)| (*pack, size + pack::tail_size([]))).collect()
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
        self.recent_length = self.recent.values().map(Vec::len).sum();
        self.forgotten.extend(numbers);
    }

    /// The pack's number, if any index lists it.
    pub(crate) fn pack_number(&self, pack: PackId) -> Option<u32> {
        self.numbers.get(&pack).copied()
    }

    /// All packs that were listed, by number.
    pub(crate) fn packs(&self) -> &[PackId] {
        &self.packs
    }

    fn location(&self, entry: &Entry) -> Location {
        Location { pack: self.packs[(entry.pack & !TREE) as usize], blob: entry.blob() }
    }
}

/// By position, for those who keep a bit or a number for each place. What was added one by one must have been settled.
impl Index {
    /// The positions of a blob's places.
    pub(crate) fn positions(&self, kind: BlobKind, id: BlobId) -> Range<usize> {
        let first = self.entries.partition_point(|entry| (entry.id, entry.kind()) < (id, kind));
        let places = self.entries[first..].iter();
        first..first + places.take_while(|entry| entry.id == id && entry.kind() == kind).count()
    }

    /// The positions of the same blob's places, of which `first` is the first.
    pub(crate) fn same(&self, first: usize) -> Range<usize> {
        let Some(one) = self.entries.get(first) else { return first..first };
        let places = self.entries[first..].iter();
        first..first + places.take_while(|entry| entry.id == one.id && entry.kind() == one.kind()).count()
    }

    /// What stands at a position.
    pub(crate) fn at(&self, position: usize) -> Location {
        self.location(&self.entries[position])
    }

    /// The number of the pack that a position is in.
    pub(crate) fn pack_at(&self, position: usize) -> usize {
        (self.entries[position].pack & !TREE) as usize
    }
}

impl Entry {
    fn kind(&self) -> BlobKind {
        if self.pack & TREE == 0 { BlobKind::Data } else { BlobKind::Tree }
    }

    fn blob(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: self.kind(),
            offset: self.offset,
            length: self.length,
            uncompressed: self.uncompressed,
        }
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
        let mut builder = Builder::default();
        for (pack, blobs) in [(one, data(0..100)), (two, data(50..150)), (one, data(0..100))] {
            builder.add(pack, &blobs);
        }
        index.absorb(builder.build());
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

        index.settle();
        assert_eq!((index.len(), packs_of(&index, 60)), (203, vec![one, two, three]));
        let mut other = Index::default();
        other.add(PackId::of(b"4"), &data(60..61));
        other.add(two, &data(149..152));
        index.forget(&HashSet::from([one]));
        other.add(one, &data(60..61));
        index.absorb(other);
        assert_eq!(packs_of(&index, 60), [two, three, PackId::of(b"4")]);
        assert_eq!((packs_of(&index, 149), packs_of(&index, 151)), (vec![two], vec![two]));
        assert!(packs_of(&index, 1).is_empty(), "what was forgotten stays so");
        let by_pack = ByPack::new(&index);
        let number = index.pack_number(two).unwrap() as usize;
        assert_eq!(by_pack.blobs(&index, number), data(50..152));
    }

    fn packs_of(index: &Index, n: u32) -> Vec<PackId> {
        index.locations(BlobKind::Data, BlobId::of(&n.to_le_bytes())).map(|place| place.pack).collect()
    }

    #[test]
    fn an_index_that_grows_blob_by_blob_is_the_same_as_one_that_is_built_at_once() {
        let (mut grown, mut builder) = (Index::default(), Builder::default());
        for n in 0..700_u32 {
            let blobs: Vec<_> = (0..100).map(|i| blob((n * 37 + i * 101) % 50_000, BlobKind::Data)).collect();
            grown.add(PackId::of(&n.to_le_bytes()), &blobs);
            builder.add(PackId::of(&n.to_le_bytes()), &blobs);
        }
        assert!(grown.recent_length < grown.entries.len(), "most has been settled");
        grown.settle();
        let built = builder.build();
        assert_eq!(grown.entries, built.entries);
        assert!(built.entries.is_sorted());
    }
}

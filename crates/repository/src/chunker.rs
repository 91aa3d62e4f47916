//! Content-defined chunks: FastCDC with normalised sizes (Xia et al., "The Design of Fast Content-Defined Chunking for
//! Data Deduplication Based Storage Systems", 2020). Equal content is cut at equal places, wherever it stands.
//!
//! The gear table comes from the repository's polynomial, so that the sizes of chunks of a known text differ from one
//! repository to the next.

use sha2::{Digest, Sha256};

/// No chunk is larger, whatever the average: stock restic's usual limit.
pub(crate) const LARGEST_CHUNK: usize = 8 << 20;
const SMALLEST_AVERAGE: usize = 4 << 10;

/// A pseudo-random number for each byte value.
pub(crate) type Gear = [u64; 256];

/// The table for a repository.
pub(crate) fn gear(polynomial: u64) -> Box<Gear> {
    let mut table = Box::new([0; 256]);
    for (block, numbers) in table.chunks_exact_mut(4).enumerate() {
        let mut hash = Sha256::new();
        hash.update(b"chunker gear");
        hash.update(polynomial.to_le_bytes());
        hash.update((block as u64).to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        for (number, bytes) in numbers.iter_mut().zip(digest.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
    }
    table
}

/// Where to cut one stream. It keeps its place between calls, so that no byte is looked at twice.
#[derive(Debug, Clone)]
pub(crate) struct Chunker {
    smallest: usize,
    average: usize,
    largest: usize,
    /// A cut is where the hash is not above this. Before the average that is made less likely; after it, more likely.
    strict: u64,
    loose: u64,
    /// Bytes of the present chunk that were looked at, and their rolling hash.
    seen: usize,
    hash: u64,
}

impl Chunker {
    /// Chunks of about `average` bytes: at least a quarter, at most eight times as much.
    pub(crate) fn new(average: usize) -> Self {
        let average = average.clamp(SMALLEST_AVERAGE, LARGEST_CHUNK);
        let bits = average.ilog2();
        Self {
            smallest: average / 4,
            average,
            largest: (average * 8).min(LARGEST_CHUNK),
            strict: limit(bits + 1),
            loose: limit(bits - 1),
            seen: 0,
            hash: 0,
        }
    }

    /// The length of the chunk at the beginning of `data`, or `None` if its end is not in `data` yet. Call it again
    /// with more of the same data; after `Some`, with what follows the chunk.
    pub(crate) fn next_cut(&mut self, gear: &Gear, data: &[u8]) -> Option<usize> {
        if self.seen < self.smallest {
            if data.len() <= self.smallest {
                return None;
            }
            self.seen = self.smallest;
        }
        let average_end = self.average.min(data.len());
        let largest_end = self.largest.min(data.len());
        let cut = self
            .scan(gear, data, average_end, self.strict)
            .or_else(|| self.scan(gear, data, largest_end, self.loose));
        if cut.is_some() || self.seen == self.largest {
            let length = self.seen;
            self.restart();
            return Some(length);
        }
        None
    }

    /// The present chunk ends here, by the caller's wish.
    pub(crate) fn restart(&mut self) {
        self.seen = 0;
        self.hash = 0;
    }

    /// Looks at the bytes up to `end`; stops behind the first at which the hash is not above `limit`.
    fn scan(&mut self, gear: &Gear, data: &[u8], end: usize, limit: u64) -> Option<()> {
        let bytes = data.get(self.seen..end)?;
        let mut hash = self.hash;
        let (groups, rest) = bytes.as_chunks::<4>();
        for (n, group) in groups.iter().enumerate() {
            // Two bytes at a time: their sum does not depend on the hash, so that the processor works ahead on it.
            let word = u32::from_le_bytes(*group);
            let number = |place: u32| gear[(word >> (8 * place)) as usize & 0xff];
            let (a, b, c, d) = (number(0), number(1), number(2), number(3));
            let one = (hash << 1).wrapping_add(a);
            let two = (hash << 2).wrapping_add((a << 1).wrapping_add(b));
            let three = (two << 1).wrapping_add(c);
            hash = (two << 2).wrapping_add((c << 1).wrapping_add(d));
            for (m, hash) in [one, two, three, hash].into_iter().enumerate() {
                if hash <= limit {
                    self.seen += n * 4 + m + 1;
                    return Some(());
                }
            }
        }
        for (n, byte) in rest.iter().enumerate() {
            hash = (hash << 1).wrapping_add(gear[*byte as usize]);
            if hash <= limit {
                self.seen += groups.len() * 4 + n + 1;
                return Some(());
            }
        }
        self.hash = hash;
        self.seen = end;
        None
    }
}

/// The largest hash whose highest `bits` are zero: the highest bits depend on the most bytes.
fn limit(bits: u32) -> u64 {
    u64::MAX >> bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random(length: usize, seed: u64) -> Vec<u8> {
        let mut data = vec![0; length];
        SmallRng::seed_from_u64(seed).fill_bytes(&mut data);
        data
    }

    /// Lengths of the chunks when the data comes in pieces.
    fn cuts(gear: &Gear, average: usize, data: &[u8], piece: usize) -> Vec<usize> {
        let mut chunker = Chunker::new(average);
        let (mut lengths, mut start, mut end) = (vec![], 0, 0);
        while end < data.len() {
            end = (end + piece).min(data.len());
            while let Some(length) = chunker.next_cut(gear, &data[start..end]) {
                lengths.push(length);
                start += length;
            }
        }
        lengths.push(data.len() - start);
        lengths
    }

    #[test]
    fn sizes_stay_within_their_limits_and_near_the_average() {
        let gear = gear(0x0025_b468_838d_cb75);
        let data = random(32 << 20, 1);
        for average in [16 << 10, 64 << 10, 256 << 10] {
            let mut lengths = cuts(&gear, average, &data, 1 << 20);
            lengths.pop();
            assert!(lengths.iter().all(|n| (average / 4..=average * 8).contains(n)));
            let mean = lengths.iter().sum::<usize>() / lengths.len();
            assert!((average * 3 / 4..average * 3 / 2).contains(&mean), "{mean} for {average}");
        }
        let same = vec![7; 20 << 20];
        assert!(cuts(&gear, 8 << 20, &same, 1 << 20).iter().all(|n| *n <= LARGEST_CHUNK));
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let gear = gear(0x0025_b468_838d_cb75);
        let data = random(4 << 20, 2);
        let mut changed = data.clone();
        changed.splice(1 << 20..1 << 20, *b"some bytes more");
        let chunks = |data: &[u8]| {
            let mut at = 0;
            let lengths = cuts(&gear, 16 << 10, data, 1 << 20);
            let mut all = std::collections::HashSet::new();
            for length in lengths {
                all.insert(data[at..at + length].to_vec());
                at += length;
            }
            all
        };
        let (before, after) = (chunks(&data), chunks(&changed));
        assert!(after.difference(&before).count() <= 4, "{}", after.difference(&before).count());
    }

    #[test]
    fn repositories_cut_at_different_places() {
        let data = random(2 << 20, 3);
        let with = |polynomial| cuts(&gear(polynomial), 16 << 10, &data, 1 << 20);
        assert_eq!(with(0x0025_b468_838d_cb75), with(0x0025_b468_838d_cb75));
        assert_ne!(with(0x0025_b468_838d_cb75), with(0x003d_a335_8b4d_c173));
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_how_the_data_comes(seed: u64, length in 0..200_000_usize, piece in 1..70_000_usize) {
            let gear = gear(0x0025_b468_838d_cb75);
            let data = random(length, seed);
            let whole = cuts(&gear, 8 << 10, &data, length.max(1));
            prop_assert_eq!(cuts(&gear, 8 << 10, &data, piece), whole);
        }
    }
}

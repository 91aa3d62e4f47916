//! Two bags of rows: what both have falls out at once, by the rows' hashes; what is left is sorted by key, in temporary files
//! where it is more than memory should hold.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use basekeep_postgres::Digest;

use super::shape::{Of, Shape};
use super::spill::{self, Record, Run, Writer};
use crate::EngineError;

/// What a pending row takes beside its text, about, in bytes.
const OVERHEAD: usize = 96;

/// So many files are put together into one.
const MOST_RUNS: usize = 64;

/// Rows are hashed already.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// Rows of one side that the other has not shown yet.
struct Pending {
    of: Of,
    count: u64,
    line: Box<[u8]>,
}

/// Takes the rows of both sides in any order.
pub(super) struct Matching<'a> {
    shape: &'a Shape,
    pending: HashMap<u128, Pending, BuildHasherDefault<Taken>>,
    /// Bytes of what is pending, and the most.
    bytes: usize,
    bound: usize,
    runs: Vec<Run>,
    /// All that was taken, by side.
    pub(super) taken: [Digest; 2],
    buffer: Vec<u8>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(shape: &'a Shape, bound: usize) -> Self {
        Self {
            shape,
            pending: HashMap::default(),
            bytes: 0,
            bound,
            runs: Vec::new(),
            taken: [Digest::default(); 2],
            buffer: Vec::new(),
        }
    }

    /// Takes a row, its COPY text without the newline.
    ///
    /// Errors: no temporary file can be written.
    pub(super) fn add(&mut self, of: Of, line: &[u8]) -> Result<(), EngineError> {
        let mut row = Digest::default();
        row.add_row(line);
        self.taken[of as usize] += row;
        if !self.shape.same {
            row = Digest::default();
            row.add_row(self.shape.compared(of, line, &mut self.buffer));
        }
        match self.pending.entry(row.sum) {
            std::collections::hash_map::Entry::Occupied(mut found) => {
                let there = found.get_mut();
                if there.of == of {
                    there.count += 1;
                } else if there.count > 1 {
                    there.count -= 1;
                } else {
                    self.bytes -= there.line.len() + OVERHEAD;
                    found.remove();
                }
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(Pending { of, count: 1, line: line.into() });
                self.bytes += line.len() + OVERHEAD;
            }
        }
        if self.bytes > self.bound { self.spill() } else { Ok(()) }
    }

    /// What is pending, sorted, to a file of its own.
    fn spill(&mut self) -> Result<(), EngineError> {
        let records = self.sorted();
        let mut file = Writer::new()?;
        if self.runs.len() < MOST_RUNS {
            records.iter().try_for_each(|record| file.push(record))?;
        } else {
            spill::merge(std::mem::take(&mut self.runs), records, |record| file.push(&record))?;
        }
        self.runs.push(file.finish()?);
        Ok(())
    }

    fn sorted(&mut self) -> Vec<Record> {
        self.bytes = 0;
        let shape = self.shape;
        let record = |(hash, pending): (u128, Pending)| {
            let mut key = Vec::new();
            if shape.has_key() {
                shape.sort_key(pending.of, &pending.line, &mut key);
            }
            Record { key, hash, of: pending.of, count: pending.count, line: pending.line }
        };
        let mut records: Vec<Record> = std::mem::take(&mut self.pending).into_iter().map(record).collect();
        records.sort_unstable();
        records
    }

    /// Gives what only one side has, by key and within one key by hash: side, how often, and the row.
    ///
    /// Errors: those of `each`; a temporary file cannot be read.
    pub(super) fn finish(
        mut self,
        mut each: impl FnMut(&[u8], Of, u64, &[u8]) -> Result<(), EngineError>,
    ) -> Result<[Digest; 2], EngineError> {
        let last = self.sorted();
        let taken = self.taken;
        let mut current: Option<Rows> = None;
        spill::merge(self.runs, last, |record| {
            match &mut current {
                Some(rows) if rows.key == record.key && rows.hash == record.hash => rows.take(record),
                other => {
                    if let Some(rows) = other.replace(Rows::new(record)) {
                        rows.give(&mut each)?;
                    }
                }
            }
            Ok(())
        })?;
        if let Some(rows) = current {
            rows.give(&mut each)?;
        }
        Ok(taken)
    }
}

/// Equal rows of several files.
struct Rows {
    key: Vec<u8>,
    hash: u128,
    counts: [u64; 2],
    lines: [Option<Box<[u8]>>; 2],
}

impl Rows {
    fn new(record: Record) -> Self {
        let mut rows =
            Self { key: record.key.clone(), hash: record.hash, counts: [0; 2], lines: [None, None] };
        rows.take(record);
        rows
    }

    fn take(&mut self, record: Record) {
        self.counts[record.of as usize] += record.count;
        self.lines[record.of as usize].get_or_insert(record.line);
    }

    fn give(
        self,
        each: &mut impl FnMut(&[u8], Of, u64, &[u8]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let [a, b] = self.counts;
        let (of, count) = if a > b { (Of::A, a - b) } else { (Of::B, b - a) };
        match &self.lines[of as usize] {
            Some(line) if count > 0 => each(&self.key, of, count, line),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::rows::shape::Columns;
    use crate::diff::secret::Secrets;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_difference_of_two_bags_does_not_depend_on_memory_or_order(
            rows in proptest::collection::vec((any::<bool>(), 0..12_u8, 0..4_u8), 0..120),
            keyed in any::<bool>(),
        ) {
            let key = keyed.then(|| vec!["id".to_owned()]);
            let columns = Columns { names: vec!["id".into(), "v".into()], key };
            let shape = Shape::new(("s", "t"), &columns, &columns, &Secrets::default(), 100);
            let mut expected: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
            let mut found = Vec::new();
            for bound in [usize::MAX, 600, 0] {
                expected.clear();
                let mut matching = Matching::new(&shape, bound);
                for (first, id, value) in &rows {
                    let line = format!("{id}\t{value}").into_bytes();
                    *expected.entry(line.clone()).or_default() += if *first { 1 } else { -1 };
                    matching.add(if *first { Of::A } else { Of::B }, &line).unwrap();
                }
                let mut left: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
                let mut keys = Vec::new();
                matching.finish(|key, of, count, line| {
                    let count = i64::try_from(count).unwrap();
                    *left.entry(line.to_vec()).or_default() += if of == Of::A { count } else { -count };
                    keys.push(key.to_vec());
                    Ok(())
                }).unwrap();
                expected.retain(|_, n| *n != 0);
                prop_assert_eq!(&left, &expected);
                prop_assert!(keys.is_sorted());
                found.push(left);
            }
        }
    }
}

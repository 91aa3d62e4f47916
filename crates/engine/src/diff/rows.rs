//! The rows of one table on both sides: reads what can differ, and tells which rows are new, gone, or have other values.
//!
//! Rows are two bags. What both hold as a whole (ranges, the inside of runs of blobs) is left out of both without reading it
//! ([`choose`]); of what is read, equal rows fall out by their hashes ([`matching`]); what is left is joined by key ([`join`]).
//! That the rows that were not read are the same is proven by the digests: what was read of both sides must differ by as much
//! as the tables do.

mod choose;
mod join;
pub(super) mod live;
mod matching;
pub(crate) mod shape;
mod source;
mod spill;

use basekeep_postgres::Digest;
use basekeep_repository::{BlobId, Repository};

use self::choose::Chosen;
use self::join::Join;
pub use self::join::{RowChange, RowDifferences};
use self::matching::Matching;
use self::shape::{Of, Shape};
use self::source::{Stopped, Stored};
use crate::restore::Contents;
use crate::snapshot_rows::{self, fields::lines};
use crate::stored::manifest::Table;
use crate::{EngineError, ErrorKind, ResultExt};

/// What bounds a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Rows that are told.
    pub(super) limit: usize,
    /// Bytes of pending rows in memory.
    pub(super) memory: usize,
}

/// A table of a snapshot.
#[derive(Clone, Copy)]
pub(super) struct StoredTable<'a> {
    pub(super) contents: &'a Contents,
    pub(super) table: &'a Table,
}

impl StoredTable<'_> {
    fn blobs(&self) -> Result<&[BlobId], EngineError> {
        snapshot_rows::blobs(self.contents, self.table)
    }
}

/// Compares the rows of two snapshots' tables.
///
/// Errors: they cannot be read, or are not what was backed up; temporary files cannot be written.
pub(super) async fn compare(
    repository: &Repository,
    a: StoredTable<'_>,
    b: StoredTable<'_>,
    shape: &Shape,
    bounds: Bounds,
) -> Result<RowDifferences, EngineError> {
    let result = compared(repository, a, b, shape, bounds).await;
    result
        .map_err(|stopped| match stopped {
            Stopped::Failed(error) => error,
            Stopped::LongRow => EngineError::failed("a row has no end"),
        })
        .doing(|| format!("compare the rows of {}.{}", b.table.schema, b.table.name))
}

async fn compared(
    repository: &Repository,
    a: StoredTable<'_>,
    b: StoredTable<'_>,
    shape: &Shape,
    bounds: Bounds,
) -> Result<RowDifferences, Stopped> {
    let tables = (a.table, b.table);
    let ranges = |side: &StoredTable<'_>| {
        snapshot_rows::ranges(side.contents, side.table).map(<[_]>::to_vec).filter(|_| shape.same)
    };
    let (Some(ranges_a), Some(ranges_b)) = (ranges(&a), ranges(&b)) else {
        // Without ranges, or with other columns, nothing is known to be equal.
        let all = (choose::everything(&[a.blobs()?]), choose::everything(&[b.blobs()?]));
        return read(repository, all, true, shape, bounds, tables).await;
    };
    let (left, right) = choose::differing(&ranges_a, &ranges_b);
    let (blobs_a, blobs_b) = (a.blobs()?, b.blobs()?);
    let left: Vec<_> = left.iter().map(|range| choose::blobs_of(range, blobs_a)).collect();
    let right: Vec<_> = right.iter().map(|range| choose::blobs_of(range, blobs_b)).collect();
    let chosen = choose::without_shared(&left, &right);
    match read(repository, chosen, false, shape, bounds, tables).await {
        Err(Stopped::LongRow) => {
            let chosen = (choose::everything(&left), choose::everything(&right));
            read(repository, chosen, false, shape, bounds, tables).await
        }
        found => found,
    }
}

async fn read(
    repository: &Repository,
    (chosen_a, chosen_b): (Chosen, Chosen),
    whole: bool,
    shape: &Shape,
    bounds: Bounds,
    tables: (&Table, &Table),
) -> Result<RowDifferences, Stopped> {
    let (mut a, mut b) = (Stored::new(repository, chosen_a, whole), Stored::new(repository, chosen_b, whole));
    let mut matching = Matching::new(shape, bounds.memory);
    let mut open = [true, true];
    while open != [false, false] {
        // In step, so that few rows wait for their equals.
        let of = if open[0] && (a.read <= b.read || !open[1]) { Of::A } else { Of::B };
        let piece = match of {
            Of::A => a.next().await?,
            Of::B => b.next().await?,
        };
        match piece {
            None => open[of as usize] = false,
            Some(piece) => {
                for line in lines(&piece) {
                    matching.add(of, line)?;
                }
            }
        }
    }
    let mut join = Join::new(shape, bounds.limit);
    let taken = matching.finish(|key, of, count, line| join.take(key, of, count, line))?;
    prove(taken, [snapshot_rows::total(tables.0), snapshot_rows::total(tables.1)])?;
    Ok(RowDifferences { read_bytes: a.read + b.read, ..join.finish() })
}

/// What was left out is the same on both sides if what was read differs as the whole does.
fn prove([a, b]: [Digest; 2], [all_a, all_b]: [Digest; 2]) -> Result<(), EngineError> {
    let fits = a.sum.wrapping_sub(b.sum) == all_a.sum.wrapping_sub(all_b.sum)
        && a.rows.wrapping_sub(b.rows) == all_a.rows.wrapping_sub(all_b.rows)
        && a.bytes.wrapping_sub(b.bytes) == all_a.bytes.wrapping_sub(all_b.bytes);
    if fits {
        return Ok(());
    }
    let problem = "the rows that were read do not differ as the digests of the whole tables do";
    Err(EngineError::new(ErrorKind::Difference, problem)
        .hint("`basekeep verify --read-data` names everything that is damaged and what it touches"))
}

//! The rows of a snapshot's table against those of a live database, both read inside one transaction's snapshot.
//!
//! The live table is read in the snapshot's ranges, as a backup reads it, to digest them. Ranges that the snapshot has too fall out;
//! the others are read once more, and only then is the snapshot read.

use basekeep_postgres::{Client, Digest, catalog};
use basekeep_repository::Repository;

use super::choose;
use super::join::{Join, RowDifferences};
use super::matching::Matching;
use super::shape::{Of, Shape};
use super::source::{Stopped, Stored};
use super::{Bounds, StoredTable, prove};
use crate::diff::tables::TableFigures;
use crate::snapshot_rows::{self, Cutter, fields::lines};
use crate::stored::ranges::Range;
use crate::{EngineError, ResultExt};

/// A table of the live database, and a connection inside of its snapshot.
pub(in crate::diff) struct LiveTable<'a> {
    pub(in crate::diff) client: &'a mut Client,
    pub(in crate::diff) table: &'a catalog::Table,
}

impl LiveTable<'_> {
    /// Counts and digests all rows.
    pub(in crate::diff) async fn figures(&mut self) -> Result<TableFigures, EngineError> {
        let digest = self.digest(None).await?;
        Ok(TableFigures { rows: digest.rows, bytes: digest.bytes })
    }

    async fn digest(&mut self, blocks: Option<std::ops::Range<u64>>) -> Result<Digest, EngineError> {
        let doing = || format!("read {}.{}", self.table.schema, self.table.name);
        let mut copy = self.client.copy_out(&self.table.copy_out_sql(blocks)).await.doing(doing)?;
        let mut buffer = Vec::new();
        while copy.read(&mut buffer).await.doing(doing)? {
            buffer.clear();
        }
        Ok(copy.digest())
    }

    /// The ranges in which it is read: those of the snapshot, and what it has grown by.
    fn ranges(&self, known: Option<&[Range]>) -> Vec<Option<std::ops::Range<u64>>> {
        let Some(known) = known.filter(|known| self.table.divisible && known.len() > 1) else {
            return vec![None];
        };
        let mut ranges: Vec<_> =
            known.iter().map(|range| Some(range.first_block..range.end_block.unwrap_or(u64::MAX))).collect();
        if let Some(end) = known.last().and_then(|range| range.end_block) {
            ranges.push(Some(end..u64::MAX));
        }
        ranges
    }
}

/// Compares them. `None` where all rows are equal, or `bounds` is `None` and only figures are wanted; then the last value says
/// whether they are equal.
pub(in crate::diff) async fn compare(
    repository: &Repository,
    a: StoredTable<'_>,
    mut b: LiveTable<'_>,
    shape: &Shape,
    bounds: Option<Bounds>,
) -> Result<(TableFigures, Option<RowDifferences>, bool), EngineError> {
    let doing = format!("compare the rows of {}.{}", a.table.schema, a.table.name);
    let all_a = snapshot_rows::total(a.table);
    let known = if shape.same { snapshot_rows::ranges(a.contents, a.table) } else { None };
    let blocks = b.ranges(known);
    let mut found = Vec::new();
    for blocks in &blocks {
        let digest = b.digest(blocks.clone()).await.doing(|| doing.clone())?;
        let (first_block, end_block) = blocks.clone().map_or((0, None), |b| (b.start, Some(b.end)));
        let Digest { rows, bytes, sum } = digest;
        found.push(Range { first_block, end_block, rows, bytes, digest: sum, first_blob: 0, blobs: 0 });
    }
    let all_b: Digest =
        found.iter().map(|range| Digest { rows: range.rows, bytes: range.bytes, sum: range.digest }).sum();
    let figures = TableFigures { rows: all_b.rows, bytes: all_b.bytes };
    let equal = shape.same && all_a == all_b;
    let Some(bounds) = bounds.filter(|_| !equal) else { return Ok((figures, None, equal)) };

    let blobs = a.blobs()?;
    let (chosen, left) = match known {
        Some(known) => {
            let (of_a, of_b) = choose::differing(known, &found);
            let of_a: Vec<_> = of_a.iter().map(|range| choose::blobs_of(range, blobs)).collect();
            (choose::everything(&of_a), of_b)
        }
        None => (choose::everything(&[blobs]), found),
    };
    let mut stored = Stored::new(repository, chosen, known.is_none());
    let mut matching = Matching::new(shape, bounds.memory);
    let mut read = 0;
    let failed = |stopped| match stopped {
        Stopped::Failed(error) => error.within(doing.clone()),
        Stopped::LongRow => EngineError::failed("a row has no end").within(doing.clone()),
    };
    for range in &left {
        let blocks = range.end_block.map(|end| range.first_block..end);
        let mut copy = b.client.copy_out(&b.table.copy_out_sql(blocks)).await.doing(|| doing.clone())?;
        let mut cutter = Cutter::new(false);
        let mut more = true;
        while more {
            let mut buffer = Vec::with_capacity(256 << 10);
            more = copy.read(&mut buffer).await.doing(|| doing.clone())?;
            read += buffer.len() as u64;
            let (first, second) = cutter.push(buffer.into());
            for piece in first.iter().chain(&second) {
                lines(piece).try_for_each(|line| matching.add(Of::B, line))?;
            }
            // In step, so that few rows wait for their equals.
            while stored.read < read {
                let Some(piece) = stored.next().await.map_err(failed)? else { break };
                lines(&piece).try_for_each(|line| matching.add(Of::A, line))?;
            }
        }
        if let Some(rest) = cutter.finish().map_err(EngineError::failed)? {
            lines(&rest).try_for_each(|line| matching.add(Of::B, line))?;
        }
    }
    while let Some(piece) = stored.next().await.map_err(failed)? {
        lines(&piece).try_for_each(|line| matching.add(Of::A, line))?;
    }
    let mut join = Join::new(shape, bounds.limit);
    let taken = matching.finish(|key, of, count, line| join.take(key, of, count, line))?;
    prove(taken, [all_a, all_b]).doing(|| doing.clone())?;
    Ok((figures, Some(RowDifferences { read_bytes: stored.read + read, ..join.finish() }), false))
}

//! All ranges of a table with one scan of it.
//!
//! A scan by ranges of blocks takes every block into the server's shared buffers, and drives out what its users need there; a
//! scan of a whole large table goes through a few buffers only, and takes half the time where the blocks are not cached. It
//! tells less: how many rows there are in all, and in which ranges there are new ones. A range without new rows has at most the
//! rows that it had. So when all ranges without new rows together have as many rows as they had, each of them has.

use super::Since;
use crate::catalog::Table;
use crate::quote::quote_qualified;
use crate::{Client, Error};
use std::collections::BTreeSet;
use std::ops::Range;

/// A range as the earlier snapshot saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeBefore {
    /// Its blocks. Those of a table come in order, from block 0 on, without gaps.
    pub blocks: Range<u64>,
    /// Its rows.
    pub rows: u64,
}

/// What a survey tells of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rows are exactly those of the earlier snapshot.
    Unchanged,
    /// There are new rows in it.
    Changed,
    /// Only a [`probe`](super::probe) can tell.
    Unknown,
}

/// Scans a table once, in the transaction that holds the present snapshot. The table is
/// [`comparable`](super::comparable). The verdicts are in the order of the ranges.
pub async fn survey(
    client: &mut Client,
    table: &Table,
    ranges: &[RangeBefore],
    since: Since,
) -> Result<Vec<Verdict>, Error> {
    let rows = client.query_all(&survey_sql(table, ranges, since)).await?;
    let rows = rows.last().ok_or_else(|| Error::Protocol("a survey without an answer".into()))?;
    let row = rows.one()?;
    let total: u64 = row.parse(0)?;
    let mut counted: BTreeSet<usize> =
        row.parse::<Option<Vec<usize>>>(1)?.unwrap_or_default().into_iter().collect();
    let with_new_rows =
        |number: &usize| if counted.contains(number) { Verdict::Changed } else { Verdict::Unknown };
    let mut verdicts: Vec<Verdict> = (0..ranges.len()).map(|number| with_new_rows(&number)).collect();
    // What it has grown by belongs to no range; rows of it count all the same.
    let end = ranges.last().map_or(0, |range| range.blocks.end);
    if table.pages > end {
        counted.insert(ranges.len());
    }
    if counted.len() > ranges.len() / 2 + 1 {
        return Ok(verdicts);
    }
    let mut elsewhere = 0_u64;
    for number in &counted {
        let blocks = ranges.get(*number).map_or(end..u64::MAX, |range| range.blocks.clone());
        let count: u64 = client.query(&table.count_sql(blocks)).await?.one()?.parse(0)?;
        elsewhere += count;
    }
    let without = |number: &usize| !counted.contains(number);
    let before: u64 =
        ranges.iter().enumerate().filter(|(n, _)| without(n)).map(|(_, range)| range.rows).sum();
    if total.checked_sub(elsewhere) == Some(before) {
        let unchanged = verdicts.iter_mut().enumerate().filter(|(number, _)| without(number));
        unchanged.for_each(|(_, verdict)| *verdict = Verdict::Unchanged);
    }
    Ok(verdicts)
}

/// How many rows there are, and the numbers of the ranges with new ones (the number of ranges for what is behind them).
fn survey_sql(table: &Table, ranges: &[RangeBefore], since: Since) -> String {
    let name = quote_qualified(&table.schema, &table.name);
    let ends: Vec<String> = ranges
        .iter()
        .map(|range| range.blocks.end)
        .take_while(|end| *end < u64::from(u32::MAX))
        .map(|end| format!("\"({end},0)\""))
        .collect();
    let since = since.0 & u64::from(u32::MAX);
    // One process compares all ages, so that they count from the same moment.
    format!(
        "SET LOCAL max_parallel_workers_per_gather = 0; \
         SELECT pg_catalog.count(*), pg_catalog.array_agg(DISTINCT \
           pg_catalog.width_bucket(ctid, '{{{}}}'::pg_catalog.tid[])) \
           FILTER (WHERE pg_catalog.age(xmin) <= (SELECT pg_catalog.age('{since}'::pg_catalog.xid))) \
         FROM ONLY {name}",
        ends.join(",")
    )
}

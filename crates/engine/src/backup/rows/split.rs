//! How tables are cut into pieces of work, and in which order these are taken.

use std::collections::VecDeque;

use basekeep_postgres::catalog::Table;

/// How much of a heap one COPY reads. Small enough that one huge table keeps all connections busy to the end and that an
/// incremental backup skips most of it, large enough that a COPY's fixed cost (below a millisecond) does not count.
const RANGE_BYTES: u64 = 16 << 20;

/// A piece of work for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) table: usize,
    pub(super) range: usize,
    pub(super) first_block: u64,
    pub(super) end_block: Option<u64>,
}

/// The ranges of a table; one for all of it where the server cannot scan a range of blocks.
pub(super) fn ranges(number: usize, table: &Table) -> Vec<Item> {
    let blocks_each = (RANGE_BYTES / u64::from(table.block_size.max(1))).max(1);
    if !table.divisible || table.pages <= blocks_each {
        return vec![Item { table: number, range: 0, first_block: 0, end_block: None }];
    }
    (0..table.pages.div_ceil(blocks_each))
        .map(|n| Item {
            table: number,
            range: usize::try_from(n).unwrap_or(usize::MAX),
            first_block: n * blocks_each,
            end_block: Some((n + 1) * blocks_each),
        })
        .collect()
}

pub(super) fn largest_first(tables: &[Table], split: Vec<Vec<Item>>) -> VecDeque<Item> {
    let mut split = split;
    split.sort_by_key(|items| std::cmp::Reverse(items.first().map_or(0, |item| tables[item.table].pages)));
    split.into_iter().flatten().collect()
}

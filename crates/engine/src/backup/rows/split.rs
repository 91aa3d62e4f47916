//! How tables are cut into pieces of work, and in which order these are taken.

use std::collections::VecDeque;

use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::Verdict;
use rand::seq::index;

use crate::backup::changed::{Known, Takeover, sample_size};

/// How much of a table one COPY reads. Small enough that one huge table keeps all connections busy to the end and that an
/// incremental backup skips most of it, large enough that a COPY's fixed cost (below a millisecond) does not count.
pub(in crate::backup) const RANGE_BYTES: u64 = 16 << 20;

/// A piece of work for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) table: usize,
    pub(super) range: usize,
    pub(super) first_block: u64,
    pub(super) end_block: Option<u64>,
    /// Read it although it is found unchanged, and compare.
    pub(super) compare: bool,
    /// What a survey of its table has told.
    pub(super) verdict: Verdict,
}

/// All work, by table; some of the known ranges, picked at random, are to be compared.
pub(super) fn split(tables: &[Table], takeover: &Takeover, range_bytes: u64) -> Vec<Vec<Item>> {
    let of_table = |(number, table): (usize, &Table)| ranges(number, table, takeover, range_bytes);
    let mut work: Vec<Vec<Item>> = tables.iter().enumerate().map(of_table).collect();
    let mut known: Vec<&mut Item> =
        work.iter_mut().flatten().filter(|item| takeover.range(item.table, item.range).is_some()).collect();
    let sample = sample_size(takeover.reading, known.len());
    for chosen in index::sample(&mut rand::rng(), known.len(), sample) {
        known[chosen].compare = true;
    }
    work
}

/// The ranges of a table: those that the parent has, and what it has grown by; one for all of it where the server cannot
/// scan a range of blocks.
fn ranges(number: usize, table: &Table, takeover: &Takeover, range_bytes: u64) -> Vec<Item> {
    let each = blocks_each(table, range_bytes);
    let item = |range, first_block, end_block| {
        let verdict = Verdict::Unknown;
        Item { table: number, range, first_block, end_block, compare: false, verdict }
    };
    let mut items: Vec<Item> = match takeover.tables.get(number) {
        Some(Known::Ranges(known)) => {
            known.iter().enumerate().map(|(n, range)| item(n, range.first_block, range.end_block)).collect()
        }
        _ if !table.divisible || table.pages <= each => vec![item(0, 0, None)],
        _ => Vec::new(),
    };
    let mut next = match items.last() {
        Some(last) => last.end_block,
        None => Some(0),
    };
    while let Some(first) = next.filter(|first| *first < table.pages) {
        let end = first + each;
        items.push(item(items.len(), first, Some(end)));
        next = Some(end);
    }
    items
}

/// How many blocks of a table make a range: what is stored beside the heap counts too.
pub(in crate::backup) fn blocks_each(table: &Table, range_bytes: u64) -> u64 {
    let block = u64::from(table.block_size.max(1));
    let with_toast = table.total_bytes.checked_div(table.pages).unwrap_or_default();
    (range_bytes / block.max(with_toast)).max(1)
}

/// The largest tables first, each from its beginning.
pub(super) fn largest_first(tables: &[Table], split: Vec<Vec<Item>>) -> VecDeque<Item> {
    let mut split = split;
    split.sort_by_key(|items| {
        std::cmp::Reverse(items.first().map_or(0, |item| tables[item.table].total_bytes))
    });
    split.into_iter().flatten().collect()
}

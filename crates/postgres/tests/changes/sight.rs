//! What a backup sees and keeps: the snapshot's facts, and each table's ranges of blocks with their rows as COPY text.

use super::decide;
use super::random::Random;
use basekeep_postgres::Client;
use basekeep_postgres::catalog::{Table, read_catalog};
use basekeep_postgres::session::{SourceSnapshot, begin_export, lock_tables, replaced_since_snapshot};
use std::collections::BTreeMap;

/// One snapshot.
pub(crate) struct Sight {
    pub(crate) facts: SourceSnapshot,
    /// By oid.
    pub(crate) tables: BTreeMap<u32, Seen>,
}

/// One table in it.
pub(crate) struct Seen {
    pub(crate) table: Table,
    pub(crate) ranges: Vec<Range>,
}

/// One range of blocks of a table, as the backup has stored it.
pub(crate) struct Range {
    pub(crate) blocks: std::ops::Range<u64>,
    pub(crate) rows: u64,
    pub(crate) text: Vec<u8>,
}

/// How ranges were decided.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Taken over from the parent.
    pub(crate) unchanged: u64,
    /// Changed, by the count or the transaction ids.
    pub(crate) changed: u64,
    /// Called changed, with the text of before.
    pub(crate) needless: u64,
    /// Of tables that were read as a whole although the parent has them.
    pub(crate) incomparable: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.unchanged += other.unchanged;
        self.changed += other.changed;
        self.needless += other.needless;
        self.incomparable += other.incomparable;
    }
}

/// Begins a snapshot as a backup does.
pub(crate) async fn begin(client: &mut Client) -> SourceSnapshot {
    begin_export(client).await.unwrap()
}

/// The tables that the snapshot sees. Waits for those who have one of them locked exclusively, since their sizes are asked.
/// `None` when a definition changed after the snapshot so that the server cannot print it: start again.
pub(crate) async fn tables(client: &mut Client) -> Option<Vec<Table>> {
    match read_catalog(client).await {
        Ok(catalog) => Some(catalog.tables),
        Err(error) if error.sqlstate() == Some("XX000") => None,
        Err(error) => panic!("{error}"),
    }
}

/// Locks the tables; false when a table moved away between the snapshot and the lock: start again.
pub(crate) async fn lock(client: &mut Client, tables: &[Table]) -> bool {
    lock_tables(client, tables).await.is_ok()
        && replaced_since_snapshot(client, tables).await.is_ok_and(|moved| moved.is_empty())
}

/// Reads every table in ranges that continue those of `parent`, whose table decides where it has one.
pub(crate) async fn read(
    client: &mut Client,
    facts: SourceSnapshot,
    tables: Vec<Table>,
    parent: Option<&Sight>,
    random: &mut Random,
) -> Sight {
    let mut sight = Sight { facts, tables: BTreeMap::new() };
    for table in tables {
        let before = parent.and_then(|parent| parent.tables.get(&table.oid));
        // Ranges drift apart from the table's size, as they do over a chain of backups.
        let mut bounds: Vec<_> =
            before.iter().flat_map(|seen| &seen.ranges).map(|range| range.blocks.clone()).collect();
        if before.is_none_or(|seen| seen.table.relfilenode != table.relfilenode) {
            bounds.clear();
        }
        let mut end = bounds.last().map_or(0, |blocks| blocks.end);
        while end < table.pages {
            let next = (end + 1 + random.below(4)).min(table.pages);
            bounds.push(end..next);
            end = next;
        }
        let mut ranges = Vec::with_capacity(bounds.len());
        for blocks in bounds {
            let (rows, text) = copy(client, &table.copy_out_sql(Some(blocks.clone()))).await;
            ranges.push(Range { blocks, rows, text });
        }
        sight.tables.insert(table.oid, Seen { table, ranges });
    }
    sight
}

/// Compares what would be taken over from `before` with what `now` read. An error says what differs.
pub(crate) async fn compare(client: &mut Client, before: &Sight, now: &Sight) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for (oid, seen) in &now.tables {
        let Some(old) = before.tables.get(oid) else { continue };
        let Ok(unchanged) = decide::unchanged(client, before, old, now, &seen.table).await else {
            counts.incomparable += old.ranges.len() as u64;
            continue;
        };
        let mut together = Vec::new();
        for (range, unchanged) in old.ranges.iter().zip(unchanged) {
            let text = match seen.ranges.iter().find(|present| present.blocks == range.blocks) {
                Some(present) => present.text.clone(),
                None => copy(client, &seen.table.copy_out_sql(Some(range.blocks.clone()))).await.1,
            };
            if unchanged {
                counts.unchanged += 1;
                if text != range.text {
                    return Err(format!(
                        "blocks {:?} of {} are called unchanged, but were\n{}and are\n{}",
                        range.blocks,
                        seen.table.name,
                        String::from_utf8_lossy(&range.text),
                        String::from_utf8_lossy(&text)
                    ));
                }
                together.extend_from_slice(&range.text);
            } else {
                counts.changed += 1;
                counts.needless += u64::from(text == range.text);
                together.extend_from_slice(&text);
            }
        }
        let end = old.ranges.last().map_or(0, |range| range.blocks.end);
        together.extend(copy(client, &seen.table.copy_out_sql(Some(end..u64::MAX))).await.1);
        if copy(client, &seen.table.copy_out_sql(None)).await.1 != together {
            return Err(format!("the ranges of {} do not make up the table", seen.table.name));
        }
    }
    Ok(counts)
}

/// Rows and text of a COPY.
pub(crate) async fn copy(client: &mut Client, sql: &str) -> (u64, Vec<u8>) {
    let mut copy = client.copy_out(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut text = Vec::new();
    while copy.read(&mut text).await.unwrap() {}
    (copy.digest().rows, text)
}

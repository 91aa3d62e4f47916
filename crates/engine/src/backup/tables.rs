//! Rows: every table's COPY text, read by several connections that share the snapshot.
//!
//! A table is read in ranges of blocks; each range becomes a run of blobs of its own, so readers need no order among
//! themselves and the table's file is the ranges' blobs put together at the end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use basekeep_postgres::catalog::Table;
use basekeep_postgres::{Client, Digest, session};
use basekeep_repository::{BlobId, Writer};

use super::Stopped;
use super::plan::{Plan, display_name};
use super::progress::{self, Counters};
use crate::words::{bytes, counted};
use crate::{EngineError, Event, Observer, ResultExt, Step};

/// How much of a heap one COPY reads. Small enough that one huge table keeps all connections busy to the end and that an
/// incremental backup skips most of it, large enough that a COPY's fixed cost (below a millisecond) does not count.
const RANGE_BYTES: u64 = 16 << 20;

/// `lock_not_available`: somebody waits for a stronger lock on the table.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// One range as it was read.
#[derive(Debug, Clone)]
pub(super) struct ReadRange {
    pub(super) first_block: u64,
    pub(super) end_block: Option<u64>,
    pub(super) digest: Digest,
    pub(super) blobs: Vec<BlobId>,
}

/// A piece of work for one connection.
#[derive(Debug, Clone, Copy)]
struct Item {
    table: usize,
    range: usize,
    first_block: u64,
    end_block: Option<u64>,
}

/// What the readers share.
struct Reading<'a> {
    plan: &'a Plan,
    writer: &'a Writer,
    counters: Counters,
    queue: Mutex<VecDeque<Item>>,
    /// Ranges of tables that only the leading connection can still lock.
    for_the_leader: Mutex<Vec<Item>>,
    results: Mutex<Vec<Vec<Option<ReadRange>>>>,
    /// Ranges that each table still waits for.
    open: Mutex<Vec<usize>>,
}

/// Reads all tables of the plan; the result has one list of ranges for each, in the order of the catalog.
pub(super) async fn read(
    plan: &Plan,
    leader: &mut Client,
    writer: &Writer,
    observer: &Arc<dyn Observer>,
) -> Result<Vec<Vec<ReadRange>>, Stopped> {
    let started = Instant::now();
    observer.event(Event::Began { step: Step("rows") });
    let tables = &plan.catalog.tables;
    let split: Vec<Vec<Item>> = tables.iter().enumerate().map(|(n, t)| ranges(n, t)).collect();
    let reading = Reading {
        plan,
        writer,
        counters: Counters::default(),
        results: Mutex::new(split.iter().map(|items| vec![None; items.len()]).collect()),
        open: Mutex::new(split.iter().map(Vec::len).collect()),
        queue: Mutex::new(largest_first(tables, split)),
        for_the_leader: Mutex::default(),
    };
    let expected: u64 = tables.iter().map(|t| t.pages * u64::from(t.block_size)).sum();
    let items = lock(&reading.queue).len();
    let work = async {
        let readers = (0..plan.jobs.min(items)).map(|_| reading.connection());
        futures::future::try_join_all(readers).await?;
        let left = std::mem::take(&mut *lock(&reading.for_the_leader));
        for item in left {
            let range = reading.range(leader, item).await?;
            reading.keep(item, range);
        }
        Ok::<_, Stopped>(())
    };
    tokio::select! {
        result = work => result?,
        never = progress::tell(&reading.counters, expected, tables.len() as u64, writer, observer) => match never {},
    }
    let (count, size) = (reading.counters.rows.load(Relaxed), reading.counters.bytes.load(Relaxed));
    let rows: Vec<Vec<ReadRange>> = reading
        .results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .map(|ranges| ranges.into_iter().flatten().collect())
        .collect();
    observer.event(Event::Ended {
        step: Step("rows"),
        elapsed: started.elapsed(),
        detail: format!(
            "{}, {}, {}",
            counted(tables.len() as u64, "table", "tables"),
            counted(count, "row", "rows"),
            bytes(size)
        ),
    });
    Ok(rows)
}

impl Reading<'_> {
    /// One connection's life: join the snapshot, then take ranges until there are none.
    async fn connection(&self) -> Result<(), Stopped> {
        let mut client =
            Client::connect(&self.plan.connect, "basekeep").await.doing(|| "open a reading connection")?;
        self.join(&mut client).await?;
        let mut locked = None;
        while let Some(item) = self.next() {
            if locked != Some(item.table) {
                if !self.lock_table(&mut client, item.table).await? {
                    lock(&self.for_the_leader).push(item);
                    locked = None;
                    continue;
                }
                locked = Some(item.table);
            }
            let range = self.range(&mut client, item).await?;
            self.keep(item, range);
        }
        client.close().await;
        Ok(())
    }

    async fn join(&self, client: &mut Client) -> Result<(), Stopped> {
        session::join(client, &self.plan.snapshot.id).await.doing(|| "join the exported snapshot")?;
        Ok(())
    }

    fn next(&self) -> Option<Item> {
        lock(&self.queue).pop_front()
    }

    /// Takes the lock that COPY needs, without waiting: whoever waits for a stronger lock waits for our leader, and we
    /// would wait for them. `false` sends the range to the leader, which holds its lock already.
    async fn lock_table(&self, client: &mut Client, table: usize) -> Result<bool, Stopped> {
        let table = &self.plan.catalog.tables[table];
        match client.execute(&session::lock_nowait_sql(table)).await {
            Ok(()) => Ok(true),
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
                client.execute("ROLLBACK").await.doing(|| "leave a transaction")?;
                self.join(client).await?;
                Ok(false)
            }
            Err(error) => Err(error).doing(|| format!("lock {}", display_name(table)))?,
        }
    }

    async fn range(&self, client: &mut Client, item: Item) -> Result<ReadRange, Stopped> {
        let table = &self.plan.catalog.tables[item.table];
        let doing = || match item.end_block {
            Some(end) => format!("read blocks {}..{end} of {}", item.first_block, display_name(table)),
            None => format!("read {}", display_name(table)),
        };
        let mut file = self.writer.file(self.plan.chunk_average(item.table));
        let blocks = item.end_block.map(|end| item.first_block..end);
        let mut copy = client.copy_out(&table.copy_out_sql(blocks)).await.doing(doing)?;
        let mut seen = Digest::default();
        loop {
            let more = copy.read(file.buffer()).await.doing(doing)?;
            let now = copy.digest();
            self.counters.bytes.fetch_add(now.bytes - seen.bytes, Relaxed);
            self.counters.rows.fetch_add(now.rows - seen.rows, Relaxed);
            seen = now;
            if !more {
                break;
            }
            file.advance().await.doing(doing)?;
        }
        let content = file.finish().await.doing(doing)?;
        if content.size != seen.bytes {
            let wrong = format!("{} bytes were read and {} were stored", seen.bytes, content.size);
            return Err(EngineError::failed(wrong).within(doing()).into());
        }
        Ok(ReadRange {
            first_block: item.first_block,
            end_block: item.end_block,
            digest: seen,
            blobs: content.blobs,
        })
    }

    fn keep(&self, item: Item, range: ReadRange) {
        lock(&self.results)[item.table][item.range] = Some(range);
        let mut open = lock(&self.open);
        open[item.table] -= 1;
        if open[item.table] == 0 {
            self.counters.items.fetch_add(1, Relaxed);
        }
    }
}

/// The ranges of a table; one for all of it where the server cannot scan a range of blocks.
fn ranges(number: usize, table: &Table) -> Vec<Item> {
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

fn largest_first(tables: &[Table], split: Vec<Vec<Item>>) -> VecDeque<Item> {
    let mut split = split;
    split.sort_by_key(|items| std::cmp::Reverse(items.first().map_or(0, |item| tables[item.table].pages)));
    split.into_iter().flatten().collect()
}

/// Locks a mutex whose holders only move values, so that a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

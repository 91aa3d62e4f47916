//! Rows: every table's COPY text, read by several connections that share the snapshot.
//!
//! A table is read in ranges of blocks; each range becomes a run of blobs of its own, so readers need no order among
//! themselves and the table's file is the ranges' blobs put together at the end.

mod batch;
mod lane;
pub(super) mod pace;
mod reader;
mod split;
mod survey;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use basekeep_postgres::{Client, Digest};
use basekeep_repository::{BlobId, Writer};

use tokio::sync::Notify;

use self::pace::Throttle;
use self::split::{Item, largest_first, split};
pub(super) use self::split::{RANGE_BYTES, blocks_each};
use super::Stopped;
use super::plan::Plan;
use super::progress::{self, Counters};
use crate::words::{bytes, counted};
use crate::{Event, Observer, Step};

/// One range as it was read.
#[derive(Debug, Clone)]
pub(super) struct ReadRange {
    pub(super) first_block: u64,
    pub(super) end_block: Option<u64>,
    pub(super) digest: Digest,
    pub(super) blobs: Vec<BlobId>,
    /// From the parent, without reading it.
    pub(super) taken_over: bool,
}

/// The rows of all tables.
pub(super) struct Rows {
    /// One list of ranges for each table, in the order of the catalog.
    pub(super) tables: Vec<Vec<ReadRange>>,
    /// Ranges that were found unchanged, and were read and compared all the same.
    pub(super) compared: u64,
    /// Those of them that were not the same, for people.
    pub(super) differing: Vec<String>,
}

/// What the readers share.
struct Reading<'a> {
    plan: &'a Plan,
    writer: &'a Writer,
    throttle: &'a Throttle,
    /// The connection that goes on when the others rest.
    alone: AtomicUsize,
    counters: Counters,
    queue: Mutex<VecDeque<Item>>,
    /// Tables that are scanned before their ranges become work, how many of them are being scanned, and the news when one
    /// has been.
    surveys: Mutex<VecDeque<Vec<Item>>>,
    surveying: AtomicUsize,
    more: Notify,
    /// Ranges of tables that only the leading connection can still lock.
    for_the_leader: Mutex<Vec<Item>>,
    results: Mutex<Vec<Vec<Option<ReadRange>>>>,
    /// Ranges that each table still waits for.
    open: Mutex<Vec<usize>>,
    compared: AtomicU64,
    differing: Mutex<Vec<String>>,
}

/// Reads all tables of the plan, or takes over what did not change.
pub(super) async fn read(
    plan: &Plan,
    leader: &mut Client,
    writer: &Writer,
    throttle: &Throttle,
    observer: &Arc<dyn Observer>,
) -> Result<Rows, Stopped> {
    let started = Instant::now();
    observer.event(Event::Began { step: Step("rows") });
    let tables = &plan.catalog.tables;
    let mut split = split(tables, &plan.takeover, plan.range_bytes);
    let (results, open) =
        (split.iter().map(|items| vec![None; items.len()]).collect(), split.iter().map(Vec::len).collect());
    let items = split.iter().map(Vec::len).sum();
    let surveys = survey::surveys(tables, &plan.takeover, &mut split);
    let reading = Reading {
        plan,
        writer,
        throttle,
        alone: AtomicUsize::new(lane::NOBODY),
        counters: Counters::default(),
        results: Mutex::new(results),
        open: Mutex::new(open),
        surveys: Mutex::new(surveys),
        surveying: AtomicUsize::new(0),
        more: Notify::new(),
        queue: Mutex::new(largest_first(tables, split)),
        for_the_leader: Mutex::default(),
        compared: AtomicU64::new(0),
        differing: Mutex::default(),
    };
    let expected: u64 = tables.iter().map(|t| t.pages * u64::from(t.block_size)).sum();
    let work = async {
        let lanes = (0..plan.jobs.min(items)).map(|number| reading.lane(number));
        futures::future::try_join_all(lanes).await?;
        reading.left_over(leader).await
    };
    tokio::select! {
        result = work => result?,
        never = progress::tell(&reading.counters, expected, tables.len() as u64, writer, observer) => match never {},
    }
    let (count, size) = (reading.counters.rows.load(Relaxed), reading.counters.bytes.load(Relaxed));
    let taken_over = reading.counters.taken_over.load(Relaxed);
    let compared = reading.compared.load(Relaxed);
    let differing = reading.differing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tables_read: Vec<Vec<ReadRange>> = reading
        .results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .map(|ranges| ranges.into_iter().flatten().collect())
        .collect();
    let mut detail = format!(
        "{}, {}, {}",
        counted(tables.len() as u64, "table", "tables"),
        counted(count, "row", "rows"),
        bytes(size)
    );
    if taken_over > 0 {
        detail += &format!(", {} of it unchanged and taken over", bytes(taken_over));
    }
    observer.event(Event::Ended { step: Step("rows"), elapsed: started.elapsed(), detail });
    Ok(Rows { tables: tables_read, compared, differing })
}

/// Locks a mutex whose holders only move values, so that a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

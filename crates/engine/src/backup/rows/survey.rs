//! Tables of several known ranges are scanned once before their ranges become work: most need none then.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;

use basekeep_postgres::Client;
use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::{self, RangeBefore, Verdict};

use super::split::Item;
use super::{Reading, lock};
use crate::ResultExt;
use crate::backup::Stopped;
use crate::backup::changed::{Known, Takeover};
use crate::backup::plan::display_name;

/// Larger tables are looked at range by range, on all connections: one alone would take long.
const LARGEST: u64 = 8 << 30;

/// Takes the work of tables that are worth a survey out of all work, but for what is compared anyway; the largest first.
pub(super) fn surveys(tables: &[Table], takeover: &Takeover, work: &mut [Vec<Item>]) -> VecDeque<Vec<Item>> {
    let worth = |items: &[Item]| {
        let known = items.iter().filter(|item| takeover.range(item.table, item.range).is_some()).count();
        takeover.since.is_some()
            && known > 1
            && items.first().is_some_and(|item| heap_bytes(&tables[item.table]) <= LARGEST)
    };
    let surveyed = |items: &mut Vec<Item>| {
        let (compared, others) = std::mem::take(items).into_iter().partition(|item| item.compare);
        *items = compared;
        others
    };
    let mut surveys: Vec<Vec<Item>> = work
        .iter_mut()
        .filter(|items| worth(items))
        .map(surveyed)
        .filter(|items| !items.is_empty())
        .collect();
    surveys.sort_by_key(|items| std::cmp::Reverse(items.first().map_or(0, |item| tables[item.table].pages)));
    surveys.into()
}

fn heap_bytes(table: &Table) -> u64 {
    table.pages * u64::from(table.block_size)
}

impl Reading<'_> {
    /// The next table to survey. Whoever takes it calls [`Reading::surveyed`] in the end.
    pub(super) fn next_survey(&self) -> Option<Vec<Item>> {
        let items = lock(&self.surveys).pop_front()?;
        self.surveying.fetch_add(1, SeqCst);
        Some(items)
    }

    /// Surveys a table on a connection that has its lock: takes over what did not change, and makes the rest work for all.
    pub(super) async fn survey(&self, client: &mut Client, items: &[Item]) -> Result<Vec<Item>, Stopped> {
        let takeover = &self.plan.takeover;
        let (Some(first), Some(since)) = (items.first(), takeover.since) else { return Ok(items.to_vec()) };
        let table = &self.plan.catalog.tables[first.table];
        let known = match takeover.tables.get(first.table) {
            Some(Known::Ranges(known)) => known.as_slice(),
            _ => &[],
        };
        let before: Vec<RangeBefore> = known
            .iter()
            .map(|known| RangeBefore {
                blocks: known.first_block..known.end_block.unwrap_or(u64::MAX),
                rows: known.digest.rows,
            })
            .collect();
        let verdicts = changes::survey(client, table, &before, since)
            .await
            .doing(|| format!("look for changes of {}", display_name(table)))?;
        let mut left = Vec::new();
        for item in items {
            let verdict = verdicts.get(item.range).copied().unwrap_or(Verdict::Unknown);
            let item = Item { verdict, ..*item };
            let range = match takeover.range(item.table, item.range) {
                Some(known) if verdict == Verdict::Unchanged => self.take_over(item, known).await?,
                _ => None,
            };
            match range {
                Some(range) => self.keep(item, range),
                None => left.push(item),
            }
        }
        Ok(left)
    }

    /// What is left of a surveyed table becomes work, and who waited for it goes on.
    pub(super) fn surveyed(&self, left: Vec<Item>) {
        let mut queue = lock(&self.queue);
        for item in left.into_iter().rev() {
            queue.push_front(item);
        }
        drop(queue);
        self.surveying.fetch_sub(1, SeqCst);
        self.more.notify_waiters();
    }
}

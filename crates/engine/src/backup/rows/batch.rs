//! Tiny tables, many in one command: what takes longest there are the round trips.

use std::time::Instant;

use basekeep_postgres::catalog::Table;
use basekeep_postgres::{Client, changes, quote_qualified, session};

use super::lane::LOCK_NOT_AVAILABLE;
use super::split::Item;
use super::{Reading, lock};
use crate::backup::Stopped;
use crate::backup::plan::display_name;
use crate::{EngineError, ResultExt};

/// A table that is tiny takes at most this much on the server, with what is stored outside of its rows.
const TINY_BYTES: u64 = 256 << 10;
/// The most tables in one command.
const MOST_TABLES: usize = 100;

/// What one connection does next.
#[derive(Debug)]
pub(super) enum Work {
    /// One range of one table.
    Range(Item),
    /// Several tiny tables, whole.
    Tables(Vec<Item>),
}

/// Whether a piece of work is a whole tiny table. What is to be compared goes alone.
fn is_tiny(item: &Item, table: &Table) -> bool {
    let whole = item.first_block == 0 && item.end_block.is_none();
    whole && !item.compare && table.total_bytes <= TINY_BYTES
}

impl Reading<'_> {
    /// The next piece of work: the queue's first, and the tiny ones behind it if that is tiny, few enough to leave
    /// work for the other connections.
    pub(super) fn take(&self) -> Option<Work> {
        let tables = &self.plan.catalog.tables;
        let tiny = |item: &Item| is_tiny(item, &tables[item.table]);
        let mut queue = lock(&self.queue);
        let first = queue.pop_front()?;
        if !tiny(&first) {
            return Some(Work::Range(first));
        }
        let most = (queue.len() / (2 * self.plan.jobs.max(1))).min(MOST_TABLES - 1);
        let more = queue.iter().take(most).take_while(|item| tiny(item)).count();
        if more == 0 {
            return Some(Work::Range(first));
        }
        Some(Work::Tables(std::iter::once(first).chain(queue.drain(..more)).collect()))
    }

    /// Takes tiny tables over or reads them, with one command for each of both: the locks before are given back, the new ones
    /// taken without waiting, and one question or COPY follows the other. When a lock is refused, they are read one by one.
    pub(super) async fn batch(&self, client: &mut Client, items: Vec<Item>) -> Result<(), Stopped> {
        let names: Vec<String> = items
            .iter()
            .map(|item| quote_qualified(&self.table(item).schema, &self.table(item).name))
            .collect();
        let mut before = format!(
            "{}; LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT",
            session::join_again_sql(&self.plan.snapshot.id),
            names.join(", ONLY ")
        );
        let began = Instant::now();
        let mut bytes = 0;
        let changed = match self.ask(client, &mut before, &items).await? {
            Some(changed) => changed,
            None => return self.one_by_one(client, items).await,
        };
        if !changed.is_empty() {
            match self.copy_all(client, &before, &changed).await? {
                Some(read) => bytes = read,
                None => return self.one_by_one(client, changed).await,
            }
        }
        self.throttle.after_range(bytes, began.elapsed()).await;
        Ok(())
    }

    /// Takes over what is known and did not change; gives the rest, or nothing when a lock is refused. `before` is
    /// empty afterwards if it was sent.
    async fn ask(
        &self,
        client: &mut Client,
        before: &mut String,
        items: &[Item],
    ) -> Result<Option<Vec<Item>>, Stopped> {
        let Some(since) = self.plan.takeover.since else { return Ok(Some(items.to_vec())) };
        let known = |item: &Item| self.plan.takeover.range(item.table, item.range);
        let (asked, mut changed): (Vec<Item>, Vec<Item>) =
            items.iter().copied().partition(|item| known(item).is_some());
        if asked.is_empty() {
            return Ok(Some(changed));
        }
        let ranges: Vec<_> = asked.iter().map(|item| (self.table(item), 0..u64::MAX)).collect();
        let seen = match changes::probe_many(client, &std::mem::take(before), &ranges, since).await {
            Ok(seen) => seen,
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
                self.leave(client).await?;
                return Ok(None);
            }
            Err(error) => {
                return Err(error).doing(|| format!("look for changes of {} tables", asked.len()))?;
            }
        };
        for (item, seen) in asked.into_iter().zip(seen) {
            let range = match known(&item) {
                Some(known) if seen.unchanged(known.digest.rows) => self.take_over(item, known).await?,
                _ => None,
            };
            match range {
                Some(range) => self.keep(item, range),
                None => changed.push(item),
            }
        }
        Ok(Some(changed))
    }

    /// Reads whole tables; gives their bytes, or nothing when a lock is refused.
    async fn copy_all(
        &self,
        client: &mut Client,
        before: &str,
        items: &[Item],
    ) -> Result<Option<u64>, Stopped> {
        let copies: Vec<String> = items.iter().map(|item| self.table(item).copy_out_sql(None)).collect();
        let mut copy = match client.copy_out_many(before, &copies).await {
            Ok(copy) => copy,
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
                self.leave(client).await?;
                return Ok(None);
            }
            Err(error) => return Err(error).doing(|| format!("read {} tables at once", items.len()))?,
        };
        let mut files = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let doing = || format!("read {}", display_name(self.table(item)));
            if position > 0 && !copy.next_copy().await.doing(doing)? {
                return Err(EngineError::failed(format!("{}: the COPY did not come", doing())).into());
            }
            let mut file = self.writer.file(self.plan.chunk_average(item.table));
            let digest = self.stream(&mut copy, &mut file, doing).await?;
            // Hands the rest on to the worker threads; its ids are waited for when all are under way.
            file.cut().await.doing(doing)?;
            files.push((*item, file, digest));
        }
        let mut bytes = 0;
        for (item, file, digest) in files {
            let doing = || format!("read {}", display_name(self.table(&item)));
            let range = self.stored(item, file, digest, doing).await?;
            bytes += range.digest.bytes;
            self.keep(item, range);
        }
        Ok(Some(bytes))
    }

    fn table(&self, item: &Item) -> &Table {
        &self.plan.catalog.tables[item.table]
    }

    /// Leaves a transaction that has failed, for a new one.
    async fn leave(&self, client: &mut Client) -> Result<(), Stopped> {
        client.execute("ROLLBACK").await.doing(|| "leave a transaction")?;
        self.join(client).await
    }

    async fn one_by_one(&self, client: &mut Client, items: Vec<Item>) -> Result<(), Stopped> {
        for item in items {
            if self.lock_table(client, item.table).await? {
                let range = self.item(client, item).await?;
                self.keep(item, range);
            } else {
                lock(&self.for_the_leader).push(item);
            }
        }
        Ok(())
    }
}

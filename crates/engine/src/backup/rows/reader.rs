//! One connection's life: it joins the snapshot, takes ranges until there are none, and reads each into blobs.

use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::{Client, Digest, changes, session};

use super::split::Item;
use super::{ReadRange, Reading, lock};
use crate::backup::Stopped;
use crate::backup::parent::KnownRange;
use crate::backup::plan::display_name;
use crate::{EngineError, ResultExt};

/// `lock_not_available`: somebody waits for a stronger lock on the table.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Reading<'_> {
    /// One connection's life: join the snapshot, then take ranges until there are none.
    pub(super) async fn connection(&self) -> Result<(), Stopped> {
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
            let range = self.item(&mut client, item).await?;
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

    /// Takes a range over when it is known and did not change, and reads it otherwise.
    pub(super) async fn item(&self, client: &mut Client, item: Item) -> Result<ReadRange, Stopped> {
        let known = self.plan.takeover.range(item.table, item.range);
        let (Some(known), Some(since)) = (known, self.plan.takeover.since) else {
            return self.range(client, item).await;
        };
        let table = &self.plan.catalog.tables[item.table];
        let blocks = item.first_block..item.end_block.unwrap_or(u64::MAX);
        let doing = || format!("look for changes of {}", display_name(table));
        let seen = changes::probe(client, table, blocks, since).await.doing(doing)?;
        if !seen.unchanged(known.digest.rows) {
            return self.range(client, item).await;
        }
        if !item.compare
            && let Some(range) = self.take_over(item, known).await?
        {
            return Ok(range);
        }
        let range = self.range(client, item).await?;
        if item.compare {
            self.compared.fetch_add(1, Relaxed);
        }
        if range.digest != known.digest {
            let end = item.end_block.map_or_else(|| "the end".to_owned(), |end| end.to_string());
            let what = format!("blocks {} to {end} of {}", item.first_block, display_name(table));
            lock(&self.differing).push(what);
        }
        Ok(range)
    }

    /// `None` when a repository does not have its blobs any more.
    async fn take_over(&self, item: Item, known: &KnownRange) -> Result<Option<ReadRange>, Stopped> {
        let mut file = self.writer.file(self.plan.chunk_average(item.table));
        let all_there = file.append_known(&known.blobs).await.is_ok();
        let content = file.finish().await.doing(|| "take unchanged rows over")?;
        if !all_there || content.size != known.digest.bytes {
            return Ok(None);
        }
        for counter in [&self.counters.bytes, &self.counters.taken_over] {
            counter.fetch_add(known.digest.bytes, Relaxed);
        }
        self.counters.rows.fetch_add(known.digest.rows, Relaxed);
        Ok(Some(ReadRange {
            first_block: item.first_block,
            end_block: item.end_block,
            digest: known.digest,
            blobs: content.blobs,
            taken_over: true,
        }))
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
            taken_over: false,
        })
    }

    pub(super) fn keep(&self, item: Item, range: ReadRange) {
        lock(&self.results)[item.table][item.range] = Some(range);
        let mut open = lock(&self.open);
        open[item.table] -= 1;
        if open[item.table] == 0 {
            self.counters.items.fetch_add(1, Relaxed);
        }
    }
}

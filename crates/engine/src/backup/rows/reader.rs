//! One range of a table into blobs.

use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::changes::Verdict;
use basekeep_postgres::{Client, CopyOut, Digest, changes};
use basekeep_repository::FileWriter;

use super::split::Item;
use super::{ReadRange, Reading, lock};
use crate::backup::Stopped;
use crate::backup::parent::KnownRange;
use crate::backup::plan::display_name;
use crate::{EngineError, ResultExt};

impl Reading<'_> {
    /// Takes a range over when it is known and did not change, and reads it otherwise.
    pub(super) async fn item(&self, client: &mut Client, item: Item) -> Result<ReadRange, Stopped> {
        let known = self.plan.takeover.range(item.table, item.range);
        let (Some(known), Some(since)) = (known, self.plan.takeover.since) else {
            return self.range(client, item).await;
        };
        let table = &self.plan.catalog.tables[item.table];
        let blocks = item.first_block..item.end_block.unwrap_or(u64::MAX);
        let doing = || format!("look for changes of {}", display_name(table));
        let unchanged = match item.verdict {
            Verdict::Unchanged => true,
            Verdict::Changed => false,
            Verdict::Unknown => {
                let seen = changes::probe(client, table, blocks, since).await.doing(doing)?;
                seen.unchanged(known.digest.rows)
            }
        };
        if !unchanged {
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
    pub(super) async fn take_over(
        &self,
        item: Item,
        known: &KnownRange,
    ) -> Result<Option<ReadRange>, Stopped> {
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

    pub(super) async fn range(&self, client: &mut Client, item: Item) -> Result<ReadRange, Stopped> {
        let table = &self.plan.catalog.tables[item.table];
        let doing = || match item.end_block {
            Some(end) => format!("read blocks {}..{end} of {}", item.first_block, display_name(table)),
            None => format!("read {}", display_name(table)),
        };
        let mut file = self.writer.file(self.plan.chunk_average(item.table));
        let blocks = item.end_block.map(|end| item.first_block..end);
        let mut copy = client.copy_out(&table.copy_out_sql(blocks)).await.doing(doing)?;
        let digest = self.stream(&mut copy, &mut file, doing).await?;
        self.stored(item, file, digest, doing).await
    }

    /// Moves one COPY's text into a file, to the COPY's proper end.
    pub(super) async fn stream(
        &self,
        copy: &mut CopyOut<'_>,
        file: &mut FileWriter,
        doing: impl Fn() -> String,
    ) -> Result<Digest, EngineError> {
        let mut seen = Digest::default();
        loop {
            let more = copy.read(file.buffer()).await.doing(&doing)?;
            let now = copy.digest();
            let (rows, bytes) = (now.rows - seen.rows, now.bytes - seen.bytes);
            self.counters.bytes.fetch_add(bytes, Relaxed);
            self.counters.rows.fetch_add(rows, Relaxed);
            seen = now;
            if !more {
                return Ok(seen);
            }
            file.advance().await.doing(&doing)?;
            self.throttle.taken(rows, bytes).await;
        }
    }

    /// Waits until the ids of a file's blobs are known.
    pub(super) async fn stored(
        &self,
        item: Item,
        file: FileWriter,
        digest: Digest,
        doing: impl Fn() -> String,
    ) -> Result<ReadRange, Stopped> {
        let content = file.finish().await.doing(&doing)?;
        if content.size != digest.bytes {
            let wrong = format!("{} bytes were read and {} were stored", digest.bytes, content.size);
            return Err(EngineError::failed(wrong).within(doing()).into());
        }
        Ok(ReadRange {
            first_block: item.first_block,
            end_block: item.end_block,
            digest,
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

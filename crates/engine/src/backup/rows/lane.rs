//! One connection's life: it joins the snapshot, takes ranges until there are none, and keeps each table's lock only while it
//! reads that table.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use basekeep_postgres::{Client, session};

use super::batch::Work;
use super::{Reading, lock};
use crate::ResultExt;
use crate::backup::Stopped;
use crate::backup::plan::display_name;

/// `lock_not_available`: somebody waits for a stronger lock on the table.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
/// No connection is open yet.
pub(super) const NOBODY: usize = usize::MAX;
/// How long a connection that is to rest looks away.
const REST: Duration = Duration::from_millis(200);

impl Reading<'_> {
    /// One connection's life. A connection that the server has none left for does nothing; the others do its work, and the
    /// leading one what nobody did.
    pub(super) async fn lane(&self, number: usize) -> Result<(), Stopped> {
        let mut client = match Client::connect(&self.plan.connect, "basekeep").await {
            Ok(client) => client,
            // 53300 and its kind: too many connections, of all, of the role, of the database.
            Err(error) if error.sqlstate().is_some_and(|code| code.starts_with("53")) => {
                tracing::info!(%error, "reading with fewer connections");
                return Ok(());
            }
            Err(error) => return Err(error).doing(|| "open a reading connection")?,
        };
        self.join(&mut client).await?;
        // The first one that is there is the one that never rests.
        let _ = self.alone.compare_exchange(NOBODY, number, Relaxed, Relaxed);
        let mut locked = None;
        loop {
            // Under pressure one connection goes on alone.
            while self.alone.load(Relaxed) != number
                && self.throttle.is_under_pressure()
                && !lock(&self.queue).is_empty()
            {
                tokio::time::sleep(REST).await;
            }
            if let Some(items) = self.next_survey() {
                let table = items.first().map(|item| item.table);
                locked = None;
                let left = match table {
                    Some(table) if self.lock_table(&mut client, table).await? => {
                        locked = Some(table);
                        let began = Instant::now();
                        let left = self.survey(&mut client, &items).await?;
                        self.throttle.after_range(0, began.elapsed()).await;
                        left
                    }
                    _ => {
                        lock(&self.for_the_leader).extend(items);
                        Vec::new()
                    }
                };
                self.surveyed(left);
                continue;
            }
            // Before the last look: what a survey leaves over later is not missed.
            let more = self.more.notified();
            let Some(work) = self.take() else {
                if self.surveying.load(SeqCst) == 0 && lock(&self.queue).is_empty() {
                    break;
                }
                // Whoever surveys may fail, and then all of us end; it may also have ended just now.
                let _ = tokio::time::timeout(REST, more).await;
                continue;
            };
            match work {
                Work::Tables(items) => {
                    locked = None;
                    self.batch(&mut client, items).await?;
                }
                Work::Range(item) => {
                    if locked != Some(item.table) {
                        locked = None;
                        if !self.lock_table(&mut client, item.table).await? {
                            lock(&self.for_the_leader).push(item);
                            continue;
                        }
                        locked = Some(item.table);
                    }
                    let began = Instant::now();
                    let range = self.item(&mut client, item).await?;
                    let bytes = range.digest.bytes;
                    self.keep(item, range);
                    self.throttle.after_range(bytes, began.elapsed()).await;
                }
            }
        }
        client.close().await;
        Ok(())
    }

    /// What the other connections left over, on the leading one, whose locks are there already.
    pub(super) async fn left_over(&self, leader: &mut Client) -> Result<(), Stopped> {
        let refused = std::mem::take(&mut *lock(&self.for_the_leader));
        let untouched = std::mem::take(&mut *lock(&self.queue));
        let not_surveyed = std::mem::take(&mut *lock(&self.surveys)).into_iter().flatten();
        for item in refused.into_iter().chain(untouched).chain(not_surveyed) {
            let began = Instant::now();
            let range = self.item(leader, item).await?;
            let bytes = range.digest.bytes;
            self.keep(item, range);
            self.throttle.after_range(bytes, began.elapsed()).await;
        }
        Ok(())
    }

    pub(super) async fn join(&self, client: &mut Client) -> Result<(), Stopped> {
        session::join(client, &self.plan.snapshot.id).await.doing(|| "join the exported snapshot")?;
        Ok(())
    }

    /// Takes the lock that COPY needs, without waiting: whoever waits for a stronger lock waits for our leader, and we
    /// would wait for them. `false` sends the range to the leader, which holds its lock already. The locks taken before are
    /// given back: the snapshot is joined anew.
    pub(super) async fn lock_table(&self, client: &mut Client, table: usize) -> Result<bool, Stopped> {
        let table = &self.plan.catalog.tables[table];
        let again = session::join_again_sql(&self.plan.snapshot.id);
        match client.execute(&format!("{again}; {}", session::lock_nowait_sql(table))).await {
            Ok(()) => Ok(true),
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
                client.execute("ROLLBACK").await.doing(|| "leave a transaction")?;
                self.join(client).await?;
                Ok(false)
            }
            Err(error) => Err(error).doing(|| format!("lock {}", display_name(table)))?,
        }
    }
}

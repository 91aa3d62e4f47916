//! Rows of a table that this restore made: one transaction empties it and loads it with `FREEZE`. So the server need not
//! visit the rows again to mark them as committed, and where it logs no more than it must, it does not log them. Only one
//! connection can do that, so it ends the transaction when another one is idle, and both load the rest as usual.

use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::Client;

use super::{Failure, RETRIES, Shared};
use crate::restore::rows::{self, LoadError, Way};
use crate::restore::session::is_lost;
use crate::restore::work::Table;

impl Shared {
    /// Loads units of a new table from the first one on; gives their number.
    pub(super) async fn frozen(
        &self,
        client: &mut Client,
        task: usize,
        table: &Table,
    ) -> (usize, Result<(), Failure>) {
        let mut units = 1;
        let mut result = Ok(());
        for attempt in 0..=RETRIES {
            result = self.frozen_once(client, task, table, &mut units).await;
            // The transaction empties the table first, so it can be tried again even if it may have been committed.
            match &result {
                Err(LoadError::Server(error) | LoadError::Unknown(error))
                    if is_lost(error) && attempt < RETRIES =>
                {
                    match self.run.connections.reopen().await {
                        Ok(new) => *client = new,
                        Err(_) => break,
                    }
                }
                _ => break,
            }
        }
        self.schedule().share(task);
        let result = match result {
            Ok(()) => Ok(()),
            // It may be the transaction or the format that the server does not want. If it is the rows, it says so again.
            Err(error) if error.may_go_plain() => self.plain(client, task, table, units).await,
            Err(error) => {
                let lost = matches!(&error, LoadError::Server(e) | LoadError::Unknown(e) if is_lost(e));
                Err(Failure { reason: error.to_string(), lost })
            }
        };
        (units, result)
    }

    /// One transaction; `units` grows as it takes more. On an error the table is empty, except after `Unknown`.
    async fn frozen_once(
        &self,
        client: &mut Client,
        task: usize,
        table: &Table,
        units: &mut usize,
    ) -> Result<(), LoadError> {
        let mut loaded = 0;
        let mut result = self.fill(client, task, table, units, &mut loaded).await;
        if result.is_ok() {
            result = client.execute("COMMIT").await.map_err(|error| {
                if is_lost(&error) { LoadError::Unknown(error) } else { LoadError::Server(error) }
            });
        }
        if result.is_err() {
            for unit in table.units.iter().take(loaded) {
                self.run.counters.rows.fetch_sub(unit.expected.rows, Relaxed);
                self.run.counters.bytes.fetch_sub(unit.expected.bytes, Relaxed);
            }
            if client.is_usable() {
                client.execute("ROLLBACK").await.map_err(LoadError::Server)?;
            }
        }
        result
    }

    async fn fill(
        &self,
        client: &mut Client,
        task: usize,
        table: &Table,
        units: &mut usize,
        loaded: &mut usize,
    ) -> Result<(), LoadError> {
        let run = &self.run;
        let columns = rows::binary_columns(client, &table.relation, &table.columns, table.bytes()).await;
        let columns = columns.map_err(LoadError::Server)?;
        let way =
            Way { binary: columns.as_deref(), freeze: true, hashed: false, ..Way::plain(&table.copy_sql) };
        let empty = format!("BEGIN; TRUNCATE ONLY {}", table.relation);
        client.execute(&empty).await.map_err(LoadError::Server)?;
        loop {
            for unit in table.units.iter().take(*units).skip(*loaded) {
                rows::load(&run.repository, client, &way, &table.blobs, unit, &run.counters).await?;
                *loaded += 1;
            }
            if self.schedule().next_alone(task).is_none() {
                return Ok(());
            }
            *units += 1;
        }
    }

    async fn plain(
        &self,
        client: &mut Client,
        task: usize,
        table: &Table,
        units: usize,
    ) -> Result<(), Failure> {
        self.changed.notify_waiters();
        for unit in 0..units {
            self.rows_in(Way::plain(&table.copy_sql), client, task, table, unit).await?;
        }
        Ok(())
    }
}

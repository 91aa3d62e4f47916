//! Connections to the target: set up as pg_restore sets its own up, remembered so that an interrupt can cancel what they do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use basekeep_postgres::{CancelToken, Client, ConnectOptions, Error};

/// Settings of ours after pg_restore's. Values that a role or a managed service limits are raised only where they exist;
/// commits need not wait for the disk, since the last one does; a superuser's new log files are not
/// written with zeros before they are written with the log.
const SETTINGS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings
     WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
                    'transaction_timeout', 'idle_session_timeout');
    SET client_min_messages = warning;
    SET default_transaction_read_only = off;
    SET synchronous_commit = off;
    SET DateStyle = 'ISO';
    SET IntervalStyle = 'postgres';
    SET extra_float_digits = 3;
    SELECT pg_catalog.set_config('wal_init_zero', 'off', false) FROM pg_catalog.pg_roles
     WHERE rolname = CURRENT_USER AND rolsuper";

/// Memory for index builds of all connections together, and the most and the least of one; KiB.
const SORT_MEMORY: usize = 1 << 20;
const SORT_MEMORY_EACH: std::ops::RangeInclusive<usize> = 64 << 10..=256 << 10;

/// Gives index builds their share of the memory, where the session does not have more.
fn sort_memory_sql(connections: usize) -> String {
    let (least, most) = (*SORT_MEMORY_EACH.start(), *SORT_MEMORY_EACH.end());
    let each = (SORT_MEMORY / connections.max(1)).clamp(least, most);
    format!(
        "SELECT pg_catalog.set_config('maintenance_work_mem', '{each}', false) FROM pg_catalog.pg_settings
          WHERE name = 'maintenance_work_mem' AND setting::bigint < {each}"
    )
}

/// Keeps index builds from taking cores that other connections use, and lets them.
pub(super) const ONE_CORE: &str = "SET max_parallel_maintenance_workers = 0";
pub(super) const MORE_CORES: &str = "RESET max_parallel_maintenance_workers";

/// Keeps ordinary triggers, rules and the checks of foreign keys from acting on rows.
pub(super) const QUIET: &str = "SET session_replication_role = replica";
pub(super) const AGAIN: &str = "RESET session_replication_role";

/// How long an interrupt waits for the server to take the request to cancel.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
/// How often, and how long apart, a lost connection is tried again: long enough for a server to restart after a crash.
const RECONNECTS: u32 = 8;
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Opens connections to one database.
pub(super) struct Connections {
    options: ConnectOptions,
    setup: Vec<String>,
    sort_memory: String,
    tokens: Mutex<Vec<CancelToken>>,
}

impl Connections {
    /// `setup` is pg_restore's session setup for the archive; so many connections work at once.
    pub(super) fn new(options: ConnectOptions, setup: &str, connections: usize) -> Self {
        // One statement a line, so that a setting which the target does not know can be left out.
        let setup = setup
            .split_inclusive(";\n")
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
        Self { options, setup, sort_memory: sort_memory_sql(connections), tokens: Mutex::default() }
    }

    /// The options of the target's database.
    pub(super) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// A new connection, ready for statements of the archive.
    pub(super) async fn open(&self) -> Result<Client, Error> {
        let mut client = Client::connect(&self.options, super::APPLICATION_NAME).await?;
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(client.cancel_token());
        if let Err(error) = client.execute(&self.setup.concat()).await {
            if is_lost(&error) {
                return Err(error);
            }
            for statement in &self.setup {
                match client.execute(statement).await {
                    // A newer pg_dump's archive may set what an older server does not know.
                    Ok(()) | Err(Error::Server(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        client.execute(SETTINGS).await?;
        client.execute(&self.sort_memory).await?;
        Ok(client)
    }

    /// A connection in place of a lost one.
    pub(super) async fn reopen(&self) -> Result<Client, Error> {
        let mut pause = RECONNECT_PAUSE;
        for _ in 1..RECONNECTS {
            if let Ok(client) = self.open().await {
                return Ok(client);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(4));
        }
        self.open().await
    }

    /// Cancels what every connection is doing.
    pub(super) async fn cancel_all(&self) {
        let tokens = std::mem::take(&mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner));
        let all = futures::future::join_all(tokens.iter().map(CancelToken::cancel));
        // A server that does not answer ends our statements when it notices that we are gone.
        let _ = tokio::time::timeout(CANCEL_WAIT, all).await;
    }
}

/// Whether the connection is gone, so that another one must be opened.
pub(super) fn is_lost(error: &Error) -> bool {
    use basekeep_postgres::ErrorClass::{LostConnection, Unreachable};
    let fatal = matches!(error, Error::Server(e) if matches!(e.severity.as_str(), "FATAL" | "PANIC"));
    fatal || matches!(error.class(), LostConnection | Unreachable) || matches!(error, Error::Closed)
}

#[cfg(test)]
mod tests {
    use super::sort_memory_sql;

    #[test]
    fn connections_share_the_memory_for_index_builds() {
        let cases = [(1, "'262144'"), (4, "'262144'"), (8, "'131072'"), (64, "'65536'")];
        for (connections, each) in cases {
            assert!(sort_memory_sql(connections).contains(each), "{connections}");
        }
    }
}

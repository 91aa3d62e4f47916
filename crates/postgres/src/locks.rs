//! Who waits for whom: the sessions that keep us from a lock, and those that we keep from one.
//!
//! A role without `pg_monitor` sees who they are, and neither what they run nor since when.

use std::fmt;
use std::time::Duration;

use crate::catalog::Table;
use crate::quote::quote_qualified;
use crate::{Client, Error};

/// Tables that are locked by one statement.
const BATCH: usize = 200;

/// A session that stands at one side of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSession {
    /// Its process on the server; `None` for a prepared transaction, which has none.
    pub pid: Option<i32>,
    /// Its role.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// `active`, `idle in transaction`, …; absent when the role may not see it.
    pub state: Option<String>,
    /// How long its transaction (or the wait, for one that waits for us) has lasted, where the role may see it.
    pub since: Option<Duration>,
    /// The beginning of what it runs or ran last, in one line; absent when the role may not see it.
    pub query: Option<String>,
    /// The relation that is waited for, with its schema, where there is one.
    pub relation: Option<String>,
}

impl fmt::Display for OtherSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => return write!(f, "a prepared transaction"),
        }
        let mut more = Vec::new();
        more.extend(self.user.iter().map(|user| format!("user {user}")));
        more.extend(self.application.iter().filter(|a| !a.is_empty()).map(|a| format!("application {a}")));
        more.extend(self.state.clone());
        more.extend(self.since.map(|since| format!("for {} s", since.as_secs())));
        if !more.is_empty() {
            write!(f, " ({})", more.join(", "))?;
        }
        match &self.query {
            Some(query) => write!(f, ": {query}"),
            None => write!(f, "; what it runs is shown to members of pg_monitor only"),
        }
    }
}

/// The sessions that keep the one of this process from the lock that it waits for; none if it does not wait.
pub async fn blockers_of(client: &mut Client, pid: i32) -> Result<Vec<OtherSession>, Error> {
    let sql = format!(
        "SELECT nullif(b.pid, 0), a.usename, a.application_name, a.state,
           extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(a.xact_start, a.query_start))::bigint,
           {QUERY},
           (SELECT l.relation::pg_catalog.regclass FROM pg_catalog.pg_locks l
            WHERE l.pid = {pid} AND NOT l.granted AND l.relation IS NOT NULL LIMIT 1)
         FROM (SELECT DISTINCT u.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid})) AS u(pid)) b
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid ORDER BY 5 DESC NULLS LAST, 1"
    );
    read(client, &sql).await
}

/// The sessions that wait for a lock on a table because the one of this process holds its own.
pub async fn waiting_for(client: &mut Client, pid: i32) -> Result<Vec<OtherSession>, Error> {
    let sql = format!(
        "SELECT a.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::bigint,
           {QUERY}, w.relation::pg_catalog.regclass
         FROM pg_catalog.pg_locks w
         JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
         WHERE NOT w.granted AND w.locktype = 'relation' AND w.pid <> {pid}
           AND {pid} = ANY (pg_catalog.pg_blocking_pids(w.pid))
         ORDER BY 5 DESC NULLS LAST, 1"
    );
    read(client, &sql).await
}

/// The first 100 characters, without line breaks, and absent when the server hides it.
const QUERY: &str = "CASE WHEN a.query <> '<insufficient privilege>' THEN
  pg_catalog.left(pg_catalog.regexp_replace(a.query, '\\s+', ' ', 'g'), 100) END";

async fn read(client: &mut Client, sql: &str) -> Result<Vec<OtherSession>, Error> {
    let rows = client.query(sql).await?;
    rows.iter()
        .map(|row| {
            Ok(OtherSession {
                pid: row.parse(0)?,
                user: row.parse(1)?,
                application: row.parse(2)?,
                state: row.parse(3)?,
                since: row.parse::<Option<i64>>(4)?.map(|s| Duration::from_secs(s.max(0).unsigned_abs())),
                query: row.parse(5)?,
                relation: row.parse(6)?,
            })
        })
        .collect()
}

/// Sets how long the session waits for any lock from now on; zero waits for ever.
pub async fn set_timeout(client: &mut Client, timeout: Duration) -> Result<(), Error> {
    client.execute(&format!("SET lock_timeout = {}", timeout.as_millis().min(i32::MAX as u128))).await
}

/// Takes an ACCESS SHARE lock on each table that lets itself be locked, in a transaction that goes on whatever happens. Gives
/// the positions of the others, with the server's reason: they are gone, or somebody else's lock lasted longer than the
/// session's timeout.
pub async fn lock_possible(client: &mut Client, tables: &[Table]) -> Result<Vec<(usize, Error)>, Error> {
    let mut refused = Vec::new();
    for (number, batch) in tables.chunks(BATCH).enumerate() {
        if lock_together(client, batch).await?.is_none() {
            continue;
        }
        for (position, table) in batch.iter().enumerate() {
            if let Some(error) = lock_together(client, std::slice::from_ref(table)).await? {
                refused.push((number * BATCH + position, error));
            }
        }
    }
    Ok(refused)
}

/// Locks all of them or none; the transaction goes on either way.
async fn lock_together(client: &mut Client, tables: &[Table]) -> Result<Option<Error>, Error> {
    let names: Vec<String> = tables.iter().map(|t| quote_qualified(&t.schema, &t.name)).collect();
    let names = names.join(", ONLY ");
    let sql =
        format!("SAVEPOINT locks; LOCK TABLE ONLY {names} IN ACCESS SHARE MODE; RELEASE SAVEPOINT locks");
    match client.execute(&sql).await {
        Ok(()) => Ok(None),
        Err(error @ Error::Server(_)) if client.is_usable() => {
            client.execute("ROLLBACK TO SAVEPOINT locks; RELEASE SAVEPOINT locks").await?;
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

//! Snapshots: one session exports its own, the others join it, and all of them are pinned, so that equal values give
//! equal text on any server.
//!
//! What change detection must know of a snapshot to compare it with a later one is read here, in the transaction that
//! holds it. What the role may not read is absent, with the reason; nothing is guessed.

use crate::catalog::{Sequence, Table};
use crate::quote::{quote_literal, quote_qualified};
use crate::rows::FromText;
use crate::{Client, Error, SESSION_PINNING};

/// The facts of one exported snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSnapshot {
    /// What `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot` take.
    pub id: String,
    /// For example 150018.
    pub server_version: u32,
    /// `system_identifier` of the control file.
    pub system_identifier: Option<String>,
    /// The timeline that is written to, or that is replayed on a standby.
    pub timeline: Option<u32>,
    /// Name of the database.
    pub database: String,
    /// Its oid.
    pub database_oid: u32,
    /// Transaction that wrote the database's row in `pg_database`, 64 bits: it was made, renamed or granted then, but for
    /// rows more than 2^31 transactions old.
    pub database_written: u64,
    /// `pg_current_snapshot()` as text, `xmin:xmax:xip,…`, with 64-bit transaction ids.
    pub snapshot: String,
    /// The oldest transaction that was still running.
    pub xmin: u64,
    /// One past the newest transaction that had ended: the next transaction id is not below it.
    pub xmax: u64,
    /// Whether the server is a standby (or still recovers).
    pub in_recovery: bool,
    /// `pg_postmaster_start_time()`, UTC, microseconds.
    pub postmaster_start: Option<String>,
    /// Changes whenever the server recovered from a crash, also when the postmaster itself lived on: the moment since
    /// which the background writer's statistics count (recovery discards all statistics). Continuity needs both this and
    /// `postmaster_start`: after such a recovery transaction ids that were never flushed are given out again.
    pub crash_marker: Option<String>,
    /// Where write-ahead log is inserted (on a standby: replayed), as a byte position, read after the snapshot was taken.
    pub wal_position: Option<u64>,
    /// The server's clock, UTC, microseconds.
    pub server_time: String,
    /// The facts above that are absent, and why.
    pub unavailable: Vec<UnavailableFact>,
}

/// A fact that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableFact {
    /// The field of [`SourceSnapshot`].
    pub fact: String,
    /// Why it is not there.
    pub reason: String,
}

/// Encodings that have no conversion to UTF-8: text is taken as it is.
const NOT_CONVERTIBLE: [&str; 2] = ["SQL_ASCII", "MULE_INTERNAL"];
/// Relations named by one statement when many are locked or read.
const BATCH: usize = 200;

/// Pins the session's settings (see [`crate::SESSION_PINNING`]) and sets `client_encoding` to UTF8, or to the database's
/// own encoding when that has no conversion.
pub async fn pin(client: &mut Client) -> Result<(), Error> {
    let encoding = match client.parameter("server_encoding") {
        Some(encoding) if NOT_CONVERTIBLE.contains(&encoding) => encoding.to_owned(),
        _ => "UTF8".to_owned(),
    };
    let encoding = quote_literal(&encoding);
    client
        .execute(&format!(
            "SET client_encoding = {encoding}; SET quote_all_identifiers = off; {SESSION_PINNING}"
        ))
        .await
}

/// Pins the session, begins `REPEATABLE READ READ ONLY` and exports its snapshot. The transaction must stay open for as long
/// as others join.
pub async fn begin_export(client: &mut Client) -> Result<SourceSnapshot, Error> {
    pin(client).await?;
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let rows = client.query(SNAPSHOT).await?;
    let row = rows.one()?;
    let in_recovery: bool = row.parse(4)?;
    let xmin: u64 = row.parse(2)?;
    let database_age: i64 = row.parse(8)?;
    let mut facts = Facts { client, unavailable: Vec::new() };
    let system_identifier = facts.read("system_identifier", SYSTEM_IDENTIFIER).await?;
    let timeline = facts.read("timeline", if in_recovery { REPLAYED_TIMELINE } else { TIMELINE }).await?;
    let postmaster_start = facts.read("postmaster_start", POSTMASTER_START).await?;
    let crash_marker = facts.read("crash_marker", CRASH_MARKER).await?;
    let wal_position =
        facts.read("wal_position", if in_recovery { REPLAY_POSITION } else { INSERT_POSITION }).await?;
    let unavailable = facts.unavailable;
    Ok(SourceSnapshot {
        id: row.parse(0)?,
        server_version: client.server_version(),
        system_identifier,
        timeline,
        database: row.parse(5)?,
        database_oid: row.parse(6)?,
        database_written: xmin.saturating_add_signed(database_age.saturating_neg()),
        snapshot: row.parse(1)?,
        xmin,
        xmax: row.parse(3)?,
        in_recovery,
        postmaster_start,
        crash_marker,
        wal_position,
        server_time: row.parse(7)?,
        unavailable,
    })
}

/// Pins the session and begins a transaction that sees exactly what the exporting one sees.
pub async fn join(client: &mut Client, snapshot_id: &str) -> Result<(), Error> {
    pin(client).await?;
    let id = quote_literal(snapshot_id);
    client
        .execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {id}"))
        .await
}

/// Ends the transaction of a session that has joined a snapshot, which gives its locks back, and joins again.
pub fn join_again_sql(snapshot_id: &str) -> String {
    let id = quote_literal(snapshot_id);
    format!("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {id}")
}

const SNAPSHOT: &str = "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot(),
  pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()),
  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),
  pg_catalog.pg_is_in_recovery(), pg_catalog.current_database(),
  (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()),
  pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
  (SELECT CASE WHEN pg_catalog.age(d.xmin) < 0 THEN 2147483647 ELSE pg_catalog.age(d.xmin)::bigint -
      pg_catalog.age(pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid) END
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())";
const SYSTEM_IDENTIFIER: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
const TIMELINE: &str = "SELECT ('x' || pg_catalog.substr(
  pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint";
const REPLAYED_TIMELINE: &str = "SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
  FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r";
const POSTMASTER_START: &str = "SELECT pg_catalog.to_char(
  pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
const CRASH_MARKER: &str =
    "SELECT pg_catalog.to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
  FROM pg_catalog.pg_stat_bgwriter";
const INSERT_POSITION: &str =
    "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')";
const REPLAY_POSITION: &str = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')";

/// Reads facts one by one, each in a savepoint: one that is denied must not cost the transaction and its snapshot.
struct Facts<'c> {
    client: &'c mut Client,
    unavailable: Vec<UnavailableFact>,
}

impl Facts<'_> {
    async fn read<T: FromText>(&mut self, fact: &str, sql: &str) -> Result<Option<T>, Error> {
        let reason =
            match self.client.query_all(&format!("SAVEPOINT fact; {sql}; RELEASE SAVEPOINT fact")).await {
                Ok(results) => {
                    let row = results.iter().find_map(|rows| rows.first());
                    match row.map(|row| row.parse::<Option<T>>(0)).transpose()?.flatten() {
                        Some(value) => return Ok(Some(value)),
                        None => "the server gives no value".to_owned(),
                    }
                }
                Err(Error::Server(error)) => {
                    self.client.execute("ROLLBACK TO SAVEPOINT fact; RELEASE SAVEPOINT fact").await?;
                    error.message.clone()
                }
                Err(error) => return Err(error),
            };
        self.unavailable.push(UnavailableFact { fact: fact.to_owned(), reason });
        Ok(None)
    }
}

/// Takes an ACCESS SHARE lock on each table, to be called by the exporting session: from here on nothing is dropped,
/// truncated or rewritten under the readers. Call [`replaced_since_snapshot`] afterwards.
///
/// A reader that joined must not wait for its own lock behind somebody who waits for this session to end: it takes the
/// lock with [`lock_nowait_sql`] first, and leaves the table to the exporting session when that is refused.
pub async fn lock_tables(client: &mut Client, tables: &[Table]) -> Result<(), Error> {
    for batch in tables.chunks(BATCH) {
        let names: Vec<String> = batch
            .iter()
            .map(|table| format!("ONLY {}", quote_qualified(&table.schema, &table.name)))
            .collect();
        client.execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "))).await?;
    }
    Ok(())
}

/// `LOCK TABLE … NOWAIT`: fails at once (SQLSTATE 55P03) when somebody waits for a stronger lock.
pub fn lock_nowait_sql(table: &Table) -> String {
    format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT", quote_qualified(&table.schema, &table.name))
}

/// The oids of the tables whose storage is not the one the snapshot sees: truncated, rewritten or dropped between the
/// snapshot and the lock. TRUNCATE and rewrites are not transactional for older snapshots: such a table would read as
/// empty. The answer is a new snapshot.
pub async fn replaced_since_snapshot(client: &mut Client, tables: &[Table]) -> Result<Vec<u32>, Error> {
    let mut replaced = Vec::new();
    for batch in tables.chunks(10 * BATCH) {
        let pairs: Vec<String> =
            batch.iter().map(|table| format!("({}, {})", table.oid, table.relfilenode)).collect();
        let rows = client
            .query(&format!(
                "SELECT t.oid FROM (VALUES {}) AS t(oid, node)
                 WHERE pg_catalog.pg_relation_filenode(t.oid::pg_catalog.oid::pg_catalog.regclass)
                   IS DISTINCT FROM t.node::pg_catalog.oid",
                pairs.join(", ")
            ))
            .await?;
        for row in rows.iter() {
            replaced.push(row.parse(0)?);
        }
    }
    Ok(replaced)
}

/// Whether everything that the snapshot saw is flushed to the source's disk, that is, whether a crash can no longer undo
/// it (`synchronous_commit = off` flushes within a second). `None` when the position is not known, also on a standby.
pub async fn is_durable(client: &mut Client, snapshot: &SourceSnapshot) -> Result<Option<bool>, Error> {
    let Some(position) = snapshot.wal_position.filter(|_| !snapshot.in_recovery) else {
        return Ok(None);
    };
    // The insert position is given after a page's header (24 bytes, 40 at the start of a segment), the flushed one before.
    let sql = format!(
        "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0') >= p.position - CASE
           WHEN p.position % pg_catalog.current_setting('wal_block_size')::bigint = 24 THEN 24
           WHEN p.position % pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')) = 40 THEN 40
           ELSE 0 END
         FROM (SELECT {position}::bigint AS position) p"
    );
    client.query(&sql).await?.one()?.parse(0)
}

/// Position of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceValue {
    /// Oid of the sequence.
    pub oid: u32,
    /// `last_value`.
    pub last_value: i64,
    /// Whether `last_value` was given out.
    pub is_called: bool,
}

/// Reads sequences, in batches, in the order given. Sequences are not transactional: what is read is at or after the
/// snapshot.
pub async fn sequence_values(
    client: &mut Client,
    sequences: &[Sequence],
) -> Result<Vec<SequenceValue>, Error> {
    let mut values = Vec::with_capacity(sequences.len());
    for batch in sequences.chunks(BATCH) {
        let each: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(position, sequence)| {
                let name = quote_qualified(&sequence.schema, &sequence.name);
                format!("SELECT {position}, {}, last_value, is_called FROM {name}", sequence.oid)
            })
            .collect();
        let rows = client.query(&format!("{} ORDER BY 1", each.join(" UNION ALL "))).await?;
        for row in rows.iter() {
            values.push(SequenceValue {
                oid: row.parse(1)?,
                last_value: row.parse(2)?,
                is_called: row.parse(3)?,
            });
        }
    }
    Ok(values)
}

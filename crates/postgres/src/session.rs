//! Snapshots: one session exports its own, the others join it, and all of them are pinned, so that equal values give
//! equal text on any server.
//!
//! What change detection must know of a snapshot to compare it with a later one is read here, in the transaction that
//! holds it. What the role may not read is absent, with the reason; nothing is guessed.

use crate::catalog::{Sequence, Table};
use crate::{Client, Error};

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

/// Pins the session's settings (see [`crate::SESSION_PINNING`]) for this server and database.
pub async fn pin(client: &mut Client) -> Result<(), Error> {
    let _ = client;
    todo!()
}

/// Pins the session, begins `REPEATABLE READ READ ONLY` and exports its snapshot. The transaction must stay open for as long
/// as others join.
pub async fn begin_export(client: &mut Client) -> Result<SourceSnapshot, Error> {
    let _ = client;
    todo!()
}

/// Pins the session and begins a transaction that sees exactly what the exporting one sees.
pub async fn join(client: &mut Client, snapshot_id: &str) -> Result<(), Error> {
    let _ = (client, snapshot_id);
    todo!()
}

/// Takes an ACCESS SHARE lock on each table, to be called by the exporting session: from here on nothing is dropped,
/// truncated or rewritten under the readers. Call [`replaced_since_snapshot`] afterwards.
pub async fn lock_tables(client: &mut Client, tables: &[Table]) -> Result<(), Error> {
    let _ = (client, tables);
    todo!()
}

/// The oids of the tables whose storage is not the one the snapshot sees: truncated, rewritten or dropped between the
/// snapshot and the lock. TRUNCATE and rewrites are not transactional for older snapshots: such a table would read as
/// empty. The answer is a new snapshot.
pub async fn replaced_since_snapshot(client: &mut Client, tables: &[Table]) -> Result<Vec<u32>, Error> {
    let _ = (client, tables);
    todo!()
}

/// Whether everything that the snapshot saw is flushed to the source's disk, that is, whether a crash can no longer undo
/// it. `None` when the position is not known (then also on a standby). A range index may only be trusted later if this was true.
pub async fn is_durable(client: &mut Client, snapshot: &SourceSnapshot) -> Result<Option<bool>, Error> {
    let _ = (client, snapshot);
    todo!()
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
    let _ = (client, sequences);
    todo!()
}

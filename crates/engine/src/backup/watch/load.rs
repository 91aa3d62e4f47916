//! How busy a server is, as far as the role may see it.

use std::time::Duration;

use basekeep_postgres::{Client, Error};

use crate::backup::rows::pace::Load;

/// What others run and how far standbys are behind. What is hidden from the role counts as nothing.
const LOAD: &str = "SELECT
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
   WHERE a.state = 'active' AND a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid()
     AND a.application_name NOT IN ('basekeep', 'pg_dump')),
  coalesce((SELECT pg_catalog.floor(extract(epoch FROM pg_catalog.max(r.replay_lag)))::bigint
    FROM pg_catalog.pg_stat_replication r), 0),
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE coalesce((SELECT pg_catalog.max(
    pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn))::bigint
    FROM pg_catalog.pg_stat_replication r), 0) END";

/// Looks once. `waiting` sessions wait for us.
pub(super) async fn read(client: &mut Client, waiting: u64) -> Result<Load, Error> {
    let rows = client.query(LOAD).await?;
    let row = rows.one()?;
    Ok(Load {
        active: row.parse(0)?,
        waiting,
        lag: Duration::from_secs(row.parse::<i64>(1)?.max(0).unsigned_abs()),
        lag_bytes: row.parse::<i64>(2)?.max(0).unsigned_abs(),
    })
}

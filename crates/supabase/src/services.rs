//! What the vault, cron and the queues hold that their tables do not give back by themselves: rows for the engine to store.

use basekeep_postgres::{Error, Rows};

use crate::probe::Probe;
use crate::recognize::Project;

/// Times as text that every server understands.
const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;

/// The bytes of all secrets as they are stored, which is at least what they have in the clear. `None` where there is no
/// vault, or where it may not be read; `probe` has the reason.
pub async fn vault_bytes(probe: &mut Probe<'_>, project: &Project) -> Result<Option<u64>, Error> {
    if !project.has("vault.secrets") {
        return Ok(None);
    }
    let sql = "SELECT coalesce(sum(pg_catalog.octet_length(secret)), 0) FROM vault.secrets";
    probe.number("secrets of the vault", sql).await
}

/// `id, name, description, decrypted_secret, created_at, updated_at` of all secrets; `None` as in [`vault_bytes`].
pub async fn vault(probe: &mut Probe<'_>) -> Result<Option<Rows>, Error> {
    let sql = format!(
        "SELECT id, name, coalesce(description, ''), decrypted_secret,
           pg_catalog.to_char(created_at AT TIME ZONE 'UTC', {TIME}), pg_catalog.to_char(updated_at AT TIME ZONE 'UTC', {TIME})
         FROM vault.decrypted_secrets ORDER BY created_at, id"
    );
    probe.rows("secrets of the vault", &sql).await
}

/// How many secrets of the vault the server decrypts for this role, and how many there are; `None` as in [`vault_bytes`].
/// No secret leaves the server.
pub async fn vault_readable(probe: &mut Probe<'_>, project: &Project) -> Result<Option<(u64, u64)>, Error> {
    if !project.has("vault.decrypted_secrets") {
        return Ok(None);
    }
    let sql = "SELECT count(decrypted_secret), count(*) FROM vault.decrypted_secrets";
    let Some(rows) = probe.rows("secrets of the vault", sql).await? else { return Ok(None) };
    let row = rows.one()?;
    Ok(Some((row.parse(0)?, row.parse(1)?)))
}

/// `jobid, jobname, schedule, command, nodename, nodeport, database, username, active` of all jobs; `None` where there are
/// none to have. Versions of pg_cron before 1.3 have no names.
pub async fn cron(probe: &mut Probe<'_>, project: &Project) -> Result<Option<Rows>, Error> {
    if !project.has("cron.job") {
        return Ok(None);
    }
    let sql = "SELECT jobid, pg_catalog.to_jsonb(j) ->> 'jobname', schedule, command, nodename, nodeport, database, username, active
      FROM cron.job j ORDER BY jobid";
    probe.rows("cron jobs", sql).await
}

/// `queue_name, created_at, is_partitioned, is_unlogged` of all queues; `None` where there are none to have.
pub async fn queues(probe: &mut Probe<'_>, project: &Project) -> Result<Option<Rows>, Error> {
    if !project.has("pgmq.meta") {
        return Ok(None);
    }
    let sql = format!(
        "SELECT queue_name, pg_catalog.to_char(created_at AT TIME ZONE 'UTC', {TIME}), is_partitioned, is_unlogged
         FROM pgmq.meta ORDER BY queue_name"
    );
    probe.rows("queues", &sql).await
}

/// The tables of one queue and of its archive, partitions included: `name, relkind, archive, columns (an array), last_id` by
/// name. `columns` are those that COPY takes, `last_id` is the last number that `msg_id` gave out.
pub async fn queue_tables(probe: &mut Probe<'_>, queue: &str) -> Result<Option<Rows>, Error> {
    let name = queue.to_lowercase();
    let literal = basekeep_postgres::quote_literal(&name);
    let what = format!("messages of the queue {queue}");
    let sql = format!(
        "WITH RECURSIVE own AS (
           SELECT c.oid, c.relname = 'a_' || {literal} AS archive FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'pgmq' AND c.relname IN ('q_' || {literal}, 'a_' || {literal})
           UNION ALL
           SELECT i.inhrelid, o.archive FROM own o JOIN pg_catalog.pg_inherits i ON i.inhparent = o.oid)
         SELECT c.relname, c.relkind, o.archive,
           (SELECT pg_catalog.array_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
           (SELECT pg_catalog.pg_sequence_last_value(d.objid::pg_catalog.oid::pg_catalog.regclass) FROM pg_catalog.pg_depend d
             JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             WHERE d.refobjid = c.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('i', 'a') LIMIT 1)
         FROM own o JOIN pg_catalog.pg_class c ON c.oid = o.oid ORDER BY c.relname"
    );
    probe.rows(&what, &sql).await
}

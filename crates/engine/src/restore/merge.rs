//! Rows into a table that has rows: loaded beside it first, then put in by its key. One transaction for each table.

use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::{Client, Error, quote_identifier, quote_literal};
use basekeep_repository::Repository;

use super::OnConflict;
use super::rows::{self, Counters, LoadError, Way};
use super::work::Table;

/// The temporary table that rows are loaded into.
const STAGE: &str = "pg_temp.basekeep_stage";

/// What became of a table's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) inserted: u64,
    /// There already, with the same values.
    pub(super) unchanged: u64,
    /// There already, with other values.
    pub(super) conflicting: u64,
}

/// Merges all rows of a table. On an error nothing has changed.
pub(super) async fn merge(
    repository: &Repository,
    client: &mut Client,
    table: &Table,
    on_conflict: OnConflict,
    counters: &Counters,
) -> Result<Merged, LoadError> {
    client.execute("BEGIN").await.map_err(LoadError::Server)?;
    let result = in_transaction(repository, client, table, on_conflict, counters).await;
    match result {
        Ok(merged) => {
            client.execute("COMMIT").await.map_err(|error| {
                if super::session::is_lost(&error) {
                    LoadError::Unknown(error)
                } else {
                    LoadError::Server(error)
                }
            })?;
            Ok(merged)
        }
        Err(error) => {
            if client.is_usable() {
                client.execute("ROLLBACK").await.map_err(LoadError::Server)?;
            }
            Err(error)
        }
    }
}

async fn in_transaction(
    repository: &Repository,
    client: &mut Client,
    table: &Table,
    on_conflict: OnConflict,
    counters: &Counters,
) -> Result<Merged, LoadError> {
    let relation = &table.relation;
    let list = list(&table.columns);
    // Only the columns that come: no default, no check, nothing computed.
    let create = format!(
        "CREATE TEMPORARY TABLE basekeep_stage ON COMMIT DROP AS SELECT {list} FROM ONLY {relation} WITH NO DATA"
    );
    client.execute(&create).await.map_err(LoadError::Server)?;
    let copy = format!("COPY {STAGE} ({list}) FROM STDIN");
    for unit in &table.units {
        rows::load(repository, client, &Way::plain(&copy), &table.blobs, unit, counters).await?;
    }
    let key = key(client, relation, &table.columns).await.map_err(LoadError::Server)?;
    match key {
        Some(key) => by_key(client, table, &key, on_conflict).await,
        None => by_row(client, table).await.map_err(LoadError::Server),
    }
}

async fn by_key(
    client: &mut Client,
    table: &Table,
    key: &[String],
    on_conflict: OnConflict,
) -> Result<Merged, LoadError> {
    let relation = &table.relation;
    let joined: Vec<String> =
        key.iter().map(|name| quote_identifier(name)).map(|name| format!("t.{name} = s.{name}")).collect();
    let joined = joined.join(" AND ");
    let (ours, theirs) = (as_text("s", &table.columns), as_text("t", &table.columns));
    let sql = format!(
        "SELECT pg_catalog.count(*) FILTER (WHERE {ours} = {theirs}), pg_catalog.count(*) FILTER (WHERE {ours} <> {theirs})
           FROM {STAGE} AS s JOIN {relation} AS t ON {joined}"
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    let count = |n: usize| {
        let value = rows.iter().next().and_then(|row| row.get(n)?.parse::<u64>().ok());
        value.unwrap_or_default()
    };
    let (unchanged, conflicting) = (count(0), count(1));
    if conflicting > 0 && on_conflict == OnConflict::Fail {
        return Err(LoadError::Different(format!(
            "{conflicting} rows have keys that the target has with other values"
        )));
    }
    let list = list(&table.columns);
    if conflicting > 0 && on_conflict == OnConflict::Replace {
        let others: Vec<String> = table
            .columns
            .iter()
            .filter(|name| !key.contains(name))
            .map(|name| quote_identifier(name))
            .map(|name| format!("{name} = s.{name}"))
            .collect();
        if !others.is_empty() {
            let sql = format!(
                "UPDATE {relation} AS t SET {} FROM {STAGE} AS s WHERE {joined} AND {ours} <> {theirs}",
                others.join(", ")
            );
            client.execute(&sql).await.map_err(LoadError::Server)?;
        }
    }
    let sql = format!(
        "WITH added AS (INSERT INTO {relation} ({list}) OVERRIDING SYSTEM VALUE
            SELECT {list} FROM {STAGE} AS s WHERE NOT EXISTS (SELECT FROM {relation} AS t WHERE {joined})
            ON CONFLICT DO NOTHING RETURNING 1)
         SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM {STAGE}) FROM added"
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    let row = rows.iter().next();
    let number = |n: usize| row.and_then(|row| row.get(n)?.parse::<u64>().ok()).unwrap_or_default();
    let (inserted, all) = (number(0), number(1));
    // What is left met another unique key of the table.
    let refused = all.saturating_sub(inserted + unchanged + conflicting);
    if refused > 0 && on_conflict != OnConflict::Keep {
        return Err(LoadError::Different(format!(
            "{refused} rows meet another unique key of the target's rows"
        )));
    }
    Ok(Merged { inserted, unchanged, conflicting: conflicting + refused })
}

/// A table without a key gets the rows that it has fewer of than the snapshot.
async fn by_row(client: &mut Client, table: &Table) -> Result<Merged, Error> {
    let relation = &table.relation;
    let list = list(&table.columns);
    let (ours, theirs) = (as_text("s", &table.columns), as_text("t", &table.columns));
    let sql = format!(
        "WITH there AS (SELECT {theirs} AS whole, pg_catalog.count(*) AS n FROM {relation} AS t GROUP BY 1),
            numbered AS (SELECT s.*, {ours} AS basekeep_whole,
                pg_catalog.row_number() OVER (PARTITION BY {ours}) AS basekeep_n FROM {STAGE} AS s),
            added AS (INSERT INTO {relation} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM numbered
                WHERE basekeep_n > coalesce((SELECT n FROM there WHERE whole = basekeep_whole), 0) RETURNING 1)
         SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM {STAGE}) FROM added"
    );
    let rows = client.query(&sql).await?;
    let row = rows.iter().next();
    let number = |n: usize| row.and_then(|row| row.get(n)?.parse::<u64>().ok()).unwrap_or_default();
    let inserted = number(0);
    Ok(Merged { inserted, unchanged: number(1).saturating_sub(inserted), conflicting: 0 })
}

/// The columns of the primary key, or of a unique key whose columns all must have values.
async fn key(client: &mut Client, relation: &str, columns: &[String]) -> Result<Option<Vec<String>>, Error> {
    let sql = format!(
        "SELECT a.attname FROM (
            SELECT i.indexrelid, i.indrelid, i.indkey FROM pg_catalog.pg_index AS i
             WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisunique AND i.indimmediate AND i.indisvalid
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey::int2[]) AS k (number)
                   JOIN pg_catalog.pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = k.number
                  WHERE NOT c.attnotnull)
             ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1) AS best
            JOIN pg_catalog.pg_index AS i ON i.indexrelid = best.indexrelid
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid
                AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])",
        quote_literal(relation)
    );
    let rows = client.query(&sql).await?;
    let key: Vec<String> = rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    Ok((!key.is_empty() && key.iter().all(|name| columns.contains(name))).then_some(key))
}

/// A row as one text, whatever types it has.
fn as_text(alias: &str, columns: &[String]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|name| format!("{alias}.{}", quote_identifier(name))).collect();
    format!("ROW({})::pg_catalog.text", columns.join(", "))
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ")
}

impl Merged {
    /// Adds to the rows that the counters have as loaded: those that were not put in do not count.
    pub(super) fn correct(self, counters: &Counters) {
        counters.rows.fetch_sub(self.unchanged + self.conflicting, Relaxed);
    }
}

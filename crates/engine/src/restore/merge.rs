//! Rows into a table that has rows: loaded beside it first, then put in by its key. The transaction is the caller's.

use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::{Client, Error, Rows, quote_identifier, quote_literal};
use basekeep_repository::Repository;

use super::OnConflict;
use super::rows::{self, Counters, LoadError, Way};
use super::work::Table;

/// The temporary table that rows are loaded into.
pub(super) const STAGE: &str = "pg_temp.basekeep_stage";

/// What became of a table's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) inserted: u64,
    /// There with other values, which the snapshot's have taken the place of.
    pub(super) updated: u64,
    /// There already, with the same values.
    pub(super) unchanged: u64,
    /// There already, with other values, which stay.
    pub(super) conflicting: u64,
    /// Left out, since they do not fit.
    pub(super) rejected: u64,
}

/// Loads all of a table's rows beside it; gives their number.
pub(super) async fn stage(
    repository: &Repository,
    client: &mut Client,
    table: &Table,
    counters: &Counters,
) -> Result<u64, LoadError> {
    let list = list(&table.columns);
    // Only the columns that come: no default, no check, nothing computed.
    let create = format!(
        "CREATE TEMPORARY TABLE basekeep_stage ON COMMIT DROP AS SELECT {list} FROM ONLY {} WITH NO DATA",
        table.relation
    );
    client.execute(&create).await.map_err(LoadError::Server)?;
    let columns = if list.is_empty() { String::new() } else { format!(" ({list})") };
    let copy = format!("COPY {STAGE}{columns} FROM STDIN");
    let mut staged = 0;
    for unit in &table.units {
        let way = Way { condition: table.condition.as_deref(), ..Way::plain(&copy) };
        staged += rows::load(repository, client, &way, &table.blobs, unit, counters).await?;
    }
    Ok(staged)
}

/// Puts all staged rows in as they are.
pub(super) async fn insert_all(client: &mut Client, table: &Table) -> Result<Merged, LoadError> {
    let list = list(&table.columns);
    let sql = format!(
        "WITH added AS (INSERT INTO {} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {STAGE} RETURNING 1)
         SELECT pg_catalog.count(*) FROM added",
        table.relation
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    Ok(Merged { inserted: number(&rows, 0), ..Merged::default() })
}

/// Puts the staged rows in beside those that are there: by the primary key, by a unique key without nulls, or by the whole row.
pub(super) async fn put_in(
    client: &mut Client,
    table: &Table,
    on_conflict: OnConflict,
) -> Result<Merged, LoadError> {
    let key = key(client, &table.relation, &table.columns).await.map_err(LoadError::Server)?;
    match key {
        Some(key) => by_key(client, table, &key, on_conflict).await,
        None => by_row(client, table, on_conflict).await,
    }
}

/// A column of a key, with the operator that its index takes for equal.
struct KeyColumn {
    name: String,
    operator: String,
}

async fn by_key(
    client: &mut Client,
    table: &Table,
    key: &[KeyColumn],
    on_conflict: OnConflict,
) -> Result<Merged, LoadError> {
    let relation = &table.relation;
    let joined: Vec<String> = key
        .iter()
        .map(|column| (quote_identifier(&column.name), &column.operator))
        .map(|(name, operator)| format!("t.{name} {operator} s.{name}"))
        .collect();
    let joined = joined.join(" AND ");
    let (ours, theirs) = (as_text("s", &table.columns), as_text("t", &table.columns));
    let sql = format!(
        "SELECT pg_catalog.count(*) FILTER (WHERE {ours} = {theirs}), pg_catalog.count(*) FILTER (WHERE {ours} <> {theirs})
           FROM {STAGE} AS s JOIN {relation} AS t ON {joined}"
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    let (unchanged, mut conflicting) = (number(&rows, 0), number(&rows, 1));
    if conflicting > 0 && on_conflict == OnConflict::Fail {
        return Err(LoadError::Different(format!(
            "{conflicting} rows have keys that the target has with other values"
        )));
    }
    let list = list(&table.columns);
    let mut updated = 0;
    if conflicting > 0 && on_conflict == OnConflict::Replace {
        let others: Vec<String> = table
            .columns
            .iter()
            .filter(|name| !key.iter().any(|column| column.name == **name))
            .map(|name| quote_identifier(name))
            .map(|name| format!("{name} = s.{name}"))
            .collect();
        if !others.is_empty() {
            let sql = format!(
                "UPDATE {relation} AS t SET {} FROM {STAGE} AS s WHERE {joined} AND {ours} <> {theirs}",
                others.join(", ")
            );
            client.execute(&sql).await.map_err(LoadError::Server)?;
            (updated, conflicting) = (conflicting, 0);
        }
    }
    let sql = format!(
        "WITH added AS (INSERT INTO {relation} ({list}) OVERRIDING SYSTEM VALUE
            SELECT {list} FROM {STAGE} AS s WHERE NOT EXISTS (SELECT FROM {relation} AS t WHERE {joined})
            ON CONFLICT DO NOTHING RETURNING 1)
         SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM {STAGE}) FROM added"
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    let (inserted, all) = (number(&rows, 0), number(&rows, 1));
    // What is left met another unique key of the table.
    let refused = refused(all.saturating_sub(inserted + unchanged + conflicting + updated), on_conflict)?;
    Ok(Merged { inserted, updated, unchanged, conflicting: conflicting + refused, rejected: 0 })
}

/// Rows that met a unique key other than the one that tells rows apart: they cannot be in the table beside those there.
fn refused(rows: u64, on_conflict: OnConflict) -> Result<u64, LoadError> {
    if rows > 0 && on_conflict != OnConflict::Keep {
        return Err(LoadError::Different(format!(
            "{rows} rows meet another unique key of the target's rows"
        )));
    }
    Ok(rows)
}

/// A table without a key gets the rows that it has fewer of than the snapshot.
async fn by_row(client: &mut Client, table: &Table, on_conflict: OnConflict) -> Result<Merged, LoadError> {
    let relation = &table.relation;
    let list = list(&table.columns);
    let (ours, theirs) = (as_text("s", &table.columns), as_text("t", &table.columns));
    let sql = format!(
        "WITH there AS (SELECT {theirs} AS whole, pg_catalog.count(*) AS n FROM {relation} AS t GROUP BY 1),
            numbered AS (SELECT s.*, {ours} AS basekeep_whole,
                pg_catalog.row_number() OVER (PARTITION BY {ours}) AS basekeep_n FROM {STAGE} AS s),
            wanted AS (SELECT numbered.* FROM numbered LEFT JOIN there ON whole = basekeep_whole
                WHERE basekeep_n > coalesce(there.n, 0)),
            added AS (INSERT INTO {relation} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM wanted
                ON CONFLICT DO NOTHING RETURNING 1)
         SELECT pg_catalog.count(*), (SELECT pg_catalog.count(*) FROM {STAGE}), (SELECT pg_catalog.count(*) FROM wanted) FROM added"
    );
    let rows = client.query(&sql).await.map_err(LoadError::Server)?;
    let (inserted, all, wanted) = (number(&rows, 0), number(&rows, 1), number(&rows, 2));
    let conflicting = refused(wanted.saturating_sub(inserted), on_conflict)?;
    Ok(Merged { inserted, unchanged: all.saturating_sub(wanted), conflicting, ..Merged::default() })
}

fn number(rows: &Rows, n: usize) -> u64 {
    rows.iter().next().and_then(|row| row.get(n)?.parse().ok()).unwrap_or_default()
}

/// The columns of the primary key, or of a unique key whose columns all must have values.
async fn key(
    client: &mut Client,
    relation: &str,
    columns: &[String],
) -> Result<Option<Vec<KeyColumn>>, Error> {
    let sql = format!(
        "SELECT a.attname, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM (
            SELECT i.indexrelid FROM pg_catalog.pg_index AS i
             WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisunique AND i.indimmediate AND i.indisvalid
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey::int2[]) AS k (number)
                   JOIN pg_catalog.pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = k.number
                  WHERE NOT c.attnotnull)
             ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1) AS best
            JOIN pg_catalog.pg_index AS i ON i.indexrelid = best.indexrelid
            CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k (place)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = (i.indkey::int2[])[k.place]
            JOIN pg_catalog.pg_opclass AS c ON c.oid = (i.indclass::oid[])[k.place]
            JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
                AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
            JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
            JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
          ORDER BY k.place",
        quote_literal(relation)
    );
    let rows = client.query(&sql).await?;
    let key: Vec<KeyColumn> = rows
        .iter()
        .filter_map(|row| Some(KeyColumn { name: row.get(0)?.to_owned(), operator: row.get(1)?.to_owned() }))
        .collect();
    Ok((!key.is_empty() && key.iter().all(|column| columns.contains(&column.name))).then_some(key))
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
        counters.rows.fetch_sub(self.unchanged + self.conflicting + self.rejected, Relaxed);
    }
}

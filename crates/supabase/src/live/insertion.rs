//! Whether a new row can be made: a copy of an existing one with new keys, in a transaction that is rolled back. Defaults,
//! checks, foreign keys and triggers all have their say.

use basekeep_postgres::{Client, Error, quote_literal};

use super::{Found, Options, Verdict};

/// Tables that are tried before it is said that none could be.
const TRIES: usize = 5;

/// Extensions whose functions reach other servers at once, so that a rollback would not take back what a trigger did.
const OUTSIDE: &str = "'{http,dblink,plpython3u,plperlu,plsh,pljavau}'";

pub(super) async fn check(client: &mut Client, options: Options) -> Found {
    let tables = candidates(client).await?;
    if tables.is_empty() {
        return Ok(Verdict::not_applicable(
            "there is no table of projects, or of anything else, with a row to copy",
        ));
    }
    let mut refused = None;
    for table in &tables {
        if must_not_write(client, table, options).await? {
            continue;
        }
        let Some(sql) = copy_of_a_row(client, table).await? else { continue };
        match insert(client, &sql).await {
            Ok(()) => {
                return Ok(Verdict::looked(format!("a new row in {table}, rolled back"), Vec::new()));
            }
            // A copy is not always fit: checks, exclusions, triggers that ask who writes.
            Err(error) if super::is_own_rule(&error) => {
                refused.get_or_insert(format!("{table} refuses a copy of a row: {error}"));
            }
            Err(error) => {
                let problem = format!("no row can be made in {table}: {}", super::refusal(error)?);
                return Ok(Verdict::looked(String::new(), vec![problem]));
            }
        }
    }
    Ok(Verdict::NotApplicable(
        refused.unwrap_or_else(|| "no table has rows that could be copied to try it".to_owned()),
    ))
}

/// Tables of the user's that have a row: those of projects first, then those that users write to, the narrow ones first.
async fn candidates(client: &mut Client) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT c.oid::regclass FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
             AND n.nspname <> ALL ({}) AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
             AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
         ORDER BY c.relname <> 'projects', c.relname !~* 'project', NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p
             WHERE p.polrelid = c.oid AND p.polcmd IN ('a', '*')), c.relnatts, c.relname LIMIT 50",
        crate::platform::schemas_array()
    );
    let rows = client.query(&sql).await?;
    let mut found = Vec::new();
    for table in rows.iter().filter_map(|row| row.get(0)) {
        let there = client.query(&format!("SELECT EXISTS (SELECT FROM {table})")).await?;
        if there.one()?.get(0) == Some("t") {
            found.push(table.to_owned());
            if found.len() == TRIES {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether a trigger of the table could do something that no rollback takes back.
pub(super) async fn must_not_write(
    client: &mut Client,
    table: &str,
    options: Options,
) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
                 WHERE tgrelid = {}::regclass AND NOT tgisinternal AND tgenabled <> 'D')
             AND ({} OR EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = ANY ({OUTSIDE})))",
        quote_literal(table),
        !options.triggers
    );
    Ok(client.query(&sql).await?.one()?.get(0) == Some("t"))
}

/// An INSERT that copies one row and gives each unique index a new key; `None` where an index has no column that allows it.
async fn copy_of_a_row(client: &mut Client, table: &str) -> Result<Option<String>, Error> {
    let literal = quote_literal(table);
    // Of each unique index the first column that is no reference and whose type has new values at hand.
    let sql = format!(
        "WITH columns AS (
             SELECT a.attnum, pg_catalog.quote_ident(a.attname) AS name, t.typcategory, t.typname,
                 EXISTS (SELECT FROM pg_catalog.pg_constraint AS f
                     WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)) AS refers
             FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
             WHERE a.attrelid = {literal}::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         ), fresh AS (
             SELECT i.indexrelid, (SELECT c.attnum FROM columns AS c
                 WHERE c.attnum = ANY (i.indkey) AND NOT c.refers AND c.typname IN ('uuid', 'int2', 'int4', 'int8', 'text', 'varchar')
                 ORDER BY c.typname <> 'uuid', c.typcategory <> 'N', c.attnum LIMIT 1) AS attnum
             FROM pg_catalog.pg_index AS i WHERE i.indrelid = {literal}::regclass AND i.indisunique
         )
         SELECT c.name, CASE WHEN c.attnum NOT IN (SELECT attnum FROM fresh WHERE attnum IS NOT NULL) THEN c.name
             WHEN c.typname = 'uuid' THEN 'pg_catalog.gen_random_uuid()'
             WHEN c.typcategory = 'N' THEN pg_catalog.format('(SELECT coalesce(max(x.%s), 0) + 1 FROM %s AS x)', c.name, {literal}::regclass)
             ELSE pg_catalog.format('%s || ''-'' || left(pg_catalog.gen_random_uuid()::text, 8)', c.name) END,
             EXISTS (SELECT FROM fresh WHERE attnum IS NULL)
         FROM columns AS c ORDER BY c.attnum"
    );
    let rows = client.query(&sql).await?;
    if rows.is_empty() || rows.iter().any(|row| row.get(2) == Some("t")) {
        return Ok(None);
    }
    let list = |column: usize| -> Vec<&str> { rows.iter().filter_map(|row| row.get(column)).collect() };
    Ok(Some(format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {table} LIMIT 1",
        list(0).join(", "),
        list(1).join(", ")
    )))
}

async fn insert(client: &mut Client, sql: &str) -> Result<(), Error> {
    client.execute("BEGIN TRANSACTION READ WRITE").await?;
    let tried = client
        .execute(&format!("SET LOCAL search_path = public, extensions; {sql}; SET CONSTRAINTS ALL IMMEDIATE"))
        .await;
    client.execute("ROLLBACK").await?;
    tried
}

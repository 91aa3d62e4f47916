//! Foreign keys: whether they are there, enforced and valid, and whether each row has what it refers to.
//!
//! Rows are looked at again, also where the constraint counts as valid: rows that were loaded under the replica role were
//! never checked.

use basekeep_postgres::{Client, Error, quote_literal};

use super::{Expected, Found, Options, Verdict, counted, some};
use crate::platform::is_platform_schema;

/// Orphans are counted up to here.
const LARGEST_COUNT: u64 = 1000;

struct ForeignKey {
    schema: String,
    table: String,
    name: String,
    /// False for `NOT VALID` and `NOT ENFORCED`.
    valid: bool,
    /// Some trigger that enforces it is switched off.
    disabled: bool,
    /// Counts rows that refer to nothing; absent where this cannot be told with equality.
    orphans: Option<String>,
}

/// Every foreign key of the database.
async fn read(client: &mut Client, condition: &str) -> Result<Vec<ForeignKey>, Error> {
    let sql = format!(
        "SELECT n.nspname, r.relname, c.conname, c.convalidated,
             EXISTS (SELECT FROM pg_catalog.pg_trigger AS t
                 WHERE t.tgconstraint = c.oid AND t.tgisinternal AND t.tgenabled NOT IN ('O', 'A')),
             CASE WHEN coalesce((pg_catalog.to_jsonb(c) ->> 'conperiod')::boolean, false) THEN NULL
             ELSE pg_catalog.format('SELECT count(*) FROM (SELECT FROM %s %s AS c WHERE %s AND NOT EXISTS (SELECT FROM %s %s AS p WHERE %s) LIMIT {LARGEST_COUNT}) AS orphans',
                 CASE r.relkind WHEN 'p' THEN '' ELSE 'ONLY' END, c.conrelid::regclass, k.present,
                 CASE f.relkind WHEN 'p' THEN '' ELSE 'ONLY' END, c.confrelid::regclass, k.equal) END
         FROM pg_catalog.pg_constraint AS c
             JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
             JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
             CROSS JOIN LATERAL (
                 SELECT pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', child.attname), ' AND ') AS present,
                     pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) c.%I', parent.attname, o.nspname, op.oprname, child.attname), ' AND ')
                         AS equal
                 FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop)) AS keys (child, parent, op)
                     JOIN pg_catalog.pg_attribute AS child ON child.attrelid = c.conrelid AND child.attnum = keys.child
                     JOIN pg_catalog.pg_attribute AS parent ON parent.attrelid = c.confrelid AND parent.attnum = keys.parent
                     JOIN pg_catalog.pg_operator AS op ON op.oid = keys.op JOIN pg_catalog.pg_namespace AS o ON o.oid = op.oprnamespace
             ) AS k
         WHERE c.contype = 'f' AND c.conparentid = 0 AND n.nspname !~ '^pg_' AND ({condition})
         ORDER BY 1, 2, 3"
    );
    let rows = client.query(&sql).await?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let keys = rows.iter().map(|row| ForeignKey {
        schema: text(row.get(0)),
        table: text(row.get(1)),
        name: text(row.get(2)),
        valid: row.get(3) == Some("t"),
        disabled: row.get(4) == Some("t"),
        orphans: row.get(5).map(str::to_owned),
    });
    Ok(keys.collect())
}

/// Counts the orphans of each key. Rows that a key never had to accept are told apart from those of a `NOT VALID` one.
async fn orphans(client: &mut Client, keys: &[ForeignKey]) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut problems = Vec::new();
    let mut accepted = Vec::new();
    for key in keys {
        let Some(sql) = &key.orphans else { continue };
        let name = format!("{}.{} ({})", key.schema, key.table, key.name);
        let count = match client.query(sql).await {
            Ok(rows) => rows.one()?.parse::<u64>(0)?,
            Err(error) => {
                problems.push(format!("{name}: {}", super::refusal(error)?));
                continue;
            }
        };
        let number = match count {
            0 => continue,
            LARGEST_COUNT => format!("at least {LARGEST_COUNT} rows refer"),
            count => counted(count, "row refers", "rows refer"),
        };
        match key.valid {
            true => problems.push(format!("{name}: {number} to a row that does not exist")),
            false => {
                accepted.push(format!("{name}: {number} to a row that does not exist, as the key allows"))
            }
        }
    }
    Ok((problems, accepted))
}

/// Every row of every table has what it refers to.
pub(super) async fn intact(client: &mut Client) -> Found {
    let keys = read(client, "true").await?;
    if keys.is_empty() {
        return Ok(Verdict::not_applicable("there is no foreign key"));
    }
    let (problems, accepted) = orphans(client, &keys).await?;
    let mut at = format!("{} followed", counted(keys.len() as u64, "foreign key", "foreign keys"));
    for accepted in some(accepted) {
        at += &format!("; {accepted}");
    }
    Ok(Verdict::looked(at, some(problems)))
}

/// The keys that the backup has are there, valid if they were, and not switched off.
pub(super) async fn foreign_keys(client: &mut Client, expected: &Expected) -> Found {
    let keys = read(client, "true").await?;
    if expected.foreign_keys.is_empty() && keys.is_empty() {
        return Ok(Verdict::not_applicable("there is no foreign key"));
    }
    let mut problems = Vec::new();
    // The platform's own keys are its own matter, and may have changed.
    let wanted = expected.foreign_keys.iter().filter(|key| !is_platform_schema(&key.schema));
    for wanted in wanted.clone() {
        let name = format!("{}.{} ({})", wanted.schema, wanted.table, wanted.name);
        let found = keys
            .iter()
            .find(|key| key.schema == wanted.schema && key.table == wanted.table && key.name == wanted.name);
        match found {
            None => problems.push(format!("{name} is missing")),
            Some(key) if wanted.valid && !key.valid => problems.push(format!("{name} is not validated")),
            Some(_) => {}
        }
    }
    for key in keys.iter().filter(|key| key.disabled) {
        problems.push(format!(
            "{}.{} ({}) is not enforced: its triggers are switched off",
            key.schema, key.table, key.name
        ));
    }
    let at = format!("{} expected", counted(wanted.count() as u64, "foreign key", "foreign keys"));
    Ok(Verdict::looked(at, some(problems)))
}

/// Tables of the user's whose names match: their relationships in both directions are intact, and a row of each can be
/// updated.
pub(super) async fn named(client: &mut Client, pattern: &str, options: Options) -> Found {
    let pattern = quote_literal(pattern);
    let sql = format!(
        "SELECT c.oid::regclass, a.attname FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(a.attname) AS attname FROM pg_catalog.pg_attribute AS a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
                 ORDER BY a.attnum DESC LIMIT 1) AS a
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname ~* {pattern} AND n.nspname !~ '^pg_'
             AND n.nspname <> ALL ({}) ORDER BY 1",
        crate::platform::schemas_array()
    );
    let rows = client.query(&sql).await?;
    let tables: Vec<(String, String)> =
        rows.iter().filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned()))).collect();
    if tables.is_empty() {
        return Ok(Verdict::not_applicable("there is no table of that name"));
    }
    let names: Vec<String> =
        tables.iter().map(|(table, _)| format!("{}::regclass", quote_literal(table))).collect();
    let names = names.join(", ");
    let keys = read(client, &format!("c.conrelid IN ({names}) OR c.confrelid IN ({names})")).await?;
    let (mut problems, _) = orphans(client, &keys).await?;
    let mut refused = String::new();
    for (table, column) in &tables {
        if super::insertion::must_not_write(client, table, options).await? {
            continue;
        }
        match update(client, table, column).await {
            Ok(()) => {}
            Err(error) if super::is_own_rule(&error) => {
                refused += &format!("; {table} refuses an update: {error}");
            }
            Err(error) => {
                problems.push(format!("a row of {table} cannot be updated: {}", super::refusal(error)?));
            }
        }
    }
    let shown: Vec<String> = tables.into_iter().map(|(table, _)| table).collect();
    let keys = counted(keys.len() as u64, "relationship", "relationships");
    Ok(Verdict::looked(format!("{}; {keys}{refused}", some(shown).join(", ")), some(problems)))
}

/// Updates one row to itself, and takes it back.
async fn update(client: &mut Client, table: &str, column: &str) -> Result<(), Error> {
    client.execute("BEGIN TRANSACTION READ WRITE").await?;
    let tried = client
        .execute(&format!(
            "SET LOCAL search_path = public, extensions;
             WITH one AS MATERIALIZED (SELECT tableoid, ctid FROM {table} LIMIT 1)
             UPDATE {table} AS t SET {column} = t.{column} FROM one WHERE t.ctid = one.ctid AND t.tableoid = one.tableoid;
             SET CONSTRAINTS ALL IMMEDIATE"
        ))
        .await;
    client.execute("ROLLBACK").await?;
    tried
}

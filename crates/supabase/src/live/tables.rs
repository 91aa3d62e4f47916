//! The connection itself, and whether every table is there and can be read.

use basekeep_postgres::{Client, Error, quote_identifier, quote_literal};

use super::{Expected, ExpectedTable, Found, Verdict, counted, some};
use crate::platform::is_platform_schema;

/// Tables of the platform that are not empty by themselves once a project is used.
const NEVER_EMPTIED: [(&str, &str); 4] =
    [("auth", "users"), ("auth", "identities"), ("storage", "buckets"), ("storage", "objects")];
/// Tables asked about in one query.
const BATCH: usize = 500;

pub(super) async fn connection(client: &mut Client) -> Found {
    let sql = "SELECT current_user, r.rolsuper, pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_roles AS r
               WHERE r.rolname = current_user";
    let rows = client.query(sql).await?;
    let row = rows.one()?;
    let version = client.parameter("server_version").unwrap_or_default();
    let mut at = format!("PostgreSQL {version} as {}", row.get(0).unwrap_or_default());
    if row.get(1) == Some("t") {
        at += ", a superuser";
    }
    if row.get(2) == Some("t") {
        at += ", a standby";
    }
    Ok(Verdict::looked(at, Vec::new()))
}

pub(super) async fn accessible(client: &mut Client, expected: &Expected) -> Found {
    // The platform makes and drops partitions by the day.
    let tables: Vec<&ExpectedTable> = expected
        .tables
        .iter()
        .filter(|t| !(is_platform_schema(&t.schema) && expected.is_partition(&t.schema, &t.name)))
        .collect();
    let mut problems = Vec::new();
    let mut emptied = Vec::new();
    let mut absent = 0;
    // The services' own lists, which users may not read.
    let mut kept_back = Vec::new();
    for batch in tables.chunks(BATCH) {
        for Presence { table, schema_there, there, readable } in presence(client, batch).await? {
            let name = format!("{}.{}", table.schema, table.name);
            if !there && is_platform_schema(&table.schema) && (table.rows == 0 || !schema_there) {
                // Another version of the platform, or no platform at all.
                absent += 1;
                continue;
            }
            if !there {
                problems.push(format!("{name} does not exist"));
                continue;
            }
            if !readable && is_platform_schema(&table.schema) && table.name.ends_with("migrations") {
                kept_back.push(name);
                continue;
            }
            if !readable {
                problems.push(format!("{name} may not be read by this role"));
                continue;
            }
            let sql = format!("SELECT EXISTS (SELECT FROM {})", qualified(table));
            match client.query(&sql).await {
                Ok(rows) if rows.one()?.get(0) == Some("f") && table.rows > 0 => emptied.push(table),
                Ok(_) => {}
                Err(error) => problems.push(format!("{name}: {}", super::refusal(error)?)),
            }
        }
    }
    let mut at = counted(tables.len() as u64 - absent, "table", "tables");
    if absent > 0 {
        at += &format!("; {} of the platform not there", counted(absent, "table", "tables"));
    }
    let (kept, others): (Vec<_>, Vec<_>) =
        emptied.into_iter().partition(|t| NEVER_EMPTIED.contains(&(t.schema.as_str(), t.name.as_str())));
    for table in kept {
        let rows = counted(table.rows, "row", "rows");
        problems.push(format!("{}.{} is empty, the backup has {rows}", table.schema, table.name));
    }
    if !kept_back.is_empty() {
        at += &format!("; the platform's own: {}", kept_back.join(", "));
    }
    // Queues and sessions come and go, so this alone is no failure.
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|t| format!("{}.{}", t.schema, t.name)).collect();
        at += &format!("; empty, though not in the backup: {}", some(names).join(", "));
    }
    Ok(Verdict::looked(at, some(problems)))
}

struct Presence<'a> {
    table: &'a ExpectedTable,
    schema_there: bool,
    there: bool,
    readable: bool,
}

/// Which of the tables exist, and which of these the role may read.
async fn presence<'a>(client: &mut Client, tables: &[&'a ExpectedTable]) -> Result<Vec<Presence<'a>>, Error> {
    let names: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(i, t)| format!("({i}, {}, {})", quote_literal(&t.schema), quote_literal(&t.name)))
        .collect();
    let sql = format!(
        "SELECT n.oid IS NOT NULL, c.oid IS NOT NULL, coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
             AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), false)
         FROM (VALUES {}) AS t (place, schema, name) LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema
             LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.name
         ORDER BY t.place",
        names.join(", ")
    );
    let rows = client.query(&sql).await?;
    let is = |value: Option<&str>| value == Some("t");
    let presence = tables.iter().zip(rows.iter()).map(|(table, row)| Presence {
        table,
        schema_there: is(row.get(0)),
        there: is(row.get(1)),
        readable: is(row.get(2)),
    });
    Ok(presence.collect())
}

fn qualified(table: &ExpectedTable) -> String {
    format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name))
}

//! Row level security and policies as the backup has them, and publications with their tables.

use std::collections::HashSet;

use basekeep_postgres::{Client, Error};

use super::{Expected, Found, Verdict, counted, some};
use crate::platform::is_platform_schema;

pub(super) async fn check(client: &mut Client, expected: &Expected) -> Found {
    if expected.row_security.is_empty() && expected.policies.is_empty() {
        return Ok(Verdict::not_applicable("the backup has no row level security"));
    }
    // A table that is missing is another line's matter.
    let sql = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT c.relrowsecurity";
    let inactive = pairs(client, sql).await?;
    let policies = policies(client).await?;
    let mut problems = Vec::new();
    for table in expected.row_security.iter().filter(|table| inactive.contains(*table)) {
        problems.push(format!("row level security is off on {}.{}", table.0, table.1));
    }
    let absent = absent_platform_tables(client, expected).await?;
    let wanted = expected
        .policies
        .iter()
        .filter(|(schema, table, _)| !absent.contains(&(schema.clone(), table.clone())));
    for policy in wanted.filter(|policy| !policies.contains(*policy)) {
        problems.push(format!("the policy {:?} on {}.{} is missing", policy.2, policy.0, policy.1));
    }
    let tables = counted(expected.row_security.len() as u64, "table", "tables");
    let at = format!("{tables}, {}", counted(expected.policies.len() as u64, "policy", "policies"));
    Ok(Verdict::looked(at, some(problems)))
}

/// Tables of the platform with policies in the backup that this database does not have.
async fn absent_platform_tables(
    client: &mut Client,
    expected: &Expected,
) -> Result<HashSet<(String, String)>, Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')";
    let there = pairs(client, sql).await?;
    let tables = expected.policies.iter().filter(|(schema, ..)| is_platform_schema(schema));
    Ok(tables
        .map(|(schema, table, _)| (schema.clone(), table.clone()))
        .filter(|table| !there.contains(table))
        .collect())
}

/// All policies of the database, as schema, table and name.
pub(super) async fn policies(client: &mut Client) -> Result<HashSet<(String, String, String)>, Error> {
    let sql = "SELECT n.nspname, c.relname, p.polname FROM pg_catalog.pg_policy AS p
               JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";
    let rows = client.query(sql).await?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row.get(0)), text(row.get(1)), text(row.get(2)))).collect())
}

pub(super) async fn publications(client: &mut Client, expected: &Expected) -> Found {
    if expected.publications.is_empty() {
        return Ok(Verdict::not_applicable("the backup has no publication"));
    }
    let rows = client.query("SELECT pubname FROM pg_catalog.pg_publication").await?;
    let there: HashSet<String> = rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    let sql = "SELECT p.pubname, n.nspname, c.relname FROM pg_catalog.pg_publication_rel AS r
               JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";
    let rows = client.query(sql).await?;
    let members: HashSet<(&str, &str, &str)> =
        rows.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?, row.get(2)?))).collect();
    let mut problems = Vec::new();
    let mut tables = 0;
    for publication in &expected.publications {
        if !there.contains(&publication.name) {
            problems.push(format!("the publication {} is missing", publication.name));
            continue;
        }
        for (schema, table) in &publication.tables {
            tables += 1;
            if !members.contains(&(publication.name.as_str(), schema.as_str(), table.as_str())) {
                problems.push(format!("{schema}.{table} is not in the publication {}", publication.name));
            }
        }
    }
    let count = counted(expected.publications.len() as u64, "publication", "publications");
    let mut at = format!("{count} with {}", counted(tables, "table", "tables"));
    let rows = client.query("SHOW wal_level").await?;
    if rows.one()?.get(0) != Some("logical") {
        at += "; nobody can subscribe, since wal_level is not logical";
    }
    Ok(Verdict::looked(at, some(problems)))
}

async fn pairs(client: &mut Client, sql: &str) -> Result<HashSet<(String, String)>, Error> {
    let rows = client.query(sql).await?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row.get(0)), text(row.get(1)))).collect())
}

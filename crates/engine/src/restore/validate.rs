//! Types of the target's columns against those that the rows were read from, before any row is sent.

use std::collections::HashMap;

use basekeep_postgres::Client;

use super::contents::Contents;
use super::reconcile::Reconciled;
use crate::stored::columns::Columns;
use crate::{EngineError, ResultExt};

/// Warnings for columns of tables that were there and get rows. Values of another type may be refused, or change.
pub(super) async fn types(
    client: &mut Client,
    contents: &Contents,
    columns: &Columns,
    found: &Reconciled,
) -> Result<Vec<String>, EngineError> {
    let tables: Vec<_> =
        contents.manifest.tables.iter().filter(|table| found.loads.contains_key(&table.dump_id)).collect();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let theirs = target_types(client).await?;
    let stored: HashMap<&str, _> =
        columns.tables.iter().map(|table| (table.file.as_str(), &table.columns)).collect();
    let mut warnings = Vec::new();
    for table in tables {
        let Some(columns) = stored.get(table.file.as_str()) else { continue };
        for column in columns.iter() {
            let key = (table.schema.clone(), table.name.clone(), column.name.clone());
            let Some(now) = theirs.get(&key) else { continue };
            // Types of the user's may have moved to another schema along with the table.
            let bare = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
            if bare(now) != bare(&column.type_name) {
                warnings.push(format!(
                    "{}.{}.{} is {now} on the target, it was {}",
                    table.schema, table.name, column.name, column.type_name
                ));
            }
        }
    }
    Ok(warnings)
}

async fn target_types(client: &mut Client) -> Result<HashMap<(String, String, String), String>, EngineError> {
    let doing = || "read the types of the target's columns";
    // With an empty search path, types outside of pg_catalog are named with their schema.
    client.execute("SET search_path = ''").await.doing(doing)?;
    let sql = "SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
    let rows = client.query(sql).await.doing(doing)?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows
        .iter()
        .map(|row| ((text(row.get(0)), text(row.get(1)), text(row.get(2))), text(row.get(3))))
        .collect())
}

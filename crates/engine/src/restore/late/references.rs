//! What knows a vault secret by its id: the id changes, since only the vault gives ids.

use std::collections::BTreeMap;

use basekeep_postgres::{Client, Error, quote_literal};

use crate::EngineError;
use crate::restore::definitions::reason;
use crate::restore::run::Run;
use crate::restore::session::{AGAIN, QUIET};

/// Columns of type uuid whose names say that they hold ids of secrets, of tables of the user's.
const COLUMNS: &str = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
        pg_catalog.quote_ident(a.attname)
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.atttypid = 'pg_catalog.uuid'::pg_catalog.regtype AND a.attname ~* 'secret.*id' AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'vault', 'auth', 'storage', 'realtime', 'pgsodium')
        AND pg_catalog.has_table_privilege(c.oid, 'SELECT, UPDATE')";

/// Puts new ids in the place of old ones in columns and functions, and says so; other mentions are said only.
pub(super) async fn change(
    run: &Run,
    client: &mut Client,
    ids: &BTreeMap<String, String>,
    functions: &[(String, String)],
    others: &[(String, String)],
) -> Result<(), EngineError> {
    if let Err(error) = columns(run, client, ids).await {
        run.outcomes.lost("references to vault secrets in columns".into(), reason(&error), false);
    }
    for (name, definition) in functions {
        // Owner and grants stay with a function that is replaced.
        let sql = replaced(definition, ids).replacen("CREATE ", "CREATE OR REPLACE ", 1);
        match client.execute(&sql).await {
            Ok(()) => run.outcomes.warn(
                "secret-id-changed",
                format!("{name} names a vault secret by its id, which is another one now: it was changed"),
            ),
            Err(error) => {
                run.outcomes.lost(format!("the vault secret's new id in {name}"), reason(&error), false)
            }
        }
    }
    for (name, definition) in others {
        if ids.keys().any(|id| definition.contains(id)) {
            run.outcomes.warn(
                "secret-id-left",
                format!("{name} names a vault secret by its id, which is another one now: change it by hand"),
            );
        }
    }
    Ok(())
}

async fn columns(run: &Run, client: &mut Client, ids: &BTreeMap<String, String>) -> Result<(), Error> {
    let found = client.query(COLUMNS).await?;
    let pairs: Vec<String> = ids
        .iter()
        .map(|(old, new)| {
            format!("({}::pg_catalog.uuid, {}::pg_catalog.uuid)", quote_literal(old), quote_literal(new))
        })
        .collect();
    let pairs = pairs.join(", ");
    for row in found.iter() {
        let (Some(table), Some(column)) = (row.get(0), row.get(1)) else { continue };
        // No trigger takes this for a change of the user's.
        client.execute(QUIET).await?;
        let sql = format!(
            "WITH changed AS (UPDATE {table} AS t SET {column} = m.new FROM (VALUES {pairs}) AS m (old, new)
                WHERE t.{column} = m.old RETURNING 1) SELECT pg_catalog.count(*) FROM changed"
        );
        let changed = client.query(&sql).await;
        client.execute(AGAIN).await?;
        let changed = changed?;
        let count = changed.iter().next().and_then(|row| row.get(0)).unwrap_or("0");
        if count != "0" {
            run.outcomes.warn(
                "secret-id-changed",
                format!("{count} ids of vault secrets in {table}.{column} were changed to their new ones"),
            );
        }
    }
    Ok(())
}

/// A text with new ids in the place of old ones.
pub(super) fn replaced(text: &str, ids: &BTreeMap<String, String>) -> String {
    ids.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

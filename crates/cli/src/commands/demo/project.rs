//! The sample project's database: loaded, worked on, lost, compared.

use std::collections::BTreeMap;

use basekeep_engine::EngineError;
use basekeep_engine::postgres::cluster::ScratchCluster;
use basekeep_engine::postgres::{Client, ConnectOptions, quote_identifier};

use super::SOURCE;
use crate::output::units;

/// The tests' sample project; it needs no extension and runs on every server.
const SQL: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/sample-project.sql"));

/// What happens between the two backups.
const WORK: &str = "\
    UPDATE public.messages SET body = body || ' (edited)' WHERE id BETWEEN 79001 AND 79050;
    INSERT INTO public.organizations (name, country) VALUES ('One more customer', 'DE');
    DELETE FROM public.notifications WHERE id <= 20";

const DISASTER: &str = "SET client_min_messages = error; DROP SCHEMA public CASCADE";

/// Rows by table.
pub(super) type RowCounts = BTreeMap<String, u64>;

async fn connect(options: &ConnectOptions) -> Result<Client, EngineError> {
    Ok(Client::connect(options, "basekeep demo").await?)
}

/// Makes the database; gives how many rows it has.
pub(super) async fn load(cluster: &ScratchCluster) -> Result<(u64, String), EngineError> {
    let mut server = connect(&cluster.options()).await?;
    server.execute(&format!("CREATE DATABASE {}", quote_identifier(SOURCE))).await?;
    server.close().await;
    let options = cluster.options().with_database(SOURCE);
    let mut client = connect(&options).await?;
    client.execute(SQL).await?;
    client.close().await;
    let counts = count_rows(&options).await?;
    let rows = counts.values().sum();
    Ok((rows, summary(&counts)))
}

/// The day goes on after the first backup.
pub(super) async fn work(options: &ConnectOptions) -> Result<((), String), EngineError> {
    let mut client = connect(options).await?;
    client.execute(WORK).await?;
    client.close().await;
    Ok(((), "50 messages edited, 1 organization more, 20 notifications less".to_owned()))
}

/// Loses the project; `rows` is what there was before.
pub(super) async fn disaster(options: &ConnectOptions, rows: u64) -> Result<((), String), EngineError> {
    let mut client = connect(options).await?;
    client.execute(DISASTER).await?;
    client.close().await;
    let left: u64 = count_rows(options).await?.values().sum();
    Ok(((), format!("{} gone", units::counted(rows.saturating_sub(left), "row", "rows"))))
}

/// Whether the restored database has the same tables with as many rows.
pub(super) async fn compare(
    options: &ConnectOptions,
    before: &RowCounts,
) -> Result<(bool, String), EngineError> {
    let after = count_rows(options).await?;
    let missing = before.iter().find(|(table, rows)| after.get(*table) != Some(rows));
    Ok(match missing {
        None => (true, format!("{}, as before", summary(&after))),
        Some((table, rows)) => {
            let found = after.get(table).copied().unwrap_or_default();
            (false, format!("{table} had {}, has {}", units::count(*rows), units::count(found)))
        }
    })
}

/// Counts the rows of every table that is not the server's own.
pub(super) async fn count_rows(options: &ConnectOptions) -> Result<RowCounts, EngineError> {
    let mut client = connect(options).await?;
    let tables = client
        .query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
        )
        .await?;
    let names: Vec<String> = tables.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect();
    let mut counts = RowCounts::new();
    for name in names {
        let rows = client.query(&format!("SELECT pg_catalog.count(*) FROM {name}")).await?;
        let count = rows.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
        counts.insert(name, count);
    }
    client.close().await;
    Ok(counts)
}

fn summary(counts: &RowCounts) -> String {
    let rows = counts.values().sum();
    format!(
        "{}, {}",
        units::counted(counts.len() as u64, "table", "tables"),
        units::counted(rows, "row", "rows")
    )
}

//! Rows that do not fit the target: left out, and written to a file for each table with the reason.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use basekeep_postgres::{Client, quote_identifier, quote_literal};

use crate::restore::merge::STAGE;
use crate::restore::references::BrokenKey;
use crate::restore::work::Table;
use crate::{EngineError, ResultExt};

/// The column of a staged row, and of the files, that says why it does not fit.
const WHY: &str = "basekeep_reason";

/// The files of one group. They hold row values, so only their owner may read them.
pub(super) struct Rejects {
    folder: Option<PathBuf>,
    files: HashMap<String, (PathBuf, File)>,
    finished: bool,
}

/// Rows of a group that was undone are not left out.
impl Drop for Rejects {
    fn drop(&mut self) {
        for (path, _) in self.files.values().filter(|_| !self.finished) {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(%error, path = %path.display(), "a file of rejected rows could not be removed");
            }
        }
    }
}

impl Rejects {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned), files: HashMap::new(), finished: false }
    }

    /// Whether rows are left out rather than refused.
    pub(super) fn are_wanted(&self) -> bool {
        self.folder.is_some()
    }

    /// Takes the staged rows out that break a constraint of the table's own; gives their number.
    pub(super) async fn of_table(
        &mut self,
        client: &mut Client,
        name: &str,
        table: &Table,
    ) -> Result<u64, EngineError> {
        if !self.are_wanted() {
            return Ok(0);
        }
        let doing = || format!("look for {name} that do not fit");
        client
            .execute(&format!("ALTER TABLE {STAGE} ADD COLUMN {WHY} pg_catalog.text"))
            .await
            .doing(doing)?;
        for (why, condition) in conditions(client, table).await? {
            let sql = format!(
                "SAVEPOINT basekeep; UPDATE {STAGE} AS s SET {WHY} = {} WHERE {WHY} IS NULL AND ({condition}); RELEASE basekeep",
                quote_literal(&why)
            );
            if let Err(error) = client.execute(&sql).await {
                // The condition may use what only the table itself has; then the table says so when the rows come.
                if !matches!(error, basekeep_postgres::Error::Server(_)) {
                    return Err(error).doing(doing);
                }
                client.execute("ROLLBACK TO basekeep").await.doing(doing)?;
            }
        }
        let found = client
            .query(&format!("SELECT pg_catalog.count(*) FROM {STAGE} WHERE {WHY} IS NOT NULL"))
            .await
            .doing(doing)?;
        let count = found.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
        if count > 0 {
            let list = list(&table.columns, "");
            let select = format!("DELETE FROM {STAGE} WHERE {WHY} IS NOT NULL RETURNING {list}{WHY}");
            self.write(client, table, &select).await?;
        }
        client.execute(&format!("ALTER TABLE {STAGE} DROP COLUMN {WHY}")).await.doing(doing)?;
        Ok(count)
    }

    /// Takes the rows out of the table whose reference leads nowhere; gives their number.
    pub(super) async fn of_key(
        &mut self,
        client: &mut Client,
        table: &Table,
        key: &BrokenKey,
    ) -> Result<u64, EngineError> {
        let why = format!("foreign key {}: no such row in {}", key.name, key.to);
        // Other keys may have taken rows out since it was looked at, and left more of them without what they refer to.
        let count = format!("SELECT pg_catalog.count(*) FROM {} AS a WHERE {}", key.table, key.condition);
        let found = client.query(&count).await.doing(|| format!("look where {} leads", key.name))?;
        let rows: u64 = found.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
        if rows == 0 {
            return Ok(0);
        }
        let list = list(&table.columns, "a.");
        let sql = format!(
            "DELETE FROM {} AS a WHERE {} RETURNING {list}{} AS {WHY}",
            key.table,
            key.condition,
            quote_literal(&why)
        );
        self.write(client, table, &sql).await?;
        Ok(rows)
    }

    async fn write(&mut self, client: &mut Client, table: &Table, select: &str) -> Result<(), EngineError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let plain: String = table
            .stored
            .chars()
            .filter(|c| *c != '"')
            .map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        let doing = || format!("write the rejected rows of {plain} into {}", folder.display());
        let failed = |error: std::io::Error| EngineError::failed(error.to_string()).caused_by(error);
        let first = !self.files.contains_key(&table.stored);
        if first {
            std::fs::create_dir_all(folder).map_err(failed).map_err(|error| error.within(doing()))?;
            let file = private(folder, &plain).map_err(failed).map_err(|error| error.within(doing()))?;
            self.files.insert(table.stored.clone(), file);
        }
        let Some((_, file)) = self.files.get_mut(&table.stored) else { return Ok(()) };
        let header = if first { ", HEADER" } else { "" };
        let sql = format!("COPY ({select}) TO STDOUT WITH (FORMAT csv{header})");
        let mut rows = client.copy_out_undigested(&sql).await.doing(doing)?;
        let mut buffer = Vec::new();
        loop {
            let more = rows.read(&mut buffer).await.doing(doing)?;
            file.write_all(&buffer).map_err(failed).map_err(|error| error.within(doing()))?;
            buffer.clear();
            if !more {
                return Ok(());
            }
        }
    }

    /// Makes the files durable.
    pub(super) fn finish(&mut self) -> Result<(), EngineError> {
        for (_, file) in self.files.values() {
            file.sync_all().map_err(|error| {
                EngineError::failed(format!("write the rejected rows: {error}")).caused_by(error)
            })?;
        }
        self.finished = true;
        Ok(())
    }
}

/// A new file: `name.csv`, or where that is there already `name-2.csv` and so on.
fn private(folder: &Path, name: &str) -> std::io::Result<(PathBuf, File)> {
    use std::os::unix::fs::OpenOptionsExt;
    for number in 1_u32.. {
        let ending = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{ending}.csv"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

fn list(columns: &[String], alias: &str) -> String {
    columns.iter().map(|name| format!("{alias}{}, ", quote_identifier(name))).collect()
}

/// What is wrong with a staged row, and the condition that finds such rows. A null makes a check neither true nor false, which
/// the server takes for fitting.
async fn conditions(client: &mut Client, table: &Table) -> Result<Vec<(String, String)>, EngineError> {
    let sql = format!(
        "SELECT 'not null: ' || a.attname, pg_catalog.format('s.%I IS NULL', a.attname), 1
           FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = {0}::pg_catalog.regclass AND a.attnum > 0
            AND a.attnotnull AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname = ANY ({1})
         UNION ALL
         SELECT 'check: ' || k.conname, pg_catalog.format('NOT (%s)', pg_catalog.pg_get_expr(k.conbin, k.conrelid)), 2
           FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = {0}::pg_catalog.regclass AND k.contype = 'c' AND k.convalidated
         UNION ALL
         SELECT 'unique: ' || c.relname, pg_catalog.format(
                's.ctid IN (SELECT o.ctid FROM (SELECT x.ctid, pg_catalog.row_number() OVER (PARTITION BY %1$s ORDER BY x.ctid) AS n
                    FROM pg_temp.basekeep_stage AS x WHERE %2$s) AS o WHERE o.n > 1)', columns.list, columns.filled), 3
           FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
            CROSS JOIN LATERAL (
                SELECT pg_catalog.string_agg(pg_catalog.format('x.%I', a.attname), ', ') AS list,
                    pg_catalog.string_agg(pg_catalog.format('x.%I IS NOT NULL', a.attname), ' AND ') AS filled
                FROM pg_catalog.unnest((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]) AS k (number)
                    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number) AS columns
          WHERE i.indrelid = {0}::pg_catalog.regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
          ORDER BY 3, 1",
        quote_literal(&table.relation),
        array(&table.columns)
    );
    let rows = client.query(&sql).await.doing(|| format!("read the constraints of {}", table.relation))?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row.get(0)), text(row.get(1)))).collect())
}

fn array(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    format!("ARRAY[{}]::pg_catalog.name[]", names.join(", "))
}

//! Queues of pgmq: their list, and the messages where the archive does not have them. pgmq makes its tables members of the
//! extension, so that pg_dump, and with it the archive, leaves their rows out.

use std::collections::BTreeSet;

use basekeep_postgres::{Client, Row, quote_identifier};
use basekeep_supabase::probe::Probe;
use basekeep_supabase::recognize::Project;
use basekeep_supabase::services;

use super::{Piece, read_rows, stored};
use crate::ResultExt;
use crate::backup::Stopped;
use crate::backup::parts::PartFile;
use crate::backup::plan::Plan;

/// Average chunk size of a file with messages, in bytes.
const CHUNK_AVERAGE: usize = 256 << 10;

/// A table of a queue as the catalog has it.
struct Found {
    table: stored::QueueTable,
    partitioned: bool,
    archive: bool,
}

impl Piece<'_> {
    pub(super) async fn queues(
        &mut self,
        plan: &Plan,
        leader: &mut Client,
        project: &Project,
    ) -> Result<(), Stopped> {
        let mut probe = Probe::new(leader);
        let rows = services::queues(&mut probe, project).await.doing(|| "read the queues")?;
        self.denied(probe.denied);
        let Some(rows) = rows else { return Ok(()) };
        let mut queues = read_rows("queues", &rows, |row| {
            Ok(stored::Queue {
                name: row.parse(0)?,
                created_at: row.parse(1)?,
                partitioned: row.parse(2)?,
                unlogged: row.parse(3)?,
                messages: None,
                archived: None,
                tables: Vec::new(),
            })
        })?;
        let tables = plan.catalog.tables.iter().filter(|table| table.schema == "pgmq");
        let archived: BTreeSet<&str> = tables.map(|table| table.name.as_str()).collect();
        for queue in &mut queues {
            self.queue(&archived, leader, queue).await?;
        }
        let document = stored::Queues { version: stored::VERSION, queues };
        self.put("queues", stored::QUEUES, &document).await
    }

    async fn queue(
        &mut self,
        archived: &BTreeSet<&str>,
        leader: &mut Client,
        queue: &mut stored::Queue,
    ) -> Result<(), Stopped> {
        let what = format!("messages of the queue {}", queue.name);
        let mut probe = Probe::new(leader);
        let rows = services::queue_tables(&mut probe, &queue.name).await.doing(|| format!("find {what}"))?;
        self.denied(probe.denied);
        let Some(rows) = rows else { return Ok(()) };
        if rows.is_empty() {
            self.parts.miss(what, "its tables are not there", None);
            return Ok(());
        }
        let (mut messages, mut in_archive) = (Some(0), Some(0));
        for found in read_rows(&what, &rows, found)? {
            if found.partitioned {
                queue.tables.push(found.table);
                continue;
            }
            let sum = if found.archive { &mut in_archive } else { &mut messages };
            let (table, rows) = match archived.contains(found.table.name.as_str()) {
                true => self.count(leader, found.table).await?,
                false => self.copy(leader, found).await?,
            };
            *sum = sum.zip(rows).map(|(sum, more)| sum + more);
            queue.tables.push(table);
        }
        (queue.messages, queue.archived) = (messages, in_archive);
        Ok(())
    }

    /// The archive has the rows; only their number is wanted.
    async fn count(
        &mut self,
        leader: &mut Client,
        table: stored::QueueTable,
    ) -> Result<(stored::QueueTable, Option<u64>), Stopped> {
        let name = quote_identifier(&table.name);
        let mut probe = Probe::new(leader);
        let what = format!("the number of rows of pgmq.{}", table.name);
        let sql = format!("SELECT count(*) FROM pgmq.{name}");
        let rows = probe.number(&what, &sql).await.doing(|| format!("read {what}"))?;
        self.denied(probe.denied);
        Ok((table, rows))
    }

    /// Stores the rows as COPY text.
    async fn copy(
        &mut self,
        leader: &mut Client,
        found: Found,
    ) -> Result<(stored::QueueTable, Option<u64>), Stopped> {
        let mut table = found.table;
        let what = format!("rows of pgmq.{}", table.name);
        let doing = || format!("read the {what}");
        let columns: Vec<String> = table.columns.iter().map(|column| quote_identifier(column)).collect();
        let name = format!("pgmq.{}", quote_identifier(&table.name));
        let (columns, doing_lock) = (columns.join(", "), || format!("lock {name}"));
        let mut probe = Probe::new(leader);
        // The lock keeps TRUNCATE out, which no snapshot covers; the question behind it asks for one that came before.
        let lock = format!("LOCK TABLE {name} IN ACCESS SHARE MODE; {}", still_there(&table.name));
        let locked = probe.rows(&what, &lock).await.doing(doing_lock)?;
        self.denied(probe.denied);
        let Some(locked) = locked else { return Ok((table, None)) };
        if locked.first().is_none_or(|row| row.get(0) != Some("t")) {
            self.parts.miss(what, "the table was emptied or rewritten while the backup ran", None);
            return Ok((table, None));
        }
        leader.execute("SAVEPOINT queue").await.doing(doing)?;
        let mut copy = match leader.copy_out(&format!("COPY {name} ({columns}) TO STDOUT")).await {
            Ok(copy) => copy,
            Err(basekeep_postgres::Error::Server(error)) => {
                leader.execute("ROLLBACK TO SAVEPOINT queue; RELEASE SAVEPOINT queue").await.doing(doing)?;
                self.parts.miss(what, error.message.clone(), Some(super::DENIED));
                return Ok((table, None));
            }
            Err(error) => Err(error).doing(doing)?,
        };
        let mut file = self.writer.file(CHUNK_AVERAGE);
        while copy.read(file.buffer()).await.doing(doing)? {
            file.advance().await.doing(doing)?;
        }
        table.rows = copy.digest().rows;
        let content = file.finish().await.doing(doing)?;
        leader.execute("RELEASE SAVEPOINT queue").await.doing(doing)?;
        let path = format!("supabase/queues/{}", table.name);
        table.file = Some(path.clone());
        self.parts.files.push(PartFile { path, content });
        let rows = table.rows;
        Ok((table, Some(rows)))
    }
}

fn found(row: Row<'_>) -> Result<Found, basekeep_postgres::Error> {
    Ok(Found {
        table: stored::QueueTable {
            name: row.parse(0)?,
            file: None,
            columns: row.parse::<Option<Vec<String>>>(3)?.unwrap_or_default(),
            rows: 0,
            last_id: row.parse(4)?,
        },
        partitioned: row.get(1) == Some("p"),
        archive: row.parse(2)?,
    })
}

/// Whether the table's storage is the one that the snapshot sees.
fn still_there(table: &str) -> String {
    let name = basekeep_postgres::quote_literal(table);
    format!(
        "SELECT c.relfilenode = pg_catalog.pg_relation_filenode(c.oid::pg_catalog.regclass)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'pgmq' AND c.relname = {name}"
    )
}

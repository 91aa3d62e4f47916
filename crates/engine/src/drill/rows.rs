//! Rows of the restored database against the manifest: every table is read the way the backup read it, and digested.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use basekeep_archive::Entry;
use basekeep_postgres::{Client, ConnectOptions, Digest, Error, quote_identifier, quote_literal, session};
use tokio::task::JoinSet;

use super::TableComparison;
use crate::restore::{Contents, CopyStatement};
use crate::stored::manifest;
use crate::{EngineError, Event, Observer, Progress, ResultExt};

/// How much of a heap one COPY reads.
const PART_BYTES: u64 = 32 << 20;
/// TID range scans make it cheap to read a part of a heap since this version.
const TID_RANGES: u32 = 140_000;
const APPLICATION_NAME: &str = "basekeep drill";

/// One comparison: a table, or all tables whose rows go through one partition root.
struct Check {
    table: String,
    expected: Digest,
    /// COPY statements that give all rows together.
    parts: Vec<String>,
    /// Why the contents cannot be compared, if so.
    incomparable: Option<String>,
}

/// What was found of a check so far.
#[derive(Default)]
struct Found {
    digest: Digest,
    error: Option<String>,
}

struct Shared {
    target: ConnectOptions,
    queue: Mutex<VecDeque<(usize, String)>>,
    found: Mutex<Vec<Found>>,
    rows: AtomicU64,
    bytes: AtomicU64,
    parts: AtomicU64,
}

/// Compares all tables; differences are lines beside the comparisons.
pub(super) async fn compare(
    contents: &Contents,
    client: &mut Client,
    target: &ConnectOptions,
    jobs: usize,
    observer: &Arc<dyn Observer>,
) -> Result<(Vec<TableComparison>, Vec<String>), EngineError> {
    let checks = checks(contents, client).await?;
    let mut queue: Vec<(usize, String, u64)> = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        let weight = check.expected.bytes / check.parts.len().max(1) as u64;
        queue.extend(check.parts.iter().map(|sql| (number, sql.clone(), weight)));
    }
    queue.sort_by_key(|(_, _, weight)| std::cmp::Reverse(*weight));
    let expected = Progress {
        bytes_expected: checks.iter().map(|check| check.expected.bytes).sum(),
        items_expected: queue.len() as u64,
        ..Progress::default()
    };
    let shared = Arc::new(Shared {
        target: target.clone(),
        queue: Mutex::new(queue.into_iter().map(|(number, sql, _)| (number, sql)).collect()),
        found: Mutex::new(checks.iter().map(|_| Found::default()).collect()),
        rows: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        parts: AtomicU64::new(0),
    });
    let mut readers = JoinSet::new();
    for number in 0..(jobs * 2).clamp(1, expected.items_expected.max(1) as usize) {
        readers.spawn(reader(shared.clone(), number));
    }
    let work = async {
        while let Some(ended) = readers.join_next().await {
            ended.map_err(|error| EngineError::failed("a reading task broke").caused_by(error))??;
        }
        Ok::<_, EngineError>(())
    };
    tokio::select! {
        result = work => result?,
        never = tell_progress(&shared, expected, observer) => match never {},
    }
    let mut found = shared.found();
    Ok(results(checks, &std::mem::take(&mut *found)))
}

fn results(checks: Vec<Check>, found: &[Found]) -> (Vec<TableComparison>, Vec<String>) {
    let mut differences = Vec::new();
    let mut comparisons = Vec::with_capacity(checks.len());
    for (check, found) in checks.into_iter().zip(found) {
        let equal = found.error.is_none() && check.incomparable.is_none() && found.digest == check.expected;
        if let Some(error) = &found.error {
            differences.push(format!("{}: cannot be read in the restored database: {error}", check.table));
        } else if let Some(reason) = &check.incomparable {
            differences.push(format!("{}: {reason}", check.table));
        } else if found.digest.rows != check.expected.rows {
            differences.push(format!(
                "{}: {} rows in the backup, {} in the restored database",
                check.table, check.expected.rows, found.digest.rows
            ));
        } else if !equal {
            differences.push(format!(
                "{}: the same number of rows, but other values (digest {:032x} in the backup, {:032x} restored)",
                check.table, check.expected.sum, found.digest.sum
            ));
        }
        comparisons.push(TableComparison {
            table: check.table,
            rows_expected: check.expected.rows,
            rows_found: found.digest.rows,
            equal,
        });
    }
    (comparisons, differences)
}

/// Two for each core: while rows of one gather in its socket, where the server has to stop when that is full, the other's are
/// digested. Only the first has to get a connection.
async fn reader(shared: Arc<Shared>, number: usize) -> Result<(), EngineError> {
    let doing = || "connect to the restored database";
    let mut client = match Client::connect(&shared.target, APPLICATION_NAME).await {
        Err(Error::Server(_)) if number > 0 => return Ok(()),
        connected => connected.doing(doing)?,
    };
    session::pin(&mut client).await.doing(doing)?;
    loop {
        let Some((number, sql)) = shared.queue().pop_front() else { break };
        match read(&shared, &mut client, &sql).await {
            Ok(digest) => {
                let found = &mut shared.found()[number];
                found.digest += digest;
            }
            Err(Error::Server(error)) => shared.found()[number].error = Some(error.to_string()),
            Err(error) => return Err(error).doing(|| "read the restored database"),
        }
        shared.parts.fetch_add(1, Relaxed);
    }
    client.close().await;
    Ok(())
}

async fn read(shared: &Shared, client: &mut Client, sql: &str) -> Result<Digest, Error> {
    let mut copy = client.copy_out(sql).await?;
    let mut buffer = Vec::new();
    let mut seen = Digest::default();
    loop {
        buffer.clear();
        let more = copy.read(&mut buffer).await?;
        let now = copy.digest();
        shared.rows.fetch_add(now.rows - seen.rows, Relaxed);
        shared.bytes.fetch_add(now.bytes - seen.bytes, Relaxed);
        seen = now;
        if !more {
            return Ok(seen);
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(usize, String)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, Vec<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tell_progress(
    shared: &Shared,
    expected: Progress,
    observer: &Arc<dyn Observer>,
) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        observer.event(Event::Progressed(Progress {
            bytes: shared.bytes.load(Relaxed),
            rows: shared.rows.load(Relaxed),
            items: shared.parts.load(Relaxed),
            ..expected
        }));
    }
}

/// What to read, and what it must give.
async fn checks(contents: &Contents, client: &mut Client) -> Result<Vec<Check>, EngineError> {
    let entries: HashMap<i32, &Entry> =
        contents.archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let heaps = heaps(client).await?;
    let roots = Roots::read(contents, &entries, client).await?;
    let mut checks = Vec::new();
    let mut through_root: HashMap<String, (Check, Vec<String>)> = HashMap::new();
    for table in &contents.manifest.tables {
        let name = format!("{}.{}", table.schema, table.name);
        let expected = Digest {
            rows: table.rows,
            bytes: table.bytes,
            sum: u128::from_str_radix(&table.digest, 16).unwrap_or_default(),
        };
        let statement = entries.get(&table.dump_id).and_then(|entry| entry.copy_stmt.as_ref());
        let Some(copy) = statement.and_then(|text| CopyStatement::parse(&text.to_string())) else {
            let incomparable = Some("the archive has no COPY statement for it".to_owned());
            checks.push(Check { table: name, expected, parts: Vec::new(), incomparable });
            continue;
        };
        if let Some(root) = roots.of.get(&(table.schema.clone(), table.name.clone())) {
            let (check, columns) = through_root.entry(root.clone()).or_insert_with(|| {
                let list = if copy.columns.is_empty() { String::new() } else { copy.column_list() };
                let parts = vec![format!("COPY (SELECT {list} FROM {root}) TO STDOUT")];
                let table = format!("{root} (all partitions)");
                (
                    Check { table, expected: Digest::default(), parts, incomparable: None },
                    copy.columns.clone(),
                )
            });
            check.expected += expected;
            if *columns != copy.columns {
                check.incomparable = Some(
                    "its partitions order their columns differently, so contents cannot be compared".into(),
                );
            }
            continue;
        }
        let heap_bytes = heaps.sizes.get(&(table.schema.clone(), table.name.clone())).copied();
        let parts = parts(
            &copy,
            table,
            heap_bytes.filter(|_| client.server_version() >= TID_RANGES),
            heaps.block_size,
        );
        checks.push(Check { table: name, expected, parts, incomparable: None });
    }
    checks.extend(through_root.into_values().map(|(check, _)| check));
    Ok(checks)
}

fn parts(
    copy: &CopyStatement,
    table: &manifest::Table,
    heap_bytes: Option<u64>,
    block_size: u64,
) -> Vec<String> {
    // The relation is named by the manifest: the statement may name a partition's root.
    let relation = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
    let columns = copy.column_list();
    if let Some(condition) = table.condition.as_deref().filter(|text| !text.trim().is_empty()) {
        return vec![format!("COPY (SELECT {columns} FROM ONLY {relation} {condition}) TO STDOUT")];
    }
    let blocks_each = PART_BYTES / block_size;
    let blocks = heap_bytes.unwrap_or(0).div_ceil(block_size);
    if blocks <= blocks_each {
        let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
        return vec![format!("COPY {relation}{list} TO STDOUT")];
    }
    let count = blocks.div_ceil(blocks_each);
    (0..count)
        .map(|n| {
            let mut condition = format!("ctid >= '({},0)'", n * blocks_each);
            if n + 1 < count {
                condition.push_str(&format!(" AND ctid < '({},0)'", (n + 1) * blocks_each));
            }
            format!("COPY (SELECT {columns} FROM ONLY {relation} WHERE {condition}) TO STDOUT")
        })
        .collect()
}

struct Heaps {
    block_size: u64,
    sizes: HashMap<(String, String), u64>,
}

/// Sizes of the ordinary heaps that are worth reading in parts.
async fn heaps(client: &mut Client) -> Result<Heaps, EngineError> {
    let sql = format!(
        "SELECT n.nspname, c.relname, pg_catalog.pg_relation_size(c.oid)
           FROM pg_catalog.pg_class AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
          WHERE c.relkind = 'r' AND a.amname = 'heap' AND c.relpersistence <> 't'
            AND pg_catalog.pg_relation_size(c.oid) > {PART_BYTES}"
    );
    let rows = client.query(&sql).await.doing(|| "measure the restored tables")?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let sizes = rows
        .iter()
        .map(|row| {
            ((text(row.get(0)), text(row.get(1))), row.get(2).and_then(|n| n.parse().ok()).unwrap_or(0))
        })
        .collect();
    let rows = client
        .query("SELECT pg_catalog.current_setting('block_size')")
        .await
        .doing(|| "read the block size")?;
    let block_size = rows.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or(8192);
    Ok(Heaps { block_size, sizes })
}

/// Partition trees into which rows went through the root: a row may be in another partition than before, so the tree is
/// compared as a whole.
struct Roots {
    /// The root (quoted) of each leaf, by schema and name.
    of: HashMap<(String, String), String>,
}

impl Roots {
    async fn read(
        contents: &Contents,
        entries: &HashMap<i32, &Entry>,
        client: &mut Client,
    ) -> Result<Self, EngineError> {
        let mut roots: Vec<String> = contents
            .manifest
            .tables
            .iter()
            .filter(|table| table.load_via_root.is_some())
            .filter_map(|table| entries.get(&table.dump_id)?.copy_stmt.as_ref())
            .filter_map(|text| CopyStatement::parse(&text.to_string()))
            .map(|copy| copy.relation)
            .collect();
        roots.sort();
        roots.dedup();
        let mut of = HashMap::new();
        for root in roots {
            let sql = format!(
                "SELECT n.nspname, c.relname FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass({})) AS t
                   JOIN pg_catalog.pg_class AS c ON c.oid = t.relid
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE t.isleaf",
                quote_literal(&root)
            );
            let rows = client.query(&sql).await.doing(|| format!("list the partitions of {root}"))?;
            for row in rows.iter() {
                let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                of.insert((text(row.get(0)), text(row.get(1))), root.clone());
            }
        }
        Ok(Self { of })
    }
}

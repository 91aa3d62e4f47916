//! The end of a backup: data entries into the archive, range index, manifest, trees, and the snapshot last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use basekeep_archive::{Archive, TABLE_DATA_END, inventory};
use basekeep_postgres::catalog::{Relation, Table};
use basekeep_postgres::session::SequenceValue;
use basekeep_postgres::{Digest, quote_identifier};
use basekeep_repository::{Ended, FileContent, NewSnapshot, TreeBuilder, Writer};

use super::changed::{self, Known, Reading};
use super::circles::circles;
use super::entries;
use super::large_objects::{self, LargeObjects};
use super::parent::Parent;
use super::parts::Parts;
use super::plan::Plan;
use super::rows::{ReadRange, Rows};
use super::{BackupOptions, Source};
use crate::stored::{columns, globals, manifest, markdown, path, ranges};
use crate::words::bytes;
use crate::{EngineError, Event, Interrupt, Observer, ResultExt, Step};

/// Mode of the files in the snapshot: a backup holds secrets.
pub(crate) const FILE_MODE: u32 = 0o600;
/// Mode of the script in it.
pub(crate) const SCRIPT_MODE: u32 = 0o700;
/// The script that restores with stock tools.
pub(crate) const RESTORE_SCRIPT: &str = include_str!("../stored/restore.sh");

/// Everything was read; nothing is in the repository but packs that nobody refers to.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) archive: Archive,
    pub(super) rows: Rows,
    pub(super) sequences: Vec<SequenceValue>,
    pub(super) large_objects: LargeObjects,
    pub(super) parts: Parts,
    /// Whether a crash of the source can no longer undo what the snapshot saw.
    pub(super) durable: Option<bool>,
    pub(super) started: Instant,
}

impl Ready {
    /// Writes what describes the rows, then the snapshot. Not interruptible until one repository has it: it is short, and a
    /// snapshot either exists whole or not at all.
    pub(super) async fn finish(
        self,
        writer: Writer,
        source: &Source,
        options: &BackupOptions,
        observer: &Arc<dyn Observer>,
        interrupt: &Interrupt,
    ) -> Result<(manifest::Manifest, Vec<Ended>), EngineError> {
        let step = Step("snapshot");
        let began = Instant::now();
        observer.event(Event::Began { step: step.clone() });
        // What describes the rows is not lost with a pack that holds rows.
        writer.end_packs().await.doing(|| "store the rows")?;
        let mut folder = Folder::new(&source.name, &self.plan, writer.clone());
        let mut archive = self.archive;
        let end = writer.put_file(TABLE_DATA_END).await.doing(|| "store an end marker")?;

        let mut stored_tables = Vec::new();
        let mut range_tables = Vec::new();
        let mut column_tables = Vec::new();
        let dump_ids = entries::add_tables(&mut archive, &self.plan)?;
        let tables = self.plan.catalog.tables.iter().zip(&self.rows.tables).zip(dump_ids);
        for (number, ((table, read), dump_id)) in tables.enumerate() {
            let file = format!("{}/{dump_id}.dat", path::DATABASE);
            let (content, stored, total) = joined(read, &end);
            folder.file(&file, content, FILE_MODE);
            let mut described = stored_table(table, dump_id, &file, total);
            described.taken_over_bytes =
                read.iter().filter(|range| range.taken_over).map(|range| range.digest.bytes).sum();
            described.read_whole = self.plan.read_whole(number, read);
            stored_tables.push(described);
            column_tables.push(columns::Table::new(table, &file));
            range_tables.push(ranges::Table {
                schema: table.schema.clone(),
                name: table.name.clone(),
                file,
                oid: table.oid,
                relfilenode: table.relfilenode,
                access_method: Some(table.access_method.clone()),
                fingerprint: table.fingerprint.clone(),
                ineligible: table.incremental_ineligible.clone(),
                chunk_average: u32::try_from(self.plan.chunk_average(number)).unwrap_or(u32::MAX),
                ranges: stored,
            });
        }
        let sequences = entries::add_sequences(&mut archive, &self.plan, &self.sequences)?;
        let large_objects = large_objects::add_to(&mut archive, &self.large_objects, &mut folder).await?;
        let not_refreshed = entries::add_materialized_views(&mut archive, &self.plan)?;

        for file in self.parts.files {
            folder.file(&file.path, file.content, FILE_MODE);
        }
        let globals = globals::Globals::from(&self.plan.globals);
        folder.put(path::TOC, &archive.to_bytes(), FILE_MODE).await?;
        folder.put(path::GLOBALS_SQL, self.plan.globals.to_sql().as_bytes(), FILE_MODE).await?;
        folder.put(path::GLOBALS_JSON, &json(&globals)?, FILE_MODE).await?;
        folder.put(path::RANGES, &range_lines(&self.plan, self.durable, &range_tables)?, FILE_MODE).await?;

        let header = columns::Header::new(&self.plan.catalog.types);
        folder.put(path::COLUMNS, &lines(&header, &column_tables)?, FILE_MODE).await?;

        let stats = writer.stats();
        let mut manifest = describe(&self.plan, source);
        manifest.duration_seconds = self.started.elapsed().as_secs_f64();
        manifest.components = components(&archive);
        manifest.totals = manifest::Totals {
            tables: stored_tables.len() as u64,
            rows: stored_tables.iter().map(|t| t.rows).sum(),
            bytes: stored_tables.iter().map(|t| t.bytes).sum(),
            taken_over_bytes: stored_tables.iter().map(|t| t.taken_over_bytes).sum(),
            added_bytes: stats.bytes_stored,
        };
        manifest.warnings.extend(not_refreshed.into_iter().map(|view| manifest::Warning {
            code: "not-refreshed".into(),
            message: format!(
                "{view} stays empty after a restore: it reads a materialized view that is not populated"
            ),
            hint: Some("refresh both after the restore".into()),
        }));
        manifest.tables = stored_tables;
        manifest.sequences = sequences;
        manifest.large_objects = large_objects;
        manifest.not_captured.extend(self.parts.missing);
        manifest.warnings.extend(self.parts.warnings);
        manifest.supabase = self.parts.supabase;
        manifest.reading = Some(changed::note(&self.plan, &self.rows));

        folder.put(path::MANIFEST_JSON, &json(&manifest)?, FILE_MODE).await?;
        folder.put(path::MANIFEST_MD, markdown::render(&manifest).as_bytes(), FILE_MODE).await?;
        folder.put(path::RESTORE_SH, RESTORE_SCRIPT.as_bytes(), SCRIPT_MODE).await?;

        let new = new_snapshot(&self.plan, source, options);
        let ends = writer
            .finish_all(folder.tree, new, interrupt.requested())
            .await
            .doing(|| "write the snapshot")?;
        let id = ends.iter().find_map(|end| match end {
            Ended::Written(snapshot) => Some(snapshot.id.short()),
            Ended::Behind { .. } | Ended::Failed(_) => None,
        });
        observer.event(Event::Ended {
            step,
            elapsed: began.elapsed(),
            detail: format!("{}, {} added", id.unwrap_or_default(), bytes(stats.bytes_stored)),
        });
        Ok((manifest, ends))
    }
}

/// The source's folder in the new snapshot.
pub(super) struct Folder {
    root: String,
    tree: TreeBuilder,
    writer: Writer,
}

impl Folder {
    fn new(source: &str, plan: &Plan, writer: Writer) -> Self {
        Self { root: source.to_owned(), tree: TreeBuilder::new(plan.time), writer }
    }

    pub(super) fn file(&mut self, name: &str, content: FileContent, mode: u32) {
        self.tree.file(&format!("{}/{name}", self.root), content, mode);
    }

    pub(super) async fn put(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), EngineError> {
        let content = self.writer.put_file(bytes).await.doing(|| format!("store {name}"))?;
        self.file(name, content, mode);
        Ok(())
    }
}

fn new_snapshot(plan: &Plan, source: &Source, options: &BackupOptions) -> NewSnapshot {
    NewSnapshot {
        time: plan.time,
        hostname: source.name.clone(),
        username: String::new(),
        paths: vec![format!("/{}", source.name)],
        tags: options.tags.clone(),
        parent: plan.parent.as_ref().map(Parent::id),
        program_version: format!("basekeep {}", env!("CARGO_PKG_VERSION")),
    }
}

/// A manifest with what the plan knows; sums are filled in when the rows are there.
fn describe(plan: &Plan, source: &Source) -> manifest::Manifest {
    let catalog = &plan.catalog;
    let edges: Vec<(String, String)> =
        catalog.foreign_keys.iter().map(|key| (related(&key.table), related(&key.references))).collect();
    manifest::Manifest {
        version: manifest::VERSION,
        basekeep: env!("CARGO_PKG_VERSION").to_owned(),
        source: source.name.clone(),
        time: plan.time,
        duration_seconds: 0.0,
        server: manifest::Server {
            version: plan.server_version_text.clone(),
            version_num: plan.server_version,
            database: catalog.database.name.clone(),
            encoding: catalog.database.encoding.clone(),
            collate: catalog.database.collate.clone(),
            ctype: catalog.database.ctype.clone(),
            system_identifier: plan.snapshot.system_identifier.clone(),
            in_recovery: plan.snapshot.in_recovery,
            snapshot: plan.snapshot.snapshot.clone(),
            lsn: plan.snapshot.wal_position.map(lsn),
        },
        pg_dump: plan.pg_dump.version.clone(),
        totals: manifest::Totals::default(),
        components: BTreeMap::new(),
        tables: Vec::new(),
        sequences: Vec::new(),
        large_objects: manifest::LargeObjects::default(),
        extensions: catalog
            .extensions
            .iter()
            .map(|e| manifest::Extension {
                name: e.name.clone(),
                version: e.version.clone(),
                schema: e.schema.clone(),
            })
            .collect(),
        roles: plan.globals.roles.iter().map(|role| role.name.clone()).collect(),
        circular_foreign_keys: circles(&edges),
        not_captured: plan.missing.clone(),
        warnings: plan.warnings.clone(),
        reading: None,
        supabase: None,
    }
}

/// What a backup would hold, from the catalog alone: sizes are those of the heaps, rows are the server's estimates.
pub(super) fn expected(plan: &Plan, source: &Source) -> manifest::Manifest {
    let mut manifest = describe(plan, source);
    manifest.tables = plan
        .catalog
        .tables
        .iter()
        .map(|table| {
            let total =
                Digest { rows: table.estimated_rows.max(0.0) as u64, bytes: heap_bytes(table), sum: 0 };
            manifest::Table { digest: String::new(), ..stored_table(table, 0, "", total) }
        })
        .collect();
    manifest.totals.tables = manifest.tables.len() as u64;
    manifest.totals.rows = manifest.tables.iter().map(|t| t.rows).sum();
    manifest.totals.bytes = manifest.tables.iter().map(|t| t.bytes).sum();
    manifest
}

fn related(relation: &Relation) -> String {
    format!("{}.{}", quote_identifier(&relation.schema), quote_identifier(&relation.name))
}

/// A write-ahead log position as the server prints it.
fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

fn heap_bytes(table: &Table) -> u64 {
    table.pages * u64::from(table.block_size)
}

fn stored_table(table: &Table, dump_id: i32, file: &str, total: Digest) -> manifest::Table {
    manifest::Table {
        schema: table.schema.clone(),
        name: table.name.clone(),
        dump_id,
        file: file.to_owned(),
        rows: total.rows,
        bytes: total.bytes,
        digest: format!("{:032x}", total.sum),
        taken_over_bytes: 0,
        read_whole: None,
        load_via_root: table.load_via_root.clone(),
        extension: table.extension.clone(),
        condition: table.extension_condition.clone(),
        server_bytes: table.total_bytes,
    }
}

impl Plan {
    /// Why all rows of a table were read, if they were.
    fn read_whole(&self, table: usize, read: &[ReadRange]) -> Option<String> {
        match self.takeover.tables.get(table) {
            Some(Known::Nothing(reason)) => Some(reason.clone()),
            Some(Known::Ranges(_)) if !read.is_empty() && read.iter().all(|range| !range.taken_over) => {
                Some(match self.takeover.reading {
                    Reading::Paranoid => "everything was read and compared".into(),
                    _ => "all of its ranges changed, or were read to compare them".into(),
                })
            }
            _ => None,
        }
    }
}

/// The table's file from its ranges and the end marker, with the ranges as the index stores them, and the sum.
fn joined(read: &[ReadRange], end: &FileContent) -> (FileContent, Vec<ranges::Range>, Digest) {
    let mut content = FileContent { blobs: Vec::new(), size: 0 };
    let mut stored = Vec::with_capacity(read.len());
    let mut total = Digest::default();
    for range in read {
        stored.push(ranges::Range {
            first_block: range.first_block,
            end_block: range.end_block,
            rows: range.digest.rows,
            bytes: range.digest.bytes,
            digest: range.digest.sum,
            first_blob: content.blobs.len() as u64,
            blobs: range.blobs.len() as u64,
        });
        content.blobs.extend_from_slice(&range.blobs);
        content.size += range.digest.bytes;
        total += range.digest;
    }
    content.blobs.extend_from_slice(&end.blobs);
    content.size += end.size;
    (content, stored, total)
}

/// How many entries of each kind there are.
pub(crate) fn components(archive: &Archive) -> BTreeMap<String, u64> {
    inventory(archive).into_iter().map(|(kind, count)| (kind.to_lowercase(), count as u64)).collect()
}

fn range_lines(plan: &Plan, durable: Option<bool>, tables: &[ranges::Table]) -> Result<Vec<u8>, EngineError> {
    let s = &plan.snapshot;
    let header = ranges::Header {
        version: ranges::VERSION,
        row_format: ranges::ROW_FORMAT,
        system_identifier: s.system_identifier.clone(),
        timeline: s.timeline,
        database_oid: s.database_oid,
        snapshot: s.snapshot.clone(),
        xmin: Some(s.xmin),
        next_xid: Some(s.xmax),
        lsn: s.wal_position.map(lsn),
        postmaster_start: s.postmaster_start.clone(),
        crash_marker: s.crash_marker.clone(),
        durable,
        in_recovery: s.in_recovery,
        token: plan.takeover.token.clone(),
        incrementals: plan.takeover.incrementals,
    };
    lines(&header, tables)
}

/// A header and what follows it, each as JSON in a line of its own.
fn lines(header: &impl serde::Serialize, rest: &[impl serde::Serialize]) -> Result<Vec<u8>, EngineError> {
    let mut lines = json(header)?;
    lines.push(b'\n');
    for line in rest {
        lines.extend(json(line)?);
        lines.push(b'\n');
    }
    Ok(lines)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value)
        .map_err(|error| EngineError::failed(format!("write JSON: {error}")).caused_by(error))
}

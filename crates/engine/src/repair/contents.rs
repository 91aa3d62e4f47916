//! The files of a damaged snapshot that change: what is gone leaves the archive, the manifest and the range index, and what
//! can be derived is written anew. The result restores with basekeep and with stock pg_restore.

use std::collections::{BTreeMap, BTreeSet};

use basekeep_archive::{Archive, Entry, Storage};
use basekeep_postgres::Digest;
use basekeep_postgres::large_objects::LargeObjectDigester;
use basekeep_repository::{Changes, FileContent, Node, Repository, Snapshot, Writer};
use jiff::Timestamp;

use super::REPAIRED;
use super::losses::{self, Losses};
use crate::backup::{FILE_MODE, RESTORE_SCRIPT, SCRIPT_MODE, components};
use crate::restore::{LARGEST_RANGES, LARGEST_TOC, read_globals};
use crate::stored::manifest::{Manifest, Missing, Warning};
use crate::stored::{markdown, path};
use crate::{EngineError, ResultExt, listing};

/// How much of a large object is read ahead.
const PREFETCH: usize = 16 << 20;

/// Writes what changes into the repository; the changes that make the new snapshot.
pub(super) async fn changes(
    repository: &Repository,
    writer: &Writer,
    snapshot: &Snapshot,
    mut manifest: Manifest,
    losses: &Losses,
) -> Result<Changes, EngineError> {
    let toc = listing::read_file(repository, snapshot, path::TOC, LARGEST_TOC).await?;
    let toc = toc.ok_or_else(|| {
        EngineError::failed(format!("snapshot {} holds no {}", snapshot.id.short(), path::TOC))
    })?;
    let mut archive = Archive::parse(&toc)
        .map_err(|error| EngineError::failed(error.to_string()))
        .doing(|| format!("read {} of snapshot {}", path::TOC, snapshot.id.short()))?;
    drop(toc);
    let mut folder = Folder { writer, root: listing::folder(snapshot), changes: Changes::new() };
    for name in &losses.removed {
        folder.remove(name);
    }
    if !losses.tables.is_empty() {
        drop_rows(&mut archive, &manifest, &losses.tables);
        folder.put(path::TOC, &archive.to_bytes(), FILE_MODE).await?;
        if !losses.removed.iter().any(|name| name == path::RANGES) {
            match ranges_without(repository, snapshot, &losses.tables).await {
                Some(lines) => folder.put(path::RANGES, &lines, FILE_MODE).await?,
                None => folder.remove(path::RANGES),
            }
        }
    }
    for list in &losses.lists {
        let name = format!("{}/{list}", path::DATABASE);
        match objects_of(&archive, list) {
            Some(oids) => {
                let lines: String = oids.iter().map(|oid| format!("{oid} blob_{oid}.dat\n")).collect();
                folder.put(&name, lines.as_bytes(), FILE_MODE).await?;
            }
            None => folder.remove(&name),
        }
    }
    for oid in &losses.large_objects {
        // The object stays, with its owner and privileges, as a table stays whose rows are gone.
        folder.file(&format!("{}/blob_{oid}.dat", path::DATABASE), FileContent::default(), FILE_MODE);
    }
    if losses.rebuilt.iter().any(|name| name == path::GLOBALS_SQL) {
        let globals = read_globals(repository, snapshot).await?;
        let globals = basekeep_postgres::globals::Globals::from(&globals);
        folder.put(path::GLOBALS_SQL, globals.to_sql().as_bytes(), FILE_MODE).await?;
    }
    describe(&mut manifest, &archive, losses);
    if !losses.large_objects.is_empty() {
        let digest = digest_large_objects(repository, snapshot, &losses.large_objects).await?;
        manifest.large_objects.bytes = digest.bytes;
        manifest.large_objects.digest = format!("{:032x}", digest.sum);
    }
    let json = serde_json::to_vec(&manifest)
        .map_err(|error| EngineError::failed(format!("write JSON: {error}")).caused_by(error))?;
    folder.put(path::MANIFEST_JSON, &json, FILE_MODE).await?;
    folder.put(path::MANIFEST_MD, markdown::render(&manifest).as_bytes(), FILE_MODE).await?;
    if losses.rebuilt.iter().any(|name| name == path::RESTORE_SH) {
        folder.put(path::RESTORE_SH, RESTORE_SCRIPT.as_bytes(), SCRIPT_MODE).await?;
    }
    Ok(folder.changes)
}

/// The source's folder in the new snapshot.
struct Folder<'a> {
    writer: &'a Writer,
    root: &'a str,
    changes: Changes,
}

impl Folder<'_> {
    fn remove(&mut self, name: &str) {
        self.changes.remove(&format!("{}/{name}", self.root));
    }

    fn file(&mut self, name: &str, content: FileContent, mode: u32) {
        self.changes.put(&format!("{}/{name}", self.root), content, mode);
    }

    async fn put(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), EngineError> {
        let content = self.writer.put_file(bytes).await.doing(|| format!("store {name}"))?;
        self.file(name, content, mode);
        Ok(())
    }
}

/// Takes the data entries of these tables out of the archive; their definitions stay.
fn drop_rows(archive: &mut Archive, manifest: &Manifest, files: &[String]) {
    let gone: BTreeSet<i32> = manifest
        .tables
        .iter()
        .filter(|table| files.contains(&table.file))
        .map(|table| table.dump_id)
        .collect();
    archive.entries.retain(|entry| entry.desc != "TABLE DATA" || !gone.contains(&entry.dump_id));
}

/// What the manifest says afterwards.
fn describe(manifest: &mut Manifest, archive: &Archive, losses: &Losses) {
    for table in manifest.tables.iter().filter(|table| losses.tables.contains(&table.file)) {
        let totals = &mut manifest.totals;
        totals.tables = totals.tables.saturating_sub(1);
        totals.rows = totals.rows.saturating_sub(table.rows);
        totals.bytes = totals.bytes.saturating_sub(table.bytes);
        totals.taken_over_bytes = totals.taken_over_bytes.saturating_sub(table.taken_over_bytes);
    }
    manifest.tables.retain(|table| !losses.tables.contains(&table.file));
    manifest.components = components(archive);
    manifest.not_captured.extend(losses.lost.iter().map(|loss| Missing {
        what: loss.what.clone(),
        reason: loss.reason.clone(),
        hint: Some("look for it in an older or a newer snapshot".to_owned()),
    }));
    manifest.warnings.push(Warning { code: REPAIRED.to_owned(), message: repaired(losses), hint: None });
}

fn repaired(losses: &Losses) -> String {
    let when = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let names: Vec<&str> = losses.lost.iter().map(|loss| loss.what.as_str()).collect();
    match names.as_slice() {
        [] => {
            format!("the repository was damaged and this snapshot repaired on {when}; nothing of it was lost")
        }
        names => format!(
            "the repository was damaged and this snapshot repaired on {when}; it lost {}",
            names.join(", ")
        ),
    }
}

/// The range index without these files; `None` if it cannot be read.
async fn ranges_without(repository: &Repository, snapshot: &Snapshot, files: &[String]) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Line {
        file: Option<String>,
    }
    let text = listing::read_file(repository, snapshot, path::RANGES, LARGEST_RANGES).await.ok()??;
    let mut kept = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let parsed: Line = serde_json::from_slice(line).ok()?;
        if parsed.file.is_none_or(|file| !files.contains(&file)) {
            kept.extend_from_slice(line);
        }
    }
    Some(kept)
}

/// The large objects that this file listed, from the entries that create them.
fn objects_of(archive: &Archive, list: &str) -> Option<Vec<u32>> {
    let is_list = |entry: &&Entry| matches!(&entry.storage, Storage::Directory { file_name } if file_name.as_slice() == list.as_bytes());
    let contents = archive.entries.iter().filter(|entry| entry.desc == "BLOBS").find(is_list)?;
    let group = archive
        .entries
        .iter()
        .find(|entry| entry.desc == "BLOB METADATA" && contents.dependencies.contains(&entry.dump_id));
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok();
    match group {
        // From 1.16 on: one oid in each line.
        Some(group) => {
            let defn = group.defn.as_ref()?;
            let lines = defn.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(number).collect()
        }
        None => {
            let objects = archive.entries.iter().filter(|entry| entry.desc == "BLOB");
            objects.map(|entry| number(entry.tag.as_ref()?)).collect()
        }
    }
}

/// Digest over all large objects, those that are gone taken as empty.
async fn digest_large_objects(
    repository: &Repository,
    snapshot: &Snapshot,
    gone: &[u32],
) -> Result<Digest, EngineError> {
    let mut sum = Digest::default();
    for (oid, node) in large_objects(repository, snapshot).await? {
        let mut digester = LargeObjectDigester::new(oid);
        if !gone.contains(&oid) {
            let mut blobs = repository.read_blobs(node.content, PREFETCH);
            while let Some(blob) = blobs.next().await {
                digester.update(&blob.doing(|| format!("read large object {oid}"))?);
            }
        }
        sum += digester.digest();
    }
    Ok(sum)
}

async fn large_objects(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<BTreeMap<u32, Node>, EngineError> {
    let name = format!("{}/{}", listing::folder(snapshot), path::DATABASE);
    let doing = || format!("read the folder {name} of snapshot {}", snapshot.id.short());
    let node = repository.node_at(snapshot, &name).await.doing(doing)?;
    let Some(subtree) = node.and_then(|node| node.subtree) else { return Ok(BTreeMap::new()) };
    let nodes = repository.tree(&subtree).await.doing(doing)?.nodes.into_iter();
    Ok(nodes
        .filter_map(|node| Some((losses::large_object(&format!("{}/{}", path::DATABASE, node.name))?, node)))
        .collect())
}

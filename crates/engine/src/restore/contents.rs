//! What a snapshot holds, read before a restore: archive, manifest, globals, range index, and where each data file's blobs are.

use std::collections::{HashMap, HashSet};

use basekeep_archive::{Archive, Entry};
use basekeep_repository::{BlobId, Repository, Snapshot};
use basekeep_supabase::objects;

use crate::selection::Selected;

use crate::mask::Masks;
use crate::stored::globals::Globals;
use crate::stored::manifest::{LargeObjects, Manifest, Sequence};
use crate::stored::{path, ranges};
use crate::{EngineError, ResultExt, listing};

/// Larger files of these kinds are refused: they are read whole.
pub(crate) const LARGEST_TOC: usize = 2 << 30;
const LARGEST_GLOBALS: usize = 256 << 20;
pub(crate) const LARGEST_RANGES: usize = 2 << 30;
/// A `blobs.toc` has about 30 bytes for each large object.
const LARGEST_BLOBS_TOC: usize = 1 << 30;

/// A snapshot's contents without the rows.
pub(crate) struct Contents {
    pub(crate) archive: Archive,
    pub(crate) manifest: Manifest,
    /// `None` with the reason when they cannot be read.
    pub(crate) globals: Result<Globals, String>,
    /// By the data file's name below the source's folder.
    pub(crate) ranges: Result<HashMap<String, Vec<ranges::Range>>, String>,
    /// Blobs of each file in the archive's folder, by name.
    files: HashMap<String, Vec<BlobId>>,
    /// What rows are changed by on their way.
    pub(crate) masks: Option<Masks>,
    /// Whether the snapshot is of a Supabase project.
    pub(super) of_project: bool,
}

impl Contents {
    /// Reads them. The index must have been loaded.
    pub(crate) async fn read(repository: &Repository, snapshot: &Snapshot) -> Result<Self, EngineError> {
        let manifest = listing::manifest(repository, snapshot).await?;
        let toc =
            listing::read_file(repository, snapshot, path::TOC, LARGEST_TOC).await?.ok_or_else(|| {
                EngineError::failed(format!("snapshot {} holds no {}", snapshot.id.short(), path::TOC))
            })?;
        let archive = Archive::parse(&toc)
            .map_err(|error| EngineError::failed(error.to_string()))
            .doing(|| format!("read {} of snapshot {}", path::TOC, snapshot.id.short()))?;
        drop(toc);
        let files = files(repository, snapshot).await?;
        let globals = read_globals(repository, snapshot).await.map_err(|error| error.to_string());
        let ranges = match listing::read_file(repository, snapshot, path::RANGES, LARGEST_RANGES).await {
            Ok(Some(text)) => parse_ranges(&text),
            Ok(None) => Err(format!("there is no file '{}'", path::RANGES)),
            Err(error) => Err(error.to_string()),
        };
        let of_project = objects::is_of_project(&archive);
        Ok(Self { archive, manifest, globals, ranges, files, masks: None, of_project })
    }

    /// Forgets all that is not selected: entries, tables, sequences, large objects. Roles and settings stay.
    pub(super) fn narrow(&mut self, selected: &Selected) {
        let is_setting =
            |entry: &Entry| matches!(entry.desc.as_slice(), b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH");
        self.archive.entries.retain(|entry| is_setting(entry) || selected.contains(entry));
        self.manifest.tables.retain(|table| selected.entries.contains(&table.dump_id));
        let entries = &self.archive.entries;
        let positions: HashSet<(String, String)> = entries
            .iter()
            .filter(|entry| entry.desc == "SEQUENCE SET")
            .map(|entry| {
                let text = |bytes: &Option<bstr::BString>| bytes.as_ref().map(ToString::to_string);
                (text(&entry.namespace).unwrap_or_default(), text(&entry.tag).unwrap_or_default())
            })
            .collect();
        let is_set =
            |sequence: &Sequence| positions.contains(&(sequence.schema.clone(), sequence.name.clone()));
        self.manifest.sequences.retain(is_set);
        if !entries.iter().any(|entry| entry.desc == "BLOBS") {
            self.manifest.large_objects = LargeObjects::default();
        }
    }

    /// The blobs of a file in the archive's folder.
    pub(crate) fn blobs(&self, name: &str) -> Option<&[BlobId]> {
        self.files.get(name).map(Vec::as_slice)
    }
}

/// The lines of a `blobs.toc`: oid and file name of each large object.
pub(crate) async fn blobs_toc(
    repository: &Repository,
    snapshot: &Snapshot,
    name: &str,
) -> Result<Vec<(u32, String)>, EngineError> {
    let full = format!("{}/{name}", path::DATABASE);
    let bytes = listing::read_file(repository, snapshot, &full, LARGEST_BLOBS_TOC)
        .await?
        .ok_or_else(|| EngineError::failed(format!("snapshot {} holds no {full}", snapshot.id.short())))?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .map(|line| {
            let (oid, file) = line.split_once(' ')?;
            Some((oid.parse().ok()?, file.to_owned()))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| EngineError::failed(format!("{full} of snapshot {} is damaged", snapshot.id.short())))
}

async fn files(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<HashMap<String, Vec<BlobId>>, EngineError> {
    let folder = format!("{}/{}", listing::folder(snapshot), path::DATABASE);
    let doing = || format!("read the folder {folder} of snapshot {}", snapshot.id.short());
    let node = repository.node_at(snapshot, &folder).await.doing(doing)?;
    let subtree = node.and_then(|node| node.subtree).ok_or_else(|| {
        EngineError::failed(format!("snapshot {} holds no folder {folder}", snapshot.id.short()))
    })?;
    let tree = repository.tree(&subtree).await.doing(doing)?;
    Ok(tree.nodes.into_iter().map(|node| (node.name, node.content)).collect())
}

/// The roles and settings of a snapshot. The index must have been loaded.
pub(crate) async fn read_globals(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Globals, EngineError> {
    let bytes = listing::read_file(repository, snapshot, path::GLOBALS_JSON, LARGEST_GLOBALS)
        .await?
        .ok_or_else(|| EngineError::failed(format!("there is no file '{}'", path::GLOBALS_JSON)))?;
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let broken =
        |error: serde_json::Error| EngineError::failed(format!("{} is damaged: {error}", path::GLOBALS_JSON));
    let version = serde_json::from_slice::<Versioned>(&bytes).map_err(broken)?.version;
    if version > crate::stored::globals::VERSION {
        return Err(EngineError::failed(format!(
            "{} has version {version}, which is newer than this program",
            path::GLOBALS_JSON
        )));
    }
    serde_json::from_slice(&bytes).map_err(broken)
}

/// The first line is the header; a version above ours is not understood.
fn parse_ranges(text: &[u8]) -> Result<HashMap<String, Vec<ranges::Range>>, String> {
    let mut lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    let header = lines.next().ok_or("it is empty")?;
    let header: ranges::Header = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    if header.version > ranges::VERSION {
        return Err(format!("its version {} is newer than this program", header.version));
    }
    lines
        .map(|line| {
            let table: ranges::Table = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            Ok((table.file, table.ranges))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_newer_range_index_is_refused_with_a_reason() {
        assert!(parse_ranges(b"").is_err());
        assert!(parse_ranges(b"{\"version\":").is_err());
        assert!(parse_ranges(b"not json\n").is_err());
    }
}

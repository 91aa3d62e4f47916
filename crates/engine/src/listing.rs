//! Which snapshots there are, which are proven, and finding one by what the user typed.

mod figures;

use std::collections::{BTreeMap, HashMap};

use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

use crate::restore;
use crate::stored::columns::Columns;
use crate::stored::manifest::{self, Manifest};
use crate::stored::{path, proof};
use crate::{EngineError, ResultExt};

/// The largest manifest that is read; one with 100,000 tables has about 40 MiB.
const LARGEST_MANIFEST: usize = 512 << 20;

/// The largest list of columns that is read; a column has about 80 bytes.
const LARGEST_COLUMNS: usize = 1 << 30;

/// One line of `list`.
#[derive(Debug, Clone)]
pub struct SnapshotSummary {
    /// Full id, 64 hexadecimal digits.
    pub id: String,
    /// When the database snapshot was taken.
    pub time: Timestamp,
    /// The source's name.
    pub source: String,
    /// The user's tags.
    pub tags: Vec<String>,
    /// Rows, `None` where the snapshot was not made by basekeep or its manifest cannot be read.
    pub rows: Option<u64>,
    /// Tables.
    pub tables: Option<u64>,
    /// Bytes of COPY text and large objects.
    pub bytes: Option<u64>,
    /// Bytes that it added to the repository.
    pub added_bytes: Option<u64>,
    /// Newest drill's result: `None` never drilled, `Some(true)` proven equal, `Some(false)` found different.
    pub proven: Option<bool>,
    /// How many things could not be captured.
    pub not_captured: u64,
    /// Why the manifest could not be read, if so.
    pub damaged: Option<String>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only the newest this many (of those that match).
    pub last: Option<usize>,
}

impl Filter {
    fn accepts(&self, snapshot: &Snapshot) -> bool {
        self.source.as_deref().is_none_or(|source| snapshot.hostname == source)
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
    }
}

/// What [`list`] found.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Snapshots that match, oldest first.
    pub snapshots: Vec<SnapshotSummary>,
    /// Snapshot files that cannot be read, with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// Lists the snapshots that match; those that hold proofs are not listed.
pub async fn list(repository: &Repository, filter: &Filter) -> Result<Listing, EngineError> {
    let (all, unreadable) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let proofs = proofs(&all);
    let mut wanted: Vec<&Snapshot> =
        all.iter().filter(|s| !is_proof(s)).filter(|s| filter.accepts(s)).collect();
    if let Some(last) = filter.last {
        wanted.drain(..wanted.len().saturating_sub(last));
    }
    let mut figures = figures::read(repository, &all, &wanted).await?;
    let snapshots = wanted.into_iter().map(|snapshot| {
        let read = figures.remove(&snapshot.id).unwrap_or(Ok(None));
        summary(snapshot, read, &proofs)
    });
    let snapshots = snapshots.collect();
    let unreadable = unreadable.into_iter().map(|(id, error)| (id.to_string(), error.to_string())).collect();
    Ok(Listing { snapshots, unreadable })
}

/// What the repository knows of a source without opening a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFacts {
    /// How many snapshots it has.
    pub snapshots: u64,
    /// When the oldest of them was taken.
    pub first: Timestamp,
    /// When the newest was taken.
    pub last: Timestamp,
    /// When a drill of any of them was last recorded, and whether all was equal.
    pub drilled: Option<(Timestamp, bool)>,
}

/// The facts of each source that has a snapshot.
pub async fn facts(repository: &Repository) -> Result<BTreeMap<String, SourceFacts>, EngineError> {
    let (all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let mut facts: BTreeMap<String, SourceFacts> = BTreeMap::new();
    for snapshot in all.iter().filter(|snapshot| !is_proof(snapshot)) {
        let time = snapshot.time;
        let fact = facts.entry(snapshot.hostname.clone()).or_insert(SourceFacts {
            snapshots: 0,
            first: time,
            last: time,
            drilled: None,
        });
        fact.snapshots += 1;
        (fact.first, fact.last) = (fact.first.min(time), fact.last.max(time));
    }
    for proof in all.iter().filter(|snapshot| is_proof(snapshot)) {
        let result = proof.tags.iter().find_map(|tag| tag.strip_prefix(proof::RESULT_TAG_PREFIX));
        if let (Some(fact), Some(result)) = (facts.get_mut(&proof.hostname), result) {
            let drilled = (proof.time, result == proof::EQUAL);
            fact.drilled = Some(fact.drilled.map_or(drilled, |known| known.max(drilled)));
        }
    }
    Ok(facts)
}

fn summary(snapshot: &Snapshot, read: figures::Read, proofs: &HashMap<String, bool>) -> SnapshotSummary {
    let (figures, damaged) = match read {
        Ok(figures) => (figures, None),
        Err(reason) => (None, Some(reason)),
    };
    SnapshotSummary {
        id: snapshot.id.to_string(),
        time: snapshot.time,
        source: snapshot.hostname.clone(),
        tags: snapshot.tags.clone(),
        rows: figures.map(|f| f.rows),
        tables: figures.map(|f| f.tables),
        bytes: figures.map(|f| f.bytes),
        added_bytes: figures.map(|f| f.added_bytes),
        proven: proofs.get(&snapshot.tree.to_string()).copied(),
        not_captured: figures.map_or(0, |f| f.not_captured),
        damaged,
    }
}

/// Whether a snapshot holds a drill's result rather than a backup.
pub fn is_proof(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == proof::TAG)
}

/// The newest result for each tree. `snapshots` are oldest first.
fn proofs(snapshots: &[Snapshot]) -> HashMap<String, bool> {
    let mut results = HashMap::new();
    for snapshot in snapshots.iter().filter(|s| is_proof(s)) {
        let tag = |prefix| snapshot.tags.iter().find_map(|tag| tag.strip_prefix(prefix));
        if let (Some(tree), Some(result)) = (tag(proof::TREE_TAG_PREFIX), tag(proof::RESULT_TAG_PREFIX)) {
            results.insert(tree.to_owned(), result == proof::EQUAL);
        }
    }
    results
}

/// The snapshot for an id prefix or `latest` (the newest, of `source` if given; without one, what a restore that clears backed
/// up first is not meant). Names what exists when nothing fits.
pub async fn find(
    repository: &Repository,
    wanted: &str,
    source: Option<&str>,
) -> Result<Snapshot, EngineError> {
    let (all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let backups = || all.iter().filter(|s| !is_proof(s));
    let of_source = || backups().filter(|s| source.is_none_or(|name| s.hostname == name));
    if wanted == "latest" {
        let is_meant =
            |s: &&Snapshot| source.is_some() || !s.tags.iter().any(|tag| tag == restore::SAFETY_TAG);
        return of_source().rfind(is_meant).cloned().ok_or_else(|| none_at_all(backups(), source));
    }
    let fits: Vec<&Snapshot> = of_source().filter(|s| s.id.to_string().starts_with(wanted)).collect();
    match fits[..] {
        [one] => Ok(one.clone()),
        [] => {
            let error = EngineError::usage(format!("no snapshot has an id that begins with '{wanted}'"));
            Err(match of_source().next_back() {
                Some(newest) => error
                    .hint(format!("the newest one is {}, of {}", newest.id.short(), newest.hostname))
                    .hint("`basekeep list` shows all of them"),
                None => error.hint("the repository holds no snapshot yet"),
            })
        }
        [..] => {
            let ids: Vec<String> = fits.iter().take(8).map(|s| s.id.short()).collect();
            Err(EngineError::usage(format!("{} snapshots have ids that begin with '{wanted}'", fits.len()))
                .hint(format!("they are {}; give more of the id", ids.join(", "))))
        }
    }
}

/// The snapshot of the same source that was taken before this one.
pub async fn before(repository: &Repository, snapshot: &Snapshot) -> Result<Snapshot, EngineError> {
    let (all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let same = |other: &&Snapshot| other.hostname == snapshot.hostname && !is_proof(other);
    let older = all.iter().filter(same).take_while(|other| other.id != snapshot.id).last();
    older.cloned().ok_or_else(|| {
        let (id, source) = (snapshot.id.short(), &snapshot.hostname);
        EngineError::usage(format!(
            "{id} is the first snapshot of '{source}': there is none to compare it with"
        ))
        .hint("`basekeep list` shows all of them")
    })
}

fn none_at_all<'a>(backups: impl Iterator<Item = &'a Snapshot>, source: Option<&str>) -> EngineError {
    let mut names: Vec<&str> = backups.map(|s| s.hostname.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match source {
        Some(source) if !names.is_empty() => {
            EngineError::usage(format!("there is no snapshot of '{source}'"))
                .hint(format!("there are snapshots of {}", names.join(", ")))
        }
        _ => {
            EngineError::usage("the repository holds no snapshot yet").hint("make one with `basekeep backup`")
        }
    }
}

/// A snapshot's manifest. An error of kind `Failed` when the snapshot was not made by basekeep.
pub async fn manifest(repository: &Repository, snapshot: &Snapshot) -> Result<Manifest, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    read_manifest(repository, snapshot).await?.ok_or_else(|| {
        EngineError::failed(format!("snapshot {} was not made by basekeep", snapshot.id.short()))
            .hint("it has no manifest.json; use restic for it")
    })
}

pub(crate) async fn read_manifest(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<Manifest>, EngineError> {
    let Some(bytes) = read_file(repository, snapshot, path::MANIFEST_JSON, LARGEST_MANIFEST).await? else {
        return Ok(None);
    };
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let broken = |error: serde_json::Error| {
        EngineError::failed(format!("manifest of snapshot {}: {error}", snapshot.id.short()))
    };
    let version = serde_json::from_slice::<Versioned>(&bytes).map_err(broken)?.version;
    if version > manifest::VERSION {
        return Err(EngineError::failed(format!(
            "snapshot {} was made by a newer basekeep (manifest version {version})",
            snapshot.id.short()
        ))
        .hint("install the newest basekeep"));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(broken)
}

/// A whole small file of a snapshot, named below the source's folder. `None` when there is no such file.
pub async fn read_file(
    repository: &Repository,
    snapshot: &Snapshot,
    name: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, EngineError> {
    let full = format!("{}/{name}", folder(snapshot));
    let doing = || format!("read {name} of snapshot {}", snapshot.id.short());
    let Some(node) = repository.node_at(snapshot, &full).await.doing(doing)? else { return Ok(None) };
    Ok(Some(repository.read_small(&node, limit).await.doing(doing)?))
}

/// The source's folder in the snapshot, `/<source>`.
pub fn folder(snapshot: &Snapshot) -> &str {
    snapshot.paths.first().map_or("/", String::as_str)
}

/// The columns, types and keys of a snapshot's tables; `None` in snapshots of programs that did not store them. The index
/// must have been loaded.
pub async fn columns(repository: &Repository, snapshot: &Snapshot) -> Result<Option<Columns>, EngineError> {
    let Some(text) = read_file(repository, snapshot, path::COLUMNS, LARGEST_COLUMNS).await? else {
        return Ok(None);
    };
    let columns = Columns::parse(&text).map_err(|why| {
        EngineError::failed(format!("{} of snapshot {}: {why}", path::COLUMNS, snapshot.id.short()))
    })?;
    Ok(Some(columns))
}

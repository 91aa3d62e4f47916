//! Which snapshots there are, which are proven, and finding one by what the user typed.

use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

use crate::EngineError;
use crate::stored::manifest::Manifest;

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

/// Snapshots that match, oldest first. Snapshots that hold proofs are not listed. Needs no index when the repository is small; loads it otherwise.
pub async fn list(repository: &Repository, filter: &Filter) -> Result<Vec<SnapshotSummary>, EngineError> {
    let _ = (repository, filter);
    todo!()
}

/// The snapshot for an id prefix or `latest` (the newest, of `source` if given). Names what exists when nothing fits.
pub async fn find(
    repository: &Repository,
    wanted: &str,
    source: Option<&str>,
) -> Result<Snapshot, EngineError> {
    let _ = (repository, wanted, source);
    todo!()
}

/// A snapshot's manifest. An error of kind `Failed` when the snapshot was not made by basekeep.
pub async fn manifest(repository: &Repository, snapshot: &Snapshot) -> Result<Manifest, EngineError> {
    let _ = (repository, snapshot);
    todo!()
}

/// The source's folder in the snapshot, `/<source>`.
pub fn folder(snapshot: &Snapshot) -> &str {
    snapshot.paths.first().map_or("/", String::as_str)
}

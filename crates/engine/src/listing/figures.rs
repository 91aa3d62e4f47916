//! The figures that a list shows of each snapshot. They stand in its manifest, and do not change: those that were read once
//! are kept in the repository's cache.

use std::collections::{HashMap, HashSet};

use basekeep_repository::{Repository, Snapshot, SnapshotId};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::read_manifest;
use crate::{EngineError, ResultExt};

/// Manifests that are read at the same time.
const READS: usize = 8;
const RECORD: &str = "figures";
const VERSION: u32 = 1;

/// What a list shows of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) rows: u64,
    pub(super) tables: u64,
    /// Of COPY text and large objects.
    pub(super) bytes: u64,
    pub(super) added_bytes: u64,
    pub(super) not_captured: u64,
}

/// The figures of a snapshot: `None` where basekeep did not make it. The error says why its manifest cannot be read.
pub(super) type Read = Result<Option<Figures>, String>;

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    figures: HashMap<SnapshotId, Option<Figures>>,
}

/// The figures of the `wanted` ones among `all` snapshots. The index is loaded only if a manifest has to be read.
pub(super) async fn read(
    repository: &Repository,
    all: &[Snapshot],
    wanted: &[&Snapshot],
) -> Result<HashMap<SnapshotId, Read>, EngineError> {
    let mut known = recorded(repository).await;
    let before = known.len();
    if before > 0 {
        let there: HashSet<SnapshotId> = all.iter().map(|snapshot| snapshot.id).collect();
        known.retain(|id, _| there.contains(id));
    }
    let mut changed = known.len() < before;
    let mut found: HashMap<SnapshotId, Read> = HashMap::with_capacity(wanted.len());
    let mut unknown = Vec::new();
    for snapshot in wanted {
        match known.get(&snapshot.id) {
            Some(figures) => drop(found.insert(snapshot.id, Ok(*figures))),
            None => unknown.push((*snapshot).clone()),
        }
    }
    if !unknown.is_empty() {
        repository.load_index().await.doing(|| "read the repository's index")?;
    }
    let mut reads = futures::stream::iter(unknown)
        .map(|snapshot| figures(repository.clone(), snapshot))
        .buffer_unordered(READS);
    while let Some((id, read)) = reads.next().await {
        // What cannot be read today may be repaired tomorrow.
        if let Ok(figures) = &read {
            known.insert(id, *figures);
            changed = true;
        }
        found.insert(id, read);
    }
    drop(reads);
    if changed && let Ok(json) = serde_json::to_vec(&Record { version: VERSION, figures: known }) {
        repository.keep_record(RECORD, json).await;
    }
    Ok(found)
}

async fn recorded(repository: &Repository) -> HashMap<SnapshotId, Option<Figures>> {
    let json = repository.cached_record(RECORD).await;
    let record = json.and_then(|json| serde_json::from_slice::<Record>(&json).ok());
    record.filter(|record| record.version == VERSION).map(|record| record.figures).unwrap_or_default()
}

async fn figures(repository: Repository, snapshot: Snapshot) -> (SnapshotId, Read) {
    let read = match read_manifest(&repository, &snapshot).await {
        Ok(Some(manifest)) => Ok(Some(Figures {
            rows: manifest.totals.rows,
            tables: manifest.totals.tables,
            bytes: manifest.totals.bytes + manifest.large_objects.bytes,
            added_bytes: manifest.totals.added_bytes,
            not_captured: manifest.not_captured.len() as u64,
        })),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    (snapshot.id, read)
}

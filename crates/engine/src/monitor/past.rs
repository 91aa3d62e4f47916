//! A source's past: rows and bytes of each snapshot and of its tables, from the manifests.
//!
//! Tables are remembered for the newest snapshots and for the last one of each day, and for no more than [`CELLS`] tables
//! times snapshots, the newest first; so memory and cache stay small whatever the repository holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use basekeep_repository::{Repository, Snapshot, SnapshotId};
use futures::StreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::growth::Point;
use crate::stored::manifest::Manifest;
use crate::stored::proof;
use crate::{EngineError, ResultExt, listing, restore};

/// Manifests that are read at the same time.
const READS: usize = 8;

/// Of so many of the newest snapshots of a source the tables are remembered, and of the last one of each day.
const NEWEST: usize = 30;

/// Tables times snapshots that are remembered.
const CELLS: usize = 3_000_000;

/// A longer record is not kept, in bytes.
const LONGEST_RECORD: usize = 128 << 20;

const RECORD: &str = "monitor";
const VERSION: u32 = 1;

/// One snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) id: String,
    pub(super) time: Timestamp,
    pub(super) rows: u64,
    /// COPY text and large objects.
    pub(super) bytes: u64,
    pub(super) added_bytes: u64,
    pub(super) seconds: f64,
    /// Everything was read, nothing taken over.
    pub(super) full: bool,
    pub(super) missing: u64,
    pub(super) warnings: u64,
    pub(super) tables: u64,
    /// Whether the tables of this snapshot are known.
    pub(super) detailed: bool,
}

/// A source's snapshots, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    pub(super) samples: Vec<Sample>,
    /// For each table, the places of detailed samples that hold it, with rows and bytes.
    pub(super) tables: BTreeMap<String, Vec<(usize, u64, u64)>>,
    /// Snapshots whose manifests cannot be read: id, time, reason.
    pub(super) damaged: Vec<(String, Timestamp, String)>,
    /// The newest drill of any of them: when, with which result, of which snapshot.
    pub(super) drilled: Option<(Timestamp, bool, String)>,
    /// The newest drill that found everything equal.
    pub(super) proven: Option<(Timestamp, String)>,
}

impl Past {
    /// Rows and bytes in all.
    pub(super) fn points(&self) -> Vec<Point> {
        let point = |sample: &Sample| Point { time: sample.time, rows: sample.rows, bytes: sample.bytes };
        self.samples.iter().map(point).collect()
    }

    /// The same of one table.
    pub(super) fn points_of(&self, cells: &[(usize, u64, u64)]) -> Vec<Point> {
        let point = |(at, rows, bytes): &(usize, u64, u64)| {
            self.samples.get(*at).map(|sample| Point { time: sample.time, rows: *rows, bytes: *bytes })
        };
        cells.iter().filter_map(point).collect()
    }
}

/// A manifest's figures, as the cache keeps them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figures {
    rows: u64,
    bytes: u64,
    added_bytes: u64,
    seconds: f64,
    full: bool,
    missing: u64,
    warnings: u64,
    tables: u64,
    /// Number of the name, rows, bytes; `None` where they are not remembered.
    cells: Option<Vec<(u32, u64, u64)>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Record {
    version: u32,
    names: Vec<String>,
    /// `None` for what basekeep did not make.
    figures: HashMap<SnapshotId, Option<Figures>>,
}

/// Whether a snapshot is a backup of a source: no proof, and not made by a restore before it clears.
pub(super) fn is_backup(snapshot: &Snapshot) -> bool {
    !listing::is_proof(snapshot) && !snapshot.tags.iter().any(|tag| tag == restore::SAFETY_TAG)
}

/// The past of the sources that are `meant`. `all` are oldest first.
pub(super) async fn read(
    repository: &Repository,
    all: &[Snapshot],
    meant: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Past>, EngineError> {
    let mut wanted: Vec<&Snapshot> = all.iter().filter(|s| is_backup(s) && meant(&s.hostname)).collect();
    wanted.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time));
    let detailed = detailed(&wanted);
    let (record, read) = figures(repository, all, &wanted, &detailed).await?;
    let mut pasts: BTreeMap<String, Past> = BTreeMap::new();
    let mut trees: HashMap<String, (&str, String)> = HashMap::new();
    for snapshot in wanted.iter().rev() {
        let past = pasts.entry(snapshot.hostname.clone()).or_default();
        let id = snapshot.id.to_string();
        trees.insert(snapshot.tree.to_string(), (&snapshot.hostname, id.clone()));
        if let Some(reason) = read.get(&snapshot.id) {
            past.damaged.push((id.clone(), snapshot.time, reason.clone()));
        }
        let Some(Some(figures)) = record.figures.get(&snapshot.id) else { continue };
        let at = past.samples.len();
        past.samples.push(Sample {
            id,
            time: snapshot.time,
            rows: figures.rows,
            bytes: figures.bytes,
            added_bytes: figures.added_bytes,
            seconds: figures.seconds,
            full: figures.full,
            missing: figures.missing,
            warnings: figures.warnings,
            tables: figures.tables,
            detailed: figures.cells.is_some(),
        });
        for (name, rows, bytes) in figures.cells.iter().flatten() {
            let Some(name) = record.names.get(*name as usize) else { continue };
            match past.tables.get_mut(name) {
                Some(cells) => cells.push((at, *rows, *bytes)),
                None => drop(past.tables.insert(name.clone(), vec![(at, *rows, *bytes)])),
            }
        }
    }
    for (time, equal, tree) in all.iter().filter_map(drill) {
        let Some((source, id)) = trees.get(tree) else { continue };
        let Some(past) = pasts.get_mut(*source) else { continue };
        past.drilled = Some((time, equal, id.clone()));
        if equal {
            past.proven = Some((time, id.clone()));
        }
    }
    Ok(pasts)
}

/// When a drill was, its result, and the tree that it was about.
fn drill(snapshot: &Snapshot) -> Option<(Timestamp, bool, &str)> {
    let tag = |prefix| snapshot.tags.iter().find_map(|tag| tag.strip_prefix(prefix));
    let known = listing::is_proof(snapshot);
    let (tree, result) = (tag(proof::TREE_TAG_PREFIX)?, tag(proof::RESULT_TAG_PREFIX)?);
    known.then(|| (snapshot.time, result == proof::EQUAL, tree))
}

/// The snapshots whose tables are to be remembered. `wanted` are newest first.
fn detailed(wanted: &[&Snapshot]) -> HashSet<SnapshotId> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut days = HashSet::new();
    let chosen = wanted.iter().filter(|snapshot| {
        let count = counts.entry(&snapshot.hostname).or_default();
        *count += 1;
        let day = snapshot.time.to_zoned(TimeZone::UTC).date();
        let last_of_day = days.insert((snapshot.hostname.as_str(), day));
        last_of_day || *count <= NEWEST
    });
    chosen.map(|snapshot| snapshot.id).collect()
}

/// The figures of all `wanted` snapshots, newest first; and the reasons of those that cannot be read.
async fn figures(
    repository: &Repository,
    all: &[Snapshot],
    wanted: &[&Snapshot],
    detailed: &HashSet<SnapshotId>,
) -> Result<(Record, HashMap<SnapshotId, String>), EngineError> {
    let mut record = recorded(repository).await;
    let before = record.figures.len();
    let there: HashSet<SnapshotId> = all.iter().map(|snapshot| snapshot.id).collect();
    record.figures.retain(|id, _| there.contains(id));
    let mut changed = record.figures.len() != before;
    let mut numbers: HashMap<String, u32> = record.names.iter().cloned().zip(0u32..).collect();
    let mut cells: usize =
        record.figures.values().flatten().filter_map(|f| f.cells.as_ref()).map(Vec::len).sum();
    let lacking = |snapshot: &&&Snapshot| match record.figures.get(&snapshot.id) {
        None => true,
        Some(None) => false,
        Some(Some(figures)) => figures.cells.is_none() && detailed.contains(&snapshot.id) && cells < CELLS,
    };
    let unknown: Vec<Snapshot> = wanted.iter().filter(lacking).map(|snapshot| (*snapshot).clone()).collect();
    if !unknown.is_empty() {
        repository.load_index().await.doing(|| "read the repository's index")?;
    }
    let mut damaged = HashMap::new();
    let mut reads = futures::stream::iter(unknown)
        .map(|snapshot| async move {
            let manifest = listing::read_manifest(repository, &snapshot).await;
            (snapshot.id, manifest)
        })
        .buffered(READS);
    while let Some((id, read)) = reads.next().await {
        match read {
            Ok(manifest) => {
                let with_cells = detailed.contains(&id) && cells < CELLS;
                let figures = manifest.map(|manifest| {
                    summary(&manifest, with_cells.then_some((&mut record.names, &mut numbers)))
                });
                cells += figures.as_ref().and_then(|f| f.cells.as_ref()).map_or(0, Vec::len);
                record.figures.insert(id, figures);
                changed = true;
            }
            Err(error) => drop(damaged.insert(id, error.to_string())),
        }
    }
    drop(reads);
    if changed {
        record.version = VERSION;
        match serde_json::to_vec(&record) {
            Ok(json) if json.len() <= LONGEST_RECORD => repository.keep_record(RECORD, json).await,
            _ => tracing::debug!("the monitor's record is too long to be kept"),
        }
    }
    Ok((record, damaged))
}

async fn recorded(repository: &Repository) -> Record {
    let json = repository.cached_record(RECORD).await;
    let record = json.and_then(|json| serde_json::from_slice::<Record>(&json).ok());
    record.filter(|record| record.version == VERSION).unwrap_or_default()
}

type Names<'a> = (&'a mut Vec<String>, &'a mut HashMap<String, u32>);

fn summary(manifest: &Manifest, names: Option<Names<'_>>) -> Figures {
    let cells = names.map(|(names, numbers)| {
        let mut number = |name: String| match numbers.get(&name) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(names.len()).unwrap_or(u32::MAX);
                names.push(name.clone());
                numbers.insert(name, number);
                number
            }
        };
        let tables = manifest.tables.iter();
        tables.map(|t| (number(format!("{}.{}", t.schema, t.name)), t.rows, t.bytes)).collect()
    });
    Figures {
        rows: manifest.totals.rows,
        bytes: manifest.totals.bytes + manifest.large_objects.bytes,
        added_bytes: manifest.totals.added_bytes,
        seconds: manifest.duration_seconds,
        full: manifest.totals.taken_over_bytes == 0,
        missing: manifest.not_captured.len() as u64,
        warnings: manifest.warnings.len() as u64,
        tables: manifest.totals.tables,
        cells,
    }
}

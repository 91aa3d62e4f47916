//! Damaged snapshots: what becomes of each (the plan), and doing it. A new snapshot without what is lost is durable before
//! the old one goes.

use std::collections::BTreeMap;

use basekeep_repository::{Changes, Lock, Repository, Snapshot, SnapshotId, Writer, WriterOptions};
use basekeep_store::ErrorKind as StoreErrorKind;
use jiff::Timestamp;

use super::REPAIRED;
use super::contents::changes;
use super::losses::{self, Loss, Losses, LostPaths};
use crate::stored::manifest::Manifest;
use crate::stored::path;
use crate::{EngineError, ErrorKind, ResultExt, listing};

/// What is to become, or became, of a damaged snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A new snapshot without what is lost takes its place.
    Replaced {
        /// The new snapshot's id, once it is there.
        by: Option<String>,
    },
    /// It goes away.
    Removed {
        /// Why nothing is left of it.
        reason: String,
    },
}

/// One damaged snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRepair {
    /// Its id, in full.
    pub id: String,
    /// The source's name; `None` where its file cannot be read.
    pub source: Option<String>,
    /// When it was taken.
    pub time: Option<Timestamp>,
    /// What a restore will lack.
    pub lost: Vec<Loss>,
    /// Files that are written anew from others.
    pub rebuilt: Vec<String>,
    /// What becomes of it.
    pub fate: Fate,
    /// Whether the storage refused to remove the damaged snapshot; then both are there.
    pub still_there: bool,
}

/// A snapshot's repair, with what carrying it out needs.
pub(super) struct Planned {
    pub(super) repair: SnapshotRepair,
    work: Work,
}

enum Work {
    /// The file goes away.
    Remove,
    /// An earlier run made the new snapshot already.
    Finish,
    /// basekeep's own.
    Database { snapshot: Box<Snapshot>, manifest: Box<Manifest>, losses: Box<Losses> },
    /// Of another program: paths go away.
    Files { snapshot: Box<Snapshot>, paths: Vec<String> },
}

/// By snapshot, the paths that cannot be read, each with the damaged files to blame.
pub(super) type Damaged = BTreeMap<SnapshotId, LostPaths>;

/// Says what becomes of each damaged snapshot. Reads manifests, changes nothing.
pub(super) async fn plan(
    repository: &Repository,
    damaged: &Damaged,
    forget_only: bool,
) -> Result<Vec<Planned>, EngineError> {
    let (snapshots, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let mut planned = Vec::with_capacity(damaged.len());
    for (id, paths) in damaged {
        let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.id == *id) else {
            planned.push(unreadable(*id));
            continue;
        };
        let copy = snapshots.iter().find(|copy| {
            copy.original == Some(*id)
                && copy.tags.iter().any(|tag| tag == REPAIRED)
                && !damaged.contains_key(&copy.id)
        });
        let removed = |reason: &str| (Fate::Removed { reason: reason.to_owned() }, Work::Remove);
        let mut losses = Losses::default();
        let (mut fate, mut work) = if listing::is_proof(snapshot) {
            removed("it holds a drill's result that cannot be read")
        } else if forget_only {
            removed("it is damaged")
        } else {
            let boxed = Box::new(snapshot.clone());
            match sort_out(repository, snapshot, paths).await? {
                Ok(Sorted::Database { manifest, losses: found }) => {
                    losses = (*found).clone();
                    (Fate::Replaced { by: None }, Work::Database { snapshot: boxed, manifest, losses: found })
                }
                Ok(Sorted::Files { paths, lost }) => {
                    losses.lost = lost;
                    (Fate::Replaced { by: None }, Work::Files { snapshot: boxed, paths })
                }
                Err(reason) => removed(&reason),
            }
        };
        if let (Fate::Replaced { by }, Some(copy)) = (&mut fate, copy) {
            *by = Some(copy.id.to_string());
            work = Work::Finish;
        }
        let repair = SnapshotRepair {
            id: id.to_string(),
            source: Some(snapshot.hostname.clone()),
            time: Some(snapshot.time),
            lost: losses.lost,
            rebuilt: losses.rebuilt,
            fate,
            still_there: false,
        };
        planned.push(Planned { repair, work });
    }
    Ok(planned)
}

fn unreadable(id: SnapshotId) -> Planned {
    let repair = SnapshotRepair {
        id: id.to_string(),
        source: None,
        time: None,
        lost: Vec::new(),
        rebuilt: Vec::new(),
        fate: Fate::Removed { reason: "its file cannot be read".to_owned() },
        still_there: false,
    };
    Planned { repair, work: Work::Remove }
}

enum Sorted {
    Database { manifest: Box<Manifest>, losses: Box<Losses> },
    Files { paths: Vec<String>, lost: Vec<Loss> },
}

/// What is lost; an error of the inner kind says why nothing is left.
async fn sort_out(
    repository: &Repository,
    snapshot: &Snapshot,
    paths: &LostPaths,
) -> Result<Result<Sorted, String>, EngineError> {
    let folder = listing::folder(snapshot);
    let covers = |path: &str| path == "/" || folder == path || folder.starts_with(&format!("{path}/"));
    let several = snapshot.paths.len() > 1;
    if let Some((_, files)) = paths.iter().find(|(path, _)| *path == "/" || (!several && covers(path))) {
        return Ok(Err(format!("all of it is {}", losses::reason(files))));
    }
    let inside = |path: &str| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
    let below: LostPaths =
        paths.iter().filter_map(|(path, files)| Some((inside(path)?, files.clone()))).collect();
    if is_ours(repository, snapshot, &below).await? {
        if let Some(files) = below.get(path::MANIFEST_JSON) {
            return Ok(Err(format!("its {} is {}", path::MANIFEST_JSON, losses::reason(files))));
        }
        let manifest = listing::manifest(repository, snapshot).await?;
        return Ok(losses::sort_out(&below, &manifest)
            .map(|losses| Sorted::Database { manifest: Box::new(manifest), losses: Box::new(losses) }));
    }
    let lost = paths.iter().map(|(path, files)| Loss { what: path.clone(), reason: losses::reason(files) });
    Ok(Ok(Sorted::Files { paths: paths.keys().cloned().collect(), lost: lost.collect() }))
}

/// Whether it holds a database as basekeep stores it, rather than files that another program stored.
async fn is_ours(
    repository: &Repository,
    snapshot: &Snapshot,
    lost: &LostPaths,
) -> Result<bool, EngineError> {
    if snapshot.program_version.starts_with("basekeep") {
        return Ok(true);
    }
    if lost.contains_key(path::MANIFEST_JSON) {
        return Ok(false);
    }
    match listing::manifest(repository, snapshot).await {
        Ok(_) => Ok(true),
        // A folder on the way is lost, or there is no such file: it is treated as files.
        Err(error) if error.kind() == ErrorKind::Failed => Ok(false),
        Err(error) => Err(error),
    }
}

impl Planned {
    /// Does it. The repository's index names no damaged blob any more.
    pub(super) async fn execute(
        self,
        repository: &Repository,
        lock: &Lock,
    ) -> Result<SnapshotRepair, EngineError> {
        let Self { mut repair, work } = self;
        let doing = || format!("repair snapshot {}", repair.id.get(..8).unwrap_or(&repair.id));
        let old: SnapshotId =
            repair.id.parse().map_err(|_| EngineError::failed(format!("'{}' is not an id", repair.id)))?;
        let by = match work {
            Work::Remove | Work::Finish => None,
            Work::Database { snapshot, manifest, losses } => {
                let writer = repository.writer(lock, WriterOptions::default());
                let changes = changes(repository, &writer, &snapshot, *manifest, &losses).await;
                Some(replace(writer, &snapshot, changes).await.map_err(|error| error.within(doing()))?)
            }
            Work::Files { snapshot, paths } => {
                let writer = repository.writer(lock, WriterOptions::default());
                let mut changes = Changes::new();
                paths.iter().for_each(|path| changes.remove(path));
                Some(replace(writer, &snapshot, Ok(changes)).await.map_err(|error| error.within(doing()))?)
            }
        };
        if let (Some(new), Fate::Replaced { by }) = (by, &mut repair.fate) {
            *by = Some(new.to_string());
        }
        match repository.remove_snapshot(lock, old).await {
            Ok(()) => {}
            Err(error) if error.store_kind() == Some(StoreErrorKind::Denied) => repair.still_there = true,
            Err(error) => return Err(error).doing(doing),
        }
        Ok(repair)
    }
}

async fn replace(
    writer: Writer,
    snapshot: &Snapshot,
    changes: Result<Changes, EngineError>,
) -> Result<SnapshotId, EngineError> {
    match changes {
        Ok(changes) => Ok(writer.rewrite(snapshot, &changes, REPAIRED).await?.id),
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

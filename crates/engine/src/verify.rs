//! Integrity of the repository, told in the words of databases: which snapshots and tables a damaged file touches.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use basekeep_archive::TABLE_DATA_END;
use basekeep_postgres::RowDigester;
use basekeep_repository::{CheckOptions, CheckProgress, LockMode, Repository, Snapshot, SnapshotId, Subset};

use crate::stored::manifest::{Manifest, Table};
use crate::words::counted;
use crate::{EngineError, Event, Interrupt, Observer, Progress, ResultExt, Step, listing, monitor};

/// How much of a table's file is read ahead.
const PREFETCH: usize = 32 << 20;

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only this snapshot; all of them otherwise.
    pub snapshot: Option<Snapshot>,
    /// Read and check every blob. With a snapshot, also count and digest each of its tables again and compare with the
    /// manifest.
    pub read_data: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file in the repository (`data/3f/3f…`), or the place in a snapshot.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Short ids of snapshots it touches.
    pub snapshots: Vec<String>,
    /// Tables (`public.orders`) or other files (`MANIFEST.md`) it touches.
    pub touches: Vec<String>,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Blobs whose content was read and checked.
    pub blobs_read: u64,
    /// Plain bytes read and checked.
    pub bytes_read: u64,
    /// Tables whose rows were counted and digested again.
    pub tables: u64,
    /// Damage. Empty means all is well.
    pub damage: Vec<Damage>,
    /// Harmless findings such as files that nothing refers to.
    pub notes: Vec<String>,
}

/// Verifies and reports; damage is in the report, an error means that verification itself could not go on.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<VerifyReport, EngineError> {
    verify_subset(repository, options, Subset::All, observer, interrupt).await
}

/// Like [`verify`]; where data is read, only a part of it.
pub(crate) async fn verify_subset(
    repository: &Repository,
    options: &VerifyOptions,
    subset: Subset,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<VerifyReport, EngineError> {
    let lock = repository.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    let result = interrupt.guard(locked(repository, options, subset, &observer)).await;
    let released = lock.release().await;
    let report = result?;
    if options.snapshot.is_none() {
        monitor::health::checked(repository, &report, jiff::Timestamp::now()).await;
    }
    released.doing(|| "remove the repository's lock")?;
    Ok(report)
}

async fn locked(
    repository: &Repository,
    options: &VerifyOptions,
    subset: Subset,
    observer: &Arc<dyn Observer>,
) -> Result<VerifyReport, EngineError> {
    let step = Step("repository");
    let began = Instant::now();
    observer.event(Event::Began { step: step.clone() });
    let check = CheckOptions {
        read_data: options.read_data,
        snapshots: options.snapshot.as_ref().map(|snapshot| vec![snapshot.id]),
    };
    let checked =
        repository.check_subset(&check, subset, &teller(observer)).await.doing(|| "check the repository")?;
    observer.event(Event::Ended {
        step,
        elapsed: began.elapsed(),
        detail: format!(
            "{}, {}, {} read",
            counted(checked.snapshots, "snapshot", "snapshots"),
            counted(checked.packs, "pack", "packs"),
            counted(checked.blobs_read, "blob", "blobs"),
        ),
    });

    let mut names = Names::new(repository).await?;
    let mut damage = Vec::new();
    for found in &checked.damage {
        let snapshots: BTreeSet<String> =
            found.touches.iter().map(|touched| touched.snapshot.short()).collect();
        let mut touches = BTreeSet::new();
        for touched in &found.touches {
            touches.insert(names.name(repository, touched.snapshot, &touched.path).await);
        }
        damage.push(Damage {
            file: found.file.clone(),
            problem: found.reason.clone(),
            snapshots: snapshots.into_iter().collect(),
            touches: touches.into_iter().collect(),
        });
    }
    let mut report = VerifyReport {
        snapshots: checked.snapshots,
        packs: checked.packs,
        packs_read: checked.packs_read,
        blobs_read: checked.blobs_read,
        bytes_read: checked.bytes_read,
        tables: 0,
        damage,
        notes: checked.notes.clone(),
    };
    if let (true, Some(snapshot)) = (options.read_data && report.damage.is_empty(), &options.snapshot) {
        tables(repository, snapshot, observer, &mut report).await?;
    }
    Ok(report)
}

/// Passes the check's progress on, at most ten times a second.
pub(crate) fn teller(observer: &Arc<dyn Observer>) -> impl Fn(CheckProgress) + Send + Sync + use<> {
    let observer = observer.clone();
    let last = Mutex::new(None::<Instant>);
    move |progress: CheckProgress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < Duration::from_millis(100)) {
            return;
        }
        *last = Some(Instant::now());
        observer.event(Event::Progressed(Progress {
            bytes: progress.bytes_done,
            bytes_expected: progress.bytes_total,
            items: progress.packs_done,
            items_expected: progress.packs_total,
            ..Progress::default()
        }));
    }
}

/// Counts and digests every table of a snapshot again.
async fn tables(
    repository: &Repository,
    snapshot: &Snapshot,
    observer: &Arc<dyn Observer>,
    report: &mut VerifyReport,
) -> Result<(), EngineError> {
    let step = Step("tables");
    let began = Instant::now();
    observer.event(Event::Began { step: step.clone() });
    let manifest = listing::manifest(repository, snapshot).await?;
    for table in &manifest.tables {
        let name = format!("{}.{}", table.schema, table.name);
        if let Some(problem) =
            difference(repository, snapshot, table).await.doing(|| format!("read {name}"))?
        {
            report.damage.push(Damage {
                file: format!("{}/{}", listing::folder(snapshot), table.file),
                problem,
                snapshots: vec![snapshot.id.short()],
                touches: vec![name],
            });
        }
        report.tables += 1;
    }
    observer.event(Event::Ended {
        step,
        elapsed: began.elapsed(),
        detail: format!("{} counted and digested", counted(report.tables, "table", "tables")),
    });
    Ok(())
}

async fn difference(
    repository: &Repository,
    snapshot: &Snapshot,
    table: &Table,
) -> Result<Option<String>, EngineError> {
    let path = format!("{}/{}", listing::folder(snapshot), table.file);
    let Some(node) = repository.node_at(snapshot, &path).await? else {
        return Ok(Some("the file is missing in the snapshot".into()));
    };
    let rows_end = node.size.saturating_sub(TABLE_DATA_END.len() as u64);
    let mut digester = RowDigester::new();
    let mut at = 0;
    let mut blobs = repository.read_blobs(node.content, PREFETCH);
    while let Some(blob) = blobs.next().await {
        let blob = blob?;
        let keep = usize::try_from(rows_end.saturating_sub(at)).unwrap_or(usize::MAX).min(blob.len());
        digester.update(&blob[..keep]);
        at += blob.len() as u64;
    }
    let found = digester.digest();
    let found_digest = format!("{:032x}", found.sum);
    if found.rows == table.rows && found.bytes == table.bytes && found_digest == table.digest {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} rows with digest {found_digest} instead of {} rows with digest {}",
        found.rows, table.rows, table.digest
    )))
}

/// Turns paths in snapshots into the names of tables, by their manifests.
struct Names {
    snapshots: BTreeMap<SnapshotId, Snapshot>,
    tables: BTreeMap<SnapshotId, BTreeMap<String, String>>,
}

impl Names {
    async fn new(repository: &Repository) -> Result<Self, EngineError> {
        let (snapshots, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
        let snapshots = snapshots.into_iter().map(|snapshot| (snapshot.id, snapshot)).collect();
        Ok(Self { snapshots, tables: BTreeMap::new() })
    }

    async fn name(&mut self, repository: &Repository, id: SnapshotId, path: &str) -> String {
        let Some(snapshot) = self.snapshots.get(&id) else { return path.to_owned() };
        let inside = path.strip_prefix(listing::folder(snapshot)).unwrap_or(path).trim_start_matches('/');
        let tables = match self.tables.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                // The manifest itself may be what is damaged; then paths have to do.
                let manifest = listing::manifest(repository, snapshot).await.ok();
                unknown.insert(manifest.map(by_file).unwrap_or_default())
            }
        };
        tables.get(inside).cloned().unwrap_or_else(|| inside.to_owned())
    }
}

fn by_file(manifest: Manifest) -> BTreeMap<String, String> {
    manifest.tables.into_iter().map(|t| (t.file, format!("{}.{}", t.schema, t.name))).collect()
}

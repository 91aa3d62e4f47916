//! One consistent snapshot of a database into a repository: plan, run, finish.
//!
//! The leading connection exports a snapshot and keeps a lock on every table until the end; pg_dump and the reading
//! connections join that snapshot. Any failed stream means that there is no snapshot in the repository.

mod circles;
mod definitions;
mod entries;
mod finish;
mod large_objects;
mod plan;
mod progress;
mod tables;

use std::sync::Arc;
use std::time::Instant;

use basekeep_postgres::{ConnectOptions, Environment, session};
use basekeep_repository::{Lock, LockMode, Repository, Writer, WriterOptions};

use crate::stored::manifest::Manifest;
use crate::{EngineError, ErrorKind, Event, Interrupt, Observer, ResultExt};

/// What to back up.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name under which its snapshots are kept; one path component.
    pub name: String,
    /// How to reach it.
    pub connect: ConnectOptions,
}

/// How to back up.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// The user's tags.
    pub tags: Vec<String>,
    /// Connections that read rows; `None` chooses.
    pub jobs: Option<usize>,
    /// Read nothing but the catalog and say what would be done.
    pub dry_run: bool,
    /// Where pg_dump is looked for; this process's environment otherwise.
    pub environment: Option<Environment>,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The new snapshot's id; `None` for a dry run.
    pub snapshot: Option<String>,
    /// What is in it. `manifest.not_captured` not empty means exit code 3.
    pub manifest: Manifest,
}

/// How often a backup starts again because a table changed its storage between the snapshot and its lock.
const ATTEMPTS: usize = 3;

/// Backs one source up. On any error (or interrupt) there is no snapshot, and locks are released.
pub async fn backup(
    repository: &Repository,
    source: &Source,
    options: &BackupOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<BackupReport, EngineError> {
    check_name(&source.name)?;
    if options.dry_run {
        let (plan, _leader) = interrupt.guard(plan::plan(source, options, &observer)).await?;
        return Ok(BackupReport { snapshot: None, manifest: finish::expected(&plan, source) });
    }
    let lock = repository.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    let result = locked(repository, &lock, source, options, &observer, interrupt).await;
    let released = lock.release().await;
    let report = result?;
    if let Err(error) = released {
        observer.event(Event::Warning {
            code: "lock-not-removed".into(),
            message: format!("the repository's lock could not be removed: {error}"),
            hint: Some(
                "it becomes stale after 30 minutes; `basekeep unlock --remove-all` removes it sooner".into(),
            ),
        });
    }
    Ok(report)
}

async fn locked(
    repository: &Repository,
    lock: &Lock,
    source: &Source,
    options: &BackupOptions,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<BackupReport, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    // Blobs of packs that are gone are stored again instead of being referred to.
    let lost = repository.forget_missing_packs().await.doing(|| "look at the repository's packs")?;
    if let Some(first) = lost.first() {
        observer.event(Event::Warning {
            code: "packs-missing".into(),
            message: format!(
                "{} of the repository's packs are missing or cut off, {first} among them",
                lost.len()
            ),
            hint: Some(
                "`basekeep verify` names the snapshots that they belong to; this backup is whole".into(),
            ),
        });
    }
    for attempt in 1.. {
        let writer = repository.writer(lock, WriterOptions::default());
        let read = read_everything(repository, &writer, source, options, observer);
        let attempt_result = tokio::select! {
            biased;
            () = interrupt.requested() => Err(EngineError::new(ErrorKind::Interrupted, "interrupted").into()),
            why = lock.lost() => {
                Err(EngineError::new(ErrorKind::Locked, format!("the repository's lock was lost: {why}")).into())
            }
            ready = read => ready,
        };
        match attempt_result {
            Ok(ready) => return ready.finish(writer, source, options, observer).await,
            Err(Stopped::Moved(what)) if attempt < ATTEMPTS => {
                writer.abort().await;
                observer.event(Event::Warning {
                    code: "table-changed".into(),
                    message: format!("{what}; starting again with a new snapshot"),
                    hint: None,
                });
            }
            Err(stopped) => {
                writer.abort().await;
                return Err(stopped.into_error());
            }
        }
    }
    unreachable!("the loop returns at the last attempt")
}

async fn read_everything(
    repository: &Repository,
    writer: &Writer,
    source: &Source,
    options: &BackupOptions,
    observer: &Arc<dyn Observer>,
) -> Result<finish::Ready, Stopped> {
    let started = Instant::now();
    let (mut plan, mut leader) = plan::plan(source, options, observer).await?;
    plan.lock_tables(&mut leader).await?;
    plan.find_parent(repository, source).await?;

    // pg_dump works beside the readers: its archive is needed only when the data entries are added at the end.
    let definitions = definitions::dump(&plan, observer);
    let rows = tables::read(&plan, &mut leader, writer, observer);
    let (archive, rows) = tokio::try_join!(definitions, rows)?;

    let large_objects = large_objects::read(&plan, &mut leader, writer, observer).await?;
    let sequences = session::sequence_values(&mut leader, &plan.catalog.sequences)
        .await
        .doing(|| "read the sequences' values")?;
    let durable =
        session::is_durable(&mut leader, &plan.snapshot).await.doing(|| "look at the write-ahead log")?;
    leader.close().await;
    Ok(finish::Ready { plan, archive, rows, sequences, large_objects, durable, started })
}

/// Why an attempt ended without a result.
enum Stopped {
    /// A table's storage changed between the snapshot and the lock: a new snapshot may succeed.
    Moved(String),
    /// Anything else.
    Error(EngineError),
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        Self::Error(error)
    }
}

impl Stopped {
    fn into_error(self) -> EngineError {
        match self {
            Self::Error(error) => error,
            Self::Moved(what) => EngineError::failed(format!("{what}, {ATTEMPTS} times in a row"))
                .hint("run the backup when no migration or TRUNCATE is running"),
        }
    }
}

/// A source's name is a folder in the snapshot and a host name in restic's lists.
pub fn check_name(name: &str) -> Result<(), EngineError> {
    let wrong = name.is_empty()
        || name.len() > 200
        || name == "."
        || name == ".."
        || name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    if wrong {
        return Err(EngineError::usage(format!("'{}' cannot be a source's name", name.escape_debug()))
            .hint("use letters, digits, '-', '_' and '.', at most 200 bytes"));
    }
    Ok(())
}

//! One consistent snapshot of a database into a repository: plan, run, finish.
//!
//! The leading connection exports a snapshot and keeps a lock on every table until the end; pg_dump and the reading
//! connections join that snapshot. Any failed stream means that there is no snapshot in the repository.

mod changed;
mod circles;
mod definitions;
mod entries;
mod files;
mod finish;
mod large_objects;
mod management;
mod parent;
mod parts;
mod plan;
mod progress;
mod project;
mod rows;
mod settings;
mod supabase;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use basekeep_postgres::{ConnectOptions, Environment, session};
use basekeep_repository::{Ended, Repository, RepositoryError, Writer, WriterOptions};

pub use self::changed::{ChangePolicy, Reading};
pub(crate) use self::finish::{FILE_MODE, RESTORE_SCRIPT, SCRIPT_MODE, components};
pub(crate) use self::management::open as open_management;
use self::parent::Parent;
use self::rows::pace::Throttle;
pub use self::settings::{Jobs, OnTableChange, Pace};
pub(crate) use self::supabase::describe;
use self::watch::{Moment, Watch};
use crate::config::Management;
use crate::files::FilesAccess;
use crate::replicas::{self, BackupTarget, Ready, ReplicaReport, ReplicaState};
use crate::stored::manifest::Manifest;
use crate::{EngineError, ErrorKind, Event, Interrupt, Observer, ResultExt};

/// What to back up.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name under which its snapshots are kept; one path component.
    pub name: String,
    /// How to reach it.
    pub connect: ConnectOptions,
    /// The project's folder, the one that has `supabase/`, where there is one.
    pub project: Option<PathBuf>,
    /// How its storage files are reached, where it has any.
    pub files: FilesAccess,
    /// The project's Management API, where it is to be asked.
    pub management: Option<Management>,
    /// How its changes are found.
    pub changes: ChangePolicy,
    /// How it is read, unless [`BackupOptions`] say something else.
    pub pace: Pace,
}

impl Source {
    /// A database alone.
    pub fn new(name: impl Into<String>, connect: ConnectOptions) -> Self {
        let files = FilesAccess::default();
        let (changes, pace) = (ChangePolicy::default(), Pace::default());
        Self { name: name.into(), connect, project: None, files, management: None, changes, pace }
    }
}

/// How to back up.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// The user's tags.
    pub tags: Vec<String>,
    /// What is read of the rows.
    pub reading: Reading,
    /// Bytes of a table that one COPY reads, and that are taken over or not as a whole; `None` chooses.
    pub range_bytes: Option<u64>,
    /// How the source is read; what is said here comes before what the source says.
    pub pace: Pace,
    /// Read nothing but the catalog and say what would be done.
    pub dry_run: bool,
    /// Where pg_dump is looked for; this process's environment otherwise.
    pub environment: Option<Environment>,
    /// How repositories are written to: memory, threads, sizes.
    pub writer: WriterOptions,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The new snapshot's id in the first repository that has it; `None` for a dry run.
    pub snapshot: Option<String>,
    /// What is in it. `manifest.not_captured` not empty means exit code 3.
    pub manifest: Manifest,
    /// How it ended in each repository, in the order they were given; empty for a dry run.
    pub replicas: Vec<ReplicaReport>,
}

impl BackupReport {
    /// Whether all was captured, every repository has it, and change detection was right.
    pub fn is_complete(&self) -> bool {
        self.manifest.not_captured.is_empty()
            && self.manifest.reading.as_ref().is_none_or(|reading| reading.differing.is_empty())
            && self.replicas.iter().all(ReplicaReport::has_it)
    }
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
    let target = BackupTarget::new("repository", repository);
    backup_to(&[target], source, options, observer, interrupt).await
}

/// Backs one source up to several repositories, from one read of the database. It succeeds if one of them has the snapshot;
/// the report says what has become of it in the others, and they are told as warnings. Afterwards each of them gets the
/// earlier snapshots that it has missed.
///
/// Errors: as [`backup`]; what the first repository failed with, if all of them did.
pub async fn backup_to(
    targets: &[BackupTarget],
    source: &Source,
    options: &BackupOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<BackupReport, EngineError> {
    check_name(&source.name)?;
    if options.dry_run {
        let plan =
            async { plan::plan(source, options, &observer).await.map_err(|stopped| stopped.into_error(1)) };
        let (plan, _leader, _) = interrupt.guard(plan).await?;
        let manifest = finish::expected(&plan, source);
        return Ok(BackupReport { snapshot: None, manifest, replicas: Vec::new() });
    }
    let (mut ready, failed) = replicas::prepare(targets, &observer).await;
    if ready.is_empty() {
        let first = failed.into_iter().next().map(|(_, error)| error);
        return Err(first.unwrap_or_else(|| EngineError::usage("no repository is named")));
    }
    let mut reports: Vec<ReplicaReport> = targets.iter().map(ReplicaReport::of).collect();
    failed.iter().for_each(|(number, error)| reports[*number].fail(error, &observer));
    let work = Work { source, options, observer: &observer, interrupt };
    let result = work.run(&mut ready, &mut reports).await;
    replicas::release(ready, &observer).await;
    let (snapshot, manifest) = result?;
    Ok(BackupReport { snapshot: Some(snapshot), manifest, replicas: reports })
}

/// What a backup is asked for.
struct Work<'a> {
    source: &'a Source,
    options: &'a BackupOptions,
    observer: &'a Arc<dyn Observer>,
    interrupt: &'a Interrupt,
}

impl Work<'_> {
    /// Attempts until one succeeds; gives the snapshot's id in the first repository that has it. Repositories that failed
    /// are left out of the next attempt, and of `ready`.
    async fn run(
        &self,
        ready: &mut Vec<Ready>,
        reports: &mut [ReplicaReport],
    ) -> Result<(String, Manifest), EngineError> {
        let mut moved = 0;
        let mut differing = Vec::new();
        loop {
            let targets: Vec<_> = ready.iter().map(|one| (&one.repository, &one.lock)).collect();
            let writer = Writer::to(&targets, self.options.writer.clone());
            match self.attempt(&writer, &ready[0].repository, &differing).await {
                Ok((manifest, ends)) => {
                    self.ended(ready, &ends, reports).await;
                    let snapshot = reports.iter().find_map(|report| report.snapshot.clone());
                    return Ok((snapshot.unwrap_or_default(), manifest));
                }
                Err(Stopped::Moved(what)) if moved + 1 < ATTEMPTS => {
                    moved += 1;
                    self.observer.event(Event::Warning {
                        code: "table-changed".into(),
                        message: format!("{what}; starting again with a new snapshot"),
                        hint: None,
                    });
                }
                Err(Stopped::Differing(ranges)) => {
                    differing = ranges;
                    self.observer.event(Event::Warning {
                        code: "change-detection".into(),
                        message: format!(
                            "changed without a trace: {}; reading everything",
                            differing.join(", ")
                        ),
                        hint: Some(HISTORY_HINT.into()),
                    });
                }
                Err(stopped) => {
                    let error = stopped.into_error(ATTEMPTS);
                    let failures = writer.failures();
                    // One failed, and those that are left lack something that only it had.
                    let go_on = failures.iter().any(Option::is_some) && failures.iter().any(Option::is_none);
                    if !go_on || error.kind() == ErrorKind::Interrupted {
                        return Err(error);
                    }
                    self.leave_out(ready, failures, reports).await;
                }
            }
        }
    }

    /// Reads and writes everything. After an error there is no snapshot anywhere, and what was uploaded is indexed.
    async fn attempt(
        &self,
        writer: &Writer,
        first: &Repository,
        differing: &[String],
    ) -> Result<(Manifest, Vec<Ended>), Stopped> {
        let Self { source, options, observer, interrupt } = *self;
        let result = async {
            // In the heap: a future this large, moved about, would fill a thread's stack.
            let read = Box::pin(read_everything(first, writer, source, options, observer, differing));
            let ready = tokio::select! {
                biased;
                () = interrupt.requested() => {
                    Err(EngineError::new(ErrorKind::Interrupted, "interrupted").into())
                }
                ready = read => ready,
                error = writer.failed() => Err(EngineError::from(error).within("write to the repository").into()),
            };
            Ok(Box::pin(ready?.finish(writer.clone(), source, options, observer, interrupt)).await?)
        };
        let result = result.await;
        if result.is_err() {
            writer.clone().abort().await;
        }
        result
    }

    /// Notes how it ended in each repository, and lets them catch up.
    async fn ended(&self, ready: &[Ready], ends: &[Ended], reports: &mut [ReplicaReport]) {
        for (one, end) in ready.iter().zip(ends) {
            reports[one.number].end(end, self.observer);
        }
        if ready.len() > 1 {
            replicas::catch_up(ready, ends, reports, self.observer, self.interrupt).await;
        }
        let behind = reports.iter().filter(|report| report.state == ReplicaState::Behind);
        behind.for_each(|report| replicas::tell(report, self.observer));
    }

    /// Goes on without those that failed.
    async fn leave_out(
        &self,
        ready: &mut Vec<Ready>,
        failures: Vec<Option<RepositoryError>>,
        reports: &mut [ReplicaReport],
    ) {
        let mut rest = Vec::new();
        for (one, failure) in std::mem::take(ready).into_iter().zip(failures) {
            match failure {
                None => rest.push(one),
                Some(error) => {
                    reports[one.number].fail(&error.into(), self.observer);
                    replicas::release(vec![one], self.observer).await;
                }
            }
        }
        *ready = rest;
        self.observer.event(Event::Warning {
            code: "started-again".into(),
            message: "the repositories that are left lack a part of it; reading the database again".into(),
            hint: None,
        });
    }
}

async fn read_everything(
    repository: &Repository,
    writer: &Writer,
    source: &Source,
    options: &BackupOptions,
    observer: &Arc<dyn Observer>,
    differing: &[String],
) -> Result<finish::Ready, Stopped> {
    let started = Instant::now();
    let (mut plan, mut leader, opening) = Box::pin(plan::plan(source, options, observer)).await?;
    let watch = Watch::open(opening, &plan, &mut leader, started, observer).await?;
    Box::pin(watch.lock_tables(&mut plan, &mut leader)).await?;
    plan.parent = Parent::find(repository, &source.name).await?;
    plan.find_takeover(&mut leader, repository, source.changes, observer, differing.to_vec()).await?;

    // pg_dump works beside the readers: its archive is needed only when the data entries are added at the end.
    let definitions = Box::pin(async {
        let archive = definitions::dump(&plan, observer).await?;
        watch.compare(&plan, Moment::Described).await?;
        Ok(archive)
    });
    let throttle = Throttle::new(&plan.pace);
    let rows = Box::pin(rows::read(&plan, &mut leader, writer, &throttle, observer));
    let (archive, rows) = watch.during(&throttle, async { tokio::try_join!(definitions, rows) }).await?;
    watch.compare(&plan, Moment::Read).await?;
    if !rows.differing.is_empty() {
        if plan.reading != Reading::Paranoid {
            return Err(Stopped::Differing(rows.differing));
        }
        observer.event(Event::Warning {
            code: "change-detection".into(),
            message: format!("changed without a trace: {}", rows.differing.join(", ")),
            hint: Some(HISTORY_HINT.into()),
        });
    }

    let large_objects = large_objects::read(&plan, &mut leader, writer, observer).await?;
    let sequences = session::sequence_values(&mut leader, &plan.catalog.sequences)
        .await
        .doing(|| "read the sequences' values")?;
    let parts = Box::pin(parts::capture(&plan, &mut leader, repository, writer, source, observer)).await?;
    let durable =
        session::is_durable(&mut leader, &plan.snapshot).await.doing(|| "look at the write-ahead log")?;
    leader.close().await;
    plan.warnings.extend(watch.take_warnings());
    Ok(finish::Ready { plan, archive, rows, sequences, large_objects, parts, durable, started })
}

/// What it means when change detection was wrong.
const HISTORY_HINT: &str = "the server's history was rewound, or its files were changed from outside; this backup is right, and \
earlier snapshots since the last full read may hold old rows there: drill them, or forget them";

/// Why an attempt ended without a result.
enum Stopped {
    /// Ranges were found unchanged and are not: everything must be read.
    Differing(Vec<String>),
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
    /// After so many attempts.
    fn into_error(self, attempts: usize) -> EngineError {
        match self {
            Self::Error(error) => error,
            Self::Differing(ranges) => {
                EngineError::failed(format!("changed without a trace: {}", ranges.join(", ")))
                    .hint(HISTORY_HINT)
            }
            Self::Moved(what) if attempts == 1 => EngineError::failed(what).hint("try again"),
            Self::Moved(what) => EngineError::failed(format!("{what}, {attempts} times in a row"))
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

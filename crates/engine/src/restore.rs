//! Putting a snapshot back into a database: a plan, and its execution in dependency order on many connections.

mod after;
mod changes;
mod conditions;
mod contents;
mod database;
mod definitions;
pub(crate) mod files;
mod globals;
mod group;
mod grouping;
mod large_objects;
mod late;
mod look;
mod merge;
mod names;
mod narrow;
mod outcome;
mod parallel;
mod plan;
mod project;
mod reconcile;
mod references;
mod rename;
mod roles;
mod rows;
mod run;
mod safety;
mod schedule;
mod session;
mod steps;
mod target;
mod validate;
mod work;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use basekeep_postgres::{ConnectOptions, Environment};
use basekeep_repository::{Lock, LockMode, Repository, Snapshot};

pub(crate) use self::contents::{Contents, LARGEST_RANGES, LARGEST_TOC, blobs_toc, read_globals};
pub use self::look::{Found, look};
pub(crate) use self::names::{CopyStatement, Token, tokens};
pub(crate) use self::plan::Roles;
pub(crate) use self::rows::fits as ranges_fit;
use crate::selection::Selection;
use crate::{EngineError, Event, Interrupt, Observer, ResultExt, mask};

/// How our connections name themselves to the target.
const APPLICATION_NAME: &str = "basekeep restore";

/// The tag of the snapshot that is made of a target before something of it is cleared.
pub const SAFETY_TAG: &str = "before-restore";

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The target; its database must be empty, or be created with `create_database`.
    pub target: ConnectOptions,
    /// Create the target's database first (it must not exist).
    pub create_database: bool,
    /// Owners as they were.
    pub owner: bool,
    /// Grants as they were.
    pub privileges: bool,
    /// Create roles that the snapshot needs and the target lacks.
    pub roles: bool,
    /// Tablespaces as they were.
    pub tablespaces: bool,
    /// Connections; `None` chooses from the cores on this side and the target's free connections.
    pub jobs: Option<usize>,
    /// What personal values are replaced by.
    pub mask: Option<mask::Rules>,
    /// What the target may hold already.
    pub mode: Mode,
    /// Other names for what is restored.
    pub rename: Rename,
    /// Rows to restore, for tables of which not all are meant.
    pub conditions: Vec<RowCondition>,
    /// With [`Mode::Clear`]: do not back the target up first.
    pub no_safety_backup: bool,
    /// A folder for rows that do not fit the target, which are then left out; without it they are an error.
    pub rejects: Option<PathBuf>,
    /// What of the snapshot; with less than everything the target need not be empty, only free of what is selected.
    pub selection: Selection,
    /// Replace functions, views, triggers and policies of the user's that the target has otherwise.
    pub replace: bool,
    /// Let cron jobs run; otherwise they are made inactive.
    pub enable_cron: bool,
    /// Let webhooks call; otherwise their triggers are made disabled.
    pub enable_webhooks: bool,
    /// Where pg_dump is looked for; `None` is this process's environment.
    pub environment: Option<Environment>,
}

impl RestoreOptions {
    /// Everything as it was, into an empty database or a fresh Supabase project.
    pub fn new(target: ConnectOptions) -> Self {
        Self {
            target,
            create_database: false,
            owner: true,
            privileges: true,
            roles: true,
            tablespaces: true,
            jobs: None,
            mask: None,
            mode: Mode::Empty,
            rename: Rename::default(),
            conditions: Vec::new(),
            no_safety_backup: false,
            rejects: None,
            selection: Selection::default(),
            replace: false,
            enable_cron: false,
            enable_webhooks: false,
            environment: None,
        }
    }
}

/// Other names for what is restored. Names that a selection uses are the old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rename {
    /// Old and new name of schemas.
    pub schemas: Vec<(String, String)>,
    /// Old and new schema and name of tables.
    pub tables: Vec<((String, String), (String, String))>,
    /// Everything goes into this schema.
    pub into_schema: Option<String>,
}

impl Rename {
    /// Whether all names stay.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty() && self.into_schema.is_none()
    }

    /// Adds `old=new`, two names of schemas.
    ///
    /// Errors, as kind `Usage`: it cannot be read.
    pub fn schema(&mut self, text: &str) -> Result<(), EngineError> {
        let names = rename::pair(text).filter(|(old, new)| !old.is_empty() && !new.is_empty());
        let (old, new) = names.ok_or_else(|| {
            EngineError::usage(format!("'{text}' does not say two names"))
                .hint("write old=new, such as public=before")
        })?;
        self.schemas.push((rename::plain(old), rename::plain(new)));
        Ok(())
    }

    /// Adds `schema.old=schema.new`, two names of tables.
    ///
    /// Errors, as kind `Usage`: it cannot be read.
    pub fn table(&mut self, text: &str) -> Result<(), EngineError> {
        let names = rename::pair(text);
        let names = names.and_then(|(old, new)| Some((rename::qualified(old)?, rename::qualified(new)?)));
        self.tables.push(names.ok_or_else(|| {
            EngineError::usage(format!("'{text}' does not say two names of tables"))
                .hint("write schema.old=schema.new, such as public.orders=public.orders_before")
        })?);
        Ok(())
    }
}

/// Which rows of a table are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCondition {
    /// The table as `schema.table`, with `*` or double quotes as in a [`Selection`].
    pub table: String,
    /// A condition on the table's columns, in SQL. The target evaluates it on each row (`COPY … WHERE`), so it holds no
    /// subquery and no generated column; functions and types outside of `pg_catalog` are qualified.
    pub condition: String,
}

impl FromStr for RowCondition {
    type Err = EngineError;

    /// Reads `schema.table: condition`.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        let cut = conditions::first_colon(text).map(|at| (text[..at].trim(), text[at + 1..].trim()));
        match cut.filter(|(table, condition)| !table.is_empty() && !condition.is_empty()) {
            Some((table, condition)) => Ok(Self { table: table.to_owned(), condition: condition.to_owned() }),
            None => Err(EngineError::usage(format!("'{text}' does not say a table and a condition"))
                .hint("write 'schema.table: condition', such as 'public.orders: customer_id = 7'")),
        }
    }
}

/// What the target may hold already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing, or what a fresh Supabase project has.
    #[default]
    Empty,
    /// A part of the same snapshot, from a restore that ended early: what is there is skipped.
    Resume,
    /// Definitions and rows of its own: rows are put in beside them.
    Merge(OnConflict),
    /// Definitions and rows of its own: those that were selected go, and the snapshot's take their place.
    Clear,
}

/// What happens to a row whose key the target has with other values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The target's row stays.
    #[default]
    Keep,
    /// The snapshot's row takes its place.
    Replace,
    /// The table's rows are not restored.
    Fail,
}

/// What a restore will do, before it does it. Printable by the caller.
#[derive(Debug)]
pub struct RestorePlan {
    /// Lines for people: what will be created, in order, with counts.
    pub summary: Vec<String>,
    /// Objects by kind (`table` → 12).
    pub objects: Vec<(String, u64)>,
    /// Tables with rows and bytes to load.
    pub tables: Vec<(String, u64, u64)>,
    /// Roles to create.
    pub roles: Vec<String>,
    /// What is masked, and what perhaps should be; `None` without masks.
    pub masks: Option<mask::MaskPlan>,
    /// What happens to each object and each table's rows, in the order of the archive.
    pub changes: Vec<Change>,
    /// Objects that the target has already, as the snapshot has them.
    pub equal: u64,
    /// Objects that the target has otherwise; they are left alone.
    pub differs: Vec<(String, String)>,
    /// Pieces of the platform that the target does not have; they are not made.
    pub platform: Vec<(String, String)>,
    /// Things that cannot be restored on this target, known beforehand.
    pub warnings: Vec<String>,
    /// What is not in the snapshot any more since the repository was damaged and repaired, each with the reason. Not empty
    /// means exit code 3.
    pub lost: Vec<(String, String)>,
    /// Everything the execution needs.
    pub(crate) work: work::Work,
}

/// What a restore will do about one object or one table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As a person would name it: `table public.orders`, `rows of public.orders`.
    pub object: String,
    /// What will be done.
    pub action: ChangeKind,
    /// Rows of the snapshot, where it is about rows.
    pub rows: Option<u64>,
    /// Which of these rows, if not all.
    pub condition: Option<String>,
    /// Whether it was not selected itself, and is needed by what was.
    pub pulled_in: bool,
}

/// What will be done about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The target has none.
    Create,
    /// The target has another one, which goes.
    Replace,
    /// Rows go into a table that is new or empty.
    Load,
    /// The table's rows go, and those of the snapshot take their place.
    ReplaceRows,
    /// Rows go in beside those that are there.
    Merge,
    /// A role, or a setting of a role or of the database, that the target has not or otherwise.
    Set,
    /// The target has it already, or it is left alone.
    Skip,
}

impl ChangeKind {
    /// A stable word, for documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Load => "load",
            Self::ReplaceRows => "replace-rows",
            Self::Merge => "merge",
            Self::Set => "set",
            Self::Skip => "skip",
        }
    }
}

/// One object that did not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedObject {
    /// As a person would name it: `foreign key orders_customer_fkey of public.orders`.
    pub object: String,
    /// The server's message, or which failed object it needs.
    pub reason: String,
    /// Whether it was not even tried, since something that it needs had failed.
    pub skipped: bool,
}

/// What became of the rows of a table that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedTable {
    /// As a person would name it: `rows of public.orders`.
    pub object: String,
    /// Put in.
    pub inserted: u64,
    /// There with other values, which the snapshot's took the place of.
    pub updated: u64,
    /// There with the same values.
    pub unchanged: u64,
    /// There with other values, which stayed.
    pub conflicting: u64,
    /// Left out, since they did not fit, and written to a file.
    pub rejected: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Objects created.
    pub objects: u64,
    /// Tables loaded.
    pub tables: u64,
    /// Rows loaded; when merging, those that were put in or replaced.
    pub rows: u64,
    /// Rows that the target had already, when merging.
    pub unchanged: u64,
    /// Rows whose key the target had with other values, when merging: those that stayed and those that were replaced.
    pub conflicting: u64,
    /// Rows that did not fit and were written to files. Not 0 means exit code 3.
    pub rejected: u64,
    /// What became of the rows of each table that was there before.
    pub merged: Vec<MergedTable>,
    /// The snapshot that was made of the target first.
    pub safety_snapshot: Option<String>,
    /// Bytes of COPY text loaded.
    pub bytes: u64,
    /// Large objects loaded.
    pub large_objects: u64,
    /// Storage files that were sent.
    pub files: u64,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Storage files that were there already.
    pub files_present: u64,
    /// Edge functions that were deployed, by their slugs.
    pub functions: Vec<String>,
    /// Objects that failed or were skipped. Not empty means exit code 3.
    pub failed: Vec<FailedObject>,
    /// Pieces of the Supabase platform that a database which is no project cannot have. Nothing of the user's is among them.
    pub left_out: Vec<FailedObject>,
    /// Warnings (a tablespace that is missing on the target, say).
    pub warnings: Vec<String>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Looks at the snapshot and the target and says what will be done. Changes nothing.
///
/// Refuses, as kind `Usage`, a target that is not empty or older than the source.
pub async fn plan(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan, EngineError> {
    let lock = lock(repository).await?;
    let plan = plan::make(repository, snapshot, options, Roles::Needed).await;
    // An unreleased lock becomes stale by itself; the plan is worth more.
    let _ = lock.release().await;
    plan
}

/// Does it. What could not be restored is in the report; an error means that the restore ended early.
pub async fn execute(
    repository: &Repository,
    plan: RestorePlan,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<RestoreReport, EngineError> {
    let mut work = plan.work;
    let safety = match work.safety.take() {
        Some(safety) => Some(safety.back_up(repository, &observer, interrupt).await?),
        None => None,
    };
    let lock = lock(repository).await?;
    let result = run::run(repository, work, observer.clone(), interrupt).await;
    let result = result.map(|report| RestoreReport { safety_snapshot: safety.clone(), ..report });
    let result = result.map_err(|error| match &safety {
        Some(id) => error.hint(format!("what the target was before is snapshot {id}")),
        None => error,
    });
    release(lock, &observer).await;
    result
}

/// Makes a plan; the caller holds the lock.
pub(crate) async fn plan_locked(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    roles: Roles,
) -> Result<RestorePlan, EngineError> {
    plan::make(repository, snapshot, options, roles).await
}

/// Executes a plan; the caller holds the lock.
pub(crate) async fn execute_locked(
    repository: &Repository,
    plan: RestorePlan,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<RestoreReport, EngineError> {
    run::run(repository, plan.work, observer, interrupt).await
}

/// A shared lock, so that nothing is pruned while it is read, and the index.
pub(crate) async fn lock(repository: &Repository) -> Result<Lock, EngineError> {
    let lock = repository.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    if let Err(error) = repository.load_index().await.doing(|| "read the repository's index") {
        let _ = lock.release().await;
        return Err(error);
    }
    Ok(lock)
}

/// Gives a lock back. One that stays is told: it is in the way of `prune`.
pub(crate) async fn release(lock: Lock, observer: &Arc<dyn Observer>) {
    if let Err(error) = lock.release().await {
        observer.event(Event::Warning {
            code: "lock-not-removed".into(),
            message: format!("the repository's lock could not be removed: {error}"),
            hint: Some(
                "it becomes stale after 30 minutes; `basekeep unlock --remove-all` removes it sooner".into(),
            ),
        });
    }
}

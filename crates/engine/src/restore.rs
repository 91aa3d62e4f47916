//! Putting a snapshot back into a database: a plan, and its execution in dependency order on many connections.

use std::sync::Arc;
use std::time::Duration;

use basekeep_postgres::ConnectOptions;
use basekeep_repository::{Repository, Snapshot};

use crate::{EngineError, Interrupt, Observer};

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
    /// Things that cannot be restored on this target, known beforehand.
    pub warnings: Vec<String>,
    /// Everything the execution needs.
    pub(crate) work: work::Work,
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

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Objects created.
    pub objects: u64,
    /// Tables loaded.
    pub tables: u64,
    /// Rows loaded.
    pub rows: u64,
    /// Bytes of COPY text loaded.
    pub bytes: u64,
    /// Large objects loaded.
    pub large_objects: u64,
    /// Objects that failed or were skipped. Not empty means exit code 3.
    pub failed: Vec<FailedObject>,
    /// Warnings (a tablespace that is missing on the target, say).
    pub warnings: Vec<String>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Looks at the snapshot and the target and says what will be done. Refuses a target that is not empty (kind `Usage`).
pub async fn plan(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan, EngineError> {
    let _ = (repository, snapshot, options);
    todo!()
}

/// Does it.
pub async fn execute(
    repository: &Repository,
    plan: RestorePlan,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<RestoreReport, EngineError> {
    let _ = (repository, plan, observer, interrupt);
    todo!()
}

mod work {
    #[derive(Debug)]
    pub(crate) struct Work;
}

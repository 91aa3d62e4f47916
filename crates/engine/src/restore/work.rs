//! What a restore does, step by step, free of archive and manifest: made by the plan, read by the execution.

use basekeep_postgres::ConnectOptions;
use basekeep_repository::BlobId;

use super::FailedObject;
use super::after::After;
use super::database::DatabaseOptions;
use super::group::Group;
use super::late::Late;
use super::reconcile::Load;
use super::rows::Unit;
use super::safety::Safety;
use super::schedule::Need;

/// Everything the execution needs.
pub(crate) struct Work {
    pub(super) target: ConnectOptions,
    /// What is backed up before anything else.
    pub(super) safety: Option<Safety>,
    /// The database to create first.
    pub(super) create: Option<DatabaseOptions>,
    /// pg_restore's session setup for the archive.
    pub(super) setup: String,
    /// Roles first, each with the statements that make it.
    pub(super) roles: Vec<Step>,
    /// The archive's steps in its own order; dependencies are indices into this list and point backwards.
    pub(super) steps: Vec<Step>,
    /// The database's own settings and grants, at the very end.
    pub(super) database: Vec<Step>,
    /// Roles that a restoring role which is no superuser makes itself a member of, to give objects away to them.
    pub(super) borrowed: Vec<String>,
    /// Connections.
    pub(super) jobs: usize,
    /// Known beforehand, repeated in the report.
    pub(super) warnings: Vec<String>,
    /// What is known beforehand not to come back.
    pub(super) lost: Vec<FailedObject>,
    /// What is looked at once everything is there.
    pub(super) after: Option<After>,
    /// What functions of the platform make, at the very end.
    pub(super) late: Option<Late>,
}

impl Work {
    /// How many connections it uses.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Statements may hold password verifiers.
        f.debug_struct("Work")
            .field("target", &self.target)
            .field("steps", &self.steps.len())
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

/// One thing to restore.
#[derive(Default)]
pub(super) struct Step {
    /// As a person would name it.
    pub(super) name: String,
    /// The archive's number of it; 0 for what is not in the archive.
    pub(super) dump_id: i32,
    pub(super) stage: Stage,
    pub(super) action: Action,
    /// A piece of a platform that the target is none of: without it nothing of the user's is lost.
    pub(super) dispensable: bool,
    /// Earlier steps, by index.
    pub(super) after: Vec<(usize, Need)>,
    /// Dump ids of relations that it locks against everybody, and of those that it uses.
    pub(super) exclusive: Vec<i32>,
    pub(super) shared: Vec<i32>,
    /// How much work it is, in bytes.
    pub(super) weight: u64,
    /// Whether it sets the position of a sequence.
    pub(super) sets_position: bool,
}

/// When a step's turn comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Definitions that rows need, one after the other.
    #[default]
    Before,
    /// Sequences' values, empty large objects: one after the other.
    Values,
    /// Rows, indexes, constraints, triggers: side by side.
    Parallel,
    /// Grants, one after the other.
    Privileges,
    /// Materialized views' rows and event triggers, one after the other.
    Last,
}

/// What a step does.
pub(super) enum Action {
    /// Runs statements.
    Sql(Vec<Statement>),
    /// Loads a table.
    Table(Table),
    /// Writes large objects that exist already.
    LargeObjects(LargeObjects),
    /// Does several steps in one transaction.
    Group(Group),
    /// Cannot be done, for this reason.
    Impossible(String),
}

impl Default for Action {
    fn default() -> Self {
        Self::Sql(Vec::new())
    }
}

/// One statement, or several that belong together.
pub(super) struct Statement {
    pub(super) sql: String,
    /// `None` for the object itself; else what of it this sets ("owner"), which may fail on its own.
    pub(super) part: Option<&'static str>,
}

/// A table's rows.
pub(super) struct Table {
    /// `COPY … FROM stdin`.
    pub(super) copy_sql: String,
    /// The relation that the rows go to, quoted.
    pub(super) relation: String,
    /// The relation that the rows came from, quoted: a partition, where they go through its root.
    pub(super) stored: String,
    /// Which rows are meant; all of them without it.
    pub(super) condition: Option<String>,
    /// Whether it can be emptied when only a part of its rows came: not when others load into it, too.
    pub(super) own: bool,
    /// Whether this restore makes it, so that a transaction may empty it first and freeze its rows.
    pub(super) fresh: bool,
    /// How the rows go in when the table was there before.
    pub(super) load: Option<Load>,
    pub(super) columns: Vec<String>,
    pub(super) blobs: Vec<BlobId>,
    pub(super) units: Vec<Unit>,
}

impl Table {
    /// Bytes of COPY text.
    pub(super) fn bytes(&self) -> u64 {
        self.units.iter().map(|unit| unit.expected.bytes).sum()
    }
}

/// Large objects that are written together.
pub(super) struct LargeObjects {
    pub(super) objects: Vec<LargeObject>,
    /// Digest over all of them, where it is known.
    pub(super) expected: Option<String>,
}

/// A large object's content.
pub(super) struct LargeObject {
    pub(super) oid: u32,
    pub(super) blobs: Vec<BlobId>,
}

//! The seam between the dashboard and everything else: what pages and the API show, and what they can start. The types are
//! plain and serializable; the API answers with them as they are.

mod comparison;
mod restore;

use std::collections::BTreeMap;
use std::pin::Pin;

use async_trait::async_trait;
use basekeep_engine::EngineError;
use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::comparison::{
    ComparedSide, Comparison, DiffRequest, FieldChange, ItemChange, ObjectChange, RowChange, RowCounts,
    TableChange,
};
pub use self::restore::{PlannedChange, RestoreMode, RestorePlan, RestoreRequest, Target};

/// Why the panel did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PanelError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done now, or not like that.
    #[error("{0}")]
    Refused(String),
    /// The work failed.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

/// What the panel answers.
pub type Answer<T> = Result<T, PanelError>;

/// A stream of events of a run.
pub type Updates = Pin<Box<dyn Stream<Item = RunUpdate> + Send>>;

/// Everything that the dashboard shows and does. Reading never changes anything; what starts work returns at once.
#[async_trait]
pub trait Panel: Send + Sync + 'static {
    /// The sources of the configuration and those that only the repository knows, by name.
    async fn sources(&self) -> Answer<Vec<Source>>;

    /// Runs, the newest first.
    async fn runs(&self, filter: &RunFilter) -> Answer<Vec<Run>>;

    /// A run with what it has told so far.
    async fn run(&self, id: &str) -> Answer<RunDetail>;

    /// What a run tells from now on; ends with the run. The first update is its present state.
    async fn follow(&self, id: &str) -> Answer<Updates>;

    /// How a source has grown.
    async fn growth(&self, source: &str) -> Answer<Growth>;

    /// Snapshots, the newest first.
    async fn snapshots(&self, source: Option<&str>) -> Answer<Snapshots>;

    /// What is in a snapshot: an id, its beginning, or `latest`.
    async fn snapshot(&self, id: &str) -> Answer<SnapshotDetail>;

    /// The objects of one kind in a snapshot, by name.
    async fn objects(&self, id: &str, kind: &str) -> Answer<Vec<String>>;

    /// What differs between two snapshots. Secret values are hidden.
    async fn diff(&self, request: &DiffRequest) -> Answer<Comparison>;

    /// A snapshot in another form, as a stream.
    async fn export(&self, request: &ExportRequest) -> Answer<Download>;

    /// Starts a backup or a drill and tells the run's id.
    async fn start(&self, job: &JobRequest, who: &str) -> Answer<String>;

    /// Asks a running piece of work to stop.
    async fn stop(&self, run: &str) -> Answer<()>;

    /// Where a restore can go.
    async fn targets(&self) -> Answer<Vec<Target>>;

    /// What a restore would do. Changes nothing.
    async fn plan_restore(&self, request: &RestoreRequest) -> Answer<RestorePlan>;

    /// Starts a restore and tells the run's id. Refused unless `typed` is the target's name, and unless the plan is still the
    /// one with this `digest`.
    async fn start_restore(
        &self,
        request: &RestoreRequest,
        digest: &str,
        typed: &str,
        who: &str,
    ) -> Answer<String>;

    /// Whether work can be done: the configuration is read and the repository opens.
    async fn ready(&self) -> Answer<()>;
}

/// A database that is backed up.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is, without any password; `null` where only the repository knows it.
    pub place: Option<String>,
    /// Whether it can be backed up from here.
    pub configured: bool,
    /// Its profile.
    pub profile: Option<String>,
    /// Snapshots in the repository.
    pub snapshots: u64,
    /// The newest snapshot.
    pub last: Option<SnapshotLine>,
    /// The newest drill of any of its snapshots.
    pub proof: Option<Proof>,
    /// The next run of each job that has a schedule.
    pub next: Vec<NextRun>,
    /// The run that is going on.
    pub running: Option<String>,
    /// How it stands.
    pub state: State,
    /// Why it is not `good`, in a few words.
    pub reason: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All well.
    Good,
    /// To be looked at.
    Warning,
    /// Something failed or is overdue.
    Bad,
    /// Nothing is known.
    Unknown,
}

/// What a drill found.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// The snapshot.
    pub snapshot: Option<String>,
    /// When the drill ended.
    pub time: Timestamp,
    /// Whether everything was equal.
    pub equal: bool,
}

/// When a job is due.
#[derive(Debug, Clone, Serialize)]
pub struct NextRun {
    /// `backup`, `drill` and so on.
    pub job: String,
    /// When.
    pub time: Timestamp,
}

/// Which runs.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RunFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this kind of job.
    pub job: Option<String>,
    /// At most this many; 100 without.
    pub limit: Option<usize>,
}

/// How a run ended, or that it did not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is going on.
    Running,
    /// Done.
    Done,
    /// Done, but something was left out.
    Incomplete,
    /// A comparison found a difference.
    Different,
    /// Failed.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

/// One piece of work.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// `backup`, `drill`, `restore`, `forget`, `prune`, `check` and so on.
    pub job: String,
    /// What it is about.
    pub source: String,
    /// Who started it; `null` for the schedule.
    pub started_by: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How.
    pub outcome: Outcome,
    /// What came out, or what went wrong, in a line.
    pub summary: Option<String>,
    /// The snapshot that it made or was about.
    pub snapshot: Option<String>,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes of these.
    pub bytes: Option<u64>,
    /// Bytes that it added to the repository.
    pub added_bytes: Option<u64>,
}

/// A run and what it told.
#[derive(Debug, Clone, Serialize)]
pub struct RunDetail {
    /// The run.
    pub run: Run,
    /// Steps, warnings and failures, oldest first; empty where they are not kept any more.
    pub events: Vec<RunEvent>,
    /// Counters of the step that is running.
    pub progress: Option<Counters>,
    /// The step that is running.
    pub step: Option<String>,
}

/// Something that a run told.
#[derive(Debug, Clone, Serialize)]
pub struct RunEvent {
    /// When.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: EventKind,
    /// In words.
    pub text: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A step ended.
    Step,
    /// Something to know.
    Warning,
    /// Something failed.
    Error,
    /// How it ended.
    End,
}

/// Counters of a step.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counters {
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in all, an estimate; 0 when unknown.
    pub bytes_expected: u64,
    /// Rows so far.
    pub rows: u64,
    /// Things so far.
    pub items: u64,
    /// Things in all.
    pub items_expected: u64,
}

/// A change of a run that is going on.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RunUpdate {
    /// A step began.
    Step {
        /// Its name.
        name: String,
    },
    /// Counters of the step.
    Progress(Counters),
    /// Something was told.
    Event(RunEvent),
    /// It ended; nothing follows.
    Ended {
        /// How.
        outcome: Outcome,
        /// In a line.
        summary: Option<String>,
    },
}

/// How a source has grown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Growth {
    /// One for each snapshot, oldest first.
    pub points: Vec<GrowthPoint>,
    /// Tables, those with most change first.
    pub tables: Vec<TableGrowth>,
    /// What is compared for the tables: the times of the two snapshots.
    pub between: Option<(Timestamp, Timestamp)>,
}

/// A source at one time.
#[derive(Debug, Clone, Serialize)]
pub struct GrowthPoint {
    /// When.
    pub time: Timestamp,
    /// The snapshot.
    pub snapshot: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of these as text.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub added_bytes: u64,
}

/// How a table has grown.
#[derive(Debug, Clone, Serialize)]
pub struct TableGrowth {
    /// `schema.name`.
    pub table: String,
    /// Rows before; `null` where the table was not there.
    pub rows_before: Option<u64>,
    /// Rows now; `null` where it is gone.
    pub rows: Option<u64>,
    /// Bytes before.
    pub bytes_before: Option<u64>,
    /// Bytes now.
    pub bytes: Option<u64>,
}

/// Snapshots, and what could not be read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshots {
    /// The newest first.
    pub snapshots: Vec<SnapshotLine>,
    /// Files that cannot be read, each with the reason.
    pub unreadable: Vec<Named>,
}

/// A snapshot in a line.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotLine {
    /// Its id in full.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Whose.
    pub source: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Tables.
    pub tables: Option<u64>,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes of these as text.
    pub bytes: Option<u64>,
    /// Bytes that it added to the repository.
    pub added_bytes: Option<u64>,
    /// Newest drill: `null` never drilled.
    pub proven: Option<bool>,
    /// How many things could not be captured.
    pub not_captured: u64,
    /// Why its manifest cannot be read.
    pub damaged: Option<String>,
}

/// What is in a snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotDetail {
    /// The line of the list.
    pub snapshot: SnapshotLine,
    /// The database server's version.
    pub server: String,
    /// The database's name.
    pub database: String,
    /// The program that made it.
    pub basekeep: String,
    /// Seconds that the backup took.
    pub seconds: f64,
    /// Objects by kind.
    pub inventory: BTreeMap<String, u64>,
    /// Tables with their rows.
    pub tables: Vec<TableLine>,
    /// Extensions.
    pub extensions: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Large objects.
    pub large_objects: u64,
    /// Sequences.
    pub sequences: u64,
    /// What could not be captured.
    pub not_captured: Vec<Notice>,
    /// What to know.
    pub warnings: Vec<Notice>,
    /// The snapshot of the same source that was taken before.
    pub previous: Option<String>,
}

/// A table of a snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct TableLine {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of these as text.
    pub bytes: u64,
    /// Digest of the rows.
    pub digest: String,
}

/// Something to know.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    /// What it is about.
    pub what: String,
    /// Why, or what was found.
    pub reason: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A name and a text.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A form of an export that is one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A script for psql.
    Sql,
    /// Definitions as text.
    Schema,
    /// An archive for pg_restore.
    Dump,
    /// Rows of one table as CSV.
    Csv,
    /// Rows of one table as lines of JSON.
    Jsonl,
    /// Rows of one table as a JSON array.
    Json,
}

impl ExportFormat {
    /// All of them, with what they are.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Sql, "sql", "SQL script for psql"),
        (Self::Schema, "schema", "definitions as text"),
        (Self::Dump, "dump", "archive for pg_restore"),
        (Self::Csv, "csv", "CSV, one table"),
        (Self::Jsonl, "jsonl", "lines of JSON, one table"),
        (Self::Json, "json", "JSON array, one table"),
    ];

    /// Whether it holds the rows of one table alone.
    pub fn is_for_one_table(self) -> bool {
        matches!(self, Self::Csv | Self::Jsonl | Self::Json)
    }
}

/// What to export.
#[derive(Debug, Clone, Deserialize)]
pub struct ExportRequest {
    /// The snapshot.
    pub snapshot: String,
    /// The form.
    pub format: ExportFormat,
    /// Only this table, `schema.name`.
    #[serde(default)]
    pub table: Option<String>,
    /// Compress as `.gz`.
    #[serde(default)]
    pub gzip: bool,
}

/// A file on its way.
pub struct Download {
    /// Its name.
    pub file_name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content. An error in the middle breaks the transfer off, so that nobody takes a part for the whole.
    pub body: Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>,
}

/// A job to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRequest {
    /// What to do.
    pub job: JobKind,
    /// For which source.
    pub source: String,
    /// For a drill: the snapshot; the newest one without.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// Jobs that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// A snapshot of a source.
    Backup,
    /// The proof that a snapshot restores.
    Drill,
}

impl JobKind {
    /// `backup` or `drill`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Drill => "drill",
        }
    }
}

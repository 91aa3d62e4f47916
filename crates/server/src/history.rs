//! The history of runs, in SQLite. It can be deleted without losing anything but history: what decides about work is read
//! back from the repository.
//!
//! One process writes (the daemon), any number read beside it (`basekeep status`, the dashboard). Calls are short and block;
//! they hold one row or one page of rows, never the whole history.

mod database;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use basekeep_engine::EngineError;
use basekeep_engine::postgres::Environment;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::jobs::{Job, JobKind, Outcome, Trigger};

/// The file's name in the state folder.
pub const FILE_NAME: &str = "history.sqlite";

/// How long runs are remembered unless somebody says otherwise.
pub const KEEP: SignedDuration = SignedDuration::from_hours(366 * 24);

/// The folder of state: `given` (`--state`), else `$XDG_STATE_HOME/basekeep`, else `~/.local/state/basekeep`. systemd's
/// `$STATE_DIRECTORY` wins over the last two. `None` without any of them.
pub fn state_folder(given: Option<&Path>, env: &Environment) -> Option<PathBuf> {
    if let Some(given) = given {
        return Some(given.to_owned());
    }
    let absolute = |name| env.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(folder) = absolute("STATE_DIRECTORY") {
        return Some(folder);
    }
    let base = absolute("XDG_STATE_HOME").or_else(|| env.home.as_ref().map(|home| home.join(".local/state")));
    base.map(|base| base.join("basekeep"))
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Unique within the history, growing.
    pub id: i64,
    /// What was done.
    pub job: JobKind,
    /// The source that it was about; `None` for jobs about the repository.
    pub source: Option<String>,
    /// Why it was started.
    pub trigger: Trigger,
    /// The time of the schedule that it is for, if it is for one.
    pub due: Option<Timestamp>,
    /// Which attempt at this it is, from 1.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended: Option<Timestamp>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// The exit code that the same command would have had.
    pub exit_code: Option<u8>,
    /// The snapshot that it made, or was about (full id).
    pub snapshot: Option<String>,
    /// Rows that it handled.
    pub rows: Option<u64>,
    /// Plain bytes that it handled.
    pub bytes: Option<u64>,
    /// Bytes that it added to the repository; negative is what it freed.
    pub added_bytes: Option<i64>,
    /// What came out, in one line.
    pub summary: Option<String>,
    /// What went wrong: the error with its causes and hints, a line each; or what is missing.
    pub error: Option<String>,
    /// What to know that did not stop it, a line each.
    pub warnings: Vec<String>,
}

impl Run {
    /// How long it took; `None` while it runs.
    pub fn duration(&self) -> Option<SignedDuration> {
        Some(self.ended?.duration_since(self.started))
    }
}

/// A run that begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// What is done.
    pub job: Job,
    /// Why.
    pub trigger: Trigger,
    /// The time of the schedule that it is for.
    pub due: Option<Timestamp>,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it begins.
    pub started: Timestamp,
}

/// How a run ended, and what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code that the same command would have had.
    pub exit_code: u8,
    /// The snapshot that it made, or was about (full id).
    pub snapshot: Option<String>,
    /// Rows.
    pub rows: Option<u64>,
    /// Plain bytes.
    pub bytes: Option<u64>,
    /// Bytes added to the repository; negative: freed.
    pub added_bytes: Option<i64>,
    /// What came out, in one line.
    pub summary: Option<String>,
    /// What went wrong, a line each. No secret and no row's value.
    pub error: Option<String>,
    /// Warnings, a line each.
    pub warnings: Vec<String>,
}

impl RunResult {
    /// A result that is known by its exit code alone.
    pub fn of_exit_code(code: u8) -> Self {
        Self {
            outcome: Outcome::of_exit_code(code),
            exit_code: code,
            snapshot: None,
            rows: None,
            bytes: None,
            added_bytes: None,
            summary: None,
            error: None,
            warnings: Vec::new(),
        }
    }
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this kind.
    pub job: Option<JobKind>,
    /// Only those that began at this time or later.
    pub since: Option<Timestamp>,
    /// Only those whose id is lower: the next page.
    pub before: Option<i64>,
    /// Only those that ended so.
    pub outcome: Option<Outcome>,
    /// At most so many; 0 means 100.
    pub limit: usize,
}

/// Runs of one kind about one source, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Total {
    /// The kind.
    pub job: JobKind,
    /// The source.
    pub source: Option<String>,
    /// How they ended.
    pub outcome: Outcome,
    /// How many did.
    pub runs: u64,
}

/// The history.
#[derive(Debug)]
pub struct History {
    connection: Mutex<Connection>,
    file: PathBuf,
}

impl History {
    /// Opens the history in `folder`, makes both where they are missing, and says of runs whose process is gone that they
    /// were interrupted. A file that cannot be read is set aside (`history.sqlite.damaged-…`) and begun anew; the second
    /// value names it.
    pub fn open(folder: &Path) -> Result<(Self, Option<PathBuf>), EngineError> {
        database::make_folder(folder)?;
        let file = folder.join(FILE_NAME);
        let (connection, aside) = database::open_or_begin_anew(&file)?;
        let history = Self { connection: Mutex::new(connection), file };
        history.close_orphans(Timestamp::now())?;
        Ok((history, aside))
    }

    /// Opens the history in `folder` to read; `None` where there is none.
    ///
    /// Errors: it is damaged, or was written by a later version.
    pub fn read(folder: &Path) -> Result<Option<Self>, EngineError> {
        let file = folder.join(FILE_NAME);
        if !file.exists() {
            return Ok(None);
        }
        let connection = database::open_to_read(&file)?;
        Ok(Some(Self { connection: Mutex::new(connection), file }))
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Takes note that a run began. Gives its id.
    pub fn begin(&self, run: &NewRun) -> Result<i64, EngineError> {
        self.with(|connection| {
            connection.execute(
                "INSERT INTO run (job, source, trigger, due, attempt, started, pid) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    run.job.kind.name(),
                    run.job.source,
                    run.trigger.name(),
                    run.due.map(rows::micros),
                    run.attempt,
                    rows::micros(run.started),
                    std::process::id(),
                ],
            )?;
            Ok(connection.last_insert_rowid())
        })
    }

    /// Takes note of how a run ended.
    pub fn finish(&self, id: i64, ended: Timestamp, result: &RunResult) -> Result<(), EngineError> {
        let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        self.with(|connection| {
            connection.execute(
                "UPDATE run SET ended = ?2, outcome = ?3, exit_code = ?4, snapshot = ?5, rows = ?6, bytes = ?7, \
                 added_bytes = ?8, summary = ?9, error = ?10, warnings = ?11 WHERE id = ?1",
                params![
                    id,
                    rows::micros(ended),
                    result.outcome.name(),
                    result.exit_code,
                    result.snapshot,
                    number(result.rows),
                    number(result.bytes),
                    result.added_bytes,
                    result.summary,
                    result.error.as_deref().map(rows::bounded),
                    rows::lines(&result.warnings),
                ],
            )?;
            Ok(())
        })
    }

    /// The whole of a run that is over, as one call: for commands that report what they did by themselves.
    pub fn record(&self, run: &NewRun, ended: Timestamp, result: &RunResult) -> Result<i64, EngineError> {
        let id = self.begin(run)?;
        self.finish(id, ended, result)?;
        Ok(id)
    }

    /// One run.
    pub fn run(&self, id: i64) -> Result<Option<Run>, EngineError> {
        self.with(|connection| {
            let sql = format!("SELECT {} FROM run WHERE id = ?1", rows::COLUMNS);
            connection.query_row(&sql, [id], rows::run).optional()
        })
    }

    /// Runs, newest first.
    pub fn runs(&self, query: &Query) -> Result<Vec<Run>, EngineError> {
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let sql = format!(
            "SELECT {} FROM run WHERE (?1 IS NULL OR source = ?1) AND (?2 IS NULL OR job = ?2) \
             AND (?3 IS NULL OR started >= ?3) AND (?4 IS NULL OR id < ?4) AND (?5 IS NULL OR outcome = ?5) \
             ORDER BY id DESC LIMIT ?6",
            rows::COLUMNS
        );
        self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let found = statement.query_map(
                params![
                    query.source,
                    query.job.map(JobKind::name),
                    query.since.map(rows::micros),
                    query.before,
                    query.outcome.map(Outcome::name),
                    i64::try_from(limit).unwrap_or(i64::MAX),
                ],
                rows::run,
            )?;
            found.collect()
        })
    }

    /// The newest run of a job that ended, whatever came out.
    pub fn last(&self, job: &Job) -> Result<Option<Run>, EngineError> {
        self.newest(job, "ended IS NOT NULL")
    }

    /// The newest run of a job that did its work.
    pub fn last_good(&self, job: &Job) -> Result<Option<Run>, EngineError> {
        self.newest(job, "outcome IN ('done', 'incomplete')")
    }

    fn newest(&self, job: &Job, condition: &str) -> Result<Option<Run>, EngineError> {
        let sql = format!(
            "SELECT {} FROM run WHERE job = ?1 AND source IS ?2 AND {condition} ORDER BY id DESC LIMIT 1",
            rows::COLUMNS
        );
        self.with(|connection| {
            connection.query_row(&sql, params![job.kind.name(), job.source], rows::run).optional()
        })
    }

    /// Runs that have not ended, as far as the history knows: those of this machine's daemon.
    pub fn running(&self) -> Result<Vec<Run>, EngineError> {
        let sql = format!("SELECT {} FROM run WHERE ended IS NULL ORDER BY id", rows::COLUMNS);
        self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            statement.query_map([], rows::run)?.collect()
        })
    }

    /// How many runs of each kind ended how, over the whole history.
    pub fn totals(&self) -> Result<Vec<Total>, EngineError> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT job, source, outcome, count(*) FROM run WHERE outcome IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            )?;
            statement.query_map([], rows::total)?.collect()
        })
    }

    /// Forgets runs that began before `time`, and gives the space back. Gives how many.
    pub fn forget_before(&self, time: Timestamp) -> Result<usize, EngineError> {
        self.with(|connection| {
            let gone = connection
                .execute("DELETE FROM run WHERE started < ?1 AND ended IS NOT NULL", [rows::micros(time)])?;
            if gone > 0 {
                connection.execute_batch("PRAGMA incremental_vacuum")?;
            }
            Ok(gone)
        })
    }

    /// Runs without an end whose process is gone were interrupted.
    fn close_orphans(&self, now: Timestamp) -> Result<(), EngineError> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT id, pid FROM run WHERE ended IS NULL")?;
            let open: Vec<(i64, i32)> =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            for (id, pid) in open.into_iter().filter(|(_, pid)| !database::is_alive(*pid)) {
                connection.execute(
                    "UPDATE run SET ended = ?2, outcome = 'interrupted', exit_code = 130, \
                     error = 'the process ended while this ran' WHERE id = ?1",
                    params![id, rows::micros(now)],
                )?;
                tracing::debug!(id, pid, "a run of a process that is gone was interrupted");
            }
            Ok(())
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, EngineError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|error| database::failed(&self.file, error))
    }
}

/// An error for the history: its message with its causes, then its hints, a line each.
pub fn text_of(error: &EngineError) -> String {
    let mut text = error.message().to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let message = next.to_string();
        // Many messages say already what their cause says.
        if !text.contains(&message) {
            text += &format!(": {message}");
        }
        cause = next.source();
    }
    for hint in error.hints() {
        text += &format!("\nhint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests;

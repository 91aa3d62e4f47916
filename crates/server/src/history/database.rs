//! The file: opening, migrating, and setting a damaged one aside.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use basekeep_engine::EngineError;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// One step for each version of the file. A step is never changed once it was released; the next one is added below it.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job TEXT NOT NULL,
        source TEXT,
        trigger TEXT NOT NULL,
        due INTEGER,                -- times are microseconds since 1970, in UTC
        attempt INTEGER NOT NULL,
        started INTEGER NOT NULL,
        ended INTEGER,              -- these are NULL while it runs
        outcome TEXT,
        exit_code INTEGER,
        snapshot TEXT,
        rows INTEGER,
        bytes INTEGER,
        added_bytes INTEGER,
        summary TEXT,
        error TEXT,
        warnings TEXT,
        pid INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX run_job ON run (job, source, id);
    CREATE INDEX run_started ON run (started);
"];

/// Why a file cannot be used.
enum Unusable {
    /// Its content: it is set aside.
    Damaged(rusqlite::Error),
    /// Something else, which a new file would not cure.
    Other(EngineError),
}

/// Makes the folder, for this user alone.
pub(super) fn make_folder(folder: &Path) -> Result<(), EngineError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        EngineError::failed(format!("cannot make the state folder {}: {error}", folder.display()))
            .hint("name another one with --state DIR")
            .caused_by(error)
    })
}

pub(super) fn open_or_begin_anew(file: &Path) -> Result<(Connection, Option<PathBuf>), EngineError> {
    match open(file) {
        Ok(connection) => Ok((connection, None)),
        Err(Unusable::Other(error)) => Err(error),
        Err(Unusable::Damaged(error)) => {
            let aside = set_aside(file)?;
            tracing::warn!(%error, "the history is damaged; it was set aside as {}", aside.display());
            match open(file) {
                Ok(connection) => Ok((connection, Some(aside))),
                Err(Unusable::Other(error)) => Err(error),
                Err(Unusable::Damaged(error)) => Err(failed(file, error)),
            }
        }
    }
}

fn open(file: &Path) -> Result<Connection, Unusable> {
    // SQLite would make the file readable for everybody.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            let message = format!("cannot write the history {}: {error}", file.display());
            return Err(Unusable::Other(
                EngineError::failed(message).hint("name another folder with --state DIR"),
            ));
        }
    }
    let prepare = || {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        // Only a new file takes this on.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // A power failure may cost the last runs, never the file.
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 1048576")?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let version = version(&connection)?;
        Ok((connection, verdict, version))
    };
    let (mut connection, verdict, version) = prepare().map_err(|error| unusable(file, error))?;
    if verdict != "ok" {
        return Err(Unusable::Damaged(rusqlite::Error::InvalidQuery));
    }
    if version > MIGRATIONS.len() {
        return Err(Unusable::Other(later(file)));
    }
    migrate(&mut connection, version).map_err(|error| unusable(file, error))?;
    Ok(connection)
}

fn version(connection: &Connection) -> Result<usize, rusqlite::Error> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn migrate(connection: &mut Connection, version: usize) -> Result<(), rusqlite::Error> {
    for (number, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let now = self::version(&transaction)?;
        if now == number {
            transaction.execute_batch(step)?;
            transaction.execute_batch(&format!("PRAGMA user_version = {}", number + 1))?;
        }
        transaction.commit()?;
    }
    Ok(())
}

pub(super) fn open_to_read(file: &Path) -> Result<Connection, EngineError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let prepare = || {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        let version = version(&connection)?;
        Ok((connection, version))
    };
    let (connection, version) = prepare().map_err(|error| failed(file, error))?;
    match version {
        version if version > MIGRATIONS.len() => Err(later(file)),
        version if version < MIGRATIONS.len() => {
            let message = format!("the history {} is not ready yet", file.display());
            Err(EngineError::failed(message).hint("`basekeep serve` makes it so when it starts"))
        }
        _ => Ok(connection),
    }
}

fn unusable(file: &Path, error: rusqlite::Error) -> Unusable {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Unusable::Damaged(error),
        // Tables that are not ours, or missing ones.
        Some(ErrorCode::Unknown) => Unusable::Damaged(error),
        _ => Unusable::Other(failed(file, error)),
    }
}

fn later(file: &Path) -> EngineError {
    EngineError::failed(format!("the history {} was written by a later version of basekeep", file.display()))
        .hint("use that version, or move the file away: it is history and nothing else")
}

/// Moves the file and what SQLite keeps beside it out of the way.
fn set_aside(file: &Path) -> Result<PathBuf, EngineError> {
    let beside = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(&format!(".damaged-{}", Timestamp::now().as_microsecond()));
    std::fs::rename(file, &aside).map_err(|error| {
        EngineError::failed(format!("cannot move the damaged history {} away: {error}", file.display()))
    })?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "what belongs to the damaged history could not be removed"),
        }
    }
    Ok(aside)
}

/// Whether a process of this number exists; one that is not ours does.
pub(super) fn is_alive(pid: i32) -> bool {
    pid > 0 && !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

pub(super) fn failed(file: &Path, error: rusqlite::Error) -> EngineError {
    EngineError::failed(format!("the history {} cannot be used: {error}", file.display())).caused_by(error)
}

//! Plain copies after backups: `<folder>/<source>/<time>_<snapshot>/`, with a retention of their own.
//!
//! A copy is written beside its name and renamed once it is complete and on the disk. Who writes holds a lock file of the
//! source's folder, so that what an interrupted run left behind can be told and removed.

mod age;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::age::Aged;
use super::place::{self, cannot};
use super::sink::{FILE_MODE, PARTIAL};
use super::{Compression, ExportOptions, ExportReport, LIST, Target};
use crate::retention::Span;
use crate::{EngineError, Interrupt, Observer};

const LOCK: &str = ".lock";
const REMOVING: &str = ".removing";
const TIME: &str = "%Y-%m-%d_%H-%M-%S";

/// How copies are written and how long they stay.
#[derive(Debug, Clone)]
pub struct SetOptions {
    /// The folder of all sources.
    pub folder: PathBuf,
    /// What is exported.
    pub export: ExportOptions,
    /// Copies that are older go.
    pub keep: Span,
    /// Of the others, so many of the newest stay.
    pub max: u64,
    /// Files of copies that are older are compressed with gzip; `None`: they stay as they are.
    pub compress_after: Option<Span>,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct SetReport {
    /// The copy.
    pub folder: PathBuf,
    /// What was written; `None` when the copy of this snapshot was there.
    pub written: Option<ExportReport>,
    /// Names of copies that were removed.
    pub removed: Vec<String>,
    /// Names of copies whose files were compressed.
    pub compressed: Vec<String>,
    /// What did not work of removing and compressing; the next time tries it again.
    pub failed: Vec<String>,
}

/// Writes the copy of a snapshot, then removes and compresses old ones.
///
/// Errors: the copy cannot be written, and is not there then; another process writes one of this source.
pub async fn keep_set(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &SetOptions,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<SetReport, EngineError> {
    let folder = options.folder.join(&snapshot.hostname);
    place::make(&folder)?;
    let lock = lock(&folder)?;
    let mut report = SetReport::default();
    clean(&folder, &mut report);
    let name = format!("{}_{}", snapshot.time.strftime(TIME), snapshot.id.short());
    report.folder = folder.join(&name);
    if !report.folder.exists() {
        let partial = folder.join(format!(".{name}{PARTIAL}"));
        let target = Target::Folder(partial.clone());
        let result = super::export(repository, snapshot, &options.export, target, observer, interrupt).await;
        let finished = result.and_then(|written| {
            std::fs::rename(&partial, &report.folder)
                .and_then(|()| File::open(&folder)?.sync_all())
                .map_err(|error| cannot("write", &report.folder, error))?;
            Ok(written)
        });
        match finished {
            Ok(written) => report.written = Some(written),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&partial);
                return Err(error);
            }
        }
    }
    let options = options.clone();
    let work = tokio::task::spawn_blocking(move || {
        retain(&folder, &name, &options, Timestamp::now(), &mut report);
        drop(lock);
        report
    });
    work.await.map_err(|error| EngineError::failed("remove old copies").caused_by(error))
}

/// Held until it is dropped.
fn lock(folder: &Path) -> Result<File, EngineError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|error| cannot("write", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(EngineError::failed(format!("another process writes a copy into {}", folder.display())))
        }
        // Not every file system can lock; then nothing tells two runs apart.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Removes what interrupted runs left behind.
fn clean(folder: &Path, report: &mut SetReport) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let inner = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(PARTIAL).or_else(|| name.strip_suffix(REMOVING)));
        if inner.is_some_and(|name| time_of(name).is_some())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            report.failed.push(format!("cannot remove {}: {error}", entry.path().display()));
        }
    }
}

/// Removes and compresses copies by their age at `now`; `written` is that of this run.
fn retain(folder: &Path, written: &str, options: &SetOptions, now: Timestamp, report: &mut SetReport) {
    let names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        // Only what an export wrote.
        .filter(|entry| entry.path().join(LIST).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let Aged { gone, old } = age::sort(&names, written, options, now);
    for name in gone {
        let away = folder.join(format!(".{name}{REMOVING}"));
        let removed =
            std::fs::rename(folder.join(&name), &away).and_then(|()| std::fs::remove_dir_all(&away));
        match removed {
            Ok(()) => report.removed.push(name),
            Err(error) => {
                report.failed.push(format!("cannot remove {}: {error}", folder.join(&name).display()))
            }
        }
    }
    for name in old {
        match age::compress(&folder.join(&name), Compression::Gzip) {
            Ok(true) => report.compressed.push(name),
            Ok(false) => {}
            Err(error) => {
                report.failed.push(format!("cannot compress {}: {error}", folder.join(&name).display()));
            }
        }
    }
}

/// When the snapshot of a copy with this name was taken.
fn time_of(name: &str) -> Option<Timestamp> {
    let (time, id) = name.rsplit_once('_')?;
    let is_id = id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let time = jiff::civil::DateTime::strptime(TIME, time).ok().filter(|_| is_id)?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

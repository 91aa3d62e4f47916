//! Where an export goes: a folder, or one stream.
//!
//! A folder has a list of the files that exports wrote, `.basekeep-files`. A file that is not on it is somebody else's and
//! is never replaced; one that is on it and was not written again may be removed.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Compression;
use super::sink::{Bottom, FILE_MODE, FileSink};
use crate::EngineError;

/// The list of files that exports wrote, one on each line, sorted.
pub const LIST: &str = ".basekeep-files";
/// Files that are flushed at once.
const FLUSHES: usize = 8;
/// Exports hold password hashes.
const FOLDER_MODE: u32 = 0o700;

/// Where to.
pub enum Target {
    /// A folder, made where it is missing.
    Folder(PathBuf),
    /// A stream, for one file.
    Stream(Box<dyn Write + Send>),
}

/// What an export writes to.
pub(crate) enum Place {
    Folder(Folder),
    Stream(Option<Box<dyn Write + Send>>),
}

/// A folder and what is known of it.
pub(crate) struct Folder {
    root: PathBuf,
    /// Files of earlier exports, and of this one.
    listed: BTreeSet<String>,
    /// Files of this one.
    written: Vec<WrittenFile>,
    names: BTreeSet<String>,
    made: BTreeSet<PathBuf>,
    /// Files that are not known to be on the disk yet.
    loose: Vec<PathBuf>,
    overwrite: bool,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its name below the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Place {
    pub(super) fn open(target: Target, overwrite: bool) -> Result<Self, EngineError> {
        Ok(match target {
            Target::Stream(stream) => Self::Stream(Some(stream)),
            Target::Folder(root) => Self::Folder(Folder::open(root, overwrite)?),
        })
    }

    /// Begins a file. To a stream only one can be written.
    pub(super) fn begin(&mut self, name: &str, compression: Compression) -> Result<FileSink, EngineError> {
        self.begin_as(name, compression, true)
    }

    /// The same; a file that is not durable is flushed to the disk at the end of the export, with the others of its kind.
    pub(super) fn begin_as(
        &mut self,
        name: &str,
        compression: Compression,
        durable: bool,
    ) -> Result<FileSink, EngineError> {
        match self {
            Self::Stream(stream) => match stream.take() {
                Some(stream) => Ok(FileSink::open(Bottom::Stream(stream), compression)),
                None => Err(EngineError::usage("standard output takes one file, and there are several")
                    .hint("write to a folder with -o DIR, or select one table and one format")),
            },
            Self::Folder(folder) => {
                let path = folder.claim(name)?;
                if !durable {
                    folder.loose.push(path.clone());
                }
                Ok(FileSink::open(Bottom::File { path, durable }, compression))
            }
        }
    }

    /// Ends the file of this name well.
    pub(super) async fn end(&mut self, name: &str, sink: FileSink) -> Result<u64, EngineError> {
        if let Self::Folder(folder) = self {
            folder.list(name)?;
        }
        let bytes = sink.finish().await?;
        if let Self::Folder(folder) = self {
            folder.written.push(WrittenFile { name: name.to_owned(), bytes });
        }
        Ok(bytes)
    }

    /// The folder, where it is one.
    pub(super) fn folder(&mut self) -> Option<&mut Folder> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Stream(_) => None,
        }
    }
}

impl Folder {
    fn open(root: PathBuf, overwrite: bool) -> Result<Self, EngineError> {
        make(&root)?;
        let list = root.join(LIST);
        let listed = match std::fs::read_to_string(&list) {
            Ok(text) => text.lines().filter(|line| is_below(line)).map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(cannot("read", &list, error)),
        };
        Ok(Self {
            root,
            listed,
            written: Vec::new(),
            names: BTreeSet::new(),
            made: BTreeSet::new(),
            loose: Vec::new(),
            overwrite,
        })
    }

    /// What was written so far.
    pub(super) fn written(&self) -> &[WrittenFile] {
        &self.written
    }

    /// Writes a small file, unless it is there already with this content.
    pub(super) fn keep(&mut self, name: &str, content: &[u8], mode: u32) -> Result<(), EngineError> {
        let path = self.claim(name)?;
        self.list(name)?;
        self.written.push(WrittenFile { name: name.to_owned(), bytes: content.len() as u64 });
        if std::fs::read(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        let partial = path.with_file_name(format!(".basekeep-file{}", super::sink::PARTIAL));
        let _ = std::fs::remove_file(&partial);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&partial)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| std::fs::rename(&partial, &path));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&partial);
            cannot("write", &path, error)
        })?;
        self.loose.push(path);
        Ok(())
    }

    /// The path for a file that this export may write.
    fn claim(&mut self, name: &str) -> Result<PathBuf, EngineError> {
        let path = self.root.join(name);
        if !self.names.insert(name.to_owned()) {
            return Err(EngineError::failed(format!("the export has two files of the name {name}")));
        }
        if !self.overwrite && !self.listed.contains(name) && path.symlink_metadata().is_ok() {
            return Err(EngineError::usage(format!(
                "{} is there, and no export is known to have written it",
                path.display()
            ))
            .hint("choose another folder, or add --overwrite to replace it"));
        }
        if let Some(parent) = path.parent()
            && parent != self.root
            && !self.made.contains(parent)
        {
            make(parent)?;
            self.made.insert(parent.to_owned());
        }
        Ok(path)
    }

    /// Notes a file before it is there, so that an export that is interrupted can be repeated.
    fn list(&mut self, name: &str) -> Result<(), EngineError> {
        if !self.listed.insert(name.to_owned()) {
            return Ok(());
        }
        let list = self.root.join(LIST);
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(&list)
            .and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()))
            .map_err(|error| cannot("write", &list, error))
    }

    /// Removes listed files below `area` that this export did not write, and gives their number.
    pub(super) fn remove_stale(&mut self, area: &str) -> Result<u64, EngineError> {
        let stale: Vec<String> = self
            .listed
            .iter()
            .filter(|name| name.starts_with(area) && !self.names.contains(*name))
            .cloned()
            .collect();
        for name in &stale {
            let path = self.root.join(name);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot("remove", &path, error)),
            }
            self.listed.remove(name);
            // Folders that became empty go, too.
            for parent in path.ancestors().skip(1).take_while(|parent| *parent != self.root) {
                if std::fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(stale.len() as u64)
    }

    /// Removes a listed file that is going to be written again.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), EngineError> {
        let path = self.root.join(name);
        if !self.listed.contains(name) {
            return Ok(());
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Writes the list as it is now, and makes files and names durable.
    pub(super) async fn finish(&mut self) -> Result<(), EngineError> {
        let text: String = self.listed.iter().map(|name| format!("{name}\n")).collect();
        let root = self.root.clone();
        let loose = std::mem::take(&mut self.loose);
        let folders: Vec<PathBuf> = self.made.iter().chain([&self.root]).cloned().collect();
        let work = tokio::task::spawn_blocking(move || {
            flush(&loose)?;
            let list = root.join(LIST);
            let partial = root.join(format!("{LIST}{}", super::sink::PARTIAL));
            let _ = std::fs::remove_file(&partial);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&partial)
                .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .and_then(|()| std::fs::rename(&partial, &list))
                .map_err(|error| cannot("write", &list, error))?;
            flush(&folders)
        });
        work.await.map_err(|error| EngineError::failed("flush the export to the disk").caused_by(error))?
    }
}

/// Flushes files or folders, several at once, since they then share the disk's work.
fn flush(paths: &[PathBuf]) -> Result<(), EngineError> {
    let next = AtomicUsize::new(0);
    let one = || -> Result<(), EngineError> {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
            match synced {
                // A folder whose last file is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| cannot("write", path, error))?,
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..FLUSHES.min(paths.len())).map(|_| scope.spawn(one)).collect();
        let mut result = one();
        for thread in threads {
            result =
                result.and(thread.join().unwrap_or_else(|_| Err(EngineError::failed("flush the export"))));
        }
        result
    })
}

/// Makes a folder that nobody else can look into; one that is there stays as it is.
pub(super) fn make(folder: &Path) -> Result<(), EngineError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|error| cannot("make the folder", folder, error))
}

/// A list that somebody changed must not lead out of the folder.
fn is_below(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

pub(super) fn cannot(what: &str, path: &Path, error: io::Error) -> EngineError {
    EngineError::failed(format!("cannot {what} {}: {error}", path.display())).caused_by(error)
}

//! A folder of the local file system (or of one that is mounted), laid out as stock restic lays it out.
//!
//! A write goes to a file of its own beside its destination, is synced, gets its name by a hard link (which never
//! replaces anything), and the folder is synced. The name of an unfinished write is no restic id, so restic passes it over.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::key::{self, UNFINISHED};
use crate::{ErrorKind, Object, Operation, Put, Store, StoreError};

/// Objects are read-only files: nothing in a repository is ever changed.
const FILE_MODE: u32 = 0o400;
const UNFINISHED_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Objects as files below a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Local {
    root: Arc<PathBuf>,
    /// Puts and deletes are durable when they return.
    sync: bool,
}

impl Local {
    /// The store in `folder`, which is created with the first put.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { root: Arc::new(folder.into()), sync: true }
    }

    /// The same without waiting for the disk, for a cache: after a crash an object may be missing, empty or cut off.
    pub fn unsynced(self) -> Self {
        Self { sync: false, ..self }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        key::check(operation, key)?;
        let path = self.root.join(key);
        self.run(operation, key, move || work(&path)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| StoreError::io(operation, key, error)),
            Err(stopped) => Err(StoreError::new(ErrorKind::Permanent, operation, key, stopped)),
        }
    }
}

/// Whether a folder is on a file system that this machine alone writes to. Of network mounts a client may keep old lists.
fn is_on_this_machine(folder: &Path) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::sys::statfs::{self, statfs};
        let alone = [
            statfs::EXT4_SUPER_MAGIC,
            statfs::XFS_SUPER_MAGIC,
            statfs::BTRFS_SUPER_MAGIC,
            statfs::TMPFS_MAGIC,
            statfs::OVERLAYFS_SUPER_MAGIC,
        ];
        statfs(folder).is_ok_and(|found| alone.contains(&found.filesystem_type()))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = folder;
        false
    }
}

#[async_trait]
impl Store for Local {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        let (root, sync) = (self.root.clone(), self.sync);
        self.blocking(Operation::Put, key, move |path| put(&root, path, &data, sync)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.blocking(Operation::Get, key, |path| fs::read(path).map(Bytes::from)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let result = self.blocking(Operation::GetRange, key, move |path| read_range(path, range)).await;
        result.map_err(|error| {
            let short = error
                .source
                .downcast_ref::<io::Error>()
                .is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof);
            StoreError { kind: if short { ErrorKind::Corrupt } else { error.kind }, ..error }
        })
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.blocking(Operation::Size, key, |path| {
            let found = fs::metadata(path)?;
            if found.is_file() { Ok(found.len()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
        .await
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        self.blocking(Operation::Size, key, |path| fs::metadata(path)?.modified()).await.map(Some)
    }

    fn lists_at_once(&self) -> bool {
        is_on_this_machine(&self.root)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        key::check_prefix(prefix)?;
        let folder = self.root.join(prefix);
        let prefix_owned = prefix.to_owned();
        self.run(Operation::List, prefix, move || {
            let mut found = Vec::new();
            list_into(&folder, &prefix_owned, &mut found)?;
            found.sort_unstable();
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let sync = self.sync;
        self.blocking(Operation::Delete, key, move |path| match fs::remove_file(path) {
            Ok(()) if sync => sync_folder(path),
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

fn put(root: &Path, path: &Path, data: &[u8], sync: bool) -> io::Result<Put> {
    if path.try_exists()? {
        return already_there(path, sync);
    }
    create_folder(root, path)?;
    let unfinished = Unfinished::create(path)?;
    (&unfinished.file).write_all(data)?;
    unfinished.file.set_permissions(Permissions::from_mode(FILE_MODE)).or_else(unsupported_is_fine)?;
    if sync {
        unfinished.file.sync_all().or_else(unsupported_is_fine)?;
    }
    match fs::hard_link(&unfinished.path, path) {
        Ok(()) => {}
        // A network file system that repeats a request may answer so to a link that it has just made.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if unfinished.file.metadata()?.nlink() < 2 {
                return already_there(path, sync);
            }
        }
        // File systems without hard links (exFAT, some network mounts).
        Err(error) if is_unsupported(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
            if path.try_exists()? {
                return already_there(path, sync);
            }
            fs::rename(&unfinished.path, path)?;
        }
        Err(error) => return Err(error),
    }
    drop(unfinished);
    if sync {
        sync_folder(path)?;
    }
    Ok(Put::Written)
}

/// Whoever wrote it may have died before it was durable.
fn already_there(path: &Path, sync: bool) -> io::Result<Put> {
    if sync {
        File::open(path)?.sync_all().or_else(unsupported_is_fine)?;
        sync_folder(path)?;
    }
    Ok(Put::AlreadyExists)
}

/// A write that is under way; its file goes away with it.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(destination: &Path) -> io::Result<Self> {
        let mut name = destination.file_name().unwrap_or_default().to_owned();
        name.push(format!("{UNFINISHED}{:016x}", rand::random::<u64>()));
        let path = destination.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(UNFINISHED_MODE).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %self.path.display(), %error, "an unfinished file stays behind");
        }
    }
}

/// Creates the folders down to `path`'s, and syncs each one that gets a new entry.
fn create_folder(root: &Path, path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    if folder != root {
        create_folder(root, folder)?;
        return match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Ok(()) => sync_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
    }
    DirBuilder::new().mode(FOLDER_MODE).recursive(true).create(root)?;
    sync_folder(root)
}

/// Makes the entry `path` in its folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all().or_else(unsupported_is_fine)
}

/// Some file systems cannot sync folders or change modes; a failed sync of any other kind is never passed over.
fn unsupported_is_fine(error: io::Error) -> io::Result<()> {
    if is_unsupported(&error) { Ok(()) } else { Err(error) }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

fn read_range(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let file = File::open(path)?;
    if file.metadata()?.len() < range.end {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it should be"));
    }
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, range.start)?;
    Ok(data.into())
}

fn list_into(folder: &Path, prefix: &str, found: &mut Vec<Object>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.contains(UNFINISHED) {
            continue;
        }
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            // Deleted since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            list_into(&entry.path(), &format!("{prefix}{name}/"), found)?;
        } else if metadata.is_file() {
            found.push(Object { key: format!("{prefix}{name}"), size: metadata.len() });
        }
    }
    Ok(())
}

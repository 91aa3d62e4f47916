//! Folders with repositories for one case, and their stores with faults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use basekeep_repository::{Repository, RepositoryError, Result};
use basekeep_store::{Faults, Local, Memory, Retry, RetryPolicy, Rule, Store};
use tempfile::TempDir;

use crate::support::*;

/// What a repository's password is changed to.
pub(super) const NEW_PASSWORD: &str = "battery staple";

/// Repositories in folders of their own, by name.
pub(super) struct World {
    folder: Folder,
    faults: Option<Arc<Faults>>,
}

enum Folder {
    Ours(TempDir),
    Theirs(PathBuf),
}

impl World {
    /// In memory where the system has a file system there: syncing would take most of the time.
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: Folder::Ours(folder.unwrap()), faults: None }
    }

    /// One that exists.
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: Folder::Theirs(folder.to_owned()), faults: None }
    }

    pub(super) fn path(&self) -> &Path {
        match &self.folder {
            Folder::Ours(folder) => folder.path(),
            Folder::Theirs(folder) => folder,
        }
    }

    /// A world with the same content, by links: a repository's files never change.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        link_all(self.path(), copy.path());
        copy
    }

    /// The same repositories, behind faults.
    pub(super) fn with_faults(&self, rules: &[Rule]) -> Self {
        let faults = Faults::new(Arc::new(Memory::new()));
        rules.iter().for_each(|rule| faults.inject(rule.clone()));
        Self { folder: Folder::Theirs(self.path().to_owned()), faults: Some(Arc::new(faults)) }
    }

    /// How often the stores were asked for something.
    pub(super) fn requests(&self) -> u64 {
        self.faults.as_ref().map_or(0, |faults| faults.total())
    }

    pub(super) fn folder_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The store of a repository, as the program opens it: with retries.
    pub(super) fn store(&self, name: &str) -> Arc<dyn Store> {
        let local = Arc::new(Local::new(self.folder_of(name)));
        match &self.faults {
            None => local,
            Some(faults) => {
                let policy = RetryPolicy {
                    first_pause: Duration::from_millis(1),
                    longest_pause: Duration::from_millis(2),
                    ..RetryPolicy::default()
                };
                Arc::new(Retry::new(Arc::new(faults.beside(local)), policy))
            }
        }
    }

    /// Opens a repository without its index, with either of the passwords that it may have.
    pub(super) async fn open_closed(&self, name: &str) -> Result<Repository> {
        match Repository::open(self.store(name), &password()).await {
            // A torn key file could be the one that belongs to it.
            Err(RepositoryError::WrongPassword | RepositoryError::Damaged { .. }) => {
                Repository::open(self.store(name), &NEW_PASSWORD.into()).await
            }
            result => result,
        }
    }

    pub(super) async fn open(&self, name: &str) -> Result<Repository> {
        let repository = self.open_closed(name).await?;
        repository.load_index().await?;
        Ok(repository)
    }

    /// The repositories that there are.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn link_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link_all(&entry.path(), &copy);
        } else {
            std::fs::hard_link(entry.path(), copy).unwrap();
        }
    }
}

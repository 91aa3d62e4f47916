//! The folders of a new snapshot.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{FileContent, RepositoryError, Result};

const FOLDER_MODE: u32 = 0o700;

/// Collects the files of a snapshot; [`crate::Writer::finish`] writes the trees.
#[derive(Debug)]
pub struct TreeBuilder {
    pub(crate) time: Timestamp,
    pub(crate) root: Folder,
    /// The first path that cannot be.
    refused: Option<String>,
}

/// Entries sorted by the bytes of their names, as the format wants them.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) mode: u32,
    pub(crate) entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
pub(crate) enum Entry {
    File { content: FileContent, mode: u32 },
    Folder(Folder),
}

impl Folder {
    fn new() -> Self {
        Self { mode: FOLDER_MODE, entries: BTreeMap::new() }
    }
}

impl TreeBuilder {
    /// An empty tree. All its files and folders are said to be from `time`.
    pub fn new(time: Timestamp) -> Self {
        Self { time, root: Folder::new(), refused: None }
    }

    /// Adds a file; `path` is like `source/database/12.dat`, `mode` has nine bits of permissions. Folders come by
    /// themselves with mode 0700. A path that cannot be (an empty or `..` component, a second file of this name) makes
    /// `finish` fail.
    pub fn file(&mut self, path: &str, content: FileContent, mode: u32) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let added = match self.folder(folder) {
            Some(folder) if is_name(name) && !path.starts_with('/') && !folder.entries.contains_key(name) => {
                folder.entries.insert(name.to_owned(), Entry::File { content, mode: mode & 0o777 });
                true
            }
            _ => false,
        };
        self.note(path, added);
    }

    /// Adds a folder, or changes the mode of one that is there.
    pub fn dir(&mut self, path: &str, mode: u32) {
        let added = match self.folder(path) {
            Some(folder) => {
                folder.mode = mode & 0o777;
                true
            }
            None => false,
        };
        self.note(path, added);
    }

    /// An error if a path could not be added.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.refused {
            None => Ok(()),
            Some(path) => Err(RepositoryError::Refused(format!("'{path}' cannot be a path in a snapshot"))),
        }
    }

    fn note(&mut self, path: &str, added: bool) {
        if !added && self.refused.is_none() {
            self.refused = Some(path.to_owned());
        }
    }

    fn folder(&mut self, path: &str) -> Option<&mut Folder> {
        let mut folder = &mut self.root;
        if path.is_empty() {
            return Some(folder);
        }
        for name in path.split('/') {
            if !is_name(name) {
                return None;
            }
            let entry = folder.entries.entry(name.to_owned());
            folder = match entry.or_insert_with(|| Entry::Folder(Folder::new())) {
                Entry::Folder(folder) => folder,
                Entry::File { .. } => return None,
            };
        }
        Some(folder)
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_be_are_refused() {
        let with = |add: fn(&mut TreeBuilder)| {
            let mut tree = TreeBuilder::new(Timestamp::UNIX_EPOCH);
            tree.file("a/b", FileContent::default(), 0o600);
            add(&mut tree);
            tree.check()
        };
        assert!(with(|tree| tree.file("a/c", FileContent::default(), 0o600)).is_ok());
        assert!(with(|tree| tree.dir("a", 0o755)).is_ok());
        for bad in ["a/b", "a", "/x", "a//x", "../x", "a/..", "", "a/b/c", "x\0"] {
            let mut tree = TreeBuilder::new(Timestamp::UNIX_EPOCH);
            tree.file("a/b", FileContent::default(), 0o600);
            tree.file(bad, FileContent::default(), 0o600);
            assert!(tree.check().is_err(), "{bad:?}");
        }
        assert!(with(|tree| tree.dir("a/b", 0o700)).is_err());
    }
}

//! Snapshots that are not as a backup wrote them, to see how a restore deals with what fails.

use basekeep_archive::{Archive, Entry};
use basekeep_engine::listing;
use basekeep_repository::{
    FileContent, LockMode, NewSnapshot, Repository, Snapshot, TreeBuilder, TreeId, WriterOptions,
};

use crate::support::Backup;

/// A copy of the snapshot, in the same repository, in which `change` has replaced some files (named below the source's
/// folder).
pub(crate) async fn with_files(backup: Backup, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> Backup {
    let Backup { repository, snapshot, manifest } = backup;
    let lock = repository.lock(LockMode::Shared).await.unwrap();
    let writer = repository.writer(&lock, WriterOptions::default());
    let mut tree = TreeBuilder::new(snapshot.time);
    for (path, old) in files(&repository, &snapshot).await {
        let name = path.trim_start_matches(listing::folder(&snapshot)).trim_start_matches('/').to_owned();
        let content = match small(&repository, &snapshot, &name).await.and_then(|bytes| change(&name, bytes))
        {
            Some(bytes) => writer.put_file(&bytes).await.unwrap(),
            None => old,
        };
        tree.file(path.trim_start_matches('/'), content, 0o600);
    }
    let new = NewSnapshot {
        time: snapshot.time,
        hostname: snapshot.hostname.clone(),
        username: snapshot.username.clone(),
        paths: snapshot.paths.clone(),
        tags: snapshot.tags.clone(),
        parent: None,
        program_version: snapshot.program_version.clone(),
    };
    let snapshot = writer.finish(tree, new).await.unwrap();
    lock.release().await.unwrap();
    repository.load_index().await.unwrap();
    Backup { repository, snapshot, manifest }
}

/// The same with some of the archive's entries changed.
pub(crate) async fn with_entries(backup: Backup, change: impl Fn(&mut Entry)) -> Backup {
    with_files(backup, |name, bytes| {
        (name == "database/toc.dat").then(|| {
            let mut archive = Archive::parse(&bytes).unwrap();
            archive.entries.iter_mut().for_each(&change);
            archive.to_bytes()
        })
    })
    .await
}

/// Whether this entry is of this kind and name.
pub(crate) fn is(entry: &Entry, desc: &str, tag: &str) -> bool {
    entry.desc == desc && entry.tag.as_ref().is_some_and(|name| name == tag)
}

/// Files that a test may want to change are small.
async fn small(repository: &Repository, snapshot: &Snapshot, name: &str) -> Option<Vec<u8>> {
    listing::read_file(repository, snapshot, name, 64 << 20).await.unwrap()
}

async fn files(repository: &Repository, snapshot: &Snapshot) -> Vec<(String, FileContent)> {
    repository.load_index().await.unwrap();
    let mut found = Vec::new();
    let mut open: Vec<(String, TreeId)> = vec![(String::new(), snapshot.tree)];
    while let Some((folder, tree)) = open.pop() {
        for node in repository.tree(&tree).await.unwrap().nodes {
            let path = format!("{folder}/{}", node.name);
            match node.subtree {
                Some(subtree) => open.push((path, subtree)),
                None => found.push((path, FileContent { blobs: node.content, size: node.size })),
            }
        }
    }
    found
}

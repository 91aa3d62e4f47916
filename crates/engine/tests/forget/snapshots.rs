//! Snapshots with chosen times, without a database.

use std::sync::Arc;

use basekeep_engine::stored::proof;
use basekeep_repository::{
    InitOptions, LockMode, LockOptions, NewSnapshot, Password, Repository, Snapshot, TreeBuilder,
    WriterOptions,
};
use basekeep_store::Store;
use jiff::Timestamp;

pub(super) const PASSWORD: &str = "test";

pub(super) async fn repository(store: Arc<dyn Store>) -> Repository {
    let quick = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
    Repository::init(store, &Password::from(PASSWORD), quick).await.unwrap()
}

/// A snapshot to be made.
pub(super) struct New<'a> {
    pub(super) source: &'a str,
    pub(super) time: Timestamp,
    pub(super) tags: Vec<String>,
    /// What its only file holds.
    pub(super) content: &'a str,
}

pub(super) fn at<'a>(source: &'a str, time: &str, content: &'a str) -> New<'a> {
    New { source, time: time.parse().unwrap(), tags: Vec::new(), content }
}

pub(super) async fn make(repository: &Repository, new: &[New<'_>]) -> Vec<Snapshot> {
    let options = LockOptions { settle: std::time::Duration::from_millis(1), ..LockOptions::default() };
    let lock = repository.lock_with(LockMode::Shared, options).await.unwrap();
    let mut made = Vec::new();
    for new in new {
        repository.load_index().await.unwrap();
        let writer = repository.writer(&lock, WriterOptions::default());
        let mut tree = TreeBuilder::new(Timestamp::UNIX_EPOCH);
        let content = writer.put_file(new.content.as_bytes()).await.unwrap();
        tree.file(&format!("{}/file", new.source), content, 0o600);
        let snapshot = NewSnapshot {
            time: new.time,
            hostname: new.source.to_owned(),
            username: "tester".to_owned(),
            paths: vec![format!("/{}", new.source)],
            tags: new.tags.clone(),
            parent: None,
            program_version: "basekeep test".to_owned(),
        };
        made.push(writer.finish(tree, snapshot).await.unwrap());
    }
    lock.release().await.unwrap();
    made
}

/// A drill's result about a snapshot.
pub(super) async fn prove(repository: &Repository, proven: &Snapshot, equal: bool) -> Snapshot {
    let options = LockOptions { settle: std::time::Duration::from_millis(1), ..LockOptions::default() };
    let lock = repository.lock_with(LockMode::Shared, options).await.unwrap();
    repository.load_index().await.unwrap();
    let writer = repository.writer(&lock, WriterOptions::default());
    let mut tree = TreeBuilder::new(Timestamp::UNIX_EPOCH);
    let content = writer.put_file(proven.id.to_string().as_bytes()).await.unwrap();
    tree.file("shop-proof/proof.json", content, 0o600);
    let result = if equal { proof::EQUAL } else { proof::DIFFERENT };
    let snapshot = NewSnapshot {
        time: proven.time,
        hostname: proven.hostname.clone(),
        username: "tester".to_owned(),
        paths: vec![format!("/{}-proof", proven.hostname)],
        tags: vec![
            proof::TAG.to_owned(),
            format!("{}{}", proof::TREE_TAG_PREFIX, proven.tree),
            format!("{}{result}", proof::RESULT_TAG_PREFIX),
        ],
        parent: None,
        program_version: "basekeep test".to_owned(),
    };
    let made = writer.finish(tree, snapshot).await.unwrap();
    lock.release().await.unwrap();
    made
}

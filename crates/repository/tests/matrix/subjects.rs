//! The operations that the matrix is about.

mod keys;
mod mending;
mod moving;

use async_trait::async_trait;
use basekeep_repository::{
    Lock, LockMode, NewSnapshot, Repository, Result, Snapshot, TreeBuilder, WriterOptions,
};
use jiff::Timestamp;

use crate::matrix::world::World;
use crate::support::*;

/// The repository that most operations change.
pub(super) const MAIN: &str = "main";

/// An operation that changes repositories.
#[async_trait]
pub(super) trait Subject: Sync {
    /// One word.
    fn name(&self) -> &'static str;

    /// What there is before.
    async fn prepare(&self, world: &World);

    /// The operation, as a process of its own would do it: opening, locking and giving the lock back included.
    async fn run(&self, world: &World) -> Result<()>;

    /// Snapshots (by their tags) that must be there whatever happens: repository and tag.
    fn stays(&self) -> Vec<(&'static str, &'static str)>;

    /// Whether something is damaged before, so that not everything can be read until it has completed.
    fn begins_damaged(&self) -> bool {
        false
    }

    /// Wants everything to be as the operation is to leave it. Called after each run that says it succeeded.
    async fn completed(&self, world: &World);
}

pub(super) use keys::{AddKey, ChangePassword, Init, RemoveKey};
pub(super) use mending::{RepairIndex, RepairPacks};
pub(super) use moving::{Copy, Forget, Prune};

pub(super) fn named(name: &str) -> &'static dyn Subject {
    let all: [&'static dyn Subject; 10] = [
        &Backup,
        &Init,
        &AddKey,
        &RemoveKey,
        &ChangePassword,
        &Copy,
        &Forget,
        &Prune,
        &RepairIndex,
        &RepairPacks,
    ];
    all.into_iter().find(|subject| subject.name() == name).unwrap()
}

/// The files of the snapshot with this tag. Neighbours share some of their content.
pub(super) fn content(tag: &str) -> Vec<(&'static str, Vec<u8>)> {
    let seed: u64 = tag.bytes().map(u64::from).sum();
    let mut own = rows(12_000, seed);
    own.extend(rows(9_000, 1));
    vec![
        ("shop/MANIFEST.md", format!("# {tag}\n").into_bytes()),
        ("shop/database/1.dat", own),
        ("shop/database/2.dat", random(5_000, seed + 1)),
        ("shop/database/3.dat", random(5_000, seed / 2)),
    ]
}

pub(super) fn small() -> WriterOptions {
    WriterOptions { pack_size: 4 << 10, workers: 2, ..WriterOptions::default() }
}

pub(super) async fn add_snapshot(repository: &Repository, lock: &Lock, tag: &str) -> Result<Snapshot> {
    let writer = repository.writer(lock, small());
    let mut tree = TreeBuilder::new(Timestamp::now());
    let written = async {
        for (path, data) in content(tag) {
            let mut file = writer.file(2 << 10);
            file.write(&data).await?;
            let content = file.finish().await?;
            tree.file(path, content, 0o600);
        }
        Ok(())
    };
    match written.await {
        Ok(()) => writer.finish(tree, NewSnapshot { tags: vec![tag.to_owned()], ..new_snapshot() }).await,
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// Opens, locks, works, and gives the lock back, as the engine does.
pub(super) async fn locked(
    world: &World,
    name: &str,
    mode: LockMode,
    work: impl AsyncFnOnce(&Repository, &Lock) -> Result<()>,
) -> Result<()> {
    let repository = world.open_closed(name).await?;
    let lock = lock_as(&repository, mode).await?;
    let result = match repository.load_index().await {
        Ok(()) => work(&repository, &lock).await,
        Err(error) => Err(error),
    };
    // A lock that cannot be removed does not make the work undone.
    let _ = lock.release().await;
    result
}

/// A repository with one snapshot for each tag.
pub(super) async fn repository_with(world: &World, name: &str, tags: &[&str]) {
    let repository = Repository::init(world.store(name), &password(), quick()).await.unwrap();
    for tag in tags {
        let lock = lock(&repository).await;
        repository.load_index().await.unwrap();
        add_snapshot(&repository, &lock, tag).await.unwrap();
        lock.release().await.unwrap();
    }
}

pub(super) async fn tags(world: &World, name: &str) -> Vec<String> {
    let (snapshots, _) = world.open(name).await.unwrap().snapshots().await.unwrap();
    let mut tags: Vec<String> = snapshots.iter().map(|snapshot| snapshot.tags[0].clone()).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// A backup beside an older one.
pub(super) struct Backup;

#[async_trait]
impl Subject for Backup {
    fn name(&self) -> &'static str {
        "backup"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old"]).await;
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Shared, async |repository, lock| {
            repository.forget_missing_packs().await?;
            add_snapshot(repository, lock, "new").await.map(drop)
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old")]
    }

    async fn completed(&self, world: &World) {
        assert_eq!(tags(world, MAIN).await, ["new", "old"]);
    }
}

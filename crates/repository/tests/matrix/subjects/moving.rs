//! Snapshots that come to another repository, or go, and what only they needed.

use async_trait::async_trait;
use basekeep_repository::{
    InitOptions, LockMode, MaxUnused, PruneOptions, Repository, RepositoryError, Result,
};

use crate::matrix::subjects::{MAIN, Subject, add_snapshot, locked, repository_with, small, tags};
use crate::matrix::world::World;
use crate::support::*;

const OTHER: &str = "other";

/// Two snapshots into a repository that has one of its own.
pub(in crate::matrix) struct Copy;

#[async_trait]
impl Subject for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old", "new"]).await;
        let chunker_of = Some(world.open(MAIN).await.unwrap());
        let options = InitOptions { chunker_of, ..quick() };
        let other = Repository::init(world.store(OTHER), &password(), options).await.unwrap();
        let lock = lock(&other).await;
        add_snapshot(&other, &lock, "own").await.unwrap();
        lock.release().await.unwrap();
    }

    async fn run(&self, world: &World) -> Result<()> {
        let to = world.open_closed(OTHER).await?;
        locked(world, MAIN, LockMode::Shared, async |from, from_lock| {
            let lock = lock_as(&to, LockMode::Shared).await?;
            let (snapshots, _) = from.snapshots().await?;
            let never = std::future::pending();
            let copied = from.copy_to(&to, (from_lock, &lock), &snapshots, small(), &|_| {}, never).await;
            let _ = lock.release().await;
            let report = copied?;
            match report.not_copied.into_iter().next() {
                None => Ok(()),
                Some(not_copied) => Err(not_copied.error),
            }
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old"), (MAIN, "new"), (OTHER, "own")]
    }

    async fn completed(&self, world: &World) {
        assert_eq!(tags(world, OTHER).await, ["new", "old", "own"]);
    }
}

/// One of three snapshots is removed.
pub(in crate::matrix) struct Forget;

#[async_trait]
impl Subject for Forget {
    fn name(&self) -> &'static str {
        "forget"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old", "new", "newest"]).await;
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Shared, async |repository, lock| {
            let (snapshots, _) = repository.snapshots().await?;
            let old: Vec<_> =
                snapshots.iter().filter(|snapshot| snapshot.tags == ["old"]).map(|s| s.id).collect();
            let removed = repository.remove_snapshots(lock, &old).await;
            removed.into_iter().try_for_each(|(_, result)| result)
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "new"), (MAIN, "newest")]
    }

    async fn completed(&self, world: &World) {
        assert_eq!(tags(world, MAIN).await, ["new", "newest"]);
    }
}

/// What a forgotten snapshot needed, and a pack that a killed backup left.
pub(in crate::matrix) struct Prune;

fn everything() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), pack_size: 4 << 10, ..PruneOptions::default() }
}

#[async_trait]
impl Subject for Prune {
    fn name(&self) -> &'static str {
        "prune"
    }

    async fn prepare(&self, world: &World) {
        Forget.prepare(world).await;
        leave_packs_behind(world).await;
        Forget.run(world).await.unwrap();
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Exclusive, async |repository, lock| {
            let plan = repository.plan_prune(&everything(), lock).await?;
            let outcome = repository.execute_prune(plan, lock, &|_| {}).await?;
            match outcome.damaged.first() {
                None => Ok(()),
                Some((pack, reason)) => Err(RepositoryError::Refused(format!("{pack}: {reason}"))),
            }
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        Forget.stays()
    }

    async fn completed(&self, world: &World) {
        let repository = world.open(MAIN).await.unwrap();
        let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
        let plan = repository.plan_prune(&everything(), &lock).await.unwrap();
        lock.release().await.unwrap();
        assert!(plan.is_empty(), "{:?}", plan.summary);
    }
}

/// As a backup does that is killed before it writes an index.
async fn leave_packs_behind(world: &World) {
    let repository = world.open(MAIN).await.unwrap();
    let (store, lock) = (world.store(MAIN), lock(&repository).await);
    let (index, snapshots) = (keys(&*store, "index/").await, keys(&*store, "snapshots/").await);
    add_snapshot(&repository, &lock, "never finished").await.unwrap();
    lock.release().await.unwrap();
    for file in [keys(&*store, "index/").await, keys(&*store, "snapshots/").await].concat() {
        if !index.contains(&file) && !snapshots.contains(&file) {
            store.delete(&file).await.unwrap();
        }
    }
}

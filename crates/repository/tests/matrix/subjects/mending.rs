//! Repairs: something is damaged before, and nothing is after.

use async_trait::async_trait;
use basekeep_repository::{LockMode, RepositoryError, Result};

use crate::matrix::subjects::{Forget, MAIN, Subject, locked, repository_with, tags};
use crate::matrix::world::World;
use crate::support::*;

/// Packs in which blobs are damaged that no snapshot needs; what is good in them is copied out.
pub(in crate::matrix) struct RepairPacks;

#[async_trait]
impl Subject for RepairPacks {
    fn name(&self) -> &'static str {
        "repair-packs"
    }

    async fn prepare(&self, world: &World) {
        Forget.prepare(world).await;
        Forget.run(world).await.unwrap();
        let store = world.store(MAIN);
        let mut damaged = 0;
        for pack in keys(&*store, "data/").await {
            let good = store.get(&pack).await.unwrap();
            let mut bad = good.to_vec();
            bad[20] ^= 1;
            replace(&*store, &pack, bad).await;
            if reads(world).await {
                damaged += 1;
            } else {
                replace(&*store, &pack, good.to_vec()).await;
            }
        }
        assert!(damaged > 0);
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Exclusive, async |repository, lock| {
            let report = repository.check(&crate::matrix::aftermath::everything(), &|_| {}).await?;
            let bad: Vec<String> = report.damage.into_iter().map(|damage| damage.file).collect();
            let repaired = repository.repair_packs(lock, &bad).await?;
            match repaired.into_iter().find(|pack| pack.still_there) {
                None => Ok(()),
                Some(pack) => Err(RepositoryError::Refused(format!("{} is still there", pack.file))),
            }
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        Forget.stays()
    }

    fn begins_damaged(&self) -> bool {
        true
    }

    async fn completed(&self, world: &World) {
        assert_eq!(tags(world, MAIN).await, ["new", "newest"]);
    }
}

/// Index files are missing or damaged, and packs in no index.
pub(in crate::matrix) struct RepairIndex;

#[async_trait]
impl Subject for RepairIndex {
    fn name(&self) -> &'static str {
        "repair-index"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old", "new", "newest"]).await;
        let store = world.store(MAIN);
        let index = keys(&*store, "index/").await;
        store.delete(&index[0]).await.unwrap();
        replace(&*store, &index[1], b"not an index file at all".to_vec()).await;
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Exclusive, async |repository, lock| {
            let outcome = repository.repair_index(lock).await?;
            match outcome.still_there.first() {
                None => Ok(()),
                Some(file) => Err(RepositoryError::Refused(format!("{file} is still there"))),
            }
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old"), (MAIN, "new"), (MAIN, "newest")]
    }

    fn begins_damaged(&self) -> bool {
        true
    }

    async fn completed(&self, world: &World) {
        let repository = world.open(MAIN).await.unwrap();
        let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
        let plan = repository.plan_index_repair(&lock, &|_, _| {}).await.unwrap();
        lock.release().await.unwrap();
        assert!(plan.is_empty(), "{plan:?}");
    }
}

/// Whether everything that the snapshots need can be read.
async fn reads(world: &World) -> bool {
    let repository = world.open(MAIN).await.unwrap();
    let report = repository.check(&crate::matrix::aftermath::everything(), &|_| {}).await.unwrap();
    report.damage.iter().all(|damage| damage.touches.is_empty())
}

//! Locks among ourselves.

use std::time::Duration;

use basekeep_repository::{Lock, LockMode, LockOptions, Repository, RepositoryError, Result};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Rule, Store};

use crate::support::*;

fn fast() -> LockOptions {
    LockOptions {
        settle: Duration::from_millis(1),
        refresh: Duration::from_millis(50),
        stale: Duration::from_millis(400),
        ..LockOptions::default()
    }
}

async fn soon(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

fn assert_locked(result: Result<Lock>, exclusively: bool) {
    match result {
        Err(RepositoryError::Locked { holder }) => {
            assert_eq!((holder.exclusive, holder.pid), (exclusively, std::process::id()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn shared_locks_go_together_and_exclusive_ones_with_nobody() {
    let (store, repository) = in_memory().await;
    let (first, second) = (lock(&repository).await, lock(&repository).await);
    assert_locked(lock_as(&repository, LockMode::Exclusive).await, false);
    first.release().await.unwrap();
    assert_locked(lock_as(&repository, LockMode::Exclusive).await, false);
    second.release().await.unwrap();
    let alone = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    assert_locked(lock_as(&repository, LockMode::Shared).await, true);
    assert_locked(lock_as(&repository, LockMode::Exclusive).await, true);
    alone.release().await.unwrap();
    assert!(keys(&*store, "locks/").await.is_empty(), "refused locks leave nothing behind");
}

#[tokio::test]
async fn waiting_gets_the_lock_when_it_is_released() {
    let (_, repository) = in_memory().await;
    let alone = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    let waiting = {
        let repository = repository.clone();
        let options = LockOptions { wait: Duration::from_secs(30), ..fast() };
        tokio::spawn(async move { repository.lock_with(LockMode::Shared, options).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    alone.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_lock_is_refreshed_and_a_dropped_one_is_removed() {
    let (store, repository) = in_memory().await;
    let lock = repository.lock_with(LockMode::Shared, fast()).await.unwrap();
    let first = keys(&*store, "locks/").await;
    soon("a refresh", async || {
        let now = keys(&*store, "locks/").await;
        assert!(!now.is_empty(), "there is a lock at any time");
        now.len() == 1 && now != first
    })
    .await;
    assert!(!lock.is_lost());
    drop(lock);
    soon("the removal", async || keys(&*store, "locks/").await.is_empty()).await;
}

#[tokio::test]
async fn a_lock_that_somebody_removes_is_lost() {
    let (store, repository) = in_memory().await;
    let lock = repository.lock_with(LockMode::Shared, fast()).await.unwrap();
    for key in keys(&*store, "locks/").await {
        store.delete(&key).await.unwrap();
    }
    let reason = tokio::time::timeout(Duration::from_secs(20), lock.lost()).await.unwrap();
    assert!(reason.contains("removed"), "{reason}");
    assert!(lock.is_lost());
}

#[tokio::test]
async fn a_lock_survives_a_short_outage_and_is_lost_in_a_long_one() {
    let faults = std::sync::Arc::new(Faults::new(std::sync::Arc::new(Memory::new())));
    let repository = Repository::init(faults.clone(), &password(), quick()).await.unwrap();
    let lock = repository.lock_with(LockMode::Shared, fast()).await.unwrap();
    let broken = Fault::Before(ErrorKind::Transient);
    faults.inject(Rule { times: 3, ..Rule::every(Operation::Put, "locks/", broken) });
    let first = keys(&*faults, "locks/").await;
    soon("a refresh", async || keys(&*faults, "locks/").await != first).await;
    assert!(!lock.is_lost());
    faults.inject(Rule::every(Operation::Put, "locks/", broken));
    tokio::time::timeout(Duration::from_secs(20), lock.lost()).await.unwrap();
    assert!(lock.is_lost());
}

#[tokio::test]
async fn stale_and_damaged_locks_do_not_hold_anybody_up() {
    let (store, repository) = in_memory().await;
    let options = LockOptions { refresh: Duration::from_secs(3600), ..fast() };
    let old = repository.lock_with(LockMode::Exclusive, options).await.unwrap();
    store.put(&format!("locks/{}", "ab".repeat(32)), b"torn".to_vec().into()).await.unwrap();
    store.put("locks/not-a-lock", b"".to_vec().into()).await.unwrap();
    assert_locked(repository.lock_with(LockMode::Shared, fast()).await, true);
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert!(old.is_lost(), "it was not refreshed in time");
    repository.lock_with(LockMode::Shared, fast()).await.unwrap().release().await.unwrap();
    assert_eq!(keys(&*store, "locks/").await.len(), 2, "the stale one was removed");
}

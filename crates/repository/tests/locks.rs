//! Locks among ourselves.

use std::time::Duration;

use basekeep_repository::{Lock, LockMode, LockOptions, LockSelection, Repository, RepositoryError, Result};
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

#[tokio::test]
async fn confirming_notices_at_once_what_the_refresh_has_not() {
    let (store, repository) = in_memory().await;
    let held = lock(&repository).await;
    held.confirm().await.unwrap();
    for key in keys(&*store, "locks/").await {
        store.delete(&key).await.unwrap();
    }
    assert!(!held.is_lost(), "nobody has asked yet");
    let error = held.confirm().await.unwrap_err();
    assert!(matches!(&error, RepositoryError::LockLost { reason } if reason.contains("removed")), "{error}");
    assert!(held.is_lost());
}

#[tokio::test]
async fn a_refresh_does_not_bridge_a_time_without_a_lock() {
    let (faults, repository) = with_faults().await;
    let held = repository.lock_with(LockMode::Shared, fast()).await.unwrap();
    // The process is held up just before it writes the new file; meanwhile the old one is removed.
    faults.inject(Rule::every(Operation::Put, "locks/", Fault::Delay(Duration::from_millis(150))));
    let old = keys(&*faults, "locks/").await.remove(0);
    let puts = faults.count(Operation::Put);
    soon("a refresh", async || faults.count(Operation::Put) > puts).await;
    faults.delete(&old).await.unwrap();
    let reason = tokio::time::timeout(Duration::from_secs(20), held.lost()).await.unwrap();
    assert!(reason.contains("removed"), "{reason}");
    held.release().await.unwrap();
    assert_eq!(keys(&*faults, "locks/").await.len(), 0, "the new file is not left behind");
}

#[tokio::test]
async fn locks_work_where_nothing_may_be_deleted() {
    let (faults, repository) = with_faults().await;
    faults.inject(Rule::every(Operation::Delete, "", Fault::Before(ErrorKind::Denied)));
    let held = repository.lock_with(LockMode::Exclusive, fast()).await.unwrap();
    soon("two refreshes", async || keys(&*faults, "locks/").await.len() >= 3).await;
    held.confirm().await.unwrap();
    let released = held.release().await.unwrap();
    let left = keys(&*faults, "locks/").await;
    assert_eq!(released.left_behind.len(), left.len());
    assert!(released.left_behind.iter().all(|file| left.contains(file)));

    // They do not hold up the process that left them, nor others once they are stale.
    let opened = Repository::open(faults.clone(), &password()).await.unwrap();
    lock_as(&opened, LockMode::Exclusive).await.unwrap().release().await.unwrap();
    assert!(opened.locks().await.unwrap().len() > left.len());
}

#[tokio::test]
async fn a_lock_whose_answer_is_lost_does_not_stay() {
    let (faults, repository) = with_faults().await;
    faults.inject(Rule::nth(0, Operation::Put, "locks/", Fault::After(ErrorKind::Permanent)));
    assert!(lock_as(&repository, LockMode::Exclusive).await.is_err());
    assert_eq!(keys(&*faults, "locks/").await.len(), 0);
    lock_as(&repository, LockMode::Exclusive).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn the_repositorys_own_waiting_time_is_used() {
    let (_, repository) = in_memory().await;
    let alone = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    assert_locked(repository.lock(LockMode::Shared).await, true);
    repository.wait_for_locks(Duration::from_secs(60));
    let waiting = {
        let repository = repository.clone();
        tokio::spawn(async move { repository.lock(LockMode::Shared).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    alone.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

/// A writer whose lock is removed behind its back, as a suspended process finds it when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_lock_was_removed_writes_neither_index_nor_snapshot() {
    let (store, repository) = in_memory().await;
    let held = lock(&repository).await;
    let writer = repository.writer(&held, small_packs());
    let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
    add_files(&writer, &mut tree, &files(1)).await.unwrap();
    let removed = repository.remove_locks(LockSelection::All).await.unwrap();
    assert_eq!(removed.removed.len(), 1);
    let error = writer.finish(tree, new_snapshot()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::LockLost { .. }), "{error}");
    assert_eq!(keys(&*store, "index/").await.len(), 0);
    assert_eq!(keys(&*store, "snapshots/").await.len(), 0);
}

/// The lock goes away while the snapshot or index file is on its way: it is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_the_lock_went_away_is_taken_back() {
    for folder in ["index/", "snapshots/"] {
        let (faults, repository) = with_faults().await;
        faults.inject(Rule::every(Operation::Put, folder, Fault::Delay(Duration::from_millis(300))));
        let held = lock(&repository).await;
        let writer = repository.writer(&held, small_packs());
        let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
        add_files(&writer, &mut tree, &files(1)).await.unwrap();
        let finish = tokio::spawn(writer.finish(tree, new_snapshot()));
        soon("the write", async || {
            faults
                .log()
                .iter()
                .any(|(operation, key)| *operation == Operation::Put && key.starts_with(folder))
        })
        .await;
        repository.remove_locks(LockSelection::All).await.unwrap();
        let error = finish.await.unwrap().unwrap_err();
        assert!(matches!(error, RepositoryError::LockLost { .. }), "{error}");
        assert_eq!(keys(&*faults, folder).await.len(), 0, "{folder}");
        assert_eq!(keys(&*faults, "snapshots/").await.len(), 0);
    }
}

async fn with_faults() -> (std::sync::Arc<Faults>, Repository) {
    let faults = std::sync::Arc::new(Faults::new(std::sync::Arc::new(Memory::new())));
    let repository = Repository::init(faults.clone(), &password(), quick()).await.unwrap();
    (faults, repository)
}

//! Locks of other machines, whose clocks are wrong.

use std::path::Path;
use std::sync::Arc;

use basekeep_store::{Local, Memory, Store};
use jiff::Timestamp;

use super::*;
use crate::InitOptions;

const HOUR: Duration = Duration::from_secs(3600);

async fn repository(store: Arc<dyn Store>) -> Repository {
    let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
    Repository::init(store, &"correct horse".into(), options).await.unwrap()
}

fn elsewhere(exclusive: bool) -> LockFile {
    LockFile { hostname: "elsewhere".into(), pid: 1, ..LockFile::ours(exclusive) }
}

/// A lock of another machine whose clock says `claimed`, and which the storage wrote `ago`.
async fn lock_elsewhere(
    repository: &Repository,
    folder: &Path,
    exclusive: bool,
    claimed: Timestamp,
    ago: Duration,
) -> String {
    let file = LockFile { time: claimed, ..elsewhere(exclusive) };
    let key = repository.write_json(layout::LOCKS, file.encode().unwrap()).await.unwrap();
    let file = std::fs::File::open(folder.join(&key)).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
    key
}

async fn lock(repository: &Repository, mode: LockMode) -> Result<()> {
    let options = LockOptions { settle: Duration::from_millis(1), ..LockOptions::default() };
    repository.lock_with(mode, options).await?.release().await.map(drop)
}

#[tokio::test]
async fn a_lock_from_a_machine_whose_clock_is_behind_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let behind = Timestamp::now() - 5 * HOUR;
    let fresh = Duration::from_secs(240);
    let key = lock_elsewhere(&repository, folder.path(), false, behind, fresh).await;
    let refused = lock(&repository, LockMode::Exclusive).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Locked { holder } if holder.file == key));
    let report = repository.remove_locks(LockSelection::Stale).await.unwrap();
    assert_eq!((report.removed.len(), report.kept.len()), (0, 1), "{report:?}");
    lock(&repository, LockMode::Shared).await.unwrap();
    assert_eq!(repository.locks().await.unwrap().len(), 1, "shared locks do not hold each other up");
}

#[tokio::test]
async fn a_dead_lock_from_a_machine_whose_clock_is_ahead_is_stale_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let ahead = Timestamp::now() + 5 * HOUR;
    lock_elsewhere(&repository, folder.path(), true, ahead, HOUR).await;
    assert!(repository.locks().await.unwrap()[0].stale.is_none(), "without asking the storage it is unclear");
    lock(&repository, LockMode::Shared).await.unwrap();
    assert_eq!(repository.locks().await.unwrap(), []);
}

#[tokio::test]
async fn a_living_lock_from_a_machine_whose_clock_is_ahead_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let ahead = Timestamp::now() + 5 * HOUR;
    lock_elsewhere(&repository, folder.path(), true, ahead, Duration::from_secs(1)).await;
    assert!(lock(&repository, LockMode::Shared).await.is_err());
    assert!(lock(&repository, LockMode::Exclusive).await.is_err());
}

#[tokio::test]
async fn our_own_clock_does_not_matter_where_the_storage_has_one() {
    // Its files are two hours old by our clock, as if ours were ahead of the storage's.
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let claimed = Timestamp::now() - 2 * HOUR;
    let key = lock_elsewhere(&repository, folder.path(), true, claimed, 2 * HOUR).await;
    let seen = repository.read_locks(|_| true).await.unwrap().remove(0);
    let seen = repository.see(seen.0, seen.1).await.unwrap().unwrap();
    assert_eq!(seen.key, key);
    let limit = LockOptions::default().stale;
    let storage_now = SystemTime::now() - 2 * HOUR + Duration::from_secs(60);
    assert!(seen.stale(Clock::Storage(storage_now), limit).is_none());
    assert!(seen.stale(Clock::Storage(storage_now + HOUR), limit).is_some());
    assert!(seen.stale(Clock::Ours, limit).is_some());
}

#[tokio::test]
async fn where_the_storage_does_not_tell_the_locks_own_time_decides() {
    let seen =
        |time| Seen { key: "locks/1".into(), file: Ok(LockFile { time, ..elsewhere(true) }), written: None };
    let limit = LockOptions::default().stale;
    let old = seen(Timestamp::now() - HOUR);
    for clock in [Clock::Ours, Clock::Guessed, Clock::Storage(SystemTime::now())] {
        assert!(old.stale(clock, limit).is_some(), "{clock:?}");
        assert!(seen(Timestamp::now() - HOUR / 4).stale(clock, limit).is_none());
        assert!(seen(Timestamp::now() + 5 * HOUR).stale(clock, limit).is_none());
    }
}

#[tokio::test]
async fn removing_stale_locks_leaves_the_living_and_removing_all_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let dead = LockFile { pid: i32::MAX as u32, ..LockFile::ours(true) };
    repository.write_json(layout::LOCKS, dead.encode().unwrap()).await.unwrap();
    let old = lock_elsewhere(&repository, folder.path(), false, Timestamp::now() - HOUR, HOUR).await;
    let alive = lock_elsewhere(&repository, folder.path(), false, Timestamp::now(), Duration::ZERO).await;
    let torn = format!("locks/{}", "ab".repeat(32));
    repository.shared.store.put(&torn, b"torn".to_vec().into()).await.unwrap();
    let locks = repository.locks().await.unwrap();
    assert_eq!((locks.len(), &locks[0].file), (4, &old), "oldest first");
    assert!(matches!(locks[0].stale, Some(StaleReason::NotRefreshed(age)) if age >= HOUR));
    assert_eq!(locks.iter().filter(|lock| lock.stale == Some(StaleReason::ProcessGone)).count(), 1);
    assert_eq!(locks.iter().filter(|lock| lock.holder.is_err()).count(), 1);

    let report = repository.remove_locks(LockSelection::Stale).await.unwrap();
    assert_eq!((report.removed.len(), report.kept.len(), report.failed.len()), (2, 2, 0));
    assert!(report.kept.iter().any(|lock| lock.file == alive));
    let report = repository.remove_locks(LockSelection::All).await.unwrap();
    assert_eq!((report.removed.len(), report.kept.len()), (2, 0));
    assert_eq!(repository.locks().await.unwrap(), []);
}

#[tokio::test]
async fn a_torn_lock_file_that_is_old_is_removed_with_the_stale_ones() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let torn = format!("locks/{}", "ab".repeat(32));
    repository.shared.store.put(&torn, b"torn".to_vec().into()).await.unwrap();
    let file = std::fs::File::open(folder.path().join(&torn)).unwrap();
    file.set_modified(SystemTime::now() - HOUR).unwrap();
    lock(&repository, LockMode::Exclusive).await.unwrap();
    let report = repository.remove_locks(LockSelection::Stale).await.unwrap();
    assert_eq!(report.removed.len(), 1, "{report:?}");
    assert_eq!(repository.locks().await.unwrap(), []);
}

#[tokio::test]
async fn in_memory_too_there_is_a_clock() {
    let repository = repository(Arc::new(Memory::new())).await;
    let file = LockFile { time: Timestamp::now() - 5 * HOUR, ..elsewhere(true) };
    repository.write_json(layout::LOCKS, file.encode().unwrap()).await.unwrap();
    assert!(lock(&repository, LockMode::Shared).await.is_err(), "it was written just now");
}

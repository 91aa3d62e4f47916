//! The store fails at every single operation, in every way: no snapshot that is listed is ever broken, and the next run
//! completes.

use std::sync::Arc;
use std::time::Duration;

use basekeep_repository::{CheckOptions, LockMode, PruneOptions, Repository};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Retry, RetryPolicy, Rule, Store};

use crate::support::*;

/// Everything that is listed is whole; then a run without faults completes.
async fn assert_unharmed(
    memory: Arc<Memory>,
    before: &[(&str, Vec<u8>)],
    during: &[(&str, Vec<u8>)],
    what: &str,
) {
    let repository = Repository::open(memory.clone(), &password()).await.unwrap();
    repository.load_index().await.unwrap();
    assert!(repository.unreadable_index_files().is_empty(), "{what}");
    let (snapshots, unreadable) = repository.snapshots().await.unwrap();
    assert!(unreadable.is_empty(), "{what}: {unreadable:?}");
    assert_holds(&repository, &snapshots[0], before).await;
    for snapshot in &snapshots[1..] {
        assert_holds(&repository, snapshot, during).await;
    }
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
    let snapshot = backup(&repository, during).await.unwrap();
    assert_holds(&repository, &snapshot, during).await;
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
}

async fn copy(store: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    for object in store.list("").await.unwrap() {
        copy.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
    }
    Arc::new(copy)
}

/// One backup with one fault; gives whether the fault was met.
async fn run_with(memory: Arc<Memory>, rule: Rule, retries: bool) -> (bool, bool) {
    let faults = Arc::new(Faults::new(memory));
    let store: Arc<dyn Store> = if retries {
        let policy = RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
        Arc::new(Retry::new(faults.clone(), policy))
    } else {
        faults.clone()
    };
    let repository = Repository::open(store, &password()).await.unwrap();
    let (operation, nth) = (rule.operation.unwrap(), rule.skip);
    let already =
        faults.log().iter().filter(|(o, key)| *o == operation && key.starts_with(&rule.prefix)).count();
    faults.inject(rule.clone());
    let result = backup_quietly(&repository).await;
    let asked =
        faults.log().iter().filter(|(o, key)| *o == operation && key.starts_with(&rule.prefix)).count();
    ((asked - already) as u64 > nth, result)
}

async fn backup_quietly(repository: &Repository) -> bool {
    let Ok(lock) = lock_as(repository, basekeep_repository::LockMode::Shared).await else { return false };
    if repository.load_index().await.is_err() {
        return false;
    }
    let writer = repository.writer(&lock, small_packs());
    let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
    let done = match add_files(&writer, &mut tree, &files(20)).await {
        Ok(()) => writer.finish(tree, new_snapshot()).await.is_ok(),
        Err(_) => {
            writer.abort().await;
            false
        }
    };
    let _ = lock.release().await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_write_breaks_no_snapshot_and_the_next_run_completes() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    for prefix in ["data/", "index/", "snapshots/", "locks/"] {
        for fault in [
            Fault::Before(ErrorKind::Permanent),
            Fault::Before(ErrorKind::NoSpace),
            Fault::After(ErrorKind::Permanent),
            Fault::Before(ErrorKind::Transient),
        ] {
            for nth in 0.. {
                let store = copy(&memory).await;
                let (met, done) =
                    run_with(store.clone(), Rule::nth(nth, Operation::Put, prefix, fault), false).await;
                if !met {
                    assert!(done, "without a fault the backup completes");
                    break;
                }
                assert!(!done, "{fault:?} at put {nth} of {prefix} must be told");
                let what = format!("{fault:?} at put {nth} of {prefix}");
                assert_unharmed(store, &files(1), &files(20), &what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_retries_lost_answers_and_torn_writes_are_made_good() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let kind = ErrorKind::Transient;
    for prefix in ["data/", "index/", "snapshots/", "locks/"] {
        for fault in [
            Fault::Before(kind),
            Fault::After(kind),
            Fault::Torn { keep: 10, kind },
            Fault::Torn { keep: 0, kind },
        ] {
            for nth in 0.. {
                let store = copy(&memory).await;
                let (met, done) =
                    run_with(store.clone(), Rule::nth(nth, Operation::Put, prefix, fault), true).await;
                assert!(done, "{fault:?} at put {nth} of {prefix}");
                if !met {
                    break;
                }
                let what = format!("{fault:?} at put {nth} of {prefix}");
                assert_unharmed(store, &files(1), &files(20), &what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_while_reading_or_deleting_break_nothing_either() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    for operation in [Operation::Get, Operation::List, Operation::Delete, Operation::Size] {
        for nth in 0.. {
            let store = copy(&memory).await;
            let rule = Rule::nth(nth, operation, "", Fault::Before(ErrorKind::Permanent));
            let (met, done) = run_with(store.clone(), rule, false).await;
            if !met {
                assert!(done);
                break;
            }
            assert_unharmed(store, &files(1), &files(20), &format!("{operation} {nth}")).await;
        }
    }
}

/// The process is killed after any number of writes: what is in the store by then is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stops_dead_after_any_write_harms_nobody() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    for nth in 0.. {
        let store = copy(&memory).await;
        let rule = Rule { skip: nth, ..Rule::every(Operation::Put, "", Fault::Before(ErrorKind::Permanent)) };
        let (met, _) = run_with(store.clone(), rule, false).await;
        if !met {
            break;
        }
        assert_unharmed(store, &files(1), &files(20), &format!("dead after {nth} writes")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_are_durable_before_their_index_and_the_index_before_the_snapshot() {
    let (memory, _) = in_memory().await;
    let faults = Arc::new(Faults::new(memory));
    faults.inject(Rule::every(Operation::Put, "data/", Fault::Delay(Duration::from_millis(30))));
    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    backup(&repository, &files(1)).await.unwrap();
    let puts: Vec<String> = faults
        .log()
        .into_iter()
        .filter(|(operation, key)| *operation == Operation::Put && !key.starts_with("locks/"))
        .map(|(_, key)| key.split('/').next().unwrap().to_owned())
        .collect();
    let first_index = puts.iter().position(|folder| folder == "index").unwrap();
    assert!(puts[..first_index].iter().all(|folder| folder == "data"), "{puts:?}");
    assert!(puts[first_index..].iter().all(|folder| folder != "data"), "{puts:?}");
    assert_eq!(puts.iter().position(|folder| folder == "snapshots"), Some(puts.len() - 1));
}

#[tokio::test]
async fn index_files_that_are_listed_after_their_removal_are_passed_over() {
    let (memory, repository) = in_memory().await;
    let before = files(1);
    let snapshot = backup(&repository, &before).await.unwrap();
    // Storage on several servers lists what was removed while one of them was down.
    let ghost = format!("index/{}", "ab".repeat(32));
    memory.put(&ghost, Vec::new().into()).await.unwrap();
    let faults = Arc::new(Faults::new(memory.clone()));
    for operation in [Operation::Get, Operation::Size] {
        faults.inject(Rule::every(operation, &ghost, Fault::Before(ErrorKind::NotFound)));
    }

    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    repository.load_index().await.unwrap();
    assert!(repository.unreadable_index_files().is_empty());
    assert_holds(&repository, &snapshot, &before).await;
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert_eq!(report.notes, [format!("{ghost} is listed by the storage, and gone")]);

    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    let plan = repository.plan_prune(&PruneOptions::default(), &lock).await.unwrap();
    repository.execute_prune(plan, &lock, &|_| {}).await.unwrap();
    lock.release().await.unwrap();
    assert_holds(&repository, &snapshot, &before).await;
}

//! The index is made again from the packs, without reading what is known.

use std::sync::Arc;

use basekeep_repository::{
    CheckOptions, IndexRepairOutcome, IndexRepairPlan, LockMode, Repository, RepositoryError, Snapshot,
};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Rule, Store};

use crate::support::*;

async fn plan(repository: &Repository) -> IndexRepairPlan {
    let lock = lock_as(repository, LockMode::Exclusive).await.unwrap();
    let plan = repository.plan_index_repair(&lock, &|_, _| {}).await.unwrap();
    lock.release().await.unwrap();
    plan
}

async fn repair(repository: &Repository) -> Result<IndexRepairOutcome, RepositoryError> {
    let lock = lock_as(repository, LockMode::Exclusive).await?;
    let outcome = repository.repair_index(&lock).await;
    lock.release().await?;
    outcome
}

async fn three_backups() -> (Arc<Memory>, Vec<Snapshot>) {
    let (store, repository) = in_memory().await;
    let mut snapshots = Vec::new();
    for n in 0..3 {
        snapshots.push(backup(&repository, &files(n)).await.unwrap());
    }
    (store, snapshots)
}

async fn copy(store: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    for object in store.list("").await.unwrap() {
        copy.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
    }
    Arc::new(copy)
}

async fn open(store: Arc<dyn Store>) -> Repository {
    Repository::open(store, &password()).await.unwrap()
}

async fn assert_whole(store: &Arc<Memory>, snapshots: &[Snapshot]) {
    let repository = open(store.clone()).await;
    repository.load_index().await.unwrap();
    for (n, snapshot) in snapshots.iter().enumerate() {
        assert_holds(&repository, snapshot, &files(n as u64)).await;
    }
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_index_is_left_alone() {
    let (store, _) = three_backups().await;
    let faults = Arc::new(Faults::new(store));
    let repository = open(faults.clone()).await;
    assert!(plan(&repository).await.is_empty());
    let outcome = repair(&repository).await.unwrap();
    assert_eq!(outcome, IndexRepairOutcome::default());
    assert_eq!(faults.count(Operation::GetRange), 0, "no pack is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_missing_index_files_are_made_again() {
    let (sound, snapshots) = three_backups().await;
    let files = keys(&*sound, "index/").await;
    for file in &files {
        for damage in ["flip", "cut", "empty", "delete", "all"] {
            let store = copy(&sound).await;
            let mut data = store.get(file).await.unwrap().to_vec();
            match damage {
                "flip" => data[50] ^= 1,
                "cut" => data.truncate(60),
                "empty" => data.clear(),
                _ => {}
            }
            match damage {
                "delete" => store.delete(file).await.unwrap(),
                "all" => {
                    for file in &files {
                        store.delete(file).await.unwrap();
                    }
                }
                _ => replace(&*store, file, data).await,
            }
            let repository = open(store.clone()).await;
            let planned = plan(&repository).await;
            assert_eq!(planned.damaged.len(), usize::from(!["delete", "all"].contains(&damage)));
            assert!(!planned.added.is_empty() && planned.gone.is_empty() && planned.unreadable.is_empty());
            let outcome = repair(&repository).await.unwrap();
            assert!(outcome.written == 1 && outcome.still_there.is_empty(), "{outcome:?}");
            assert_whole(&store, &snapshots).await;
            assert!(plan(&repository).await.is_empty());
            if damage == "delete" {
                assert_eq!(keys(&*store, "index/").await.len(), files.len());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_are_gone_leave_the_index_and_the_next_backup_stores_their_blobs_again() {
    let (store, snapshots) = three_backups().await;
    let repository = open(store.clone()).await;
    repository.load_index().await.unwrap();
    let pack = keys(&*store, "data/").await.remove(0);
    store.delete(&pack).await.unwrap();
    let planned = plan(&repository).await;
    assert_eq!((planned.gone.as_slice(), planned.added.len()), (&[pack][..], 0));
    let outcome = repair(&repository).await.unwrap();
    assert_eq!((outcome.written, outcome.deleted), (1, 1));
    for n in 0..3 {
        backup(&repository, &files(n)).await.unwrap();
    }
    for (n, snapshot) in snapshots.iter().enumerate() {
        // Its trees have another time in them; the files are whole.
        if repository.node_at(snapshot, "shop/database").await.is_ok() {
            assert_holds(&repository, snapshot, &files(n as u64)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_the_wrong_size_is_judged_by_its_header() {
    let (sound, _) = three_backups().await;
    let packs = keys(&*sound, "data/").await;
    // Swapped: the header is good, and says what is really there.
    let store = copy(&sound).await;
    let (one, other) = (store.get(&packs[0]).await.unwrap(), store.get(&packs[1]).await.unwrap());
    assert_ne!(one.len(), other.len());
    replace(&*store, &packs[0], other.to_vec()).await;
    replace(&*store, &packs[1], one.to_vec()).await;
    let repository = open(store.clone()).await;
    let planned = plan(&repository).await;
    assert_eq!(planned.corrected, packs[..2]);
    repair(&repository).await.unwrap();
    repository.load_index().await.unwrap();
    for (n, snapshot) in repository.snapshots().await.unwrap().0.iter().enumerate() {
        assert_holds(&repository, snapshot, &files(n as u64)).await;
    }
    // Cut off: what the index says of it stays, since its first blobs may be good.
    let store = copy(&sound).await;
    replace(&*store, &packs[0], one.slice(..one.len() / 2).to_vec()).await;
    let planned = plan(&open(store).await).await;
    assert_eq!(planned.unreadable.len(), 1);
    assert!(planned.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_fails_at_any_operation_loses_nothing_and_the_next_completes() {
    let (sound, snapshots) = three_backups().await;
    let broken = keys(&*sound, "index/").await.remove(1);
    let data = sound.get(&broken).await.unwrap().slice(..40).to_vec();
    replace(&*sound, &broken, data).await;
    let mut cases = 0;
    for operation in [Operation::Put, Operation::Delete, Operation::Get, Operation::GetRange, Operation::List]
    {
        for fault in [Fault::Before(ErrorKind::Permanent), Fault::After(ErrorKind::Permanent)] {
            for nth in 0.. {
                let store = copy(&sound).await;
                let faults = Arc::new(Faults::new(store.clone()));
                let repository = open(faults.clone()).await;
                let before = faults.count(operation);
                faults.inject(Rule::nth(nth, operation, "", fault));
                let _ = repair(&repository).await;
                if faults.count(operation) - before <= nth {
                    break;
                }
                cases += 1;
                for key in keys(&*store, "locks/").await {
                    store.delete(&key).await.unwrap();
                }
                let repository = open(store.clone()).await;
                repair(&repository).await.unwrap();
                assert_whole(&store, &snapshots).await;
            }
        }
    }
    assert!(cases > 20, "{cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_does_not_allow_deleting_keeps_the_damaged_file_and_it_is_named() {
    let (store, snapshots) = three_backups().await;
    let broken = keys(&*store, "index/").await.remove(1);
    replace(&*store, &broken, vec![1, 2, 3]).await;
    let faults = Arc::new(Faults::new(store.clone()));
    faults.inject(Rule::every(Operation::Delete, "index/", Fault::Before(ErrorKind::Denied)));
    let outcome = repair(&open(faults).await).await.unwrap();
    assert_eq!((outcome.written, outcome.deleted, outcome.still_there), (1, 0, vec![broken]));
    let repository = open(store).await;
    repository.load_index().await.unwrap();
    for (n, snapshot) in snapshots.iter().enumerate() {
        assert_holds(&repository, snapshot, &files(n as u64)).await;
    }
}

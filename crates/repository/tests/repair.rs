//! Damage in packs and snapshots, and what repairing them leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use basekeep_repository::{
    BlobId, Changes, CheckOptions, CheckReport, LockMode, Repository, RepositoryError, Snapshot,
    WriterOptions,
};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Rule, Store};

use crate::support::*;

async fn check(repository: &Repository) -> CheckReport {
    repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap()
}

fn damaged_packs(report: &CheckReport) -> Vec<String> {
    let files = report.damage.iter().map(|damage| damage.file.clone());
    files.filter(|file| file.starts_with("data/")).collect()
}

/// Paths of a snapshot that cannot be read.
fn lost_paths(report: &CheckReport, snapshot: &Snapshot) -> BTreeSet<String> {
    let touched = report.damage.iter().flat_map(|damage| &damage.touches);
    touched.filter(|touched| touched.snapshot == snapshot.id).map(|touched| touched.path.clone()).collect()
}

/// Flips a bit of the largest pack.
async fn flip(store: &Memory, at: usize) -> String {
    let packs = store.list("data/").await.unwrap();
    let key = packs.into_iter().max_by_key(|pack| pack.size).unwrap().key;
    let mut data = store.get(&key).await.unwrap().to_vec();
    data[at] ^= 0x20;
    replace(store, &key, data).await;
    key
}

async fn repair_packs(repository: &Repository, packs: &[String]) -> Vec<basekeep_repository::RepairedPack> {
    let lock = lock_as(repository, LockMode::Exclusive).await.unwrap();
    let repaired = repository.repair_packs(&lock, packs).await.unwrap();
    lock.release().await.unwrap();
    repaired
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_with_one_rotten_blob_loses_that_blob_alone_and_a_backup_heals_it() {
    let (store, repository) = in_memory().await;
    let first = backup(&repository, &files(1)).await.unwrap();
    let damaged = flip(&store, 1000).await;
    let before = check(&repository).await;
    assert_eq!(damaged_packs(&before), std::slice::from_ref(&damaged));
    assert_eq!(lost_paths(&before, &first).len(), 1, "{before:?}");

    let repaired = repair_packs(&repository, std::slice::from_ref(&damaged)).await;
    assert_eq!((repaired.len(), repaired[0].lost, repaired[0].still_there), (1, 1, false));
    assert!(repaired[0].kept > 0, "{repaired:?}");
    assert!(!keys(&*store, "data/").await.contains(&damaged), "the damaged pack is gone");
    let after = check(&repository).await;
    assert_eq!(damaged_packs(&after), Vec::<String>::new());
    assert_eq!(lost_paths(&after, &first), lost_paths(&before, &first), "nothing else is lost");

    backup(&repository, &files(1)).await.unwrap();
    let healed = check(&repository).await;
    assert!(healed.damage.is_empty(), "{:?}", healed.damage);
    assert_holds(&repository, &first, &files(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_pack_that_was_cut_off_is_kept() {
    let (store, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let pack = store.list("data/").await.unwrap().into_iter().max_by_key(|pack| pack.size).unwrap();
    let data = store.get(&pack.key).await.unwrap();
    replace(&*store, &pack.key, data[..data.len() * 2 / 3].to_vec()).await;
    assert_eq!(repository.packs_of_wrong_size().await.unwrap(), std::slice::from_ref(&pack.key));
    let repaired = repair_packs(&repository, std::slice::from_ref(&pack.key)).await;
    assert!(repaired[0].kept > 0 && repaired[0].lost > 0, "{repaired:?}");
    assert!(repository.packs_of_wrong_size().await.unwrap().is_empty());
    assert!(damaged_packs(&check(&repository).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_was_read_wrong_once_loses_nothing() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let packs = keys(&*store, "data/").await;
    let repaired = repair_packs(&repository, &packs).await;
    assert!(repaired.iter().all(|pack| pack.lost == 0), "{repaired:?}");
    assert!(check(&repository).await.damage.is_empty());
    assert_holds(&repository, &snapshot, &files(1)).await;
}

async fn rewrite(repository: &Repository, snapshot: &Snapshot, paths: &[&str]) -> Snapshot {
    let lock = lock_as(repository, LockMode::Exclusive).await.unwrap();
    repository.load_index().await.unwrap();
    let writer = repository.writer(&lock, WriterOptions::default());
    let mut changes = Changes::new();
    paths.iter().for_each(|path| changes.remove(path));
    let content = writer.put_file(b"new words").await.unwrap();
    changes.put("/shop/MANIFEST.md", content, 0o600);
    let new = writer.rewrite(snapshot, &changes, "repaired").await.unwrap();
    lock.release().await.unwrap();
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_snapshot_differs_in_what_was_asked_for_alone() {
    let (_, repository) = in_memory().await;
    let old = backup(&repository, &files(1)).await.unwrap();
    let new = rewrite(&repository, &old, &["/shop/database/1.dat", "/shop/nothing/here"]).await;
    assert_eq!((new.original, new.time, &new.hostname), (Some(old.id), old.time, &old.hostname));
    assert_eq!(new.tags, ["nightly", "repaired"]);
    assert_eq!(new.summary.as_ref().unwrap().total_files_processed, 4);
    assert!(repository.node_at(&new, "/shop/database/1.dat").await.unwrap().is_none());
    assert_eq!(read_file(&repository, &new, "shop/MANIFEST.md").await.unwrap(), b"new words");
    let same: Vec<_> =
        files(1).into_iter().filter(|(path, _)| !path.ends_with("1.dat") && !path.ends_with(".md")).collect();
    assert_holds(&repository, &new, &same).await;
    assert_holds(&repository, &old, &files(1)).await;
    assert!(check(&repository).await.damage.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_stored_again_without_a_snapshot_heals_the_snapshots_that_need_it() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let packs = keys(&*store, "data/").await;
    for pack in &packs {
        replace(&*store, pack, vec![0; 100]).await;
    }
    repair_packs(&repository, &packs).await;
    assert!(read_file(&repository, &snapshot, "shop/MANIFEST.md").await.is_err());
    backup(&repository, &files(1)[1..]).await.unwrap();
    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    let writer = repository.writer(&lock, WriterOptions::default());
    writer.put_file(&files(1)[0].1).await.unwrap();
    writer.finish_without_snapshot().await.unwrap();
    lock.release().await.unwrap();
    let repository = Repository::open(store, &password()).await.unwrap();
    repository.load_index().await.unwrap();
    let mut blobs = repository.read_blobs(vec![BlobId::of(&files(1)[0].1)], 1 << 20);
    assert_eq!(blobs.next().await.unwrap().unwrap().to_vec(), files(1)[0].1);
}

async fn copy(store: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    for object in store.list("").await.unwrap() {
        copy.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
    }
    Arc::new(copy)
}

/// Repairs packs, with one fault; whether the fault was met.
async fn repair_with(memory: Arc<Memory>, pack: &str, rule: Rule) -> bool {
    let faults = Arc::new(Faults::new(memory));
    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    repository.load_index().await.unwrap();
    let operation = rule.operation.unwrap();
    let asked = |faults: &Faults| {
        let log = faults.log();
        log.iter().filter(|(o, key)| *o == operation && key.starts_with(&rule.prefix)).count() as u64
    };
    let before = asked(&faults);
    faults.inject(rule.clone());
    let _ = repository.repair_packs(&lock, &[pack.to_owned()]).await;
    let met = asked(&faults) - before > rule.skip;
    faults.heal();
    lock.release().await.unwrap();
    met
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_of_packs_that_fails_anywhere_loses_nothing_and_the_next_one_completes() {
    let (memory, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let damaged = flip(&memory, 1000).await;
    let lost = lost_paths(&check(&repository).await, &snapshot);
    let mut cases = 0;
    for (operation, prefix) in [
        (Operation::Get, "data/"),
        (Operation::Put, "data/"),
        (Operation::Put, "index/"),
        (Operation::Delete, "index/"),
        (Operation::Delete, "data/"),
    ] {
        for fault in [
            Fault::Before(ErrorKind::Permanent),
            Fault::After(ErrorKind::Permanent),
            Fault::Before(ErrorKind::Denied),
        ] {
            for nth in 0.. {
                let store = copy(&memory).await;
                if !repair_with(store.clone(), &damaged, Rule::nth(nth, operation, prefix, fault)).await {
                    assert!(nth > 0, "{operation:?} of {prefix} happens");
                    break;
                }
                cases += 1;
                let what = format!("{fault:?} at {operation:?} {nth} of {prefix}");
                let repository = Repository::open(store.clone(), &password()).await.unwrap();
                repository.load_index().await.unwrap();
                let report = check(&repository).await;
                assert_eq!(lost_paths(&report, &snapshot), lost, "{what}: {report:?}");
                let left = damaged_packs(&report);
                repair_packs(&repository, &left).await;
                let report = check(&repository).await;
                assert!(damaged_packs(&report).is_empty(), "{what}: {report:?}");
                assert_eq!(lost_paths(&report, &snapshot), lost, "{what}");
            }
        }
    }
    assert!(cases >= 15, "{cases} cases");
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_only_appends_keeps_the_old_packs_and_says_so() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let damaged = flip(&memory, 1000).await;
    let faults = Arc::new(Faults::new(memory.clone()));
    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    repository.load_index().await.unwrap();
    for folder in ["data/", "index/", "snapshots/"] {
        faults.inject(Rule::every(Operation::Delete, folder, Fault::Before(ErrorKind::Denied)));
    }
    let repaired = repository.repair_packs(&lock, std::slice::from_ref(&damaged)).await.unwrap();
    assert!(repaired[0].still_there, "{repaired:?}");
    let (snapshots, _) = repository.snapshots().await.unwrap();
    let error = repository.remove_snapshot(&lock, snapshots[0].id).await.unwrap_err();
    assert!(matches!(&error, RepositoryError::Store(e) if e.kind == ErrorKind::Denied), "{error}");
    lock.release().await.unwrap();
}

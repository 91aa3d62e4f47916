//! Prune: what snapshots need stays, what they do not need goes, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use basekeep_repository::{
    CheckOptions, LockMode, MaxUnused, PruneOptions, PruneOutcome, PrunePlan, Repository, RepositoryError,
    Result, Snapshot,
};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Rule, Store};

use crate::support::*;

/// Files of a snapshot, by path.
type Files = Vec<(&'static str, Vec<u8>)>;

/// Rewrites whatever holds anything that is not needed.
fn thorough() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), pack_size: 256 << 10, ..PruneOptions::default() }
}

async fn plan(repository: &Repository, options: &PruneOptions) -> Result<PrunePlan> {
    let lock = lock_as(repository, LockMode::Exclusive).await?;
    let plan = repository.plan_prune(options, &lock).await;
    lock.release().await?;
    plan
}

async fn prune(repository: &Repository, options: &PruneOptions) -> Result<PruneOutcome> {
    let lock = lock_as(repository, LockMode::Exclusive).await?;
    let result = async {
        let plan = repository.plan_prune(options, &lock).await?;
        repository.execute_prune(plan, &lock, &|_| {}).await
    };
    let result = result.await;
    let _ = lock.release().await;
    result
}

async fn forget(store: &dyn Store, snapshot: &Snapshot) {
    store.delete(&format!("snapshots/{}", snapshot.id)).await.unwrap();
}

async fn assert_clean(repository: &Repository) {
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
}

async fn stored_bytes(store: &dyn Store) -> u64 {
    store.list("data/").await.unwrap().iter().map(|object| object.size).sum()
}

/// Two tables whose blobs alternate in the packs: one of them goes with the first snapshot.
async fn interleaved(repository: &Repository) -> (Vec<(&'static str, Vec<u8>)>, Snapshot, Snapshot) {
    let lock = lock(repository).await;
    repository.load_index().await.unwrap();
    let writer = repository.writer(&lock, small_packs());
    let (mut one, mut two) = (writer.file(16 << 10), writer.file(16 << 10));
    let (stays, goes) = (rows(900_000, 1), random(900_000, 2));
    for n in 0..30 {
        one.write(&stays[n * 30_000..(n + 1) * 30_000]).await.unwrap();
        two.write(&goes[n * 30_000..(n + 1) * 30_000]).await.unwrap();
    }
    let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
    tree.file("shop/1.dat", one.finish().await.unwrap(), 0o600);
    tree.file("shop/2.dat", two.finish().await.unwrap(), 0o600);
    let both = writer.finish(tree, new_snapshot()).await.unwrap();
    lock.release().await.unwrap();
    let files = vec![("shop/1.dat", stays)];
    let only = backup(repository, &files).await.unwrap();
    (files, both, only)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_snapshot_needs_goes_and_everything_else_stays() {
    let (store, repository) = in_memory().await;
    let (files, both, only) = interleaved(&repository).await;
    assert!(
        plan(&repository, &PruneOptions { max_unused: MaxUnused::Percent(5.0), ..thorough() }).await.is_ok()
    );
    forget(&*store, &both).await;
    let before = stored_bytes(&*store).await;
    let planned = plan(&repository, &thorough()).await.unwrap();
    let summary = &planned.summary;
    assert_eq!(summary.snapshots, 1);
    assert!(summary.unused.bytes >= 900_000 && summary.repacked.packs > 2, "{summary:?}");
    assert_eq!(summary.unused_after, 0);
    assert_eq!(stored_bytes(&*store).await, before, "a plan changes nothing");

    let outcome = prune(&repository, &thorough()).await.unwrap();
    assert!(outcome.damaged.is_empty());
    let after = stored_bytes(&*store).await;
    assert_eq!(before + outcome.bytes_written - outcome.bytes_deleted, after);
    assert!(before - after > 890_000, "{before} → {after}");
    assert_holds(&repository, &only, &files).await;
    assert_clean(&repository).await;
    let opened = Repository::open(store.clone(), &password()).await.unwrap();
    opened.load_index().await.unwrap();
    assert_holds(&opened, &only, &files).await;
    assert!(plan(&repository, &thorough()).await.unwrap().is_empty(), "a second run has nothing to do");
    assert!(keys(&*store, "locks/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_snapshots_everything_goes() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    forget(&*store, &snapshot).await;
    prune(&repository, &PruneOptions::default()).await.unwrap();
    assert!(keys(&*store, "data/").await.is_empty() && keys(&*store, "index/").await.is_empty());
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    assert_holds(&repository, &snapshot, &files(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_stay_unused_is_not_rewritten() {
    let (store, repository) = in_memory().await;
    let (_, both, _) = interleaved(&repository).await;
    forget(&*store, &both).await;
    let with = async |options: PruneOptions| plan(&repository, &options).await.unwrap().summary;
    let nothing = with(PruneOptions { max_unused: MaxUnused::Unlimited, ..thorough() }).await;
    let all = with(thorough()).await;
    let trees = nothing.repacked.packs;
    assert!(trees <= 1 && nothing.unused_after >= 900_000, "only trees are rewritten: {nothing:?}");
    let some = with(PruneOptions { max_unused: MaxUnused::Bytes(400_000), ..thorough() }).await;
    assert!(some.unused_after <= 400_000 && some.unused_after > 0, "{some:?}");
    assert!((trees + 1..all.repacked.packs).contains(&some.repacked.packs), "{some:?}");
    let half = with(PruneOptions { max_unused: MaxUnused::Percent(50.0), ..thorough() }).await;
    assert!(half.unused_after <= half.needed.bytes, "{half:?}");
    let limited = with(PruneOptions { max_repack_size: Some(600_000), ..thorough() }).await;
    assert!(limited.repacked.bytes <= 600_000 && limited.repacked.packs >= 1, "{limited:?}");
    // Little by little it gets there.
    for _ in 0..20 {
        prune(&repository, &PruneOptions { max_repack_size: Some(600_000), ..thorough() }).await.unwrap();
    }
    assert!(plan(&repository, &thorough()).await.unwrap().is_empty());
    assert_clean(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_killed_run_go() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let (other_store, other) = in_memory().await;
    backup(&other, &files(9)).await.unwrap();
    for key in keys(&*other_store, "data/").await {
        store.put(&key, other_store.get(&key).await.unwrap()).await.unwrap();
    }
    store.put(&format!("data/ab/{}", "ab".repeat(32)), vec![1, 2].into()).await.unwrap();
    store.put("data/ab/not-a-pack", vec![1, 2].into()).await.unwrap();
    let planned = plan(&repository, &PruneOptions::default()).await.unwrap();
    assert_eq!(planned.summary.unindexed.packs as usize, keys(&*other_store, "data/").await.len() + 1);
    prune(&repository, &PruneOptions::default()).await.unwrap();
    store.delete("data/ab/not-a-pack").await.unwrap();
    assert_holds(&repository, &snapshot, &files(1)).await;
    assert_clean(&repository).await;
}

/// A run that does not know the index stores everything again.
async fn backup_blindly(store: &Arc<Memory>, files: &[(&str, Vec<u8>)]) -> Snapshot {
    let blind = Repository::open(store.clone(), &password()).await.unwrap();
    let lock = lock(&blind).await;
    let writer = blind.writer(&lock, small_packs());
    let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
    add_files(&writer, &mut tree, files).await.unwrap();
    let snapshot = writer.finish(tree, new_snapshot()).await.unwrap();
    lock.release().await.unwrap();
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_one_stays() {
    let (store, repository) = in_memory().await;
    let first = backup(&repository, &files(1)).await.unwrap();
    let alone = stored_bytes(&*store).await;
    let second = backup_blindly(&store, &files(1)).await;
    assert!(stored_bytes(&*store).await > alone * 19 / 10);
    let planned = plan(&repository, &thorough()).await.unwrap();
    assert!(planned.summary.duplicates.blobs > 20, "{:?}", planned.summary);
    prune(&repository, &thorough()).await.unwrap();
    assert!(stored_bytes(&*store).await < alone * 11 / 10);
    assert_holds(&repository, &first, &files(1)).await;
    assert_holds(&repository, &second, &files(1)).await;
    assert_clean(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_the_good_one_stays_whichever_that_is() {
    let (sound, repository) = in_memory().await;
    let table = [("shop/1.dat", random(600_000, 1))];
    let first = backup(&repository, &table).await.unwrap();
    let originals = keys(&*sound, "data/").await;
    backup_blindly(&sound, &table).await;
    for damaged in keys(&*sound, "data/").await {
        let store = copy(&sound).await;
        let mut data = store.get(&damaged).await.unwrap().to_vec();
        for at in (0..data.len().saturating_sub(2000)).step_by(1000) {
            data[at] ^= 1;
        }
        replace(&*store, &damaged, data).await;
        let repository = Repository::open(store.clone(), &password()).await.unwrap();
        let outcome = match prune(&repository, &thorough()).await {
            Ok(outcome) => outcome,
            // A tree of one of the snapshots.
            Err(RepositoryError::CannotPrune { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(outcome.damaged.iter().all(|(file, _)| *file == damaged), "{:?}", outcome.damaged);
        repository.load_index().await.unwrap();
        assert_holds(&repository, &first, &table).await;
    }
    assert!(originals.len() > 2);
}

async fn copy(store: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    for object in store.list("").await.unwrap() {
        copy.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
    }
    Arc::new(copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_keeps_its_pack_and_is_named() {
    let (store, repository) = in_memory().await;
    let (files, both, only) = interleaved(&repository).await;
    forget(&*store, &both).await;
    let packs = keys(&*store, "data/").await;
    let mut largest = (String::new(), 0);
    for key in &packs {
        let size = store.size(key).await.unwrap();
        if size > largest.1 {
            largest = (key.clone(), size);
        }
    }
    let bad = largest.0;
    let mut data = store.get(&bad).await.unwrap().to_vec();
    for at in (0..data.len().saturating_sub(4000)).step_by(2000) {
        data[at] ^= 1;
    }
    replace(&*store, &bad, data).await;
    let outcome = prune(&repository, &thorough()).await.unwrap();
    assert_eq!(outcome.damaged.iter().map(|(file, _)| file).collect::<Vec<_>>(), [&bad]);
    assert!(keys(&*store, "data/").await.contains(&bad), "it stays");
    assert!(outcome.packs_deleted > 2, "the others are rewritten");
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert_eq!(report.damage.iter().map(|damage| &damage.file).collect::<Vec<_>>(), [&bad]);
    // Storing the lost rows again heals it; then it can go.
    assert!(read_file(&repository, &only, "shop/1.dat").await.is_err());
    let again = backup_blindly(&store, &files).await;
    let outcome = prune(&repository, &thorough()).await.unwrap();
    assert!(outcome.damaged.len() <= 1, "{:?}", outcome.damaged);
    assert_holds(&repository, &only, &files).await;
    assert_holds(&repository, &again, &files).await;
    prune(&repository, &thorough()).await.unwrap();
    assert_holds(&repository, &only, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_when_something_that_may_need_it_cannot_be_read() {
    let (sound, repository) = in_memory().await;
    let (_, both, only) = interleaved(&repository).await;
    let flip = async |store: &Memory, key: &str| {
        let mut data = store.get(key).await.unwrap().to_vec();
        let middle = data.len() / 2;
        data[middle] ^= 1;
        replace(store, key, data).await;
    };
    let mut broken: Vec<(Arc<Memory>, &str, &str)> = Vec::new();
    let store = copy(&sound).await;
    flip(&store, &format!("snapshots/{}", both.id)).await;
    broken.push((store, "snapshots/", "repair snapshots"));
    let store = copy(&sound).await;
    flip(&store, &keys(&*store, "index/").await[0]).await;
    broken.push((store, "index/", "repair index"));
    let store = copy(&sound).await;
    store.delete(&keys(&*store, "index/").await[0]).await.unwrap();
    broken.push((store, "is in no index file", "repair"));
    for pack in keys(&*sound, "data/").await {
        let store = copy(&sound).await;
        store.delete(&pack).await.unwrap();
        broken.push((store, "which is missing or has the wrong size", "repair"));
        let store = copy(&sound).await;
        let short = store.get(&pack).await.unwrap().slice(..100).to_vec();
        replace(&*store, &pack, short).await;
        broken.push((store, "which is missing or has the wrong size", "repair"));
    }
    for (store, what, repair) in broken {
        let before: BTreeSet<String> = keys(&*store, "").await.into_iter().collect();
        let repository = Repository::open(store.clone(), &password()).await.unwrap();
        match prune(&repository, &thorough()).await {
            Err(RepositoryError::CannotPrune { reason, hint }) => {
                assert!(reason.contains(what), "{reason}");
                assert!(hint.contains(repair), "{hint}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(keys(&*store, "").await.into_iter().collect::<BTreeSet<_>>(), before);
    }
    assert_holds(&repository, &only, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_blob_is_named_with_snapshot_and_path() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &[("shop/database/1.dat", random(300_000, 1))]).await.unwrap();
    for pack in keys(&*store, "data/").await {
        let data = store.get(&pack).await.unwrap();
        store.delete(&pack).await.unwrap();
        let error = plan(&repository, &thorough()).await.unwrap_err().to_string();
        assert!(error.contains(&snapshot.id.short()), "{error}");
        assert!(error.contains("of /shop/database/1.dat in") || error.contains("of / in"), "{error}");
        store.put(&pack, data).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_lock_or_a_plan_that_is_out_of_date_is_refused() {
    let (store, repository) = in_memory().await;
    let (_, both, _) = interleaved(&repository).await;
    let shared = lock(&repository).await;
    let refused = repository.plan_prune(&thorough(), &shared).await;
    assert!(matches!(refused, Err(RepositoryError::Refused(_))), "{refused:?}");
    shared.release().await.unwrap();

    let old = plan(&repository, &PruneOptions { without: vec![both.id], ..thorough() }).await.unwrap();
    assert!(old.summary.freed > 800_000, "{:?}", old.summary);
    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    let refused = repository.execute_prune(old, &lock, &|_| {}).await;
    assert!(
        matches!(&refused, Err(RepositoryError::Refused(why)) if why.contains("snapshots")),
        "{refused:?}"
    );
    lock.release().await.unwrap();
    let old = plan(&repository, &thorough()).await.unwrap();
    backup(&repository, &files(3)).await.unwrap();
    let lock = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    let refused = repository.execute_prune(old, &lock, &|_| {}).await;
    assert!(matches!(refused, Err(RepositoryError::Refused(_))), "{refused:?}");
    lock.release().await.unwrap();
    assert_eq!(repository.snapshots().await.unwrap().0.len(), 3);
    assert!(keys(&*store, "locks/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_going_snapshots_need_alone_is_counted() {
    let (_, repository) = in_memory().await;
    let (_, both, only) = interleaved(&repository).await;
    let (blobs, bytes) = repository.only_used_by(&[both.id]).await.unwrap();
    assert!(blobs > 20 && (900_000..960_000).contains(&bytes), "{blobs} {bytes}");
    let (blobs, _) = repository.only_used_by(&[only.id]).await.unwrap();
    assert!(blobs <= 3, "its trees: {blobs}");
    assert_eq!(repository.only_used_by(&[]).await.unwrap(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_does_not_allow_deleting_is_left_as_it_is() {
    let (memory, repository) = in_memory().await;
    let (files, both, only) = interleaved(&repository).await;
    forget(&*memory, &both).await;
    let before: BTreeSet<String> = keys(&*memory, "").await.into_iter().collect();
    let faults = Arc::new(Faults::new(memory.clone()));
    for folder in ["data/", "index/", "snapshots/"] {
        faults.inject(Rule::every(Operation::Delete, folder, Fault::Before(ErrorKind::Denied)));
    }
    let repository = Repository::open(faults, &password()).await.unwrap();
    let refused = prune(&repository, &thorough()).await;
    let Err(RepositoryError::CannotPrune { reason, .. }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("does not allow deleting"), "{reason}");
    assert_eq!(keys(&*memory, "").await.into_iter().collect::<BTreeSet<_>>(), before);
    repository.load_index().await.unwrap();
    assert_holds(&repository, &only, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_packs_and_small_index_files_are_put_together() {
    let (store, repository) = in_memory().await;
    let mut snapshots = Vec::new();
    for n in 0..6 {
        snapshots.push(backup(&repository, &[("shop/1.dat", random(20_000, n))]).await.unwrap());
    }
    assert_eq!((keys(&*store, "index/").await.len(), keys(&*store, "data/").await.len()), (6, 12));
    prune(&repository, &PruneOptions::default()).await.unwrap();
    assert_eq!((keys(&*store, "index/").await.len(), keys(&*store, "data/").await.len()), (1, 12));
    prune(&repository, &PruneOptions { repack_small: true, ..thorough() }).await.unwrap();
    assert_eq!((keys(&*store, "index/").await.len(), keys(&*store, "data/").await.len()), (1, 2));
    for (n, snapshot) in snapshots.iter().enumerate() {
        assert_holds(&repository, snapshot, &[("shop/1.dat", random(20_000, n as u64))]).await;
    }
    assert_clean(&repository).await;
    assert!(plan(&repository, &PruneOptions { repack_small: true, ..thorough() }).await.unwrap().is_empty());
}

/// Text that a high level compresses better than a low one.
fn sentences(length: usize, seed: u64) -> Vec<u8> {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let mut random = SmallRng::seed_from_u64(seed);
    let mut text = Vec::with_capacity(length + 100);
    while text.len() < length {
        let n = random.next_u32() % 3000;
        let word = random.next_u32() % (n + 1);
        text.extend_from_slice(
            format!("word{word:x}{} ", ["", "ing", "ed", "s"][(word % 4) as usize]).as_bytes(),
        );
        if word.is_multiple_of(11) {
            text.extend_from_slice(b".\t2024-05-01 00:00:00\n");
        }
    }
    text.truncate(length);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn old_packs_are_compressed_again_once() {
    let (store, repository) = in_memory().await;
    let contents = [("shop/1.dat", sentences(3_000_000, 1)), ("shop/noise.bin", random(200_000, 2))];
    let snapshot = backup(&repository, &contents).await.unwrap();
    let before_snapshot = snapshot.time - Duration::from_secs(1);
    let young = PruneOptions { recompress_before: Some(before_snapshot), ..thorough() };
    let old = PruneOptions { recompress_before: Some(snapshot.time), ..thorough() };
    assert!(plan(&repository, &young).await.unwrap().is_empty());
    let before = stored_bytes(&*store).await;
    let planned = plan(&repository, &old).await.unwrap().summary;
    assert!(planned.recompressed.packs >= 2 && planned.repacked.packs == 0, "{planned:?}");
    let outcome = prune(&repository, &old).await.unwrap();
    assert!(outcome.blobs_recompressed > 20 && outcome.bytes_saved > 50_000, "{outcome:?}");
    let after = stored_bytes(&*store).await;
    assert!(after < before * 95 / 100, "{before} → {after}");
    assert_holds(&repository, &snapshot, &contents).await;
    assert_clean(&repository).await;
    assert!(plan(&repository, &old).await.unwrap().is_empty(), "not again");

    // What is new since then lies in other packs.
    let more = [("shop/1.dat", sentences(3_000_000, 1)), ("shop/3.dat", sentences(400_000, 3))];
    let second = backup(&repository, &more).await.unwrap();
    let old = PruneOptions { recompress_before: Some(second.time), ..thorough() };
    let planned = plan(&repository, &old).await.unwrap().summary;
    assert!((1..=3).contains(&planned.recompressed.packs), "{planned:?}");
    prune(&repository, &old).await.unwrap();
    assert!(plan(&repository, &old).await.unwrap().is_empty());
    assert_holds(&repository, &second, &more).await;
}

/// Everything that is listed is whole, and the next run completes and leaves nothing behind.
async fn assert_unharmed(memory: Arc<Memory>, only: &Snapshot, files: &[(&str, Vec<u8>)], what: &str) {
    let repository = Repository::open(memory.clone(), &password()).await.unwrap();
    for key in keys(&*memory, "locks/").await {
        memory.delete(&key).await.unwrap();
    }
    repository.load_index().await.unwrap();
    assert_holds(&repository, only, files).await;
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
    prune(&repository, &thorough()).await.unwrap();
    assert_holds(&repository, only, files).await;
    assert_clean(&repository).await;
    assert!(plan(&repository, &thorough()).await.unwrap().is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_fails_or_stops_at_any_operation_loses_nothing_and_the_next_completes() {
    let (sound, repository) = in_memory().await;
    let (files, both, only) = interleaved(&repository).await;
    forget(&*sound, &both).await;
    let mut cases = 0;
    for operation in [Operation::Put, Operation::Delete, Operation::Get, Operation::GetRange, Operation::List]
    {
        for (fault, times) in [
            (Fault::Before(ErrorKind::Permanent), 1),
            (Fault::Before(ErrorKind::Permanent), u64::MAX),
            (Fault::After(ErrorKind::Transient), 1),
        ] {
            for nth in 0.. {
                let memory = copy(&sound).await;
                let faults = Arc::new(Faults::new(memory.clone()));
                let repository = Repository::open(faults.clone(), &password()).await.unwrap();
                let before = faults.count(operation);
                faults.inject(Rule { times, ..Rule::nth(nth, operation, "", fault) });
                let _ = prune(&repository, &thorough()).await;
                if faults.count(operation) - before <= nth {
                    break;
                }
                cases += 1;
                assert_unharmed(memory, &only, &files, &format!("{fault:?} at {operation} {nth}")).await;
            }
        }
    }
    assert!(cases > 80, "{cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_run_copied_is_found_again() {
    let (memory, repository) = in_memory().await;
    let (files, both, only) = interleaved(&repository).await;
    forget(&*memory, &both).await;
    let all = plan(&repository, &thorough()).await.unwrap().summary;
    // The new index is durable; the old one could not be deleted.
    let faults = Arc::new(Faults::new(memory.clone()));
    faults.inject(Rule::nth(1, Operation::Delete, "index/", Fault::Before(ErrorKind::Permanent)));
    let interrupted = Repository::open(faults, &password()).await.unwrap();
    prune(&interrupted, &thorough()).await.unwrap_err();
    assert!(all.repacked.packs > 2);
    let rest = plan(&repository, &thorough()).await.unwrap().summary;
    assert_eq!(rest.repacked.packs, 0, "{rest:?}");
    let outcome = prune(&repository, &thorough()).await.unwrap();
    assert_eq!((outcome.packs_written, outcome.packs_deleted), (0, all.repacked.packs + all.deleted.packs));
    assert_holds(&repository, &only, &files).await;
    assert_clean(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_come_after_everything_that_replaces_them() {
    let (memory, repository) = in_memory().await;
    let (_, both, _) = interleaved(&repository).await;
    forget(&*memory, &both).await;
    let faults = Arc::new(Faults::new(memory));
    faults.inject(Rule::every(Operation::Put, "data/", Fault::Delay(Duration::from_millis(20))));
    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    let old = keys(&*faults, "").await;
    prune(&repository, &thorough()).await.unwrap();
    let folder = |key: &str| key.split('/').next().unwrap_or_default().to_owned();
    let steps: Vec<(Operation, String)> = faults
        .log()
        .into_iter()
        .filter(|(operation, key)| match operation {
            Operation::Put => !key.starts_with("locks/"),
            Operation::Delete => old.contains(key),
            _ => false,
        })
        .map(|(operation, key)| (operation, folder(&key)))
        .collect();
    let order = [
        (Operation::Put, "data"),
        (Operation::Put, "index"),
        (Operation::Delete, "index"),
        (Operation::Delete, "data"),
    ];
    let rank = |step: &(Operation, String)| {
        order.iter().position(|one| (one.0, one.1) == (step.0, &*step.1)).unwrap()
    };
    assert!(steps.iter().map(rank).collect::<BTreeSet<_>>().len() == 4, "{steps:?}");
    assert!(steps.is_sorted_by_key(rank), "{steps:?}");
}

/// Backups that share parts, some of them blind to what is there, snapshots that go, and prunes of all sorts, at random.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_and_goes_every_snapshot_that_stays_is_whole() {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    for seed in 0..12 {
        let mut random = SmallRng::seed_from_u64(seed);
        let (store, _) = in_memory().await;
        let mut alive: Vec<(Snapshot, Files)> = Vec::new();
        for step in 0..25 {
            let what = format!("seed {seed}, step {step}");
            let repository = Repository::open(store.clone(), &password()).await.unwrap();
            match random.random_range(0..10) {
                0..4 => {
                    let part = |n: u64| sentences(40_000 + 20_000 * n as usize, n);
                    let parts: Vec<u8> = (0..3).flat_map(|_| part(random.random_range(0..8))).collect();
                    let files = vec![("shop/1.dat", parts), ("shop/2.dat", part(random.random_range(0..8)))];
                    let snapshot = if random.random_bool(0.3) {
                        backup_blindly(&store, &files).await
                    } else {
                        backup(&repository, &files).await.unwrap()
                    };
                    alive.push((snapshot, files));
                }
                4..7 if !alive.is_empty() => {
                    let (snapshot, _) = alive.swap_remove(random.random_range(0..alive.len()));
                    forget(&*store, &snapshot).await;
                }
                _ => {
                    let unused = [MaxUnused::Bytes(0), MaxUnused::Percent(20.0), MaxUnused::Unlimited];
                    let options = PruneOptions {
                        max_unused: unused[random.random_range(0..3)],
                        max_repack_size: random.random_bool(0.3).then_some(300_000),
                        repack_small: random.random_bool(0.3),
                        recompress_before: random.random_bool(0.4).then_some(jiff::Timestamp::MAX),
                        recompress_level: 6,
                        pack_size: 100_000 << random.random_range(0..3),
                        ..PruneOptions::default()
                    };
                    prune(&repository, &options).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
            repository.load_index().await.unwrap();
            for (snapshot, files) in &alive {
                assert_holds(&repository, snapshot, files).await;
            }
        }
        let repository = Repository::open(store.clone(), &password()).await.unwrap();
        prune(&repository, &thorough()).await.unwrap();
        repository.load_index().await.unwrap();
        assert_clean(&repository).await;
        assert!(plan(&repository, &thorough()).await.unwrap().is_empty(), "seed {seed}");
    }
}

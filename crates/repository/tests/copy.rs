//! Copies between repositories: equal content, only what is missing travels, and nothing appears before it is whole.

use std::sync::Arc;

use basekeep_repository::{
    CheckOptions, CopyReport, InitOptions, LockMode, Repository, RepositoryError, Result, Snapshot,
    TreeBuilder,
};
use basekeep_store::{ErrorKind, Fault, Faults, Local, Memory, Operation, Rule, Store};
use jiff::Timestamp;

use crate::support::*;

/// Copies all snapshots of `from`.
async fn copy(from: &Repository, to: &Repository) -> Result<CopyReport> {
    let (snapshots, _) = from.snapshots().await?;
    copy_these(from, to, &snapshots).await
}

async fn copy_these(from: &Repository, to: &Repository, snapshots: &[Snapshot]) -> Result<CopyReport> {
    let from_lock = lock_as(from, LockMode::Shared).await?;
    let to_lock = match lock_as(to, LockMode::Shared).await {
        Ok(lock) => lock,
        Err(error) => {
            let _ = from_lock.release().await;
            return Err(error);
        }
    };
    let result = from
        .copy_to(to, (&from_lock, &to_lock), snapshots, small_packs(), &|_| {}, std::future::pending())
        .await;
    let _ = from_lock.release().await;
    let _ = to_lock.release().await;
    result
}

async fn in_memory_like(other: &Repository) -> (Arc<Memory>, Repository) {
    let store = Arc::new(Memory::new());
    let options = InitOptions { chunker_of: Some(other.clone()), ..quick() };
    let repository = Repository::init(store.clone(), &"target".into(), options).await.unwrap();
    (store, repository)
}

async fn assert_clean(repository: &Repository) {
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

/// The copy of `snapshot` holds the same files, in a repository that was opened anew.
async fn assert_copied(store: Arc<dyn Store>, snapshot: &Snapshot, files: &[(&str, Vec<u8>)]) -> Snapshot {
    let repository = Repository::open(store, &"target".into()).await.unwrap();
    repository.load_index().await.unwrap();
    let (there, unreadable) = repository.snapshots().await.unwrap();
    assert!(unreadable.is_empty());
    let copy = there.into_iter().find(|copy| copy.original == Some(snapshot.id)).expect("it is there");
    assert_eq!((copy.tree, copy.time, &copy.tags), (snapshot.tree, snapshot.time, &snapshot.tags));
    assert_eq!(copy.parent, None);
    assert_holds(&repository, &copy, files).await;
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_travels_and_a_second_copy_does_nothing() {
    let (_, from) = in_memory().await;
    let (store, to) = in_memory_like(&from).await;
    assert!(from.chunks_like(&to));
    let first = backup(&from, &files(1)).await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.copied.len(), report.not_copied.len()), (1, 0));
    assert_copied(store.clone(), &first, &files(1)).await;

    // Most of it is the same.
    let mut changed = files(1);
    changed[1].1.extend_from_slice(b"one more row\n");
    let second = backup(&from, &changed).await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.copied.len(), report.present.len()), (1, 1));
    assert!(report.bytes < 60_000, "{} bytes travelled", report.bytes);
    assert_copied(store.clone(), &second, &changed).await;
    assert_copied(store.clone(), &first, &files(1)).await;

    let before = store.list("").await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.present.len(), report.blobs, report.copied.len()), (2, 0, 0));
    assert_eq!(store.list("").await.unwrap(), before);
    assert_clean(&to).await;

    // With the same chunker settings a backup of the same files adds none of their blobs.
    let lock = lock(&to).await;
    let writer = to.writer(&lock, small_packs());
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &changed).await.unwrap();
    assert_eq!(writer.stats().blobs_new, 0);
    writer.finish(tree, new_snapshot()).await.unwrap();
    lock.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_payloads_are_taken_over_as_they_are() {
    let (_, from) = in_memory().await;
    let (_, to) = in_memory_like(&from).await;
    backup(&from, &files(2)).await.unwrap();
    let packed = |repository: Repository| async move {
        let report =
            repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
        (report.blobs_read, report.bytes_read)
    };
    let report = copy(&from, &to).await.unwrap();
    assert_eq!(packed(from.clone()).await, packed(to).await);
    assert_eq!(report.blobs, packed(from).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_snapshots_share_packs_and_keep_their_order() {
    let (_, from) = in_memory().await;
    let (store, to) = in_memory_like(&from).await;
    for n in 0..20_u8 {
        backup(&from, &[("shop/a", vec![n; 100]), ("shop/b", b"same".to_vec())]).await.unwrap();
    }
    let report = copy(&from, &to).await.unwrap();
    assert_eq!(report.copied.len(), 20);
    let (there, _) = to.snapshots().await.unwrap();
    let (here, _) = from.snapshots().await.unwrap();
    let trees = |snapshots: &[Snapshot]| snapshots.iter().map(|s| s.tree).collect::<Vec<_>>();
    assert_eq!(trees(&there), trees(&here));
    assert!(keys(&*store, "data/").await.len() <= 12, "one pair of packs for each batch");
    assert_clean(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_source_costs_the_snapshots_that_need_it_and_no_others() {
    let (source, from) = in_memory().await;
    let shared = ("shop/shared", rows(200_000, 9));
    let good = vec![("shop/good", random(50_000, 1)), shared.clone()];
    let bad = vec![("shop/bad", random(50_000, 2)), shared.clone()];
    let first = backup(&from, &good).await.unwrap();
    let packs = keys(&*source, "data/").await;
    let second = backup(&from, &bad).await.unwrap();
    let last =
        backup(&from, &[("shop/good", good[0].1.clone()), ("shop/more", vec![1]), shared]).await.unwrap();
    // The pack that holds what only the second one has.
    let mut damaged = 0;
    for pack in keys(&*source, "data/").await.into_iter().filter(|pack| !packs.contains(pack)) {
        let mut bytes = source.get(&pack).await.unwrap().to_vec();
        if bytes.len() > 40_000 {
            bytes[20_000] ^= 1;
            replace(&*source, &pack, bytes).await;
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let (store, to) = in_memory_like(&from).await;
    let report = copy(&from, &to).await.unwrap();
    let failed: Vec<_> = report.not_copied.iter().map(|failed| failed.snapshot).collect();
    assert_eq!(failed, [second.id]);
    assert!(matches!(report.not_copied[0].error, RepositoryError::DamagedBlob { .. }), "{report:?}");
    assert_copied(store.clone(), &first, &good).await;
    assert_copied(store.clone(), &last, &good).await;
    assert_eq!(to.snapshots().await.unwrap().0.len(), 2);
    assert_clean(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_lost_in_the_source_is_named() {
    let (source, from) = in_memory().await;
    let first = backup(&from, &files(3)).await.unwrap();
    let before = keys(&*source, "data/").await;
    let second = backup(&from, &files(4)).await.unwrap();
    for pack in keys(&*source, "data/").await.into_iter().filter(|pack| !before.contains(pack)) {
        if source.get(&pack).await.unwrap().len() < 20_000 {
            source.delete(&pack).await.unwrap();
        }
    }
    let (store, to) = in_memory_like(&from).await;
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.copied.len(), report.not_copied.len()), (1, 1), "{report:?}");
    assert_eq!(report.not_copied[0].snapshot, second.id);
    assert_copied(store, &first, &files(3)).await;
    assert_clean(&to).await;
}

/// A pack that the target lost travels again with the next snapshot that needs it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_has_lost_travels_again() {
    let (_, from) = in_memory().await;
    let (store, to) = in_memory_like(&from).await;
    backup(&from, &files(5)).await.unwrap();
    copy(&from, &to).await.unwrap();
    let packs = keys(&*store, "data/").await;
    store.delete(&packs[0]).await.unwrap();
    let mut more = files(5);
    more.push(("shop/new", b"new".to_vec()));
    let second = backup(&from, &more).await.unwrap();
    let to = Repository::open(store.clone(), &"target".into()).await.unwrap();
    copy(&from, &to).await.unwrap();
    let fresh = Repository::open(store, &"target".into()).await.unwrap();
    fresh.load_index().await.unwrap();
    fresh.forget_missing_packs().await.unwrap();
    let (there, _) = fresh.snapshots().await.unwrap();
    let copy = there.iter().find(|copy| copy.original == Some(second.id)).unwrap();
    assert_holds(&fresh, copy, &more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_not_copied_into_itself() {
    let (store, from) = in_memory().await;
    backup(&from, &files(1)).await.unwrap();
    let again = Repository::open(store, &password()).await.unwrap();
    assert!(matches!(copy(&from, &again).await, Err(RepositoryError::Refused(_))));
}

/// The target fails, loses answers and tears writes at every single operation; and the process dies at every write.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_in_the_target_makes_a_snapshot_that_is_not_whole() {
    let (_, from) = in_memory().await;
    let snapshots = [
        backup(&from, &[("shop/a", rows(60_000, 1)), ("shop/b", random(30_000, 2))]).await.unwrap(),
        backup(&from, &[("shop/a", rows(60_000, 3)), ("shop/b", random(30_000, 2))]).await.unwrap(),
    ];
    let content = [rows(60_000, 1), rows(60_000, 3)];
    let kind = ErrorKind::Permanent;
    let mut cases = 0;
    for operation in [Operation::Put, Operation::Get, Operation::List, Operation::Size, Operation::Delete] {
        for (fault, dead) in [
            (Fault::Before(kind), false),
            (Fault::After(kind), false),
            (Fault::Torn { keep: 10, kind }, false),
            (Fault::Before(kind), true),
        ] {
            for nth in 0.. {
                let (memory, _) = in_memory_like(&from).await;
                let faults = Arc::new(Faults::new(memory.clone()));
                let to = Repository::open(faults.clone(), &"target".into()).await.unwrap();
                let asked = faults.count(operation);
                let rule = Rule::nth(nth, operation, "", fault);
                faults.inject(if dead { Rule { times: u64::MAX, ..rule } } else { rule });
                let result = copy(&from, &to).await;
                if faults.count(operation) - asked <= nth {
                    assert_eq!(result.unwrap().copied.len(), 2);
                    break;
                }
                cases += 1;
                assert_whole_then_completes(
                    &from,
                    memory,
                    &snapshots,
                    &content,
                    &format!("{fault:?} {operation} {nth}"),
                )
                .await;
            }
        }
    }
    assert!(cases > 40, "{cases}");
}

async fn assert_whole_then_completes(
    from: &Repository,
    memory: Arc<Memory>,
    snapshots: &[Snapshot; 2],
    content: &[Vec<u8>; 2],
    what: &str,
) {
    for lock in keys(&*memory, "locks/").await {
        memory.delete(&lock).await.unwrap();
    }
    let to = Repository::open(memory.clone(), &"target".into()).await.unwrap();
    to.load_index().await.unwrap();
    let (there, _) = to.snapshots().await.unwrap();
    for copy in there {
        let n = snapshots.iter().position(|snapshot| snapshot.tree == copy.tree).unwrap();
        assert!(read_file(&to, &copy, "shop/a").await.unwrap() == content[n], "{what}");
    }
    let report = copy(from, &to).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.copied.len() + report.present.len(), 2, "{what}");
    let to = Repository::open(memory, &"target".into()).await.unwrap();
    to.load_index().await.unwrap();
    let (there, _) = to.snapshots().await.unwrap();
    assert_eq!(there.len(), 2, "{what}");
    // A file that was torn stays behind, and nothing needs it.
    let checked = to.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    let left = |file: &str| file.starts_with("snapshots/");
    let needed = checked.damage.iter().find(|damage| !damage.touches.is_empty() && !left(&damage.file));
    assert!(needed.is_none(), "{what}: {needed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_interruption_only_the_rest_travels() {
    let (_, from) = in_memory().await;
    for n in 0..4 {
        backup(&from, &[("shop/a", random(400_000, n))]).await.unwrap();
    }
    let (memory, _) = in_memory_like(&from).await;
    let faults = Arc::new(Faults::new(memory.clone()));
    let to = Repository::open(faults.clone(), &"target".into()).await.unwrap();
    let rule = Rule { skip: 3, ..Rule::every(Operation::Put, "data/", Fault::Before(ErrorKind::Permanent)) };
    faults.inject(rule);
    copy(&from, &to).await.unwrap_err();
    let to = Repository::open(memory, &"target".into()).await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!(report.copied.len() + report.present.len(), 4);
    assert!(report.bytes < 1_400_000, "{} bytes travelled again", report.bytes);
    assert_clean(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_stopped_leaves_no_snapshot_and_is_gone_on_with() {
    let (_, from) = in_memory().await;
    backup(&from, &[("shop/a", random(2_000_000, 1))]).await.unwrap();
    let (memory, _) = in_memory_like(&from).await;
    let to = Repository::open(memory.clone(), &"target".into()).await.unwrap();
    let (from_lock, to_lock) = (lock(&from).await, lock(&to).await);
    let (snapshots, _) = from.snapshots().await.unwrap();
    let seen = tokio::sync::Notify::new();
    let progress = |progress: basekeep_repository::CopyProgress| {
        if progress.blobs > 0 {
            seen.notify_one();
        }
    };
    let locks = (&from_lock, &to_lock);
    let stopped = from.copy_to(&to, locks, &snapshots, small_packs(), &progress, seen.notified()).await;
    assert!(matches!(stopped, Err(RepositoryError::Incomplete { .. })), "{stopped:?}");
    assert!(to.snapshots().await.unwrap().0.is_empty());
    to_lock.release().await.unwrap();
    let to = Repository::open(memory, &"target".into()).await.unwrap();
    assert_eq!(copy(&from, &to).await.unwrap().copied.len(), 1);
    assert_clean(&to).await;
}

/// A daemon spawns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_can_run_in_a_task_of_its_own() {
    let (_, from) = in_memory().await;
    backup(&from, &files(1)).await.unwrap();
    let (_, to) = in_memory_like(&from).await;
    let task = tokio::spawn(async move {
        let (from_lock, to_lock) = (lock(&from).await, lock(&to).await);
        let (snapshots, _) = from.snapshots().await.unwrap();
        let locks = (&from_lock, &to_lock);
        let options = small_packs();
        from.copy_to(&to, locks, &snapshots, options, &|_| {}, std::future::pending()).await.unwrap()
    });
    assert_eq!(task.await.unwrap().copied.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_storage_fails_is_an_error_and_not_damage() {
    let (memory, from) = in_memory().await;
    backup(&from, &files(6)).await.unwrap();
    let faults = Arc::new(Faults::new(memory));
    let from = Repository::open(faults.clone(), &password()).await.unwrap();
    faults.inject(Rule::every(Operation::GetRange, "data/", Fault::Before(ErrorKind::Transient)));
    let (_, to) = in_memory_like(&from).await;
    let error = copy(&from, &to).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::Transient));
    assert!(to.snapshots().await.unwrap().0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_copied_is_what_stock_restic_wants_and_what_it_copied_we_know() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("rows"), rows(3 << 20, 7)).unwrap();
    let restic = Stock::new(&theirs);
    restic.run(&["init"]);
    restic.run(&["backup", "--tag", "nightly", source.to_str().unwrap()]);
    std::fs::write(source.join("more"), rows(1 << 20, 8)).unwrap();
    restic.run(&["backup", source.to_str().unwrap()]);

    let open = |path: &std::path::Path| Arc::new(Local::new(path)) as Arc<dyn Store>;
    let from = Repository::open(open(&theirs), &password()).await.unwrap();
    let options = InitOptions { chunker_of: Some(from.clone()), ..quick() };
    let to = Repository::init(open(&ours), &password(), options).await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!(report.copied.len(), 2);
    let stock = Stock::new(&ours);
    stock.check();
    let listed: serde_json::Value = serde_json::from_str(&stock.run(&["snapshots", "--json"])).unwrap();
    let original = report.copied[0].0.to_string();
    assert_eq!((&listed[0]["tags"][0], &listed[0]["original"]), (&"nightly".into(), &original.into()));
    assert!(listed[1]["parent"].is_null() && listed[0]["excludes"] == serde_json::Value::Null);
    let restored = folder.path().join("restored");
    stock.run(&["restore", "latest", "--verify", "--target", restored.to_str().unwrap()]);
    let inside = restored.join(source.strip_prefix("/").unwrap()).join("rows");
    assert!(std::fs::read(inside).unwrap() == rows(3 << 20, 7));

    // Stock restic sees that its snapshots are there, and copies ours back.
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "correct horse").unwrap();
    let password_file = password_file.to_str().unwrap();
    let copy_back = |from: &std::path::Path, to: &Stock<'_>| {
        to.run(&["copy", "--from-repo", from.to_str().unwrap(), "--from-password-file", password_file])
    };
    let said = copy_back(&theirs, &stock);
    assert_eq!(said.matches("was already copied").count(), 2, "{said}");
    let own = backup(&to, &files(7)).await.unwrap();
    copy_back(&ours, &restic);
    restic.check();
    let from = Repository::open(open(&theirs), &password()).await.unwrap();
    from.load_index().await.unwrap();
    let (there, _) = from.snapshots().await.unwrap();
    assert_eq!(there.len(), 3);
    assert_holds(&from, there.iter().find(|copy| copy.original == Some(own.id)).unwrap(), &files(7)).await;
    let report = copy(&to, &from).await.unwrap();
    assert_eq!((report.present.len(), report.copied.len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_version_1_are_copied_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old");
    let source = folder.path().join("rows");
    std::fs::write(&source, rows(2 << 20, 7)).unwrap();
    let restic = Stock::new(&path);
    restic.run(&["init", "--repository-version", "1"]);
    restic.run(&["backup", source.to_str().unwrap()]);
    let from = Repository::open(Arc::new(Local::new(&path)), &password()).await.unwrap();
    let new = folder.path().join("new");
    let to = Repository::init(Arc::new(Local::new(&new)), &password(), quick()).await.unwrap();
    assert!(!from.chunks_like(&to));
    assert_eq!(copy(&from, &to).await.unwrap().copied.len(), 1);
    Stock::new(&new).check();
    let (there, _) = to.snapshots().await.unwrap();
    assert!(read_file(&to, &there[0], source.to_str().unwrap()).await.unwrap() == rows(2 << 20, 7));
}

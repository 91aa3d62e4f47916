//! One writer, several repositories: each holds the same or says why not, and none suffers from another.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use basekeep_repository::{
    BlobId, CheckOptions, Ended, FileContent, Lock, LockMode, LockOptions, Repository, RepositoryError,
    Snapshot, TreeBuilder, Writer, WriterOptions,
};
use basekeep_store::{
    ErrorKind, Fault, Faults, Local, Memory, Object, Operation, Put, Rule, Store, StoreError,
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::support::*;

/// Holds puts of packs until it is opened.
#[derive(Debug)]
struct Gate {
    inner: Memory,
    open: Semaphore,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self { inner: Memory::new(), open: Semaphore::new(0) })
    }

    fn open(&self) {
        self.open.add_permits(1 << 20);
    }
}

#[async_trait]
impl Store for Gate {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        if key.starts_with("data/") {
            self.open.acquire().await.unwrap().forget();
        }
        self.inner.put(key, data).await
    }
    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }
    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.inner.size(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
    fn location(&self) -> String {
        "behind a gate".to_owned()
    }
}

/// A repository with a password of its own, through a store that can fail.
async fn repository(store: Arc<dyn Store>, password: &str) -> Repository {
    Repository::init(store, &password.into(), quick()).await.unwrap()
}

async fn lock_all(repositories: &[&Repository]) -> Vec<Lock> {
    let mut locks = Vec::new();
    for repository in repositories {
        locks.push(lock(repository).await);
    }
    locks
}

fn writer(repositories: &[&Repository], locks: &[Lock]) -> Writer {
    let targets: Vec<(&Repository, &Lock)> = repositories.iter().copied().zip(locks).collect();
    Writer::to(&targets, small_packs())
}

/// All but the first may wait for two small packs and no more.
fn impatient_writer(repositories: &[&Repository], locks: &[Lock]) -> Writer {
    let targets: Vec<(&Repository, &Lock)> = repositories.iter().copied().zip(locks).collect();
    Writer::to(&targets, WriterOptions { replica_queue: 0, ..small_packs() })
}

/// Backs `files` up into all repositories at once.
async fn back_up_to(
    repositories: &[&Repository],
    files: &[(&str, Vec<u8>)],
) -> Result<Vec<Ended>, RepositoryError> {
    let mut locks = Vec::new();
    for repository in repositories {
        locks.push(lock_as(repository, LockMode::Shared).await?);
        repository.load_index().await?;
    }
    let writer = writer(repositories, &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    let result = match add_files(&writer, &mut tree, files).await {
        Ok(()) => writer.finish_all(tree, new_snapshot(), std::future::pending()).await,
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    };
    for lock in locks {
        let _ = lock.release().await;
    }
    result
}

fn written(end: &Ended) -> &Snapshot {
    match end {
        Ended::Written(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn failure(end: &Ended) -> &RepositoryError {
    match end {
        Ended::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

/// From a fresh process: clean, and every snapshot is whole.
async fn assert_sound(store: Arc<dyn Store>, password: &str, files: &[(&str, Vec<u8>)], what: &str) -> usize {
    let repository = Repository::open(store, &password.into()).await.unwrap();
    repository.load_index().await.unwrap();
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
    let (snapshots, unreadable) = repository.snapshots().await.unwrap();
    assert!(unreadable.is_empty(), "{what}: {unreadable:?}");
    for snapshot in &snapshots {
        assert_holds(&repository, snapshot, files).await;
    }
    snapshots.len()
}

fn stock_check(folder: &Path, password: &str) {
    let output = Command::new("restic")
        .args(["--no-cache", "check", "--read-data", "--repo"])
        .arg(folder)
        .env("RESTIC_PASSWORD", password)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("no errors were found"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_repositories_with_passwords_of_their_own_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let places: Vec<_> = ["a", "b", "c"].iter().map(|name| folder.path().join(name)).collect();
    let mut repositories = Vec::new();
    for (place, password) in places.iter().zip(["one", "two", "three"]) {
        repositories.push(repository(Arc::new(Local::new(place)), password).await);
    }
    let all: Vec<&Repository> = repositories.iter().collect();
    let ends = back_up_to(&all, &files(1)).await.unwrap();
    let trees: Vec<_> = ends.iter().map(|end| written(end).tree).collect();
    assert!(trees.iter().all(|tree| *tree == trees[0]), "a tree's name is that of its content");
    let ids: std::collections::HashSet<_> = ends.iter().map(|end| written(end).id).collect();
    assert_eq!(ids.len(), 3, "the snapshots are files of their own, sealed with keys of their own");
    for ((place, repository), (end, password)) in
        places.iter().zip(&repositories).zip(ends.iter().zip(["one", "two", "three"]))
    {
        assert_holds(repository, written(end), &files(1)).await;
        assert_eq!(assert_sound(Arc::new(Local::new(place)), password, &files(1), password).await, 1);
        stock_check(place, password);
    }
    // Again: nothing new but the trees.
    let ends = back_up_to(&all, &files(1)).await.unwrap();
    for end in &ends {
        assert_eq!(written(end).summary.as_ref().unwrap().data_blobs, 0);
    }
    // Into one of them alone, then into all: each knows for itself what it has.
    back_up_to(&all[..1], &files(2)).await.unwrap();
    let ends = back_up_to(&all, &files(2)).await.unwrap();
    let new: Vec<_> = ends.iter().map(|end| written(end).summary.as_ref().unwrap().data_blobs).collect();
    assert!(new[0] == 0 && new[1] > 10 && new[1] == new[2], "{new:?}");
    for (repository, end) in repositories.iter().zip(&ends) {
        assert_holds(repository, written(end), &files(2)).await;
    }
}

/// The repository at `place` of three fails from its `nth` operation on, or at that one alone.
async fn fails_at(place: usize, nth: u64, times: u64) -> bool {
    let memories = [Arc::new(Memory::new()), Arc::new(Memory::new()), Arc::new(Memory::new())];
    let mut repositories = Vec::new();
    let mut all_faults = Vec::new();
    for memory in &memories {
        repository(memory.clone(), "x").await;
        let faults = Arc::new(Faults::new(memory.clone()));
        repositories.push(Repository::open(faults.clone(), &"x".into()).await.unwrap());
        all_faults.push(faults);
    }
    let all: Vec<&Repository> = repositories.iter().collect();
    let locks = lock_all(&all).await;
    let before = all_faults[place].log().len() as u64;
    let fault = Fault::Before(ErrorKind::Permanent);
    all_faults[place].inject(Rule { operation: None, prefix: String::new(), skip: nth, times, fault });
    let writer = writer(&all, &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    let what = format!("repository {place} fails at {nth}, {times} times");
    add_files(&writer, &mut tree, &files(1)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let ends = writer.finish_all(tree, new_snapshot(), std::future::pending()).await.unwrap();
    let met = all_faults[place].log().len() as u64 - before > nth;
    all_faults[place].heal();
    for (number, (memory, end)) in memories.iter().zip(&ends).enumerate() {
        let count = assert_sound(memory.clone(), "x", &files(1), &what).await;
        // A question about the lock that gets no answer after the last write stops nobody.
        let harmless = number != place || !met || matches!(end, Ended::Written(_));
        if harmless {
            assert_eq!((written(end).hostname.as_str(), count), ("shop", 1), "{what}");
        } else {
            assert_eq!((failure(end).store_kind(), count), (Some(ErrorKind::Permanent), 0), "{what}");
        }
    }
    drop(locks);
    // The next run makes it good.
    let opened = Repository::open(memories[place].clone(), &"x".into()).await.unwrap();
    assert_holds(&opened, &backup(&opened, &files(1)).await.unwrap(), &files(1)).await;
    met
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_at_any_operation_leaves_the_others_whole() {
    let mut cases = 0;
    for place in [0, 2] {
        for times in [1, u64::MAX] {
            for nth in 0.. {
                cases += 1;
                if !fails_at(place, nth, times).await {
                    break;
                }
            }
        }
    }
    eprintln!("{cases} cases");
    assert!(cases > 20, "{cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_the_first_ones_error_is_told() {
    let kinds = [ErrorKind::NoSpace, ErrorKind::Denied];
    let mut repositories = Vec::new();
    for kind in kinds {
        let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
        repositories.push(repository(faults.clone(), "x").await);
        faults.inject(Rule::every(Operation::Put, "data/", Fault::Before(kind)));
    }
    let error = back_up_to(&[&repositories[0], &repositories[1]], &files(1)).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::NoSpace), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_repository_is_left_out_while_the_streams_go_on() {
    for full in [0, 1] {
        let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
        let failing = repository(faults.clone(), "x").await;
        faults.inject(Rule {
            skip: 1,
            ..Rule::every(Operation::Put, "data/", Fault::Before(ErrorKind::NoSpace))
        });
        let (memory, sound) = in_memory().await;
        let mut all = [&failing, &sound];
        all.swap(0, full);
        let data = vec![("shop/1.dat", random(8 << 20, 1))];
        let ends = back_up_to(&all, &data).await.unwrap();
        assert_eq!(failure(&ends[full]).store_kind(), Some(ErrorKind::NoSpace));
        assert_holds(&sound, written(&ends[1 - full]), &data).await;
        assert_eq!(keys(&*memory, "snapshots/").await.len(), 1);
        assert!(keys(&*faults, "snapshots/").await.is_empty());
    }
}

/// A sound repository that leads, and one behind a closed gate.
async fn beside_a_gate() -> (Arc<Memory>, Repository, Arc<Gate>, Repository) {
    let (memory, sound) = in_memory().await;
    let gate = Gate::closed();
    let slow = repository(gate.clone(), "x").await;
    (memory, sound, gate, slow)
}

async fn until_there_is(store: &dyn Store, folder: &str) {
    while keys(store, folder).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replica_holds_nobody_up_and_is_behind() {
    let (memory, sound, gate, slow) = beside_a_gate().await;
    let all = [&sound, &slow];
    let locks = lock_all(&all).await;
    let writer = impatient_writer(&all, &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    // The gate is closed: all of this goes through nevertheless, to the snapshot.
    let data = vec![("shop/1.dat", random(8 << 20, 1))];
    add_files(&writer, &mut tree, &data).await.unwrap();
    let open_later = async {
        until_there_is(&*memory, "snapshots/").await;
        gate.open();
        std::future::pending::<()>().await;
    };
    let finishing = writer.finish_all(tree, new_snapshot(), std::future::pending());
    let ends = tokio::select! {
        ends = finishing => ends.unwrap(),
        () = open_later => unreachable!(),
    };
    assert_holds(&sound, written(&ends[0]), &data).await;
    assert!(matches!(ends[1], Ended::Behind { blobs } if blobs > 50), "{:?}", ends[1]);
    assert_eq!(assert_sound(gate.clone(), "x", &data, "the slow one").await, 0);
    assert!(!keys(&*gate, "index/").await.is_empty(), "what came can be found");
    drop(locks);
    let ends = back_up_to(&all, &data).await.unwrap();
    assert_holds(&slow, written(&ends[1]), &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_can_be_left_once_another_has_the_snapshot() {
    let (memory, sound, gate, slow) = beside_a_gate().await;
    let all = [&sound, &slow];
    let locks = lock_all(&all).await;
    let writer = writer(&all, &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &files(1)).await.unwrap();
    // Asked for from the beginning: it takes effect when the snapshot is safe.
    let ends = writer.finish_all(tree, new_snapshot(), std::future::ready(())).await.unwrap();
    assert_holds(&sound, written(&ends[0]), &files(1)).await;
    assert!(failure(&ends[1]).to_string().contains("interrupted"));
    assert_eq!(keys(&*memory, "snapshots/").await.len(), 1);
    assert!(keys(&*gate, "snapshots/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_something_cannot_lead() {
    let (gate, faults) = (Gate::closed(), Arc::new(Faults::new(Arc::new(Memory::new()))));
    let (failing, slow) = (repository(faults.clone(), "x").await, repository(gate.clone(), "x").await);
    // It takes the rows and refuses the last word.
    faults.inject(Rule::every(Operation::Put, "snapshots/", Fault::Before(ErrorKind::Denied)));
    let all = [&failing, &slow];
    let locks = lock_all(&all).await;
    let writer = impatient_writer(&all, &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &[("shop/1.dat", random(8 << 20, 1))]).await.unwrap();
    gate.open();
    let error = writer.finish_all(tree, new_snapshot(), std::future::pending()).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::Denied), "{error}");
    assert!(keys(&*gate, "snapshots/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_leads_when_the_first_fails_and_holds_the_streams_up_in_its_place() {
    let (faults, gate) = (Arc::new(Faults::new(Arc::new(Memory::new()))), Gate::closed());
    let (failing, slow) = (repository(faults.clone(), "x").await, repository(gate.clone(), "x").await);
    faults.inject(Rule::every(Operation::Put, "data/", Fault::Before(ErrorKind::Denied)));
    let all = [&failing, &slow];
    let locks = lock_all(&all).await;
    let targets: Vec<(&Repository, &Lock)> = all.iter().copied().zip(&locks).collect();
    let options = WriterOptions { in_flight: 64 << 20, pack_size: 1 << 20, ..WriterOptions::default() };
    let writer = Writer::to(&targets, options);
    let mut file = writer.file(1 << 20);
    for n in 0..20 {
        file.write(&random(1 << 20, n)).await.unwrap();
    }
    let failed = async {
        while writer.failures()[0].is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), failed).await.unwrap();
    // 64 MiB wait in its queue and 64 MiB are in flight; then the streams must wait too.
    let mut sent = 20;
    let stuck = async {
        for n in 20..400 {
            file.write(&random(1 << 20, n)).await.unwrap();
            sent += 1;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(4), stuck).await.is_err(), "the gate is closed");
    assert!((60..170).contains(&sent), "{sent} MiB went in");
    gate.open();
    drop(file);
    writer.abort().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lock_fails_its_repository_alone() {
    for lost in [0, 1] {
        let ((_, one), (_, two)) = (in_memory().await, in_memory().await);
        let all = [&one, &two];
        let mut locks = lock_all(&all).await;
        let writer = writer(&all, &locks);
        let mut tree = TreeBuilder::new(Timestamp::now());
        add_files(&writer, &mut tree, &files(1)).await.unwrap();
        locks.remove(lost).release().await.unwrap();
        let ends = writer.finish_all(tree, new_snapshot(), std::future::pending()).await.unwrap();
        assert!(matches!(failure(&ends[lost]), RepositoryError::LockLost { .. }), "{ends:?}");
        assert_holds(all[1 - lost], written(&ends[1 - lost]), &files(1)).await;
        let (snapshots, _) = all[lost].snapshots().await.unwrap();
        assert!(snapshots.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_removed_by_others_is_noticed_while_the_streams_run() {
    let ((stores, one), (_, two)) = (in_memory().await, in_memory().await);
    let options = LockOptions {
        refresh: Duration::from_millis(20),
        settle: Duration::from_millis(1),
        ..LockOptions::default()
    };
    let locks = [
        one.lock_with(LockMode::Shared, options.clone()).await.unwrap(),
        two.lock_with(LockMode::Shared, options).await.unwrap(),
    ];
    let writer = writer(&[&one, &two], &locks);
    let remove = async {
        while writer.failures()[0].is_none() {
            for key in keys(&*stores, "locks/").await {
                stores.delete(&key).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        error = writer.failed() => panic!("the other one goes on: {error}"),
        done = tokio::time::timeout(Duration::from_secs(30), remove) => done.unwrap(),
    }
    assert!(writer.failures()[1].is_none());
    let [_, second] = locks;
    second.release().await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(30), writer.failed()).await.unwrap();
    assert!(matches!(error, RepositoryError::LockLost { .. }), "{error}");
    writer.abort().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_taken_over_must_be_in_the_one_that_leads_and_others_are_behind_without_them() {
    let ((_, one), (_, two)) = (in_memory().await, in_memory().await);
    let data = rows(300_000, 1);
    let first = backup(&one, &[("shop/1.dat", data.clone())]).await.unwrap();
    let content = one.node_at(&first, "shop/1.dat").await.unwrap().unwrap().content;
    let known: Vec<(BlobId, u32)> = lengths(&one, &content).await;
    let locks = lock_all(&[&one, &two]).await;

    let leading = Writer::to(&[(&one, &locks[0]), (&two, &locks[1])], small_packs());
    let mut file = leading.file(16 << 10);
    file.append_known(&known).await.unwrap();
    file.write(b"and more").await.unwrap();
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", file.finish().await.unwrap(), 0o600);
    let ends = leading.finish_all(tree, new_snapshot(), std::future::pending()).await.unwrap();
    let whole = [&data[..], b"and more"].concat();
    assert_holds(&one, written(&ends[0]), &[("shop/1.dat", whole)]).await;
    assert!(matches!(ends[1], Ended::Behind { blobs } if blobs >= known.len() as u64), "{ends:?}");

    let other = Writer::to(&[(&two, &locks[1]), (&one, &locks[0])], small_packs());
    let mut file = other.file(16 << 10);
    let error = file.append_known(&known).await.unwrap_err();
    assert!(matches!(error, RepositoryError::MissingBlob { .. }), "{error}");
    file.write(&data).await.unwrap();
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", file.finish().await.unwrap(), 0o600);
    // A file that was written elsewhere, before: it is in one of them.
    let elsewhere = FileContent { blobs: content.clone(), size: data.len() as u64 };
    tree.file("shop/2.dat", elsewhere, 0o600);
    let ends = other.finish_all(tree, new_snapshot(), std::future::pending()).await;
    // The first repository's gear cuts at other places, so the blobs of 2.dat are not in the one that leads.
    assert!(matches!(ends, Err(RepositoryError::Incomplete { .. })), "{ends:?}");
}

async fn lengths(repository: &Repository, blobs: &[BlobId]) -> Vec<(BlobId, u32)> {
    let mut stream = repository.read_blobs(blobs.to_vec(), 4 << 20);
    let mut known = Vec::new();
    for blob in blobs {
        known.push((*blob, stream.next().await.unwrap().unwrap().len() as u32));
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_even_a_pack_that_was_not_full_is_found() {
    let ((store, one), (_, two)) = (in_memory().await, in_memory().await);
    let all = [&one, &two];
    let locks = lock_all(&all).await;
    let targets: Vec<(&Repository, &Lock)> = all.iter().copied().zip(&locks).collect();
    let writer = Writer::to(&targets, WriterOptions::default());
    let data = rows(2 << 20, 1);
    let mut file = writer.file(16 << 10);
    file.write(&data).await.unwrap();
    file.finish().await.unwrap();
    assert!(keys(&*store, "data/").await.is_empty(), "far from a full pack");
    writer.abort().await;
    drop(locks);
    let ends = back_up_to(&all, &[("shop/1.dat", data.clone())]).await.unwrap();
    for (repository, end) in all.into_iter().zip(&ends) {
        assert_eq!(written(end).summary.as_ref().unwrap().data_blobs, 0, "everything was there already");
        assert_holds(repository, written(end), &[("shop/1.dat", data.clone())]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_is_named_only_where_it_is() {
    let ((_, one), (_, two)) = (in_memory().await, in_memory().await);
    let parent = backup(&one, &files(1)).await.unwrap().id;
    let locks = lock_all(&[&one, &two]).await;
    let writer = writer(&[&one, &two], &locks);
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &files(1)).await.unwrap();
    let new = basekeep_repository::NewSnapshot { parent: Some(parent), ..new_snapshot() };
    let ends = writer.finish_all(tree, new, std::future::pending()).await.unwrap();
    assert_eq!((written(&ends[0]).parent, written(&ends[1]).parent), (Some(parent), None));
}

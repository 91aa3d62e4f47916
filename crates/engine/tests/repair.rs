//! A repair that fails at any operation of the storage loses nothing, and the next one completes.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use basekeep_engine::repair::{Fate, RepairOptions, RepairReport, repair};
use basekeep_engine::{EngineError, Interrupt, Silent};
use basekeep_repository::{
    CheckOptions, InitOptions, LockMode, NewSnapshot, Password, Repository, Snapshot, TreeBuilder,
    WriterOptions,
};
use basekeep_store::{ErrorKind, Fault, Faults, Local, Memory, Operation, Rule, Store};
use futures::StreamExt;
use jiff::Timestamp;

const FILES: [&str; 4] = ["home/a", "home/b", "home/below/c", "home/below/d"];

fn password() -> Password {
    "x".into()
}

/// Noise, so that the packs of contents are larger than those of trees.
fn content(name: &str) -> Vec<u8> {
    let mut state = name.bytes().fold(7_u64, |state, byte| state * 31 + u64::from(byte));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..20_000).map(|_| next()).collect()
}

/// Files as another program would store them, in two snapshots, one of which has one file more.
async fn backup() -> (Arc<Memory>, Repository) {
    let store = Arc::new(Memory::new());
    let repository = Repository::init(
        store.clone(),
        &password(),
        InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() },
    )
    .await
    .unwrap();
    for count in [FILES.len() - 1, FILES.len()] {
        let lock = repository.lock(LockMode::Shared).await.unwrap();
        repository.load_index().await.unwrap();
        let writer = repository.writer(&lock, WriterOptions::default());
        let mut tree = TreeBuilder::new(Timestamp::UNIX_EPOCH);
        for name in &FILES[..count] {
            tree.file(name, writer.put_file(&content(name)).await.unwrap(), 0o600);
        }
        let snapshot = NewSnapshot {
            time: Timestamp::from_second(1_700_000_000 + count as i64).unwrap(),
            hostname: "host".into(),
            username: "user".into(),
            paths: vec!["/home".into()],
            tags: vec![],
            parent: None,
            program_version: "other 1.0".into(),
        };
        writer.finish(tree, snapshot).await.unwrap();
        lock.release().await.unwrap();
    }
    (store, repository)
}

/// Flips a bit in the first blob of the largest pack, and cuts an index file off; the paths that are lost.
async fn damage(store: &Memory, repository: &Repository) -> BTreeSet<String> {
    let packs = store.list("data/").await.unwrap();
    let pack = packs.into_iter().max_by_key(|pack| pack.size).unwrap().key;
    change(store, &pack, |data| data[30] ^= 1).await;
    let check = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = repository.check(&check, &|_| {}).await.unwrap();
    let lost = report.damage.iter().flat_map(|damage| &damage.touches).map(|touched| touched.path.clone());
    let lost = lost.collect();
    let index = store.list("index/").await.unwrap().pop().unwrap().key;
    change(store, &index, |data| data.truncate(40)).await;
    lost
}

async fn change(store: &Memory, key: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut data = store.get(key).await.unwrap().to_vec();
    change(&mut data);
    store.delete(key).await.unwrap();
    store.put(key, data.into()).await.unwrap();
}

async fn copy(store: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    copy_to(store, &copy).await;
    Arc::new(copy)
}

async fn copy_to(store: &Memory, to: &dyn Store) {
    for object in store.list("").await.unwrap() {
        to.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
    }
}

async fn run(store: Arc<dyn Store>) -> Result<RepairReport, EngineError> {
    let repository = Repository::open(store, &password()).await?;
    let options = RepairOptions { read_data: true, ..RepairOptions::default() };
    repair(&repository, &options, Arc::new(Silent), &Interrupt::never()).await
}

async fn read(repository: &Repository, snapshot: &Snapshot, path: &str) -> Option<Vec<u8>> {
    let node = repository.node_at(snapshot, path).await.unwrap()?;
    Some(repository.read_small(&node, 1 << 20).await.unwrap())
}

/// The repository is sound, and holds what was not damaged.
async fn assert_repaired(store: Arc<dyn Store>, lost: &BTreeSet<String>, what: &str) {
    let repository = Repository::open(store, &password()).await.unwrap();
    repository.load_index().await.unwrap();
    let check = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = repository.check(&check, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
    let (snapshots, _) = repository.snapshots().await.unwrap();
    assert_eq!(snapshots.len(), 2, "{what}: {snapshots:?}");
    for (snapshot, count) in snapshots.iter().zip([FILES.len() - 1, FILES.len()]) {
        for name in &FILES[..count] {
            let expected = (!lost.contains(&format!("/{name}"))).then(|| content(name));
            assert!(read(&repository, snapshot, name).await == expected, "{what}: {name}");
        }
    }
}

/// What a fault hits: one operation, or all from there on.
#[derive(Debug, Clone, Copy)]
struct Hit {
    fault: Fault,
    times: u64,
}

fn once(fault: Fault) -> Hit {
    Hit { fault, times: 1 }
}

async fn case(store: Arc<Memory>, lost: BTreeSet<String>, nth: u64, hit: Hit) {
    let what = format!("{hit:?} at operation {nth}");
    let (folder, store): (_, Arc<dyn Store>) = match hit.fault {
        Fault::KillBefore | Fault::KillAfter | Fault::KillTorn { .. } => {
            let folder = tempfile::tempdir().unwrap();
            let local = Arc::new(Local::new(folder.path()));
            copy_to(&store, &*local).await;
            (Some(folder), local)
        }
        _ => (None, copy(&store).await),
    };
    match folder.as_ref().map(|folder| folder.path().to_owned()) {
        Some(path) => {
            let told = what.clone();
            tokio::task::spawn_blocking(move || run_in_child(&path, nth, hit.fault, &told)).await.unwrap();
        }
        None => {
            let faults = Arc::new(Faults::new(store.clone()));
            faults.inject(Rule { times: hit.times, ..Rule::nth_of_all(nth, hit.fault) });
            let _ = run(faults).await;
            // A lock that could not be removed belongs to this process, which is alive.
            for lock in store.list("locks/").await.unwrap() {
                store.delete(&lock.key).await.unwrap();
            }
        }
    }
    let report = run(store.clone()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.remaining.is_empty(), "{what}: {:?}", report.remaining);
    assert_repaired(store, &lost, &what).await;
}

const KILLS: [Fault; 3] = [Fault::KillBefore, Fault::KillAfter, Fault::KillTorn { keep: 20 }];

/// The repair in a process of its own, which is killed in the middle.
fn run_in_child(folder: &Path, nth: u64, fault: Fault, what: &str) {
    let kill = KILLS.iter().position(|kill| *kill == fault).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "repair::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("BASEKEEP_REPAIR_CHILD", format!("{kill} {nth}"))
        .env("BASEKEEP_REPAIR_FOLDER", folder)
        .output()
        .unwrap();
    let ended = (output.status.code(), output.status.signal());
    // The number of operations differs a little from run to run; the last one may not come.
    assert!(matches!(ended, (None, Some(6)) | (Some(0), None)), "{what}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the other tests"]
async fn child() {
    let Ok(told) = std::env::var("BASEKEEP_REPAIR_CHILD") else { return };
    let (kill, nth) = told.split_once(' ').unwrap();
    let local = Local::new(std::env::var("BASEKEEP_REPAIR_FOLDER").unwrap());
    let faults = Arc::new(Faults::new(Arc::new(local)));
    faults.inject(Rule::nth_of_all(nth.parse().unwrap(), KILLS[kill.parse::<usize>().unwrap()]));
    run(faults).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_fails_at_any_operation_loses_nothing_and_the_next_one_completes() {
    let (store, repository) = backup().await;
    let lost = damage(&store, &repository).await;
    assert_eq!(lost.len(), 1, "{lost:?}");
    let whole = copy(&store).await;
    let faults = Arc::new(Faults::new(whole.clone()));
    let report = run(faults.clone()).await.unwrap();
    assert_eq!((report.packs.len(), report.snapshots.len()), (1, 2), "{report:?}");
    assert!(!report.index.is_empty(), "{report:?}");
    assert_repaired(whole, &lost, "no fault").await;

    let [kill_before, kill_after, kill_torn] = KILLS;
    let kinds = [
        once(Fault::Before(ErrorKind::Permanent)),
        once(Fault::After(ErrorKind::Permanent)),
        once(Fault::Torn { keep: 20, kind: ErrorKind::Permanent }),
        once(Fault::Before(ErrorKind::Denied)),
        Hit { fault: Fault::Before(ErrorKind::Permanent), times: u64::MAX },
        once(kill_before),
        once(kill_after),
        once(kill_torn),
    ];
    let count = faults.log().len() as u64;
    let cases = (0..count).flat_map(|nth| kinds.map(|fault| (nth, fault)));
    // Most of a case is waiting for locks to settle.
    let mut running = futures::stream::iter(cases.map(|(nth, fault)| {
        let (store, lost) = (store.clone(), lost.clone());
        case(store, lost, nth, fault)
    }))
    .buffer_unordered(32);
    let mut done = 0;
    while running.next().await.is_some() {
        done += 1;
    }
    println!("{done} cases: {count} operations, {} faults each", kinds.len());
    assert!(done >= 300, "{done} cases");
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_only_appends_keeps_both_snapshots_and_the_next_repair_makes_no_third() {
    let (store, repository) = backup().await;
    let lost = damage(&store, &repository).await;
    let faults = Arc::new(Faults::new(store.clone()));
    for folder in ["data/", "index/", "snapshots/"] {
        faults.inject(Rule::every(Operation::Delete, folder, Fault::Before(ErrorKind::Denied)));
    }
    for round in ["first", "second"] {
        let report = run(faults.clone()).await.unwrap();
        assert!(report.snapshots.iter().all(|snapshot| snapshot.still_there), "{round}: {report:?}");
        assert!(!report.remaining.is_empty(), "{round}");
        assert_eq!(store.list("snapshots/").await.unwrap().len(), 4, "{round}");
    }
    faults.heal();
    let report = run(faults).await.unwrap();
    let finished =
        report.snapshots.iter().all(|snapshot| matches!(snapshot.fate, Fate::Replaced { by: Some(_) }));
    assert!(finished && report.remaining.is_empty(), "{report:?}");
    assert_repaired(store, &lost, "with permission to delete").await;
}

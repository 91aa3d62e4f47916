//! The list of snapshots: the same with and without a cache, whatever is in it, and fast when it is warm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_engine::listing::{self, Filter, Listing};
use basekeep_repository::{
    CacheScope, InitOptions, LockMode, LockOptions, NewSnapshot, Repository, TreeBuilder, WriterOptions,
};
use basekeep_store::{Faults, Local, Memory, Operation, Store};
use jiff::{SignedDuration, Timestamp};

async fn repository(store: Arc<dyn Store>) -> Repository {
    let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
    Repository::init(store, &"x".into(), options).await.unwrap()
}

/// A manifest with these rows; what it says otherwise is nothing.
fn manifest(source: &str, rows: u64) -> String {
    let time = Timestamp::UNIX_EPOCH;
    format!(
        r#"{{"version":1,"basekeep":"0.1.0","source":"{source}","time":"{time}","duration_seconds":1.0,
        "server":{{"version":"18","version_num":180000,"database":"d","encoding":"UTF8","collate":"C","ctype":"C",
        "system_identifier":null,"in_recovery":false,"snapshot":"1:1:","lsn":null}},"pg_dump":"18",
        "totals":{{"tables":1,"rows":{rows},"bytes":7,"taken_over_bytes":0,"added_bytes":5}},"components":{{}},"tables":[],
        "sequences":[],"large_objects":{{"count":0,"bytes":3,"digest":""}},"extensions":[],"roles":[],
        "circular_foreign_keys":[],"not_captured":[],"warnings":[]}}"#
    )
}

/// Snapshots number `from` to `to`, each a second after the one before.
async fn add(repository: &Repository, from: u64, to: u64) {
    let options = LockOptions { settle: Duration::ZERO, ..LockOptions::default() };
    let lock = repository.lock_with(LockMode::Shared, options).await.unwrap();
    repository.load_index().await.unwrap();
    for n in from..to {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(n).unwrap());
        let source = if n % 3 == 0 { "blog" } else { "shop" };
        let writer = repository.writer(&lock, WriterOptions { workers: 1, ..WriterOptions::default() });
        let mut tree = TreeBuilder::new(time);
        let content = writer.put_file(manifest(source, n).as_bytes()).await.unwrap();
        tree.file(&format!("{source}/manifest.json"), content, 0o600);
        let snapshot = NewSnapshot {
            time,
            hostname: source.into(),
            username: "tester".into(),
            paths: vec![format!("/{source}")],
            tags: vec![],
            parent: None,
            program_version: "basekeep test".into(),
        };
        writer.finish(tree, snapshot).await.unwrap();
    }
    lock.release().await.unwrap();
}

async fn open(store: Arc<dyn Store>, cache: &Arc<Memory>) -> Repository {
    let opened = Repository::open(store, &"x".into()).await.unwrap();
    opened.with_cache(cache.clone(), CacheScope::Records)
}

async fn list(repository: &Repository) -> Listing {
    listing::list(repository, &Filter::default()).await.unwrap()
}

fn shown(listing: &Listing) -> Vec<(String, Option<u64>, Option<u64>, bool)> {
    let line = |s: &listing::SnapshotSummary| (s.id.clone(), s.rows, s.bytes, s.damaged.is_some());
    listing.snapshots.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_list_reads_neither_index_nor_manifests_and_only_new_snapshots() {
    let memory = Arc::new(Memory::new());
    add(&repository(memory.clone()).await, 0, 12).await;
    let (faults, cache) = (Arc::new(Faults::new(memory.clone())), Arc::new(Memory::new()));
    let reads = |folder: &str| {
        let read = |o: Operation| matches!(o, Operation::Get | Operation::GetRange);
        faults.log().iter().filter(|(o, key)| read(*o) && key.starts_with(folder)).count()
    };
    let cold = list(&open(faults.clone(), &cache).await).await;
    assert_eq!(
        (cold.snapshots.len(), cold.snapshots[7].rows, cold.snapshots[7].bytes),
        (12, Some(7), Some(10))
    );
    let (data, index) = (reads("data/"), reads("index/"));
    let warm = list(&open(faults.clone(), &cache).await).await;
    assert_eq!(shown(&warm), shown(&cold));
    assert_eq!((reads("data/"), reads("index/"), reads("snapshots/")), (data, index, 12));

    add(&Repository::open(memory.clone(), &"x".into()).await.unwrap(), 12, 13).await;
    let more = list(&open(faults.clone(), &cache).await).await;
    assert_eq!((more.snapshots.len(), reads("snapshots/")), (13, 13));
    // One that is gone is not shown, and not kept either.
    memory.delete(&format!("snapshots/{}", more.snapshots[3].id)).await.unwrap();
    let less = list(&open(faults.clone(), &cache).await).await;
    assert_eq!(less.snapshots.len(), 12);
    assert!(less.snapshots.iter().all(|s| s.id != more.snapshots[3].id));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_the_cache_the_list_is_that_of_the_storage() {
    let memory = Arc::new(Memory::new());
    add(&repository(memory.clone()).await, 0, 5).await;
    let cache = Arc::new(Memory::new());
    let expected = shown(&list(&open(memory.clone(), &cache).await).await);
    let mut entries = Vec::new();
    for object in cache.list("").await.unwrap() {
        let data = cache.get(&object.key).await.unwrap().to_vec();
        entries.push((object.key, data));
    }
    assert_eq!(entries.len(), 2);
    for (key, good) in &entries {
        let other = entries.iter().map(|(_, other)| other.clone());
        let flipped = (0..good.len()).step_by(7).map(|position| {
            let mut bad = good.clone();
            bad[position] ^= 1;
            bad
        });
        let cut = [0, 5, good.len() - 1].map(|length| good[..length].to_vec());
        for bad in other.chain(flipped).chain(cut) {
            cache.delete(key).await.unwrap();
            cache.put(key, bad.into()).await.unwrap();
            assert_eq!(shown(&list(&open(memory.clone(), &cache).await).await), expected, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_is_told_each_time_and_shown_once_it_can() {
    let memory = Arc::new(Memory::new());
    add(&repository(memory.clone()).await, 0, 3).await;
    let packs = memory.list("data/").await.unwrap();
    let cache = Arc::new(Memory::new());
    let mut saved = Vec::new();
    for pack in &packs[..2] {
        saved.push((pack.key.clone(), memory.get(&pack.key).await.unwrap()));
        memory.delete(&pack.key).await.unwrap();
    }
    let damaged = |listing: &Listing| listing.snapshots.iter().filter(|s| s.damaged.is_some()).count();
    let first = damaged(&list(&open(memory.clone(), &cache).await).await);
    assert!((1..=2).contains(&first), "{first}");
    assert_eq!(damaged(&list(&open(memory.clone(), &cache).await).await), first);
    for (key, data) in saved {
        memory.put(&key, data).await.unwrap();
    }
    let healed = list(&open(memory, &cache).await).await;
    assert_eq!(damaged(&healed), 0);
    assert_eq!(healed.snapshots.iter().map(|s| s.rows).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
}

/// Measures; nothing is asserted about time, since the machine may be busy. Run it with `--run-ignored all --no-capture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of about a minute"]
async fn ten_thousand_snapshots_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::new());
    add(&repository(memory.clone()).await, 0, 10_000).await;
    // Not synced: the disk is not what is measured.
    let disk = Arc::new(Local::new(folder.path().join("repository")).unsynced());
    for object in memory.list("").await.unwrap() {
        disk.put(&object.key, memory.get(&object.key).await.unwrap()).await.unwrap();
    }
    drop(memory);
    let store = Arc::new(Local::new(folder.path().join("cache")).unsynced());
    for state in ["cold", "warm", "warm"] {
        let began = Instant::now();
        let opened = Repository::open(disk.clone(), &"x".into()).await.unwrap();
        let opened = opened.with_cache(store.clone(), CacheScope::Records);
        let listing = list(&opened).await;
        assert_eq!(listing.snapshots.len(), 10_000);
        eprintln!("10,000 snapshots, {state}: {:.2} s", began.elapsed().as_secs_f64());
    }
    let began = Instant::now();
    let opened = Repository::open(disk.clone(), &"x".into()).await.unwrap();
    assert_eq!(opened.snapshots().await.unwrap().0.len(), 10_000);
    eprintln!("their files alone, without a cache: {:.2} s", began.elapsed().as_secs_f64());
}

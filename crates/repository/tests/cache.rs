//! The local cache: it spares requests, and whatever is in it, what is read is what the storage has.

use std::sync::Arc;

use basekeep_repository::{CacheScope, CheckOptions, Repository, Snapshot};
use basekeep_store::{ErrorKind, Fault, Faults, Local, Memory, Operation, Rule, Store};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::support::*;

async fn cached(store: Arc<dyn Store>, cache: Arc<dyn Store>) -> Repository {
    Repository::open(store, &password()).await.unwrap().with_cache(cache, CacheScope::Everything)
}

/// What a reader sees: the snapshots, and the files of the newest one.
async fn look(repository: &Repository, content: &[(&str, Vec<u8>)]) -> Vec<Snapshot> {
    let (snapshots, unreadable) = repository.snapshots().await.unwrap();
    assert!(unreadable.is_empty());
    repository.load_index().await.unwrap();
    assert_holds(repository, snapshots.last().unwrap(), content).await;
    snapshots
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_is_not_fetched_again_and_the_storage_is_asked_what_there_is() {
    let (memory, repository) = in_memory().await;
    for n in 0..5 {
        backup(&repository, &files(n)).await.unwrap();
    }
    let faults = Arc::new(Faults::new(memory));
    let cache = Arc::new(Memory::new());
    let cold = look(&cached(faults.clone(), cache.clone()).await, &files(4)).await;
    let reads = |faults: &Faults, operation, folder: &str| {
        faults.log().into_iter().filter(|(o, key)| *o == operation && key.starts_with(folder)).count()
    };
    let before = reads(&faults, Operation::GetRange, "data/");
    assert_eq!(reads(&faults, Operation::Get, "index/"), 5);
    assert_eq!(reads(&faults, Operation::Get, "snapshots/"), 5);
    let warm = look(&cached(faults.clone(), cache.clone()).await, &files(4)).await;
    assert_eq!(warm, cold);
    assert_eq!(reads(&faults, Operation::Get, "index/"), 5);
    assert_eq!(reads(&faults, Operation::Get, "snapshots/"), 5);
    let data = reads(&faults, Operation::GetRange, "data/") - before;
    assert!(data < before, "trees come from the cache: {data} of {before} requests");
    assert_eq!(reads(&faults, Operation::List, "snapshots/"), 2);

    // Only records, for a repository at hand.
    let records = Arc::new(Memory::new());
    let local = Repository::open(faults, &password()).await.unwrap();
    look(&local.with_cache(records.clone(), CacheScope::Records), &files(4)).await;
    assert_eq!(keys(&*records, "").await, ["records/snapshots"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_damaged_byte_in_the_cache_is_noticed_and_made_good() {
    let (memory, repository) = in_memory().await;
    let content = [("shop/a", b"some content".to_vec())];
    backup(&repository, &content).await.unwrap();
    let cache = Arc::new(Memory::new());
    let expected = look(&cached(memory.clone(), cache.clone()).await, &content).await;
    let entries = keys(&*cache, "").await;
    let kinds: Vec<&str> = entries.iter().map(|key| key.split('/').next().unwrap()).collect();
    assert_eq!(kinds, ["index", "records", "trees", "trees"]);
    let mut cases = 0;
    for key in entries {
        let good = cache.get(&key).await.unwrap();
        for position in 0..good.len() {
            let mut bad = good.to_vec();
            bad[position] ^= 1 << (position % 8);
            replace(&*cache, &key, bad.clone()).await;
            assert_eq!(look(&cached(memory.clone(), cache.clone()).await, &content).await, expected);
            assert_ne!(cache.get(&key).await.unwrap(), bad, "{key} {position}");
            cases += 1;
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1] {
            replace(&*cache, &key, good[..cut].to_vec()).await;
            assert_eq!(look(&cached(memory.clone(), cache.clone()).await, &content).await, expected);
        }
    }
    assert!(cases > 1000, "{cases}");
}

/// Entries are exchanged, records replaced by older ones and by other files that the repository sealed.
#[tokio::test(flavor = "multi_thread")]
async fn no_entry_passes_for_another() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    backup(&repository, &files(2)).await.unwrap();
    let cache = Arc::new(Memory::new());
    let expected = look(&cached(memory.clone(), cache.clone()).await, &files(2)).await;
    let entries = keys(&*cache, "").await;
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for key in &entries {
        contents.push(cache.get(key).await.unwrap().to_vec());
    }
    for object in memory.list("").await.unwrap() {
        contents.push(memory.get(&object.key).await.unwrap().to_vec());
    }
    for key in &entries {
        for content in &contents {
            replace(&*cache, key, content.clone()).await;
            assert_eq!(
                look(&cached(memory.clone(), cache.clone()).await, &files(2)).await,
                expected,
                "{key}"
            );
        }
    }
}

/// Snapshots come and go, and the record is damaged, lost or an old one: what is shown is what the storage has.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_snapshots_shows_none_that_is_gone_and_hides_none() {
    let (memory, repository) = in_memory().await;
    let cache = Arc::new(Memory::new());
    let record = "records/snapshots";
    let mut random = SmallRng::seed_from_u64(7);
    let mut old: Vec<Vec<u8>> = Vec::new();
    for step in 0..150_u32 {
        if random.random_bool(0.6) {
            backup(&repository, &[("shop/a", step.to_le_bytes().to_vec())]).await.unwrap();
        } else if let Some(gone) = keys(&*memory, "snapshots/").await.first() {
            memory.delete(gone).await.unwrap();
        }
        match random.next_u32() % 6 {
            0 => cache.delete(record).await.unwrap(),
            1 if !old.is_empty() => {
                let one = old[random.next_u32() as usize % old.len()].clone();
                replace(&*cache, record, one).await;
            }
            2 => {
                if let Ok(good) = cache.get(record).await {
                    let mut bad = good.to_vec();
                    let position = random.next_u32() as usize % bad.len();
                    bad[position] ^= 64;
                    replace(&*cache, record, bad).await;
                }
            }
            _ => {}
        }
        let with = cached(memory.clone(), cache.clone()).await.snapshots().await.unwrap();
        let without = repository.without_cache().snapshots().await.unwrap();
        assert_eq!(with, without, "step {step}");
        if let Ok(good) = cache.get(record).await {
            old.push(good.to_vec());
        }
    }
    assert!(old.len() > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_told_each_time_and_one_that_is_cut_off_since_too() {
    let (memory, repository) = in_memory().await;
    for n in 0..3 {
        backup(&repository, &[("shop/a", vec![n])]).await.unwrap();
    }
    let files = keys(&*memory, "snapshots/").await;
    let mut bytes = memory.get(&files[0]).await.unwrap().to_vec();
    bytes[10] ^= 1;
    replace(&*memory, &files[0], bytes).await;
    let cache = Arc::new(Memory::new());
    for _ in 0..2 {
        let (there, unreadable) = cached(memory.clone(), cache.clone()).await.snapshots().await.unwrap();
        assert_eq!((there.len(), unreadable.len()), (2, 1));
        assert_eq!(unreadable[0].0, files[0]);
    }
    replace(&*memory, &files[1], vec![1, 2, 3]).await;
    let (there, unreadable) = cached(memory, cache).await.snapshots().await.unwrap();
    assert_eq!((there.len(), unreadable.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_fails_in_any_way_fails_no_work() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let kinds = [ErrorKind::NoSpace, ErrorKind::Denied, ErrorKind::Permanent, ErrorKind::Corrupt];
    let operations = [None, Some(Operation::Put), Some(Operation::Get), Some(Operation::Delete)];
    for (kind, operation) in kinds.into_iter().flat_map(|kind| operations.map(|o| (kind, o))) {
        let cache = Arc::new(Faults::new(Arc::new(Memory::new())));
        let rule = Rule::every(Operation::Put, "", Fault::Before(kind));
        cache.inject(Rule { operation, ..rule });
        for _ in 0..2 {
            look(&cached(memory.clone(), cache.clone()).await, &files(1)).await;
        }
    }
    // A folder that cannot be one.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"x").unwrap();
    let cache = Arc::new(Local::new(folder.path().join("file/below")).unsynced());
    look(&cached(memory.clone(), cache).await, &files(1)).await;
    let good = Arc::new(Local::new(folder.path().join("cache")).unsynced());
    for _ in 0..2 {
        look(&cached(memory.clone(), good.clone()).await, &files(1)).await;
    }
    assert!(keys(&*good, "").await.len() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_the_storage_and_not_at_the_cache() {
    let (memory, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let cache = Arc::new(Memory::new());
    look(&cached(memory.clone(), cache.clone()).await, &files(1)).await;
    let index = keys(&*memory, "index/").await.remove(0);
    let mut bytes = memory.get(&index).await.unwrap().to_vec();
    bytes[20] ^= 1;
    replace(&*memory, &index, bytes).await;
    let repository = cached(memory, cache).await;
    look(&repository, &files(1)).await;
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.iter().any(|damage| damage.file == index), "{report:?}");
}

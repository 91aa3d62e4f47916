//! What every store promises.

use std::sync::Arc;
use std::time::Duration;

use basekeep_store::{
    ErrorKind, Fault, Faults, Limits, Local, Memory, Object, Operation, Put, Retry, RetryPolicy, Rule, Store,
    Surroundings,
};
use basekeep_testkit::{Garage, GarageBucket};
use bytes::Bytes;

use crate::garage::garage_options;

pub(crate) async fn check(store: Arc<dyn Store>) {
    check_in_turn(&*store).await;
    one_of_many_puts_wins(store).await;
}

/// Everything but what happens to writers of one key at the same instant.
pub(crate) async fn check_in_turn(store: &dyn Store) {
    puts_once(store).await;
    reads_back(store).await;
    lists(store).await;
    deletes(store).await;
    tells_which_was_written_later(store).await;
    refuses_odd_keys(store).await;
}

async fn puts_once(store: &dyn Store) {
    assert_eq!(store.put("data/ab/abc", Bytes::from_static(b"first")).await.unwrap(), Put::Written);
    assert_eq!(store.put("data/ab/abc", Bytes::from_static(b"second")).await.unwrap(), Put::AlreadyExists);
    assert_eq!(store.get("data/ab/abc").await.unwrap(), "first");
}

async fn reads_back(store: &dyn Store) {
    let large = Bytes::from((0..1_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    store.put("data/cd/large", large.clone()).await.unwrap();
    store.put("config", Bytes::new()).await.unwrap();
    assert_eq!(store.get("data/cd/large").await.unwrap(), large);
    assert_eq!(store.get("config").await.unwrap(), "");
    assert_eq!(store.size("data/cd/large").await.unwrap(), 4_000_000);
    for range in [0..1, 10..10, 3_999_990..4_000_000, 0..4_000_000] {
        let read = store.get_range("data/cd/large", range.clone()).await.unwrap();
        assert_eq!(read, large.slice(range.start as usize..range.end as usize));
    }
    for range in [3_999_990..4_000_001, 5_000_000..5_000_001] {
        assert_eq!(store.get_range("data/cd/large", range).await.unwrap_err().kind, ErrorKind::Corrupt);
    }
    for key in ["data/cd/none", "none/at/all", "config/below"] {
        assert_eq!(store.get(key).await.unwrap_err().kind, ErrorKind::NotFound, "{key}");
        assert_eq!(store.get_range(key, 0..1).await.unwrap_err().kind, ErrorKind::NotFound, "{key}");
        let error = store.size(key).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains(key), "{error}");
    }
}

async fn lists(store: &dyn Store) {
    let object = |key: &str, size| Object { key: key.to_owned(), size };
    let data = [object("data/ab/abc", 5), object("data/cd/large", 4_000_000)];
    assert_eq!(store.list("data/").await.unwrap(), data);
    assert_eq!(store.list("data/ab/").await.unwrap(), data[..1]);
    assert_eq!(store.list("").await.unwrap(), [object("config", 0), data[0].clone(), data[1].clone()]);
    assert_eq!(store.list("none/").await.unwrap(), []);
}

async fn deletes(store: &dyn Store) {
    store.delete("data/ab/abc").await.unwrap();
    store.delete("data/ab/abc").await.unwrap();
    store.delete("none/at/all").await.unwrap();
    assert_eq!(store.get("data/ab/abc").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.put("data/ab/abc", Bytes::from_static(b"third")).await.unwrap(), Put::Written);
    assert_eq!(store.get("data/ab/abc").await.unwrap(), "third");
}

/// Where it tells at all. The times have whole seconds in some storages.
async fn tells_which_was_written_later(store: &dyn Store) {
    assert_eq!(store.modified("none/at/all").await.map_err(|error| error.kind), Err(ErrorKind::NotFound));
    let Some(earlier) = store.modified("data/cd/large").await.unwrap() else { return };
    store.put("locks/later", Bytes::from_static(b"later")).await.unwrap();
    let later = store.modified("locks/later").await.unwrap().unwrap();
    assert!(earlier <= later, "{earlier:?} {later:?}");
    store.delete("locks/later").await.unwrap();
}

async fn refuses_odd_keys(store: &dyn Store) {
    for key in ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", "a\0b", "a\\b"] {
        assert!(store.put(key, Bytes::new()).await.is_err(), "{key:?}");
        assert!(store.get(key).await.is_err(), "{key:?}");
        assert!(store.delete(key).await.is_err(), "{key:?}");
    }
    for prefix in ["data", "/", "../"] {
        assert!(store.list(prefix).await.is_err(), "{prefix:?}");
    }
}

async fn one_of_many_puts_wins(store: Arc<dyn Store>) {
    for round in 0..20 {
        let mut puts = tokio::task::JoinSet::new();
        for writer in 0..8_u8 {
            let store = store.clone();
            puts.spawn(async move {
                let data = Bytes::from(vec![writer; 10_000]);
                (store.put(&format!("locks/{round}"), data.clone()).await.unwrap(), data)
            });
        }
        let results = puts.join_all().await;
        let winners: Vec<_> = results.iter().filter(|(put, _)| *put == Put::Written).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.get(&format!("locks/{round}")).await.unwrap(), winners[0].1);
    }
}

/// A server without conditional writes cannot say which of several simultaneous writers was first; but what is there
/// afterwards is whole, is what one of them wrote, and somebody was told to have written it.
async fn simultaneous_puts_leave_one_of_them(store: Arc<dyn Store>) {
    for round in 0..5 {
        let mut puts = tokio::task::JoinSet::new();
        for writer in 0..8_u8 {
            let store = store.clone();
            puts.spawn(async move {
                let data = Bytes::from(vec![writer; 10_000]);
                (store.put(&format!("locks/{round}"), data.clone()).await.unwrap(), data)
            });
        }
        let results = puts.join_all().await;
        let left = store.get(&format!("locks/{round}")).await.unwrap();
        assert!(results.iter().any(|(put, data)| *put == Put::Written && *data == left));
    }
}

fn open_garage(bucket: &GarageBucket, prefix: &str) -> Arc<dyn Store> {
    basekeep_store::open_in(&bucket.url(prefix), &garage_options(bucket), &Surroundings::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garage_server_keeps_the_contract() {
    let garage = Garage::start(1, 1);
    let bucket = garage.bucket();
    for prefix in ["", "some/folder"] {
        let store = open_garage(&bucket, prefix);
        check_in_turn(&*store).await;
        simultaneous_puts_leave_one_of_them(store.clone()).await;
        for object in store.list("").await.unwrap() {
            store.delete(&object.key).await.unwrap();
        }
        assert_eq!(store.list("").await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_garage_servers_keep_the_contract_and_two_of_them_do() {
    let garage = Garage::start(3, 3);
    let bucket = garage.bucket();
    check_in_turn(&*open_garage(&bucket, "all")).await;
    garage.stop_node(2);
    check_in_turn(&*open_garage(&bucket, "two")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    check(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    check(Arc::new(Local::new(folder.path().join("new/folder")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_a_quiet_fault_wrapper_keep_the_contract() {
    let limits = Limits::new(Arc::new(Memory::new()), Some(1 << 40), Some(1 << 40));
    check(Arc::new(Faults::new(Arc::new(limits)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_url_opens_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    check(basekeep_store::open(&format!("file://{}", folder.path().display())).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_over_failures_keep_the_contract() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    for operation in
        [Operation::Get, Operation::GetRange, Operation::Size, Operation::List, Operation::Delete]
    {
        for nth in [0, 3, 5] {
            faults.inject(Rule::nth(nth, operation, "", Fault::Before(ErrorKind::Transient)));
        }
    }
    faults.inject(Rule::nth(1, Operation::Put, "", Fault::Before(ErrorKind::Transient)));
    faults.inject(Rule::every(Operation::List, "", Fault::Delay(Duration::from_millis(1))));
    let policy = RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    check(Arc::new(Retry::new(faults, policy))).await;
}

//! What is particular to S3, against a real server: large objects, pages of listings, and what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use basekeep_store::{ErrorKind, Put, Secret, Store, StoreError, StoreOptions, Surroundings};
use basekeep_testkit::{Garage, GarageBucket};
use bytes::Bytes;

pub(crate) fn garage_options(bucket: &GarageBucket) -> StoreOptions {
    StoreOptions {
        region: Some(bucket.region.clone()),
        access_key_id: Some(bucket.key_id.clone()),
        secret_access_key: Some(Secret::new(bucket.secret.clone())),
        retry_for: Some(Duration::from_secs(2)),
        ..StoreOptions::default()
    }
}

fn open(bucket: &GarageBucket, change: impl FnOnce(&mut StoreOptions)) -> Arc<dyn Store> {
    let mut options = garage_options(bucket);
    change(&mut options);
    basekeep_store::open_in(&bucket.url("p"), &options, &Surroundings::default()).unwrap()
}

fn told(error: &StoreError) -> String {
    format!("{error} · {}", error.hint.as_deref().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_several_parts_and_listings_of_several_pages_are_whole() {
    let garage = Garage::start(1, 1);
    let store = open(&garage.bucket(), |_| ());
    let large = Bytes::from((0..(66 << 18)).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    assert_eq!(large.len(), 66 << 20);
    assert_eq!(store.put("data/aa/large", large.clone()).await.unwrap(), Put::Written);
    assert_eq!(store.put("data/aa/large", large.clone()).await.unwrap(), Put::AlreadyExists);
    assert!(store.get("data/aa/large").await.unwrap() == large);
    let middle = (16 << 20) - 5..(16 << 20) + 5_u64;
    let found = store.get_range("data/aa/large", middle.clone()).await.unwrap();
    assert_eq!(found, large.slice(middle.start as usize..middle.end as usize));

    let mut puts = tokio::task::JoinSet::new();
    for number in 0..1_100 {
        let store = store.clone();
        puts.spawn(async move {
            store.put(&format!("index/{number:04}"), Bytes::from_static(b"x")).await.unwrap()
        });
    }
    assert!(puts.join_all().await.iter().all(|put| *put == Put::Written));
    let listed = store.list("index/").await.unwrap();
    assert!(listed.iter().map(|object| object.key.clone()).eq((0..1_100).map(|n| format!("index/{n:04}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_settings_is_told() {
    let garage = Garage::start(1, 1);
    let bucket = garage.bucket();
    let wrong_secret = open(&bucket, |options| options.secret_access_key = Some(Secret::new("0".repeat(64))));
    let error = wrong_secret.get("config").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{}", told(&error));
    assert!(!told(&error).contains(&bucket.secret), "{}", told(&error));

    let wrong_key =
        open(&bucket, |options| options.access_key_id = Some("GK000000000000000000000000".into()));
    assert_eq!(wrong_key.list("").await.unwrap_err().kind, ErrorKind::Denied);

    let error =
        open(&bucket, |options| options.region = Some("mars-1".into())).get("config").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permanent, "{}", told(&error));
    assert!(told(&error).contains("AWS_REGION=garage"), "{}", told(&error));

    let other = GarageBucket { name: "no-such-bucket".into(), ..bucket.clone() };
    for error in [
        open(&other, |_| ()).get("config").await.unwrap_err(),
        open(&other, |_| ()).put("config", Bytes::new()).await.unwrap_err(),
        open(&other, |_| ()).list("").await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Permanent, "{}", told(&error));
        assert!(told(&error).contains("there is no bucket no-such-bucket"), "{}", told(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_rights_a_full_bucket_and_a_server_that_is_gone_are_told_apart() {
    let garage = Garage::start(1, 1);
    let bucket = garage.bucket();
    let store = open(&bucket, |_| ());
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    garage.allow(&bucket, true, false);
    assert_eq!(store.put("b", Bytes::from_static(b"x")).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(store.delete("a").await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(store.get("a").await.unwrap(), "x");
    garage.allow(&bucket, true, true);

    garage.set_quota(&bucket, 100_000);
    let error = store.put("large", Bytes::from(vec![1; 200_000])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{}", told(&error));

    garage.stop_node(0);
    let error = store.get("a").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{}", told(&error));
    assert!(told(&error).contains(&format!("cannot connect to {}", bucket.endpoint)), "{}", told(&error));
    garage.start_node(0);
    assert_eq!(store.get("a").await.unwrap(), "x");
}

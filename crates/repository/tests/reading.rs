//! Reading: in order, verified, bounded, and with errors that name what is wrong.

use std::sync::Arc;

use basekeep_repository::{BlobId, Repository, RepositoryError};
use basekeep_store::{ErrorKind, Fault, Faults, Operation, Rule, Store};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_in_the_order_asked_for_with_any_prefetch() {
    let (_, repository) = in_memory().await;
    let data = rows(3 << 20, 1);
    let snapshot = backup(&repository, &[("shop/1.dat", data.clone())]).await.unwrap();
    let node = repository.node_at(&snapshot, "/shop/1.dat").await.unwrap().unwrap();
    let mut order: Vec<BlobId> = node.content.iter().rev().copied().collect();
    order.extend_from_slice(&node.content);
    order.push(node.content[0]);
    for prefetch in [0, 1 << 20, 64 << 20] {
        let mut stream = repository.read_blobs(order.clone(), prefetch);
        for id in &order {
            assert_eq!(BlobId::of(&stream.next().await.unwrap().unwrap()), *id);
        }
        assert!(stream.next().await.is_none());
    }
    assert!(repository.read_blobs(Vec::new(), 0).next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_in_a_pack_are_read_with_one_request() {
    let (memory, repository) = in_memory().await;
    let snapshot = backup(&repository, &[("shop/1.dat", rows(1 << 20, 1))]).await.unwrap();
    let faults = Arc::new(Faults::new(memory));
    let counted = Repository::open(faults.clone(), &password()).await.unwrap();
    counted.load_index().await.unwrap();
    let node = counted.node_at(&snapshot, "/shop/1.dat").await.unwrap().unwrap();
    let before = faults.count(Operation::GetRange);
    let read = counted.read_small(&node, 2 << 20).await.unwrap();
    assert!(read == rows(1 << 20, 1));
    let requests = faults.count(Operation::GetRange) - before;
    assert!(requests < node.content.len() as u64 / 4, "{requests} requests for {} blobs", node.content.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_have_a_limit() {
    let (_, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let node = repository.node_at(&snapshot, "shop/MANIFEST.md").await.unwrap().unwrap();
    assert_eq!(repository.read_small(&node, 17).await.unwrap(), b"# what is inside\n");
    assert!(matches!(repository.read_small(&node, 16).await, Err(RepositoryError::Refused(_))));
    let folder = repository.node_at(&snapshot, "shop").await.unwrap().unwrap();
    assert!(matches!(repository.read_small(&folder, 1000).await, Err(RepositoryError::Refused(_))));
    assert!(repository.node_at(&snapshot, "shop/none").await.unwrap().is_none());
    assert!(repository.node_at(&snapshot, "shop/MANIFEST.md/none").await.unwrap().is_none());
    assert!(repository.node_at(&snapshot, "").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_data_is_refused_with_pack_and_blob_and_nothing_after_it_is_given() {
    let (store, repository) = in_memory().await;
    let snapshot = backup(&repository, &[("shop/1.dat", random(200_000, 1))]).await.unwrap();
    let node = repository.node_at(&snapshot, "/shop/1.dat").await.unwrap().unwrap();
    let mut packs = store.list("data/").await.unwrap();
    packs.sort_by_key(|pack| pack.size);
    let pack = packs.pop().unwrap();
    let good = store.get(&pack.key).await.unwrap().to_vec();
    for (what, damage) in [
        ("flipped", Box::new(|data: &mut Vec<u8>| data[60_000] ^= 1) as Box<dyn Fn(&mut Vec<u8>)>),
        ("truncated", Box::new(|data: &mut Vec<u8>| data.truncate(100_000))),
        ("empty", Box::new(Vec::clear)),
    ] {
        let mut data = good.clone();
        damage(&mut data);
        replace(&*store, &pack.key, data).await;
        let mut stream = repository.read_blobs(node.content.clone(), 1 << 20);
        let error = loop {
            match stream.next().await.expect("an error comes before the end") {
                Ok(blob) => assert!(node.content.contains(&BlobId::of(&blob))),
                Err(error) => break error,
            }
        };
        let RepositoryError::DamagedBlob { pack: named, blob, .. } = &error else {
            panic!("{what}: {error}")
        };
        assert!(pack.key.ends_with(&named.to_string()));
        assert!(node.content.contains(blob));
        assert!(error.to_string().contains(&blob.to_string()), "{error}");
        assert!(stream.next().await.is_none());
    }
    store.delete(&pack.key).await.unwrap();
    let error = repository.read_blobs(node.content.clone(), 1 << 20).next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the pack is missing"), "{error}");
    let unknown = BlobId::of(b"unknown");
    let error = repository.read_blobs(vec![unknown], 0).next().await.unwrap().unwrap_err();
    assert!(matches!(error, RepositoryError::MissingBlob { blob, .. } if blob == unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_storage_are_told_as_such() {
    let (memory, repository) = in_memory().await;
    let snapshot = backup(&repository, &files(1)).await.unwrap();
    let faults = Arc::new(Faults::new(memory));
    let failing = Repository::open(faults.clone(), &password()).await.unwrap();
    failing.load_index().await.unwrap();
    let node = failing.node_at(&snapshot, "/shop/database/1.dat").await.unwrap().unwrap();
    faults.inject(Rule::every(Operation::GetRange, "data/", Fault::Before(ErrorKind::Denied)));
    let error = failing.read_blobs(node.content, 0).next().await.unwrap().unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::Denied));
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_found_by_prefix_and_listed_by_time() {
    let (store, repository) = in_memory().await;
    let first = backup(&repository, &files(1)).await.unwrap();
    let second = backup(&repository, &files(2)).await.unwrap();
    let (snapshots, _) = repository.snapshots().await.unwrap();
    assert_eq!(snapshots, [first.clone(), second.clone()]);
    let mut prefix = first.id.to_string();
    prefix.truncate(12);
    assert_eq!(repository.find_snapshot(&prefix).await.unwrap(), first);
    let ambiguous = repository.find_snapshot("").await;
    assert!(
        matches!(ambiguous, Err(RepositoryError::AmbiguousSnapshot { matches, .. }) if matches.len() == 2)
    );
    let none = repository.find_snapshot("zz").await;
    assert!(matches!(none, Err(RepositoryError::NoSuchSnapshot { .. })));
    replace(&*store, &format!("snapshots/{}", second.id), b"damaged".to_vec()).await;
    let (snapshots, unreadable) = repository.snapshots().await.unwrap();
    assert_eq!((snapshots.len(), unreadable[0].0.clone()), (1, format!("snapshots/{}", second.id)));
}

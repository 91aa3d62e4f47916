//! The writer: exactly-once blobs, refusals, bounded memory.

use std::sync::Arc;
use std::time::Duration;

use basekeep_repository::{FileContent, Password, Repository, RepositoryError, TreeBuilder, WriterOptions};
use basekeep_store::{ErrorKind, Fault, Faults, Memory, Operation, Retry, RetryPolicy, Rule, Store};
use jiff::Timestamp;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn init_refuses_where_a_repository_is_or_was() {
    let (store, repository) = in_memory().await;
    backup(&repository, &files(1)).await.unwrap();
    let again = Repository::init(store.clone(), &password(), quick()).await;
    assert!(matches!(again, Err(RepositoryError::AlreadyExists { .. })), "{again:?}");
    store.delete("config").await.unwrap();
    let again = Repository::init(store.clone(), &password(), quick()).await;
    assert!(matches!(&again, Err(RepositoryError::Damaged { file, .. }) if file == "config"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_tells_apart_what_is_wrong() {
    let nothing = Repository::open(Arc::new(Memory::new()), &password()).await;
    assert!(matches!(nothing, Err(RepositoryError::NotFound { .. })));
    let (store, repository) = in_memory().await;
    let wrong = Repository::open(store.clone(), &"wrong".into()).await;
    assert!(matches!(wrong, Err(RepositoryError::WrongPassword)));
    assert_eq!(Repository::open(store, &password()).await.unwrap().id(), repository.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_was_interrupted_can_be_repeated() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    faults.inject(Rule::nth(0, Operation::Put, "config", Fault::Before(ErrorKind::Transient)));
    assert!(Repository::init(faults.clone(), &password(), quick()).await.is_err());
    let repository = Repository::init(faults.clone(), &password(), quick()).await.unwrap();
    assert_eq!(keys(&*faults, "keys/").await.len(), 1);
    backup(&repository, &files(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_inits_at_once_one_succeeds_and_opens() {
    for _ in 0..20 {
        let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
        // They all see that there is nothing, and then write at different times.
        for _ in 0..8 {
            let pause = Fault::Delay(Duration::from_millis(rand::random_range(0..6)));
            faults.inject(Rule::nth(0, Operation::Put, "", pause));
        }
        let mut inits = tokio::task::JoinSet::new();
        for n in 0..4 {
            let store = faults.clone();
            inits.spawn(async move {
                let password = Password::from(format!("password {n}").as_str());
                Repository::init(store, &password, quick()).await.map(|made| (password, made.id().to_owned()))
            });
        }
        let made: Vec<_> = inits.join_all().await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let opened = Repository::open(faults, &made[0].0).await.unwrap();
        assert_eq!(opened.id(), made[0].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_whose_answers_are_lost_makes_a_repository_that_opens() {
    for prefix in ["config", "keys/"] {
        let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
        faults.inject(Rule::nth(0, Operation::Put, prefix, Fault::After(ErrorKind::Transient)));
        let policy = RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
        let store: Arc<dyn Store> = Arc::new(Retry::new(faults, policy));
        let repository = Repository::init(store.clone(), &password(), quick()).await.unwrap();
        assert_eq!(Repository::open(store, &password()).await.unwrap().id(), repository.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_stored_once_however_many_streams_bring_it() {
    let (store, repository) = in_memory().await;
    let lock = lock(&repository).await;
    let writer = repository.writer(&lock, small_packs());
    let data = Arc::new(rows(2 << 20, 1));
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (writer, data) = (writer.clone(), data.clone());
        streams.spawn(async move {
            let mut file = writer.file(16 << 10);
            file.write(&data).await.unwrap();
            file.finish().await.unwrap()
        });
    }
    let contents = streams.join_all().await;
    assert!(contents.iter().all(|content| *content == contents[0]));
    let distinct: std::collections::HashSet<_> = contents[0].blobs.iter().collect();
    let stats = writer.stats();
    assert_eq!(stats.blobs_new, distinct.len() as u64);
    assert_eq!(stats.blobs_new + stats.blobs_known, 8 * contents[0].blobs.len() as u64);
    assert_eq!((stats.bytes_in, stats.bytes_new), (16 << 20, 2 << 20));
    assert!(stats.bytes_stored < stats.bytes_new);
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", contents[0].clone(), 0o600);
    writer.finish(tree, new_snapshot()).await.unwrap();

    // The next run, in another process, stores nothing but its tree.
    let packs = keys(&*store, "data/").await.len();
    let opened = Repository::open(store.clone(), &password()).await.unwrap();
    opened.load_index().await.unwrap();
    let writer = opened.writer(&lock, small_packs());
    let content = writer.put_file(&[]).await.unwrap();
    assert_eq!(content, FileContent::default());
    let mut file = writer.file(16 << 10);
    file.write(&data).await.unwrap();
    assert_eq!(file.finish().await.unwrap(), contents[0]);
    assert_eq!(writer.stats().blobs_new, 0);
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/other.dat", contents[0].clone(), 0o600);
    writer.finish(tree, new_snapshot()).await.unwrap();
    assert_eq!(keys(&*store, "data/").await.len(), packs + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_out_the_same_however_it_goes_in() {
    let (_, repository) = in_memory().await;
    let lock = lock(&repository).await;
    let writer = repository.writer(&lock, small_packs());
    let data = rows(1 << 20, 2);
    let mut whole = writer.file(16 << 10);
    whole.write(&data).await.unwrap();
    let whole = whole.finish().await.unwrap();
    for piece in [1000, 70_000, 300_000] {
        let mut file = writer.file(16 << 10);
        for part in data.chunks(piece) {
            file.buffer().extend_from_slice(part);
            file.advance().await.unwrap();
        }
        assert_eq!(file.finish().await.unwrap(), whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_cut_and_blobs_taken_over() {
    let (_, repository) = in_memory().await;
    let lock = lock(&repository).await;
    let parts = [rows(300_000, 1), rows(200_000, 2)];
    let writer = repository.writer(&lock, small_packs());
    let mut file = writer.file(16 << 10);
    file.write(&parts[0]).await.unwrap();
    let first = file.cut().await.unwrap() as usize;
    file.write(&parts[1]).await.unwrap();
    let content = file.finish().await.unwrap();
    let mut alone = writer.file(16 << 10);
    alone.write(&parts[1]).await.unwrap();
    assert_eq!(
        alone.finish().await.unwrap().blobs,
        content.blobs[first..],
        "a cut range does not depend on the one before"
    );
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", content.clone(), 0o600);
    let snapshot = writer.finish(tree, new_snapshot()).await.unwrap();

    let lengths = plain_lengths(&repository, &content).await;
    let writer = repository.writer(&lock, small_packs());
    let mut file = writer.file(16 << 10);
    file.write(b"new rows first\n").await.unwrap();
    let taken: Vec<_> =
        content.blobs[first..].iter().copied().zip(lengths[first..].iter().copied()).collect();
    let wrong = [(taken[0].0, taken[0].1 + 1)];
    assert!(matches!(file.append_known(&wrong).await, Err(RepositoryError::Refused(_))));
    let unknown = [taken[0], (basekeep_repository::BlobId::of(b"unknown"), 7)];
    assert!(matches!(file.append_known(&unknown).await, Err(RepositoryError::MissingBlob { .. })));
    file.append_known(&taken).await.unwrap();
    file.write(b"and last\n").await.unwrap();
    let joined = file.finish().await.unwrap();
    assert_eq!(joined.blobs[1..=taken.len()], content.blobs[first..]);
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", joined, 0o600);
    let second = writer.finish(tree, new_snapshot()).await.unwrap();
    let expected = [b"new rows first\n", &parts[1][..], b"and last\n"].concat();
    assert_holds(&repository, &second, &[("shop/1.dat", expected)]).await;
    assert_holds(&repository, &snapshot, &[("shop/1.dat", parts.concat())]).await;
}

async fn plain_lengths(repository: &Repository, content: &FileContent) -> Vec<u32> {
    let mut blobs = repository.read_blobs(content.blobs.clone(), 1 << 20);
    let mut lengths = Vec::new();
    while let Some(blob) = blobs.next().await {
        lengths.push(blob.unwrap().len() as u32);
    }
    lengths
}

/// No snapshot, but an error that says why.
async fn assert_refused(
    repository: &Repository,
    spoil: impl AsyncFnOnce(&basekeep_repository::Writer, &mut TreeBuilder),
    why: &str,
) {
    let lock = lock(repository).await;
    let writer = repository.writer(&lock, small_packs());
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &files(1)).await.unwrap();
    spoil(&writer, &mut tree).await;
    let error = writer.finish(tree, new_snapshot()).await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(repository.snapshots().await.unwrap().0.is_empty());
    lock.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_unfinished_or_unknown_forbids_the_snapshot() {
    let (_, repository) = in_memory().await;
    let dropped = async |writer: &basekeep_repository::Writer, _: &mut TreeBuilder| {
        let mut file = writer.file(16 << 10);
        file.write(b"half").await.unwrap();
    };
    assert_refused(&repository, dropped, "not written to its end").await;
    let cancelled = async |writer: &basekeep_repository::Writer, _: &mut TreeBuilder| {
        let mut file = writer.file(16 << 10);
        file.write(b"half").await.unwrap();
        drop(file.finish());
    };
    assert_refused(&repository, cancelled, "not written to its end").await;
    let open = async |writer: &basekeep_repository::Writer, _: &mut TreeBuilder| {
        let mut file = writer.file(16 << 10);
        file.write(b"half").await.unwrap();
        std::mem::forget(file);
    };
    assert_refused(&repository, open, "still being written").await;
    let unknown = async |_: &basekeep_repository::Writer, tree: &mut TreeBuilder| {
        let blobs = vec![basekeep_repository::BlobId::of(b"unknown")];
        tree.file("shop/x", FileContent { blobs, size: 7 }, 0o600);
    };
    assert_refused(&repository, unknown, "nobody has written blob").await;
    let wrong_size = async |writer: &basekeep_repository::Writer, tree: &mut TreeBuilder| {
        let content = writer.put_file(b"four").await.unwrap();
        tree.file("shop/x", FileContent { size: 5, ..content }, 0o600);
    };
    assert_refused(&repository, wrong_size, "have 4 bytes, but it is said to have 5").await;
    let twice = async |writer: &basekeep_repository::Writer, tree: &mut TreeBuilder| {
        let content = writer.put_file(b"four").await.unwrap();
        tree.file("shop/database/1.dat", content, 0o600);
    };
    assert_refused(&repository, twice, "cannot be a path").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lock_forbids_the_snapshot_and_any_index() {
    let (store, repository) = in_memory().await;
    let lock = lock(&repository).await;
    let writer = repository.writer(&lock, small_packs());
    let mut tree = TreeBuilder::new(Timestamp::now());
    add_files(&writer, &mut tree, &files(1)).await.unwrap();
    lock.release().await.unwrap();
    let error = writer.finish(tree, new_snapshot()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::LockLost { .. }), "{error}");
    assert!(keys(&*store, "snapshots/").await.is_empty());
    assert!(keys(&*store, "index/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_the_next_run_finds_what_was_uploaded() {
    let (store, repository) = in_memory().await;
    let lock = lock(&repository).await;
    let data = rows(8 << 20, 3);
    let writer = repository.writer(&lock, small_packs());
    let mut file = writer.file(16 << 10);
    file.write(&data).await.unwrap();
    let uploaded = async {
        while keys(&*store, "data/").await.len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), uploaded).await.unwrap();
    writer.abort().await;
    assert!(file.finish().await.is_err());
    assert!(keys(&*store, "snapshots/").await.is_empty());

    let opened = Repository::open(store, &password()).await.unwrap();
    opened.load_index().await.unwrap();
    let writer = opened.writer(&lock, small_packs());
    let mut file = writer.file(16 << 10);
    file.write(&data).await.unwrap();
    let content = file.finish().await.unwrap();
    assert!(writer.stats().blobs_known > 20, "{:?}", writer.stats());
    let mut tree = TreeBuilder::new(Timestamp::now());
    tree.file("shop/1.dat", content, 0o600);
    let snapshot = writer.finish(tree, new_snapshot()).await.unwrap();
    assert_holds(&opened, &snapshot, &[("shop/1.dat", data)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_surfaces_as_such_in_every_stream() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    let repository = Repository::init(faults.clone(), &password(), quick()).await.unwrap();
    faults
        .inject(Rule { skip: 2, ..Rule::every(Operation::Put, "data/", Fault::Before(ErrorKind::NoSpace)) });
    let lock = lock(&repository).await;
    let writer = repository.writer(&lock, small_packs());
    let mut file = writer.file(16 << 10);
    let data = random(4 << 20, 1);
    let failure = async {
        loop {
            if let Err(error) = file.write(&data).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), failure).await;
    // The same blobs again fill no pack; the failure is told by then.
    assert_eq!(error.unwrap().store_kind(), Some(ErrorKind::NoSpace));
    let error = writer.put_file(b"more").await.unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::NoSpace));
    let error = writer.finish(TreeBuilder::new(Timestamp::now()), new_snapshot()).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::NoSpace));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_holds_the_streams_up_instead_of_filling_the_memory() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    let repository = Repository::init(faults.clone(), &password(), quick()).await.unwrap();
    faults.inject(Rule::every(Operation::Put, "data/", Fault::Delay(Duration::from_secs(3600))));
    let lock = lock(&repository).await;
    let options = WriterOptions { in_flight: 64 << 20, pack_size: 8 << 20, ..WriterOptions::default() };
    let writer = repository.writer(&lock, options);
    let mut file = writer.file(1 << 20);
    let mut sent = 0;
    let stuck = async {
        for n in 0..400 {
            file.write(&random(1 << 20, n)).await.unwrap();
            sent += 1;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), stuck).await.is_err(), "the store takes nothing");
    assert!((40..100).contains(&sent), "{sent} MiB went in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_missing_or_cut_off_pack_held_is_stored_again() {
    let (store, repository) = in_memory().await;
    let first = backup(&repository, &files(1)).await.unwrap();
    assert!(repository.forget_missing_packs().await.unwrap().is_empty());
    let mut packs = store.list("data/").await.unwrap();
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.size));
    store.delete(&packs[0].key).await.unwrap();
    let cut = store.get(&packs[1].key).await.unwrap().slice(..1000).to_vec();
    replace(&*store, &packs[1].key, cut).await;

    let opened = Repository::open(store, &password()).await.unwrap();
    opened.load_index().await.unwrap();
    let mut bad = vec![packs[0].key.clone(), packs[1].key.clone()];
    bad.sort();
    assert_eq!(opened.forget_missing_packs().await.unwrap(), bad);
    let second = backup(&opened, &files(1)).await.unwrap();
    assert_holds(&opened, &second, &files(1)).await;
    // The first snapshot is whole again too: its blobs are the same.
    assert_holds(&opened, &first, &files(1)).await;
}

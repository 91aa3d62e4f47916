//! `rustic_core` and we use the same repository.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use basekeep_repository::{
    CheckOptions, InitOptions, LockMode, NewSnapshot, Repository, Snapshot, TreeBuilder, WriterOptions,
};
use basekeep_store::Local;
use jiff::Timestamp;
use rustic_backend::BackendOptions;
use rustic_core::{Credentials, PathList, RepositoryOptions, SnapshotOptions};

const PASSWORD: &str = "correct horse";

/// Files of many blobs, of one, and of none.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let rows = (0..200_000_u32)
        .flat_map(|n| format!("{n}\tcustomer-{}\n", n.wrapping_mul(2_654_435_761)).into_bytes());
    let mut noise = Vec::new();
    let mut state = 1_u64;
    for _ in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(&state.to_be_bytes()[..5]);
    }
    vec![
        ("shop/database/1.dat", rows.collect()),
        ("shop/database/2.dat", noise),
        ("shop/database/3.dat", vec![]),
        ("shop/storage/Ünï \"quoted\" <&>\\.txt", b"x".to_vec()),
    ]
}

async fn write(folder: &Path) -> (Repository, Snapshot) {
    let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
    let repository = Repository::init(Arc::new(Local::new(folder)), &PASSWORD.into(), options).await.unwrap();
    let lock = repository.lock(LockMode::Shared).await.unwrap();
    let writer = repository.writer(&lock, WriterOptions { pack_size: 512 << 10, ..WriterOptions::default() });
    let mut tree = TreeBuilder::new(Timestamp::now());
    for (path, data) in files() {
        let mut file = writer.file(32 << 10);
        file.write(&data).await.unwrap();
        tree.file(path, file.finish().await.unwrap(), 0o600);
    }
    let new = NewSnapshot {
        time: Timestamp::now(),
        hostname: "shop".into(),
        username: "tester".into(),
        paths: vec!["/shop".into()],
        tags: vec!["nightly".into()],
        parent: None,
        program_version: "basekeep test".into(),
    };
    let snapshot = writer.finish(tree, new).await.unwrap();
    lock.release().await.unwrap();
    (repository, snapshot)
}

fn rustic(folder: &Path) -> rustic_core::Repository<rustic_core::OpenStatus> {
    let backends = BackendOptions::default().repository(folder.to_str().unwrap()).to_backends().unwrap();
    let options = RepositoryOptions::default().no_cache(true);
    rustic_core::Repository::new(&options, &backends).unwrap().open(&Credentials::password(PASSWORD)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rustic_reads_every_file_that_we_write_and_finds_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_, snapshot) = write(folder.path()).await;
    let folder = folder.path().to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let repository = rustic(&folder);
        let check = rustic_core::CheckOptions::default().read_data(true);
        let found = repository.check(check).unwrap();
        assert!(found.0.is_empty(), "{:?}", found.0);
        let listed = repository.get_all_snapshots().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].id.to_hex().to_string(), listed[0].hostname.as_str()),
            (snapshot.id.to_string(), "shop")
        );
        let repository = repository.to_indexed().unwrap();
        for (path, data) in files() {
            let node = repository.node_from_snapshot_path(&format!("latest:{path}"), |_| true).unwrap();
            let mut read = Vec::new();
            repository.dump(&node, &mut read).unwrap();
            assert!(read == data, "{path}");
        }
    });
    read.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_rustic_writes_into_our_repository() {
    let folder = tempfile::tempdir().unwrap();
    let (source, place) = (folder.path().join("source"), folder.path().join("repository"));
    let (repository, ours) = write(&place).await;
    std::fs::create_dir(&source).unwrap();
    for (path, data) in files() {
        std::fs::write(source.join(path.rsplit('/').next().unwrap()), data).unwrap();
    }
    let (from, to) = (source.clone(), place.clone());
    let written = tokio::task::spawn_blocking(move || {
        let paths = PathList::from_string(from.to_str().unwrap()).unwrap().sanitize().unwrap();
        let new = SnapshotOptions::default().to_snapshot().unwrap();
        let repository = rustic(&to).to_indexed_ids().unwrap();
        repository.backup(&rustic_core::BackupOptions::default(), &paths, new).unwrap().id.to_string()
    });
    let written = written.await.unwrap();

    repository.load_index().await.unwrap();
    let snapshot = repository.find_snapshot(&written).await.unwrap();
    for (path, data) in files() {
        let inside = source.join(path.rsplit('/').next().unwrap());
        let node = repository.node_at(&snapshot, inside.to_str().unwrap()).await.unwrap().unwrap();
        assert!(repository.read_small(&node, 64 << 20).await.unwrap() == data, "{path}");
        let node = repository.node_at(&ours, path).await.unwrap().unwrap();
        assert!(repository.read_small(&node, 64 << 20).await.unwrap() == data, "{path}");
    }
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

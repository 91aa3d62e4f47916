//! Repositories and content for the tests.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use basekeep_repository::{
    InitOptions, Lock, LockMode, LockOptions, NewSnapshot, Password, Repository, Result, Snapshot,
    TreeBuilder, Writer, WriterOptions,
};
use basekeep_store::{Memory, Store};
use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) fn password() -> Password {
    "correct horse".into()
}

/// Cheap keys: the tests are not about scrypt.
pub(crate) fn quick() -> InitOptions {
    InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() }
}

pub(crate) async fn in_memory() -> (Arc<Memory>, Repository) {
    let store = Arc::new(Memory::new());
    let repository = Repository::init(store.clone(), &password(), quick()).await.unwrap();
    (store, repository)
}

/// A lock without the pause that lets others appear.
pub(crate) async fn lock(repository: &Repository) -> Lock {
    lock_as(repository, LockMode::Shared).await.unwrap()
}

pub(crate) async fn lock_as(repository: &Repository, mode: LockMode) -> Result<Lock> {
    let options = LockOptions { settle: std::time::Duration::from_millis(1), ..LockOptions::default() };
    repository.lock_with(mode, options).await
}

pub(crate) fn small_packs() -> WriterOptions {
    WriterOptions { pack_size: 256 << 10, ..WriterOptions::default() }
}

pub(crate) fn random(length: usize, seed: u64) -> Vec<u8> {
    let mut data = vec![0; length];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut data);
    data
}

/// Lines that compress about as rows of a table do.
pub(crate) fn rows(length: usize, seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut text = Vec::with_capacity(length + 100);
    while text.len() < length {
        let id = random.next_u32();
        text.extend_from_slice(
            format!("{id}\tcustomer-{}\t2024-05-{:02}\t{:x}\n", id % 1000, id % 28 + 1, id).as_bytes(),
        );
    }
    text.truncate(length);
    text
}

pub(crate) fn new_snapshot() -> NewSnapshot {
    NewSnapshot {
        time: Timestamp::now(),
        hostname: "shop".into(),
        username: "tester".into(),
        paths: vec!["/shop".into()],
        tags: vec!["nightly".into()],
        parent: None,
        program_version: "basekeep test".into(),
    }
}

/// Adds files to a tree.
pub(crate) async fn add_files(
    writer: &Writer,
    tree: &mut TreeBuilder,
    files: &[(&str, Vec<u8>)],
) -> Result<()> {
    for (path, data) in files {
        let mut file = writer.file(16 << 10);
        file.write(data).await?;
        let content = file.finish().await?;
        tree.file(path, content, 0o600);
    }
    Ok(())
}

/// A snapshot of `files`.
pub(crate) async fn backup(repository: &Repository, files: &[(&str, Vec<u8>)]) -> Result<Snapshot> {
    let lock = lock(repository).await;
    repository.load_index().await?;
    let writer = repository.writer(&lock, small_packs());
    let mut tree = TreeBuilder::new(Timestamp::now());
    let result = match add_files(&writer, &mut tree, files).await {
        Ok(()) => writer.finish(tree, new_snapshot()).await,
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    };
    let _ = lock.release().await;
    result
}

/// Some files of different kinds: empty, small, of many blobs, in folders.
pub(crate) fn files(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("shop/MANIFEST.md", b"# what is inside\n".to_vec()),
        ("shop/database/1.dat", rows(700_000, seed)),
        ("shop/database/2.dat", random(300_000, seed + 1)),
        ("shop/database/3.dat", vec![]),
        ("shop/storage/Ünï \"quoted\" <&>\\.txt", b"x".to_vec()),
    ]
}

pub(crate) async fn read_file(repository: &Repository, snapshot: &Snapshot, path: &str) -> Result<Vec<u8>> {
    let node = repository.node_at(snapshot, path).await?.unwrap_or_else(|| panic!("{path} is not there"));
    let mut blobs = repository.read_blobs(node.content.clone(), 4 << 20);
    let mut data = Vec::new();
    while let Some(blob) = blobs.next().await {
        data.extend_from_slice(&blob?);
    }
    assert_eq!(data.len() as u64, node.size, "{path}");
    Ok(data)
}

/// Every file of the snapshot is what it was.
pub(crate) async fn assert_holds(repository: &Repository, snapshot: &Snapshot, files: &[(&str, Vec<u8>)]) {
    for (path, data) in files {
        let read = read_file(repository, snapshot, path).await.unwrap();
        assert!(read == *data, "{path} differs");
    }
}

pub(crate) async fn keys(store: &dyn Store, folder: &str) -> Vec<String> {
    store.list(folder).await.unwrap().into_iter().map(|object| object.key).collect()
}

/// Replaces an object.
pub(crate) async fn replace(store: &dyn Store, key: &str, data: Vec<u8>) {
    store.delete(key).await.unwrap();
    store.put(key, data.into()).await.unwrap();
}

/// Stock restic on a local repository.
pub(crate) struct Stock<'a> {
    repository: &'a Path,
    password: String,
}

impl<'a> Stock<'a> {
    /// With the usual password.
    pub(crate) fn new(repository: &'a Path) -> Self {
        Self { repository, password: "correct horse".into() }
    }

    /// The same with another password.
    pub(crate) fn with_password(self, password: &str) -> Self {
        Self { password: password.into(), ..self }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.repository)
            .args(arguments)
            .env("RESTIC_PASSWORD", &self.password)
            .output()
            .expect("restic is installed; scripts/setup test does it")
    }

    /// Runs restic and wants it to succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {arguments:?}\n{out}\n{err}");
        assert!(!err.to_lowercase().contains("error"), "restic {arguments:?}\n{err}");
        out.into_owned()
    }

    pub(crate) fn check(&self) {
        let out = self.run(&["check", "--read-data"]);
        assert!(out.contains("no errors were found"), "{out}");
        for bad in ["not referenced in any index", "mix of tree and data", "contained in several indexes"] {
            assert!(!out.contains(bad), "{out}");
        }
    }
}

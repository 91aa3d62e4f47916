//! Stock restic and we use the same repository.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use basekeep_repository::{
    CheckOptions, LockMode, NodeKind, Repository, RepositoryError, Snapshot, TreeBuilder, WriterOptions,
};
use basekeep_store::{Local, Retry, RetryPolicy, Store};
use jiff::Timestamp;

use crate::support::*;

fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Retry::new(Arc::new(Local::new(folder)), RetryPolicy::default()))
}

async fn assert_check_is_clean(repository: &Repository) {
    let report = repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_restic_reads_checks_restores_and_prunes_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let repository = Repository::init(store(&path), &password(), quick()).await.unwrap();
    let (first_files, second_files) = (files(1), files(2));
    let first = backup(&repository, &first_files).await.unwrap();
    let second = backup(&repository, &second_files).await.unwrap();
    let restic = Stock::new(&path);

    let listed: serde_json::Value = serde_json::from_str(&restic.run(&["snapshots", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["id"], first.id.to_string());
    assert_eq!((&listed[0]["hostname"], &listed[0]["paths"][0]), (&"shop".into(), &"/shop".into()));
    restic.check();

    for (snapshot, files) in [(&first, &first_files), (&second, &second_files)] {
        let target = folder.path().join(snapshot.id.short());
        restic.run(&["restore", &snapshot.id.to_string(), "--verify", "--target", target.to_str().unwrap()]);
        for (name, data) in files {
            assert!(std::fs::read(target.join(name)).unwrap() == *data, "{name}");
        }
    }
    assert!(restic.command(&["dump", "latest", "/shop/database/1.dat"]).stdout == second_files[1].1);
    let listing = restic.run(&["ls", "latest"]);
    assert!(listing.contains("/shop/storage/Ünï \"quoted\" <&>\\.txt"), "{listing}");

    restic.run(&["forget", &first.id.to_string(), "--prune", "--max-unused", "0"]);
    restic.check();
    repository.load_index().await.unwrap();
    let (left, unreadable) = repository.snapshots().await.unwrap();
    assert_eq!((left.len(), unreadable.len()), (1, 0));
    assert_holds(&repository, &left[0], &second_files).await;
    assert_check_is_clean(&repository).await;

    let third = backup(&repository, &first_files).await.unwrap();
    assert_holds(&repository, &third, &first_files).await;
    restic.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_trees_and_several_streams_pass_stock_restic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let repository = Repository::init(store(&path), &password(), quick()).await.unwrap();
    let lock = lock(&repository).await;
    let writer = repository.writer(&lock, WriterOptions { pack_size: 4 << 20, ..WriterOptions::default() });
    let mut streams = tokio::task::JoinSet::new();
    for n in 0..6_u64 {
        let writer = writer.clone();
        streams.spawn(async move {
            let mut file = writer.file(4 << 10);
            for part in rows(3 << 20, n % 4).chunks(50_000) {
                file.buffer().extend_from_slice(part);
                file.advance().await.unwrap();
            }
            (n, file.finish().await.unwrap())
        });
    }
    let mut tree = TreeBuilder::new(Timestamp::now());
    while let Some(result) = streams.join_next().await {
        let (n, content) = result.unwrap();
        tree.file(&format!("shop/database/{n}.dat"), content, 0o600);
    }
    for n in 0..2000_u32 {
        let content = writer.put_file(&n.to_le_bytes()).await.unwrap();
        tree.file(&format!("shop/many/{n}"), content, 0o644);
    }
    tree.dir("shop/empty", 0o755);
    let snapshot = writer.finish(tree, new_snapshot()).await.unwrap();
    lock.release().await.unwrap();
    let restic = Stock::new(&path);
    restic.check();
    let target = folder.path().join("restored");
    restic.run(&["restore", "latest", "--verify", "--target", target.to_str().unwrap()]);
    for n in 0..6_u64 {
        assert!(
            std::fs::read(target.join(format!("shop/database/{n}.dat"))).unwrap() == rows(3 << 20, n % 4)
        );
    }
    assert!(target.join("shop/empty").is_dir());
    assert_eq!(repository.node_at(&snapshot, "shop/empty").await.unwrap().unwrap().kind, NodeKind::Dir);
    assert_check_is_clean(&repository).await;
}

fn source(folder: &Path) -> std::path::PathBuf {
    let source = folder.join("source");
    std::fs::create_dir_all(source.join("sub folder")).unwrap();
    std::fs::write(source.join("rows"), rows(5 << 20, 9)).unwrap();
    std::fs::write(source.join("noise"), random(3 << 20, 9)).unwrap();
    std::fs::write(source.join("sub folder/wörd \"x\""), b"hello").unwrap();
    std::fs::write(source.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("rows", source.join("link")).unwrap();
    source
}

async fn assert_reads_source(repository: &Repository, snapshot: &Snapshot, source: &Path) {
    for name in ["rows", "noise", "sub folder/wörd \"x\"", "empty"] {
        let inside = format!("{}/{name}", source.to_str().unwrap());
        let read = read_file(repository, snapshot, &inside).await.unwrap();
        assert!(read == std::fs::read(source.join(name)).unwrap(), "{name}");
    }
    let link = format!("{}/link", source.to_str().unwrap());
    assert_eq!(repository.node_at(snapshot, &link).await.unwrap().unwrap().kind, NodeKind::Other);
    assert!(
        repository.node_at(snapshot, &format!("{}/none", source.to_str().unwrap())).await.unwrap().is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_stock_restic_writes_in_every_compression_and_go_on_in_it() {
    for (version, compression) in [("2", "auto"), ("2", "off"), ("2", "max"), ("1", "off")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository");
        let source = source(folder.path());
        let restic = Stock::new(&path);
        restic.run(&["init", "--repository-version", version]);
        let back_up = || {
            restic.run(&["--compression", compression, "backup", "--tag", "a,b", source.to_str().unwrap()])
        };
        back_up();
        std::fs::write(source.join("rows"), rows(6 << 20, 10)).unwrap();
        back_up();

        let repository = Repository::open(store(&path), &password()).await.unwrap();
        assert_eq!(repository.version().to_string(), version);
        repository.load_index().await.unwrap();
        let (snapshots, unreadable) = repository.snapshots().await.unwrap();
        assert_eq!((snapshots.len(), unreadable.len()), (2, 0));
        assert_eq!(snapshots[1].tags, ["a", "b"]);
        assert_eq!(snapshots[1].parent, Some(snapshots[0].id));
        assert_reads_source(&repository, &snapshots[1], &source).await;
        assert_check_is_clean(&repository).await;

        let result = backup(&repository, &files(3)).await;
        if version == "1" {
            assert!(
                matches!(result, Err(RepositoryError::UnsupportedVersion { version: 1, .. })),
                "{result:?}"
            );
        } else {
            assert_holds(&repository, &result.unwrap(), &files(3)).await;
        }
        restic.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_opens_the_repository_and_a_removed_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let repository = Repository::init(store(&path), &password(), quick()).await.unwrap();
    let snapshot = backup(&repository, &files(4)).await.unwrap();
    let second = folder.path().join("second password");
    std::fs::write(&second, "another one").unwrap();
    let restic = Stock::new(&path);
    restic.run(&["key", "add", "--new-password-file", second.to_str().unwrap()]);
    for password in ["correct horse", "another one"] {
        let opened = Repository::open(store(&path), &password.into()).await.unwrap();
        opened.load_index().await.unwrap();
        assert_holds(&opened, &snapshot, &files(4)).await;
    }
    restic.run(&["key", "passwd", "--new-password-file", second.to_str().unwrap()]);
    let refused = Repository::open(store(&path), &password()).await;
    assert!(matches!(refused, Err(RepositoryError::WrongPassword)), "{refused:?}");
    assert!(Repository::open(store(&path), &"another one".into()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_restic_honours_our_locks_and_we_honour_its() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let repository = Repository::init(store(&path), &password(), quick()).await.unwrap();
    backup(&repository, &files(5)).await.unwrap();
    let restic = Stock::new(&path);

    let shared = lock(&repository).await;
    assert!(restic.command(&["snapshots"]).status.success());
    let pruned = restic.command(&["prune"]);
    assert!(!pruned.status.success());
    assert!(String::from_utf8_lossy(&pruned.stderr).contains("already locked"), "{pruned:?}");
    shared.release().await.unwrap();
    let exclusive = lock_as(&repository, LockMode::Exclusive).await.unwrap();
    assert!(!restic.command(&["snapshots"]).status.success());
    exclusive.release().await.unwrap();
    restic.run(&["prune"]);

    // A backup from a pipe holds its lock until the pipe ends.
    let mut child = Command::new("restic")
        .args(["--no-cache", "--repo"])
        .arg(&path)
        .args(["backup", "--stdin"])
        .env("RESTIC_PASSWORD", "correct horse")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let locks = path.join("locks");
    let held = async {
        while std::fs::read_dir(&locks).map_or(0, Iterator::count) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), held).await.unwrap();
    let refused = lock_as(&repository, LockMode::Exclusive).await;
    let Err(RepositoryError::Locked { holder }) = refused else { panic!("{refused:?}") };
    assert_eq!((holder.pid, holder.exclusive), (child.id(), false));
    lock(&repository).await.release().await.unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"content").unwrap();
    assert!(child.wait().unwrap().success());
    lock_as(&repository, LockMode::Exclusive).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_writer_leaves_disturbs_neither() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let repository = Repository::init(store(&path), &password(), quick()).await.unwrap();
    let snapshot = backup(&repository, &files(6)).await.unwrap();
    for place in ["", "index", "snapshots", "keys", "locks", "data/00"] {
        std::fs::create_dir_all(path.join(place)).unwrap();
        std::fs::write(path.join(place).join(format!("{}.unfinished-0123", "ab".repeat(32))), b"half")
            .unwrap();
    }
    let restic = Stock::new(&path);
    restic.check();
    restic.run(&["snapshots"]);
    restic.run(&["prune"]);
    restic.run(&["key", "list"]);
    let opened = Repository::open(store(&path), &password()).await.unwrap();
    opened.load_index().await.unwrap();
    assert_holds(&opened, &snapshot, &files(6)).await;
    assert_check_is_clean(&opened).await;
    backup(&opened, &files(7)).await.unwrap();
    restic.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_the_modes_and_places_that_restic_gives_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let store = store(&path);
    let repository = Repository::init(store.clone(), &password(), quick()).await.unwrap();
    backup(&repository, &files(8)).await.unwrap();
    let mode = |key: &str| std::fs::metadata(path.join(key)).unwrap().permissions().mode() & 0o777;
    for object in store.list("").await.unwrap() {
        assert_eq!(mode(&object.key), 0o400, "{}", object.key);
    }
    for place in ["", "data", "index", "keys", "snapshots", "locks"] {
        assert_eq!(mode(place), 0o700, "{place}");
    }
    for pack in keys(&*store, "data/").await {
        let parts: Vec<&str> = pack.split('/').collect();
        assert_eq!((parts.len(), parts[1]), (3, &parts[2][..2]));
    }
}

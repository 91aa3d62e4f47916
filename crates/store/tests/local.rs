//! What is particular to folders: modes, leftovers, permissions, a full disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use basekeep_store::{ErrorKind, Local, Put, Store};
use bytes::Bytes;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn files_are_read_only_and_folders_private() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repository");
    let store = Local::new(&root);
    store.put("data/ab/abc", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(mode(&root.join("data/ab/abc")), 0o400);
    for part in ["", "data", "data/ab"] {
        assert_eq!(mode(&root.join(part)), 0o700, "{part}");
    }
    assert_eq!(names(&root.join("data/ab")).len(), 1, "no unfinished file is left");
}

#[tokio::test]
async fn unfinished_files_of_a_crashed_writer_are_not_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::new(folder.path());
    store.put("data/ab/abc", Bytes::from_static(b"x")).await.unwrap();
    fs::write(folder.path().join("data/ab/abd.unfinished-0011223344556677"), b"half").unwrap();
    assert_eq!(store.list("data/").await.unwrap().len(), 1);
    assert_eq!(store.put("data/ab/abd", Bytes::from_static(b"whole")).await.unwrap(), Put::Written);
    assert_eq!(store.get("data/ab/abd").await.unwrap(), "whole");
}

#[tokio::test]
async fn relative_folders_work() {
    let store = Local::new("target/store-test-relative");
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    store.delete("a").await.unwrap();
    fs::remove_dir_all("target/store-test-relative").unwrap();
    let _ = fs::remove_dir("target");
}

#[tokio::test]
async fn a_folder_is_not_an_object_and_a_file_is_not_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::new(folder.path());
    store.put("data/ab/abc", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.size("data/ab").await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(store.put("data/ab/abc/below", Bytes::new()).await.is_err());
}

/// A small file system of its own, or `None` where that is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_no_space_and_nothing_is_left_behind() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not tested: mounting is not allowed here");
        return;
    };
    let store = Local::new(disk.0.path());
    store.put("data/ab/small", Bytes::from(vec![1; 100_000])).await.unwrap();
    let error = store.put("data/ab/large", Bytes::from(vec![2; 2_000_000])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert!(error.to_string().starts_with("write data/ab/large: "), "{error}");
    assert_eq!(names(&disk.0.path().join("data/ab")).len(), 1);
    assert_eq!(store.put("data/ab/fits", Bytes::from(vec![3; 100_000])).await.unwrap(), Put::Written);
}

#[tokio::test]
async fn a_read_only_folder_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::new(folder.path());
    store.put("data/a", Bytes::from_static(b"x")).await.unwrap();
    fs::set_permissions(folder.path().join("data"), fs::Permissions::from_mode(0o500)).unwrap();
    let result = store.put("data/b", Bytes::from_static(b"x")).await;
    fs::set_permissions(folder.path().join("data"), fs::Permissions::from_mode(0o700)).unwrap();
    // The superuser may write anywhere.
    assert!(result.is_ok() || result.unwrap_err().kind == ErrorKind::Denied);
}

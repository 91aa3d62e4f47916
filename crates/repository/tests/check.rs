//! Damage of every kind in every folder is named, with what it touches.

use std::collections::BTreeSet;
use std::sync::Arc;

use basekeep_repository::{CheckOptions, CheckReport, Repository, RepositoryError, Snapshot};
use basekeep_store::{Memory, Store};

use crate::support::*;

/// Two snapshots that share their first table; each table in packs of its own.
struct Fixture {
    store: Arc<Memory>,
    repository: Repository,
    snapshots: [Snapshot; 2],
}

fn shared_table() -> (&'static str, Vec<u8>) {
    ("shop/database/1.dat", random(600_000, 1))
}

fn own_table(n: u64) -> (&'static str, Vec<u8>) {
    ("shop/database/2.dat", random(600_000, n))
}

async fn fixture() -> Fixture {
    let (store, repository) = in_memory().await;
    let first = backup(&repository, &[shared_table(), own_table(2)]).await.unwrap();
    let second = backup(&repository, &[shared_table(), own_table(3)]).await.unwrap();
    Fixture { store, repository, snapshots: [first, second] }
}

impl Fixture {
    async fn check(&self, read_data: bool) -> CheckReport {
        self.repository.check(&CheckOptions { read_data, snapshots: None }, &|_| {}).await.unwrap()
    }

    /// The only damage is in `file`.
    async fn assert_damage(&self, read_data: bool, file: &str) -> (String, BTreeSet<(String, String)>) {
        let report = self.check(read_data).await;
        let files: Vec<&str> = report.damage.iter().map(|damage| damage.file.as_str()).collect();
        assert_eq!(files, [file], "{:?}", report.damage);
        let touches = report.damage[0].touches.iter().map(|t| (t.snapshot.short(), t.path.clone()));
        (report.damage[0].reason.clone(), touches.collect())
    }

    fn touched(&self, places: &[(usize, &str)]) -> BTreeSet<(String, String)> {
        places.iter().map(|(n, path)| (self.snapshots[*n].id.short(), (*path).to_owned())).collect()
    }

    /// The pack that holds the middle of a file.
    async fn pack_of(&self, snapshot: usize, path: &str) -> String {
        let node = self.repository.node_at(&self.snapshots[snapshot], path).await.unwrap().unwrap();
        for key in keys(&*self.store, "data/").await {
            let data = self.store.get(&key).await.unwrap();
            self.store.delete(&key).await.unwrap();
            let read =
                self.repository.read_blobs([node.content[node.content.len() / 2]], 0).next().await.unwrap();
            self.store.put(&key, data).await.unwrap();
            if read.is_err() {
                return key;
            }
        }
        panic!("no pack holds {path}");
    }

    async fn flip(&self, key: &str, at: usize) {
        let mut data = self.store.get(key).await.unwrap().to_vec();
        data[at] ^= 0x10;
        replace(&*self.store, key, data).await;
    }

    async fn truncate(&self, key: &str, length: usize) {
        let data = self.store.get(key).await.unwrap().slice(..length).to_vec();
        replace(&*self.store, key, data).await;
    }

    async fn swap(&self, one: &str, other: &str) {
        let (first, second) = (self.store.get(one).await.unwrap(), self.store.get(other).await.unwrap());
        replace(&*self.store, one, second.to_vec()).await;
        replace(&*self.store, other, first.to_vec()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_repository_has_no_damage_and_is_counted() {
    let fixture = fixture().await;
    let quick = fixture.check(false).await;
    assert!(quick.damage.is_empty() && quick.notes.is_empty(), "{quick:?}");
    let seen = std::sync::Mutex::new(Vec::new());
    let options = CheckOptions { read_data: true, snapshots: None };
    let report = fixture.repository.check(&options, &|p| seen.lock().unwrap().push(p)).await.unwrap();
    assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.snapshots, report.blobs_read), (2, report.blobs));
    assert!(report.bytes_read > 1_800_000);
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!((last.packs_done, last.bytes_done), (report.packs, last.bytes_total));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_with_a_flipped_byte_is_named_with_what_it_touches() {
    let fixture = fixture().await;
    let own = fixture.pack_of(1, "shop/database/2.dat").await;
    fixture.flip(&own, 1000).await;
    assert!(fixture.check(false).await.damage.is_empty(), "contents are not read");
    let (reason, touches) = fixture.assert_damage(true, &own).await;
    assert!(reason.contains("does not match its name") && reason.contains("blobs are damaged"), "{reason}");
    assert_eq!(touches, fixture.touched(&[(1, "/shop/database/2.dat")]));
    fixture.flip(&own, 1000).await;

    let shared = fixture.pack_of(0, "shop/database/1.dat").await;
    fixture.flip(&shared, 1000).await;
    let (_, touches) = fixture.assert_damage(true, &shared).await;
    assert_eq!(touches, fixture.touched(&[(0, "/shop/database/1.dat"), (1, "/shop/database/1.dat")]));
    fixture.flip(&shared, 1000).await;

    let size = fixture.store.size(&own).await.unwrap() as usize;
    fixture.flip(&own, size - 30).await;
    let (reason, touches) = fixture.assert_damage(true, &own).await;
    assert!(reason.contains("header"), "{reason}");
    assert!(touches.is_empty(), "its blobs are good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_missing_or_cut_off_is_named_without_reading_data() {
    for read_data in [false, true] {
        let fixture = fixture().await;
        let own = fixture.pack_of(0, "shop/database/2.dat").await;
        let data = fixture.store.get(&own).await.unwrap();
        let expected = fixture.touched(&[(0, "/shop/database/2.dat")]);
        fixture.store.delete(&own).await.unwrap();
        let (reason, touches) = fixture.assert_damage(read_data, &own).await;
        assert_eq!((reason.as_str(), touches), ("it is missing", expected.clone()));
        replace(&*fixture.store, &own, data[..data.len() / 2].to_vec()).await;
        let (reason, touches) = fixture.assert_damage(read_data, &own).await;
        assert!(reason.contains("bytes instead of"), "{reason}");
        assert_eq!(touches, expected);
        replace(&*fixture.store, &own, [&data[..], b"more"].concat()).await;
        let (_, touches) = fixture.assert_damage(read_data, &own).await;
        assert!(touches.is_empty(), "its blobs are good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_packs_are_both_named() {
    let fixture = fixture().await;
    let (one, other) =
        (fixture.pack_of(0, "shop/database/2.dat").await, fixture.pack_of(1, "shop/database/2.dat").await);
    fixture.swap(&one, &other).await;
    let report = fixture.check(true).await;
    let found: BTreeSet<_> = report.damage.iter().map(|damage| damage.file.clone()).collect();
    assert_eq!(found, BTreeSet::from([one.clone(), other]));
    let touches = |key: &str| report.damage.iter().find(|d| d.file == key).unwrap().touches.clone();
    assert_eq!(touches(&one).len(), 1);
    assert_eq!(
        (touches(&one)[0].snapshot, &*touches(&one)[0].path),
        (fixture.snapshots[0].id, "/shop/database/2.dat")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_touches_everything_below_it() {
    let fixture = fixture().await;
    let mut trees = Vec::new();
    for key in keys(&*fixture.store, "data/").await {
        let data = fixture.store.get(&key).await.unwrap();
        fixture.store.delete(&key).await.unwrap();
        if fixture.repository.tree(&fixture.snapshots[1].tree).await.is_err() {
            trees.push(key.clone());
        }
        fixture.store.put(&key, data).await.unwrap();
    }
    assert_eq!(trees.len(), 1);
    fixture.flip(&trees[0], 40).await;
    let (_, touches) = fixture.assert_damage(true, &trees[0]).await;
    assert!(touches.iter().all(|(snapshot, _)| *snapshot == fixture.snapshots[1].id.short()), "{touches:?}");
    assert!(!touches.is_empty());
    fixture.store.delete(&trees[0]).await.unwrap();
    let (_, touches) = fixture.assert_damage(false, &trees[0]).await;
    assert_eq!(touches, fixture.touched(&[(1, "/")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_index_file_is_named_with_what_only_it_lists() {
    let fixture = fixture().await;
    let files = keys(&*fixture.store, "index/").await;
    assert_eq!(files.len(), 2);
    let mut all = BTreeSet::new();
    for file in &files {
        let good = fixture.store.get(file).await.unwrap().to_vec();
        fixture.flip(file, 50).await;
        let (reason, touches) = fixture.assert_damage(false, file).await;
        assert!(reason.contains("does not match its name"), "{reason}");
        assert!(!touches.is_empty());
        all.extend(touches.clone());
        fixture.truncate(file, 20).await;
        assert_eq!(fixture.assert_damage(true, file).await.1, touches);
        replace(&*fixture.store, file, vec![]).await;
        assert_eq!(fixture.assert_damage(true, file).await.1, touches);
        fixture.store.delete(file).await.unwrap();
        let (reason, missing) = fixture.assert_damage(true, "index/").await;
        assert!(reason.contains("an index file is missing"), "{reason}");
        assert_eq!(missing, touches);
        replace(&*fixture.store, file, good).await;
    }
    assert!(
        all.is_superset(&fixture.touched(&[(0, "/shop/database/1.dat"), (1, "/shop/database/2.dat")])),
        "{all:?}"
    );
    fixture.swap(&files[0], &files[1]).await;
    let damage = fixture.check(false).await.damage;
    assert_eq!(damage.iter().map(|d| &d.file).collect::<BTreeSet<_>>(), files.iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_damaged_index_file_the_rest_can_be_read_and_backups_go_on() {
    let fixture = fixture().await;
    for file in keys(&*fixture.store, "index/").await {
        let good = fixture.store.get(&file).await.unwrap().to_vec();
        fixture.flip(&file, 50).await;
        let opened = Repository::open(fixture.store.clone(), &password()).await.unwrap();
        opened.load_index().await.unwrap();
        assert_eq!(opened.unreadable_index_files().len(), 1);
        let mut errors = 0;
        for snapshot in &fixture.snapshots {
            let read = async {
                let node = opened.node_at(snapshot, "shop/database/1.dat").await?;
                opened.read_small(&node.unwrap(), 1 << 20).await
            };
            match read.await {
                Ok(data) => assert!(data == shared_table().1),
                Err(RepositoryError::MissingBlob { hint, .. }) => {
                    assert!(hint.contains(&file), "{hint}");
                    errors += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(errors > 0);
        let snapshot = backup(&opened, &[shared_table()]).await.unwrap();
        assert_holds(&opened, &snapshot, &[shared_table()]).await;
        replace(&*fixture.store, &file, good).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_named_and_touches_itself() {
    let fixture = fixture().await;
    let file = format!("snapshots/{}", fixture.snapshots[0].id);
    let good = fixture.store.get(&file).await.unwrap().to_vec();
    let expected = fixture.touched(&[(0, "/")]);
    fixture.flip(&file, 40).await;
    assert_eq!(fixture.assert_damage(false, &file).await.1, expected);
    replace(&*fixture.store, &file, good[..good.len() - 1].to_vec()).await;
    assert_eq!(fixture.assert_damage(false, &file).await.1, expected);
    replace(&*fixture.store, &file, vec![]).await;
    assert_eq!(fixture.assert_damage(false, &file).await.1, expected);
    replace(&*fixture.store, &file, good).await;
    let other = format!("snapshots/{}", fixture.snapshots[1].id);
    fixture.swap(&file, &other).await;
    let damage = fixture.check(false).await.damage;
    assert_eq!(damage.iter().map(|d| d.file.clone()).collect::<BTreeSet<_>>(), BTreeSet::from([file, other]));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_keys_and_config_are_named() {
    let fixture = fixture().await;
    let key = keys(&*fixture.store, "keys/").await.remove(0);
    for file in [key.as_str(), "config"] {
        let good = fixture.store.get(file).await.unwrap().to_vec();
        for bad in [
            good.iter()
                .enumerate()
                .map(|(n, byte)| if n == good.len() - 20 { byte ^ 1 } else { *byte })
                .collect(),
            good[..good.len() - 1].to_vec(),
            vec![],
        ] {
            replace(&*fixture.store, file, bad).await;
            let (_, touches) = fixture.assert_damage(false, file).await;
            assert!(touches.is_empty());
            let opened = Repository::open(fixture.store.clone(), &password()).await;
            assert!(
                matches!(&opened, Err(RepositoryError::Damaged { file: named, .. }) if named == file),
                "{opened:?}"
            );
        }
        fixture.store.delete(file).await.unwrap();
        let named = if file == "config" { file } else { "keys/" };
        fixture.assert_damage(false, named).await;
        let opened = Repository::open(fixture.store.clone(), &password()).await;
        assert!(matches!(&opened, Err(RepositoryError::Damaged { file, .. }) if file == named), "{opened:?}");
        replace(&*fixture.store, file, good).await;
    }
    let (_, other) = in_memory().await;
    drop(other);
    let (stranger, _) = in_memory().await;
    let config = stranger.get("config").await.unwrap().to_vec();
    replace(&*fixture.store, "config", config).await;
    fixture.assert_damage(false, "config").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_snapshot_can_be_checked_alone() {
    let fixture = fixture().await;
    let own = fixture.pack_of(1, "shop/database/2.dat").await;
    fixture.flip(&own, 1000).await;
    let check = async |n: usize| {
        let options = CheckOptions { read_data: true, snapshots: Some(vec![fixture.snapshots[n].id]) };
        fixture.repository.check(&options, &|_| {}).await.unwrap()
    };
    let first = check(0).await;
    assert_eq!((first.snapshots, first.damage.len()), (1, 0));
    assert_eq!(check(1).await.damage[0].file, own);
    let unknown =
        CheckOptions { read_data: false, snapshots: Some(vec![basekeep_repository::SnapshotId::of(b"")]) };
    let refused = fixture.repository.check(&unknown, &|_| {}).await;
    assert!(matches!(refused, Err(RepositoryError::NoSuchSnapshot { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_an_interrupted_run_left_are_no_damage() {
    let fixture = fixture().await;
    let (stray_store, stray) = in_memory().await;
    backup(&stray, &files(1)).await.unwrap();
    let key = keys(&*stray_store, "data/").await.remove(0);
    fixture.store.put(&key, stray_store.get(&key).await.unwrap()).await.unwrap();
    fixture.store.put(&format!("data/ab/{}", "ab".repeat(32)), vec![1, 2].into()).await.unwrap();
    let report = fixture.check(true).await;
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert!(report.notes[0].contains("2 packs are in no index"), "{:?}", report.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_good_elsewhere_is_not_lost() {
    let fixture = fixture().await;
    // A run that does not know the index stores everything again.
    let blind = Repository::open(fixture.store.clone(), &password()).await.unwrap();
    let lock = lock(&blind).await;
    let writer = blind.writer(&lock, small_packs());
    let mut tree = basekeep_repository::TreeBuilder::new(jiff::Timestamp::now());
    add_files(&writer, &mut tree, &[shared_table()]).await.unwrap();
    writer.finish(tree, new_snapshot()).await.unwrap();
    fixture.repository.load_index().await.unwrap();
    let shared = fixture.pack_of_first_copy().await;
    fixture.flip(&shared, 1000).await;
    let (_, touches) = fixture.assert_damage(true, &shared).await;
    assert!(touches.is_empty(), "{touches:?}");
    assert_holds(&fixture.repository, &fixture.snapshots[0], &[shared_table()]).await;
}

impl Fixture {
    /// A pack that can be lost without loss: all its blobs are in another one too.
    async fn pack_of_first_copy(&self) -> String {
        for key in keys(&*self.store, "data/").await {
            let data = self.store.get(&key).await.unwrap();
            self.store.delete(&key).await.unwrap();
            let damage = self.check(false).await.damage;
            self.store.put(&key, data).await.unwrap();
            if damage.iter().all(|damage| damage.touches.is_empty()) {
                return key;
            }
        }
        panic!("every pack is needed");
    }
}

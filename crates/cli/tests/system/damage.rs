//! A damaged repository: `verify` names the file and what it touches, and a restore refuses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::program::Bench;

const ROWS: &str = "CREATE TABLE orders AS SELECT n, md5(n::text) AS a, md5((n * 7)::text) AS b FROM generate_series(1, 60000) n;
                    CREATE TABLE notes AS SELECT n, md5(n::text) AS note FROM generate_series(1, 50) n;";

/// A repository with one snapshot, and copies of it to damage.
struct Case {
    bench: Bench,
    source: TestDatabase,
}

impl Case {
    async fn new() -> Self {
        let source = TestCluster::private(15, &[]).create_database();
        load_sql(&source, ROWS).await;
        let bench = Bench::new();
        bench.backup(&source.url()).expect(0);
        Self { bench, source }
    }

    /// A copy of the repository in which `damage` did its work on the largest file below `folder`.
    fn damaged(&self, folder: &str, damage: impl Fn(&Path, &[PathBuf])) -> (PathBuf, String) {
        let copy = self.bench.folder.path().join("damaged");
        let _ = fs::remove_dir_all(&copy);
        assert!(Command::new("cp").arg("-r").arg(self.bench.repo()).arg(&copy).status().unwrap().success());
        let mut found = files(&copy.join(folder));
        found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        for path in &found {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        damage(&found[0], &found);
        let name = found[0].file_name().unwrap().to_string_lossy().into_owned();
        (copy, name)
    }

    fn on(&self, repo: &Path, args: &[&str]) -> crate::program::Ran {
        let mut all = args.to_vec();
        all.extend(["--repo", repo.to_str().unwrap()]);
        self.bench.run(all)
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn flip(path: &Path, _: &[PathBuf]) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, _: &[PathBuf]) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(path: &Path, _: &[PathBuf]) {
    fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn damage_in_a_pack_names_the_pack_the_snapshot_and_the_table() {
    let case = Case::new().await;
    let id = case.bench.run(["list", "--json"]).expect(0).json()["snapshots"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (what, damage) in
        [("flipped", flip as fn(&Path, &[PathBuf])), ("truncated", truncate), ("missing", remove)]
    {
        let (repo, name) = case.damaged("data", damage);
        let ran = case.on(&repo, &["verify", "--read-data"]).expect(4);
        let told = ran.stdout + &ran.stderr;
        assert!(told.contains(&name[..8]), "{what}: the pack is named: {told}");
        assert!(told.contains(&id[..8]), "{what}: the snapshot is named: {told}");
        assert!(told.contains("public.orders"), "{what}: the table is named: {told}");

        let target = case.source.cluster().create_database();
        let ran = case.on(&repo, &["restore", "--to", &target.url(), "--yes"]);
        assert!(matches!(ran.code, Some(1 | 3)), "{what}: a restore does not pretend: {ran:?}");
        let rows = target.client().await.query("SELECT to_regclass('public.orders') IS NULL").await.unwrap();
        if rows.first().unwrap().get(0) == Some("f") {
            let count = target.client().await.query("SELECT count(*) FROM orders").await.unwrap();
            let count: u64 = count.first().unwrap().parse(0).unwrap();
            assert!(count < 60000, "{what}: damaged rows were not loaded as if whole");
        }
    }
}

#[tokio::test]
async fn damage_in_an_index_or_snapshot_file_is_named() {
    let case = Case::new().await;
    for folder in ["index", "snapshots"] {
        for (what, damage) in [("flipped", flip as fn(&Path, &[PathBuf])), ("truncated", truncate)] {
            let (repo, name) = case.damaged(folder, damage);
            let ran = case.on(&repo, &["verify"]);
            assert!(matches!(ran.code, Some(1 | 4)), "{folder} {what}: {ran:?}");
            let told = ran.stdout + &ran.stderr;
            assert!(told.contains(&name[..8]), "{folder} {what}: the file is named: {told}");
        }
    }
    let (repo, _) = case.damaged("index", remove);
    let ran = case.on(&repo, &["verify"]);
    assert!(matches!(ran.code, Some(1 | 4)), "missing index: {ran:?}");
}

#[tokio::test]
async fn a_damaged_config_or_key_is_named_when_the_repository_is_opened() {
    let case = Case::new().await;
    for (folder, damage) in [("config", flip as fn(&Path, &[PathBuf])), ("keys", truncate), ("keys", flip)] {
        let (repo, _) = case.damaged(folder, damage);
        let ran = case.on(&repo, &["verify"]);
        assert!(matches!(ran.code, Some(1 | 4 | 12)), "{folder}: {ran:?}");
        assert!(ran.stderr.contains("hint:") || ran.stderr.contains(folder), "{folder}: {}", ran.stderr);
    }
    let (repo, _) = case.damaged("config", remove);
    let ran = case.on(&repo, &["verify"]).expect(1);
    assert!(ran.stderr.contains("config"), "{}", ran.stderr);
}

#[tokio::test]
async fn two_swapped_packs_are_named() {
    let case = Case::new().await;
    let (repo, name) = case.damaged("data", |_, all| {
        let (a, b) = (fs::read(&all[0]).unwrap(), fs::read(&all[1]).unwrap());
        fs::write(&all[0], b).unwrap();
        fs::write(&all[1], a).unwrap();
    });
    let ran = case.on(&repo, &["verify", "--read-data"]).expect(4);
    let told = ran.stdout + &ran.stderr;
    assert!(told.contains(&name[..8]), "{told}");
}

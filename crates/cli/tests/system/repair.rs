//! A damaged repository is good again after `repair`: what was lost is named, and everything else comes back bit for bit.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use basekeep_testkit::{TestCluster, TestDatabase, load_sql, tool};
use serde_json::Value;

use crate::program::{Bench, Ran};
use crate::spoil::{ids, node, spoil, spoil_root};

const ROWS: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text);
    INSERT INTO customers SELECT n, md5(n::text) FROM generate_series(1, 3000) n;
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text);
    INSERT INTO orders SELECT n, n % 3000 + 1, md5((n * 7)::text) FROM generate_series(1, 20000) n;
    CREATE TABLE notes AS SELECT n, md5(n::text) AS note FROM generate_series(1, 50) n;
    CREATE TABLE empty (n int);
    CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM empty;
    SELECT lo_from_bytea(50001, 'first'); SELECT lo_from_bytea(50002, repeat('second ', 9999)::bytea);";

struct Case {
    bench: Bench,
    source: TestDatabase,
    major: u32,
    snapshot: String,
}

impl Case {
    async fn new(major: u32) -> Self {
        let source = TestCluster::private(major, &[]).create_database();
        load_sql(&source, ROWS).await;
        let bench = Bench::new();
        bench.backup(&source.url()).expect(0);
        let snapshot = newest(&bench);
        Self { bench, source, major, snapshot }
    }

    /// Flips a bit in a table's rows, or in a file of the snapshot.
    fn spoil(&self, name: &str) -> String {
        let path = match name.strip_prefix("public.") {
            Some(table) => format!("/source/{}", self.file_of(table)),
            None => format!("/source/{name}"),
        };
        spoil(&self.bench, &self.snapshot(), &path)
    }

    /// The first snapshot, or the one that took its place.
    fn snapshot(&self) -> String {
        match ids(&self.bench, "snapshots").contains(&self.snapshot) {
            true => self.snapshot.clone(),
            false => newest(&self.bench),
        }
    }

    fn file_of(&self, table: &str) -> String {
        let manifest =
            self.bench.restic(["dump", &self.snapshot(), "/source/manifest.json"]).expect(0).json();
        let tables = manifest["tables"].as_array().unwrap();
        let found = tables.iter().find(|found| found["name"] == table).unwrap();
        found["file"].as_str().unwrap().to_owned()
    }

    fn repair(&self, code: i32) -> Value {
        result(&self.bench.run(["repair", "--read-data", "--json"]).expect(code))
    }

    /// The repository is sound, for us and for stock restic.
    fn is_sound(&self) {
        self.bench.run(["verify", "--read-data"]).expect(0);
        self.bench.restic(["check", "--read-data"]).expect(0);
        let again = result(&self.bench.run(["repair", "--json"]).expect(0));
        assert_eq!(again["snapshots"].as_array().unwrap().len(), 0, "{again}");
    }

    /// Restores the newest snapshot with basekeep and with stock programs; only `lost` tables are empty.
    async fn restores_without(&self, lost: &[&str]) {
        let target = self.source.cluster().create_database();
        let code = if lost.is_empty() { 0 } else { 3 };
        let ran = self.bench.run(["restore", "--to", &target.url(), "--yes"]).expect(code);
        for name in lost {
            assert!(ran.stderr.contains(&format!("rows of {name}")), "{}", ran.stderr);
        }
        self.same_but(&target, lost).await;
        let folder = self.bench.restic_restore();
        let target = self.source.cluster().create_database();
        let mut restore = Command::new(tool("pg_restore", self.major));
        restore.arg("--exit-on-error").arg("-d").arg(target.socket_url()).arg(folder.join("database"));
        Ran::of(restore.output().unwrap()).expect(0);
        self.same_but(&target, lost).await;
        fs::remove_dir_all(self.bench.folder.path().join("stock")).unwrap();
        // Last, since its result is a snapshot of its own.
        self.bench.run(["drill", "--on", &self.source.cluster().url("postgres")]).expect(0);
    }

    async fn same_but(&self, target: &TestDatabase, lost: &[&str]) {
        let (expected, found) = (self.source.contents().await, target.contents().await);
        assert_eq!(expected.len(), found.len());
        for (relation, content) in &expected {
            match lost.iter().any(|name| relation.contains(name.trim_start_matches("public."))) {
                false => assert_eq!(found.get(relation), Some(content), "{relation}"),
                true => assert_ne!(found.get(relation), Some(content), "{relation} is empty"),
            }
        }
    }
}

fn newest(bench: &Bench) -> String {
    let listed = bench.run(["list", "--json"]).expect(0).json();
    listed["snapshots"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// The last line of what a command told in JSON.
fn result(ran: &Ran) -> Value {
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

fn lost(report: &Value) -> BTreeSet<String> {
    let snapshots = report["snapshots"].as_array().unwrap().iter();
    let lost = snapshots.flat_map(|snapshot| snapshot["lost"].as_array().unwrap());
    lost.map(|lost| lost["what"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_end_marker_that_all_tables_share_is_stored_again() {
    let case = Case::new(15).await;
    case.spoil("public.empty");
    let verified = case.bench.run(["verify", "--read-data"]).expect(4);
    assert!(verified.stdout.contains("public.orders"), "every table ends with it: {}", verified.stdout);
    assert!(verified.stderr.contains("basekeep repair"), "{}", verified.stderr);
    let report = case.repair(0);
    assert_eq!(report["restored"][0], "the end marker of tables", "{report}");
    assert_eq!(newest(&case.bench), case.snapshot, "the snapshot is whole again");
    case.is_sound();
    case.restores_without(&[]).await;
}

#[tokio::test]
async fn files_that_can_be_derived_are_written_anew() {
    let case = Case::new(16).await;
    let before = case.bench.restic(["dump", &case.snapshot, "/source/globals.sql"]).expect(0).stdout;
    for name in ["MANIFEST.md", "globals.sql", "restore.sh", "ranges"] {
        case.spoil(name);
    }
    let report = case.repair(0);
    assert!(lost(&report).is_empty(), "{report}");
    let after = case.bench.restic(["dump", "latest", "/source/globals.sql"]).expect(0).stdout;
    assert_eq!(before, after);
    case.is_sound();
    case.restores_without(&[]).await;
    case.bench.backup(&case.source.url()).expect(0);
    case.is_sound();
}

/// Contents of all large objects, by oid.
async fn large_objects(database: &TestDatabase) -> Vec<(String, String)> {
    let sql = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid";
    let rows = database.client().await.query(sql).await.unwrap();
    rows.iter().map(|row| (row.get(0).unwrap().to_owned(), row.get(1).unwrap().to_owned())).collect()
}

async fn a_rotten_large_object_is_empty_afterwards(major: u32, list: &str) {
    let case = Case::new(major).await;
    case.spoil("database/blob_50002.dat");
    case.spoil(list);
    let report = case.repair(3);
    assert_eq!(lost(&report), BTreeSet::from(["content of large object 50002".to_owned()]), "{report}");
    case.is_sound();
    let folder = case.bench.restic_restore();
    let target = case.source.cluster().create_database();
    let mut restore = Command::new(tool("pg_restore", major));
    restore.arg("--exit-on-error").arg("-d").arg(target.socket_url()).arg(folder.join("database"));
    Ran::of(restore.output().unwrap()).expect(0);
    let (expected, found) = (large_objects(&case.source).await, large_objects(&target).await);
    assert_eq!(found[0], expected[0]);
    assert_eq!(found[1], ("50002".to_owned(), "d41d8cd98f00b204e9800998ecf8427e".to_owned()));
    case.bench.run(["drill", "--on", &case.source.cluster().url("postgres")]).expect(0);
}

#[tokio::test]
async fn a_rotten_large_object_is_empty_afterwards_on_15() {
    a_rotten_large_object_is_empty_afterwards(15, "database/blobs.toc").await;
}

#[tokio::test]
async fn a_rotten_large_object_is_empty_afterwards_on_17() {
    let case = Case::new(17).await;
    let folder = node(&case.bench, &case.snapshot, "/source/database");
    let tree = case.bench.restic(["cat", "blob", folder["subtree"].as_str().unwrap()]).expect(0).json();
    let names = tree["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap());
    let list = names.clone().find(|name| name.starts_with("blobs_")).unwrap();
    // Dump ids come from pg_dump, which counts the same for the same definitions.
    a_rotten_large_object_is_empty_afterwards(17, &format!("database/{list}")).await;
}

#[tokio::test]
async fn a_snapshot_without_a_table_of_contents_is_removed_and_named() {
    let mut case = Case::new(15).await;
    for name in ["database/toc.dat", "manifest.json", "database", ""] {
        match name {
            "" => spoil_root(&case.bench, &case.snapshot),
            name => case.spoil(name),
        };
        let planned = case.bench.run(["repair", "--read-data", "--dry-run"]).expect(4);
        assert!(planned.stdout.contains("would be removed"), "{name}: {}", planned.stdout);
        let ran = case.bench.run(["repair", "--read-data"]).expect(3);
        assert!(ran.stdout.contains(&case.snapshot[..8]), "{name}: {}", ran.stdout);
        assert_eq!(case.bench.snapshots(), 0, "{name}");
        case.is_sound();
        case.bench.backup(&case.source.url()).expect(0);
        case.snapshot = newest(&case.bench);
    }
}

#[tokio::test]
async fn a_snapshot_file_that_cannot_be_read_is_removed_and_named() {
    let case = Case::new(15).await;
    load_sql(&case.source, "INSERT INTO notes VALUES (51, 'more')").await;
    case.bench.backup(&case.source.url()).expect(0);
    let file = case.bench.repo().join("snapshots").join(&case.snapshot);
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"torn").unwrap();
    let ran = case.bench.run(["repair"]).expect(3);
    assert!(ran.stdout.contains(&case.snapshot[..8]), "{}", ran.stdout);
    assert_eq!(case.bench.snapshots(), 1);
    case.is_sound();
    case.restores_without(&[]).await;
}

#[tokio::test]
async fn backing_up_between_index_and_snapshots_heals_what_the_database_still_has() {
    let case = Case::new(15).await;
    load_sql(&case.source, "CREATE TABLE gone AS SELECT n FROM generate_series(1, 10) n").await;
    case.bench.backup(&case.source.url()).expect(0);
    let with_gone = newest(&case.bench);
    let manifest = case.bench.restic(["dump", &with_gone, "/source/manifest.json"]).expect(0).json();
    let tables = manifest["tables"].as_array().unwrap();
    let gone = tables.iter().find(|table| table["name"] == "gone").unwrap()["file"].as_str().unwrap();
    spoil(&case.bench, &with_gone, &format!("/source/{gone}"));
    case.spoil("public.orders");
    load_sql(&case.source, "DROP TABLE gone").await;

    let first = case.bench.run(["repair", "index", "--read-data"]).expect(4);
    assert!(first.stderr.contains("basekeep backup"), "{}", first.stderr);
    assert_eq!(case.bench.snapshots(), 2, "no snapshot was touched");
    case.bench.backup(&case.source.url()).expect(0);
    let report = case.repair(3);
    assert_eq!(lost(&report), BTreeSet::from(["rows of public.gone".to_owned()]), "{report}");
    assert_eq!(report["snapshots"].as_array().unwrap().len(), 1, "the first one is whole: {report}");
    case.is_sound();
    let target = case.source.cluster().create_database();
    case.bench.run(["restore", &case.snapshot, "--to", &target.url(), "--yes"]).expect(0);
    case.same_but(&target, &[]).await;
}

#[tokio::test]
async fn a_damaged_or_missing_index_is_made_again_and_nothing_is_lost() {
    let case = Case::new(15).await;
    let index = crate::damage::files(&case.bench.repo().join("index")).remove(0);
    for damage in ["flipped", "torn", "missing"] {
        let index = match index.exists() {
            true => index.clone(),
            false => crate::damage::files(&case.bench.repo().join("index")).remove(0),
        };
        let mut bytes = fs::read(&index).unwrap();
        fs::remove_file(&index).unwrap();
        match damage {
            "flipped" => bytes[100] ^= 1,
            _ => bytes.truncate(bytes.len() / 2),
        }
        if damage != "missing" {
            fs::write(&index, bytes).unwrap();
        }
        let verified = case.bench.run(["verify"]).expect(4);
        assert!(verified.stderr.contains("repair index"), "{damage}: {}", verified.stderr);
        let planned = case.bench.run(["repair", "--dry-run"]).expect(4);
        assert!(!planned.stdout.contains("rows of"), "nothing is lost by an index: {}", planned.stdout);
        case.bench.run(["repair", "snapshots"]).expect(1);
        case.bench.run(["repair"]).expect(0);
        assert_eq!(newest(&case.bench), case.snapshot, "{damage}");
        case.is_sound();
    }
    case.restores_without(&[]).await;
}

#[tokio::test]
async fn a_pack_that_is_missing_or_cut_off_costs_what_was_in_it() {
    for cut in [true, false] {
        let case = Case::new(15).await;
        let mut packs = crate::damage::files(&case.bench.repo().join("data"));
        packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
        let whole = fs::read(&packs[0]).unwrap();
        fs::remove_file(&packs[0]).unwrap();
        if cut {
            fs::write(&packs[0], &whole[..whole.len() / 2]).unwrap();
        }
        let report = case.repair(3);
        let lost: Vec<String> = lost(&report).into_iter().collect();
        let kept = report["packs"][0]["blobs_kept"].as_u64().unwrap();
        assert_eq!(kept > 0, cut, "what is left of a pack is kept: {report}");
        assert!(!lost.is_empty(), "{report}");
        case.is_sound();
        let name = |what: &String| what.replace("rows of ", "").replace("content of ", "");
        let names: Vec<String> = lost.iter().map(name).filter(|name| name != "public.empty").collect();
        let target = case.source.cluster().create_database();
        let ran = case.bench.run(["restore", "--to", &target.url(), "--yes"]).expect(3);
        assert!(ran.stderr.contains("lost to damage in pack"), "{}", ran.stderr);
        case.same_but(&target, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}

/// Every file of the repository with its content.
fn picture(bench: &Bench) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = crate::damage::files(&bench.repo());
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

#[tokio::test]
async fn a_dry_run_tells_what_a_repair_would_do_and_changes_nothing() {
    let case = Case::new(15).await;
    case.spoil("public.orders");
    let before = picture(&case.bench);
    let ran = case.bench.run(["repair", "--read-data", "--dry-run"]).expect(4);
    assert!(ran.stdout.contains("would be replaced"), "{}", ran.stdout);
    assert!(ran.stdout.contains("rows of public.orders"), "{}", ran.stdout);
    assert!(ran.stderr.contains("basekeep backup"), "the best healing is named: {}", ran.stderr);
    assert!(picture(&case.bench) == before, "the repository is as it was");
    let refused = case.bench.run(["repair", "snapshots", "--read-data"]).expect(1);
    assert!(refused.stderr.contains("repair index"), "{}", refused.stderr);
    assert!(picture(&case.bench) == before, "the repository is as it was");
}

#[tokio::test]
async fn damaged_files_leave_the_snapshots_of_stock_restic() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("files");
    fs::create_dir_all(folder.join("below")).unwrap();
    let content = |n: u8| -> Vec<u8> { (0..5000_u32).map(|i| (i % 251) as u8 ^ n).collect() };
    for (n, name) in ["a", "b", "below/c", "below/d"].iter().enumerate() {
        fs::write(folder.join(name), content(n as u8)).unwrap();
    }
    bench.restic(["backup", "--host", "files", folder.to_str().unwrap()]).expect(0);
    let id = ids(&bench, "snapshots").remove(0);
    spoil(&bench, &id, folder.join("below/c").to_str().unwrap());
    let report = result(&bench.run(["repair", "--read-data", "--json"]).expect(3));
    assert_eq!(lost(&report), BTreeSet::from([folder.join("below/c").to_str().unwrap().to_owned()]));
    bench.restic(["check", "--read-data"]).expect(0);
    let out = bench.folder.path().join("out");
    bench.restic(["restore", "latest", "--verify", "--target", out.to_str().unwrap()]).expect(0);
    let back = out.join(folder.strip_prefix("/").unwrap());
    for (n, name) in ["a", "b", "below/c", "below/d"].iter().enumerate() {
        match *name {
            "below/c" => assert!(!back.join(name).exists()),
            name => assert_eq!(fs::read(back.join(name)).unwrap(), content(n as u8), "{name}"),
        }
    }
}

#[tokio::test]
async fn whatever_files_are_damaged_nothing_else_is_lost() {
    use rand::seq::IndexedRandom;
    use rand::{RngExt, SeedableRng};
    let seed = rand::rng().random::<u64>();
    println!("seed {seed}");
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let case = Case::new(18).await;
    let tables = ["public.customers", "public.orders", "public.notes"];
    let others = ["public.empty", "MANIFEST.md", "globals.sql", "globals.json", "ranges", "restore.sh"];
    for _ in 0..3 {
        let count = random.random_range(1..4);
        let names: BTreeSet<&str> = tables
            .iter()
            .chain(&others)
            .copied()
            .collect::<Vec<_>>()
            .sample(&mut random, count)
            .copied()
            .collect();
        names.iter().for_each(|name| drop(case.spoil(name)));
        println!("{names:?}");
        let lost_tables: BTreeSet<&str> =
            names.iter().filter(|name| tables.contains(name)).copied().collect();
        let mut expected: BTreeSet<String> =
            lost_tables.iter().map(|name| format!("rows of {name}")).collect();
        if names.contains("globals.json") {
            expected.insert("roles and settings".to_owned());
        }
        let report = case.repair(if expected.is_empty() { 0 } else { 3 });
        assert_eq!(lost(&report), expected, "{report}");
        case.is_sound();
        let lost_tables: Vec<&str> = lost_tables.into_iter().collect();
        let folder = case.bench.restic_restore();
        let target = case.source.cluster().create_database();
        let mut restore = Command::new(tool("pg_restore", 18));
        restore.arg("-d").arg(target.socket_url()).arg(folder.join("database"));
        let ran = Ran::of(restore.output().unwrap());
        match lost_tables.contains(&"public.customers") && !lost_tables.contains(&"public.orders") {
            // The rows of orders refer to customers that are gone.
            true => assert!(ran.stderr.contains("foreign key"), "{}", ran.stderr),
            false => drop(ran.expect(0)),
        }
        case.same_but(&target, &lost_tables).await;
        fs::remove_dir_all(case.bench.folder.path().join("stock")).unwrap();
        // What is lost is in the database still: the next round begins with a whole snapshot.
        let ids = ids(&case.bench, "snapshots");
        ids.iter().for_each(|id| drop(case.bench.restic(["forget", id]).expect(0)));
        case.bench.backup(&case.source.url()).expect(0);
    }
}

#[tokio::test]
async fn a_rotten_table_is_dropped_and_everything_else_comes_back() {
    let case = Case::new(15).await;
    let pack = case.spoil("public.notes");
    let report = case.repair(3);
    assert_eq!(lost(&report), BTreeSet::from(["rows of public.notes".to_owned()]), "{report}");
    let reason = report["snapshots"][0]["lost"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(&pack[..8]), "the pack is named: {reason}");
    case.is_sound();
    let listed = case.bench.restic(["snapshots", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["tags"], serde_json::json!(["repaired"]));
    assert_eq!(listed[0]["original"], case.snapshot);
    let shown = case.bench.run(["show", "--json"]).expect(0).json();
    assert_eq!(shown["not_captured"][0]["what"], "rows of public.notes", "{shown}");
    case.restores_without(&["public.notes"]).await;
}

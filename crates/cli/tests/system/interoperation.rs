//! Stock restic and basekeep on the same repositories, in turns, with each version of restic that there is.

use std::path::{Path, PathBuf};
use std::process::Command;

use basekeep_testkit::{TestCluster, TestDatabase, load_sql, restics};

use crate::program::{Bench, PASSWORD, Ran, clean};

const TABLES: &str = "CREATE TABLE orders (n int PRIMARY KEY, a text);
                      INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
                      CREATE TABLE notes AS SELECT n, repeat('note ' || n, 20) AS b FROM generate_series(1, 500) n;
                      CREATE INDEX ON orders (a);";

async fn source() -> TestDatabase {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, TABLES).await;
    source
}

/// One version of restic on one repository.
struct Stock<'a> {
    program: &'a Path,
    home: &'a Path,
    repository: PathBuf,
    password: String,
}

impl<'a> Stock<'a> {
    fn new(program: &'a Path, bench: &'a Bench) -> Self {
        Self { program, home: bench.folder.path(), repository: bench.repo(), password: PASSWORD.to_owned() }
    }

    fn try_run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(self.program);
        clean(&mut command, self.home);
        command
            .env("RESTIC_PASSWORD", &self.password)
            .env("RESTIC_FROM_PASSWORD", PASSWORD)
            .args(["--no-cache", "-r"])
            .arg(&self.repository)
            .args(args);
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        self.try_run(args).expect(0)
    }

    #[track_caller]
    fn check(&self) {
        let ran = self.run(&["check", "--read-data"]);
        assert!(ran.stdout.contains("no errors were found"), "{ran:?}");
    }

    fn ids(&self) -> Vec<String> {
        let listed = self.run(&["snapshots", "--json"]).json();
        let mut ids: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// Newer versions have commands that older ones lack.
    fn knows(&self, command: &[&str]) -> bool {
        self.try_run(&[command, &["--help"]].concat()).code == Some(0)
    }
}

fn our_ids(bench: &Bench, more: &[&str]) -> Vec<String> {
    let listed = bench.run([&["list", "--json"], more].concat()).expect(0).json();
    let mut ids: Vec<String> = listed["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

async fn assert_restores(bench: &Bench, repository: &Path, snapshot: &str, source: &TestDatabase) {
    let target = source.cluster().create_database();
    let repository = repository.to_str().unwrap();
    bench.run(["restore", snapshot, "--repo", repository, "--to", &target.url(), "--yes"]).expect(0);
    assert_eq!(target.contents().await, source.contents().await);
}

#[tokio::test]
async fn each_goes_on_where_the_other_stopped() {
    let source = source().await;
    for program in restics() {
        let bench = Bench::new();
        let restic = Stock::new(&program, &bench);
        let file = bench.folder.path().join("plain.txt");
        std::fs::write(&file, "theirs\n".repeat(10_000)).unwrap();

        bench.backup(&source.url()).expect(0);
        restic.run(&["backup", "--tag", "theirs", file.to_str().unwrap()]);
        // A tag makes a new snapshot file of ours.
        restic.run(&["tag", "--add", "audited", "--host", "source"]);
        let tagged = our_ids(&bench, &["--tag", "audited"]);
        assert_eq!(tagged.len(), 1);
        assert_restores(&bench, &bench.repo(), &tagged[0], &source).await;

        load_sql(&source, "UPDATE orders SET a = a || 'x' WHERE n % 5 = 0").await;
        bench.backup(&source.url()).expect(0);
        restic.run(&["forget", "--prune", "--max-unused", "0", &tagged[0]]);
        bench.run(["verify", "--read-data"]).expect(0);
        restic.check();

        load_sql(&source, "DELETE FROM orders WHERE n % 3 = 0").await;
        bench.backup(&source.url()).expect(0);
        bench.run(["forget", "--keep-last", "1", "--source", "source"]).expect(0);
        bench.run(["prune", "--max-unused", "0"]).expect(0);
        restic.check();
        let left = restic.ids();
        assert_eq!(left.len(), 2, "theirs and our newest");
        let theirs = restic.run(&["dump", "--tag", "theirs", "latest", file.to_str().unwrap()]);
        assert_eq!(theirs.stdout, "theirs\n".repeat(10_000));
        assert_restores(&bench, &bench.repo(), &our_ids(&bench, &["--source", "source"])[0], &source).await;

        restic.run(&["backup", "--tag", "theirs", file.to_str().unwrap()]);
        restic.run(&["prune", "--max-unused", "0"]);
        bench.run(["verify", "--read-data"]).expect(0);
        bench.backup(&source.url()).expect(0);
        restic.check();
    }
}

#[test]
fn each_opens_with_the_passwords_that_the_other_made() {
    for program in restics() {
        let bench = Bench::new();
        let mut restic = Stock::new(&program, &bench);
        let opens =
            |password: &str| bench.command(["list"]).env("BASEKEEP_PASSWORD", password).output().unwrap();
        let new = bench.folder.path().join("new-password");
        let write = |password: &str| std::fs::write(&new, password).unwrap();
        let new_file = new.to_str().unwrap();

        write("ours");
        bench.run(["key", "add", "--new-password-file", new_file]).expect(0);
        restic.password = "ours".to_owned();
        restic.run(&["cat", "config"]);
        write("theirs");
        restic.run(&["key", "add", "--new-password-file", new_file]);
        assert_eq!(Ran::of(opens("theirs")).code, Some(0));
        write("theirs, changed");
        restic.run(&["key", "passwd", "--new-password-file", new_file]);
        assert_eq!(Ran::of(opens("ours")).code, Some(12));
        assert_eq!(Ran::of(opens("theirs, changed")).code, Some(0));
        write("ours, changed");
        bench.run(["key", "passwd", "--new-password-file", new_file]).expect(0);
        restic.password = "ours, changed".to_owned();
        let keys = restic.run(&["key", "list", "--json"]).json();
        assert_eq!(keys.as_array().unwrap().len(), 3, "{keys}");
        assert_eq!(Ran::of(opens(PASSWORD)).code, Some(12));
        let current = keys.as_array().unwrap().iter().find(|key| key["current"] == true).unwrap();
        let current = current["id"].as_str().unwrap().to_owned();
        restic.password = "theirs".to_owned();
        restic.run(&["key", "remove", &current]);
        assert_eq!(Ran::of(opens("ours, changed")).code, Some(12));
        restic.check();
    }
}

#[tokio::test]
async fn copies_go_both_ways() {
    let source = source().await;
    for program in restics() {
        let bench = Bench::new();
        bench.backup(&source.url()).expect(0);
        let other = bench.folder.path().join("other");
        let theirs = Stock { repository: other.clone(), ..Stock::new(&program, &bench) };
        let from = bench.repo();
        let from = ["--from-repo", from.to_str().unwrap()];
        theirs.run(&[&["init", "--copy-chunker-params"], &from[..]].concat());
        theirs.run(&[&["copy"], &from[..]].concat());
        theirs.check();
        let other_url = other.to_str().unwrap();
        bench.run(["verify", "--read-data", "--repo", other_url]).expect(0);
        assert_restores(&bench, &other, "latest", &source).await;

        // What restic copied is there already, for us.
        let again = bench.command(["copy", "--to", other_url]).env("BASEKEEP_TO_PASSWORD", PASSWORD).output();
        Ran::of(again.unwrap()).expect(0);
        assert_eq!(theirs.ids().len(), 1);

        // On from their copy into one of ours, where restic finds the same again.
        let third = bench.folder.path().join("third");
        let third_url = third.to_str().unwrap();
        bench.run(["init", "--repo", third_url]).expect(0);
        let mut copy = bench.command(["copy", "--repo", other_url, "--to", third_url]);
        Ran::of(copy.env("BASEKEEP_TO_PASSWORD", PASSWORD).output().unwrap()).expect(0);
        let ours = Stock { repository: third.clone(), ..Stock::new(&program, &bench) };
        ours.check();
        ours.run(&["copy", "--from-repo", other_url]);
        assert_eq!(ours.ids().len(), 1, "restic takes our copy for one of its own");
        assert_restores(&bench, &third, "latest", &source).await;
    }
}

#[tokio::test]
async fn what_restic_rewrote_and_repaired_is_still_ours_to_read() {
    let source = source().await;
    for program in restics() {
        let bench = Bench::new();
        let restic = Stock::new(&program, &bench);
        bench.backup(&source.url()).expect(0);
        if restic.knows(&["rewrite"]) {
            // Losing the range index costs one full read, nothing else.
            restic.run(&["rewrite", "--forget", "--exclude", "/source/ranges"]);
            assert_restores(&bench, &bench.repo(), "latest", &source).await;
            bench.backup(&source.url()).expect(0);
            restic.check();
        }
        // Their index is one of ours as well.
        let index = std::fs::read_dir(bench.repo().join("index")).unwrap().next().unwrap().unwrap().path();
        std::fs::remove_file(index).unwrap();
        let repair: &[&str] =
            if restic.knows(&["repair"]) { &["repair", "index"] } else { &["rebuild-index"] };
        restic.run(repair);
        bench.run(["verify", "--read-data"]).expect(0);
        assert_restores(&bench, &bench.repo(), "latest", &source).await;

        if restic.knows(&["repair", "snapshots"]) {
            remove_largest_pack(&bench.repo());
            restic.run(&["repair", "index"]);
            restic.try_run(&["repair", "snapshots", "--forget"]);
            restic.run(&["prune"]);
            restic.check();
            // It names what is lost, and the next backup is whole.
            let verified = bench.run(["verify", "--read-data"]);
            assert!(matches!(verified.code, Some(0 | 4)), "{verified:?}");
            bench.backup(&source.url()).expect(0);
            assert_restores(&bench, &bench.repo(), "latest", &source).await;
            restic.check();
        }
    }
}

fn remove_largest_pack(repository: &Path) {
    let folders = std::fs::read_dir(repository.join("data")).unwrap();
    let packs = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let largest = packs.map(Result::unwrap).max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    std::fs::remove_file(largest.path()).unwrap();
}

#[tokio::test]
async fn a_repository_of_version_1_is_read_and_says_how_to_migrate() {
    let source = source().await;
    for program in restics() {
        let bench = Bench::new();
        let old = bench.folder.path().join("old");
        let restic = Stock { repository: old.clone(), ..Stock::new(&program, &bench) };
        restic.run(&["init", "--repository-version", "1"]);
        let file = bench.folder.path().join("plain.txt");
        std::fs::write(&file, "theirs\n").unwrap();
        restic.run(&["backup", file.to_str().unwrap()]);

        let url = old.to_str().unwrap();
        bench.run(["list", "--repo", url]).expect(0);
        bench.run(["verify", "--read-data", "--repo", url]).expect(0);
        for work in [vec!["backup", &source.url(), "--name", "source"], vec!["prune"]] {
            let ran = bench.run([&work[..], &["--repo", url]].concat());
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains("version 1"), "{}", ran.stderr);
            assert!(ran.stderr.contains("restic migrate upgrade_repo_v2"), "{}", ran.stderr);
        }
        restic.check();
        restic.run(&["migrate", "upgrade_repo_v2"]);
        bench.run(["backup", &source.url(), "--name", "source", "--repo", url]).expect(0);
        bench.run(["prune", "--repo", url]).expect(0);
        restic.check();
        assert_restores(&bench, &old, "latest", &source).await;
    }
}

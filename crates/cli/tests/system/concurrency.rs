//! Many programs in one repository at once, some of them killed, some suspended: what was reported saved restores.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use rand::RngExt;

use crate::program::{Bench, PASSWORD, Ran, clean};

/// How long the programs work against each other; minutes by `BASEKEEP_CONCURRENCY_SECONDS`.
const SECONDS: u64 = 40;
const SOURCES: usize = 3;

const TABLES: &str = "CREATE TABLE orders AS SELECT n, md5(n::text) AS a FROM generate_series(1, 4000) n;
                      CREATE TABLE notes AS SELECT n, repeat('note ' || n, 20) AS b FROM generate_series(1, 500) n;";

/// A snapshot that was reported saved, and what must come out of it.
struct Saved<T> {
    id: String,
    from: usize,
    content: T,
}

/// What all threads of the test share.
struct Shared {
    bench: Bench,
    until: Instant,
    saved: Mutex<Vec<Saved<BTreeMap<String, String>>>>,
    stock: Mutex<Vec<Saved<Vec<u8>>>>,
    removed: Mutex<HashSet<String>>,
    figures: Mutex<BTreeMap<String, u32>>,
    files: AtomicU32,
    /// Somebody wants the repository for himself: most writers let him, as a schedule would.
    pruning: AtomicBool,
}

impl Shared {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Most writers begin only when nobody prunes.
    fn give_way(&self) {
        let gives_way = rand::random_bool(0.8);
        while gives_way && self.pruning.load(Relaxed) && self.goes_on() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn count(&self, program: &str, ran: Option<&Ran>) {
        let end = match ran.map(|ran| ran.code) {
            None => "killed".to_owned(),
            Some(Some(0)) => "done".to_owned(),
            Some(Some(11)) => "locked".to_owned(),
            Some(code) => format!("ended with {code:?}"),
        };
        *self.figures.lock().unwrap().entry(format!("{program} {end}")).or_default() += 1;
    }

    fn figure(&self, name: &str) -> u32 {
        self.figures.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Runs a program, and sometimes kills it at a random moment; then there is nothing to tell.
    fn run(&self, mut command: Command, kill: bool) -> Option<Ran> {
        let number = self.files.fetch_add(1, Relaxed);
        let file = |name: &str| self.bench.folder.path().join(format!("{name}-{number}"));
        let (out, err) = (file("out"), file("err"));
        let mut child =
            command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).spawn().unwrap();
        // The moment to kill is what varies here; nothing is waited for.
        let moment = Instant::now() + Duration::from_millis(rand::rng().random_range(50..2500));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if kill && Instant::now() >= moment {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            std::fs::remove_file(path).unwrap();
            text
        };
        Some(Ran { code: status.code(), stdout: read(&out), stderr: read(&err) })
    }

    /// One source is changed and backed up, again and again.
    fn back_up(&self, number: usize, source: &TestDatabase) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let name = format!("source-{number}");
        for round in 0.. {
            if !self.goes_on() {
                return;
            }
            self.give_way();
            let change = format!("UPDATE orders SET a = md5(n::text || '{round}') WHERE n % 7 = {round} % 7");
            runtime.block_on(load_sql(source, &change));
            let content = runtime.block_on(source.contents());
            let mut args = vec!["backup", "--json", "--name", &name, "--jobs", "2"];
            let url = source.url();
            args.push(&url);
            if rand::random_bool(0.6) {
                args.extend(["--retry-lock", "20s"]);
            }
            let ran = self.run(self.bench.command(args), rand::random_bool(0.25));
            self.count("backup", ran.as_ref());
            let Some(ran) = ran else { continue };
            assert!(matches!(ran.code, Some(0 | 11)), "{ran:?}");
            if ran.code == Some(0) {
                let last: serde_json::Value =
                    serde_json::from_str(ran.stdout.trim_end().lines().last().unwrap()).unwrap();
                let id = last["snapshots"][0]["id"].as_str().unwrap().to_owned();
                self.saved.lock().unwrap().push(Saved { id, from: number, content });
            }
        }
    }

    /// Stock restic backs up a file of its own.
    fn back_up_with_restic(&self, program: &Path) {
        let folder = self.bench.folder.path().join("files");
        std::fs::create_dir(&folder).unwrap();
        while self.goes_on() {
            self.give_way();
            let mut content = vec![0; 200_000];
            rand::fill(&mut content[..]);
            std::fs::write(folder.join("data.bin"), &content).unwrap();
            let mut command = restic(&self.bench, program, ["backup", "--json"]);
            command.arg(&folder);
            let ran = self.run(command, rand::random_bool(0.2));
            self.count("restic backup", ran.as_ref());
            let Some(ran) = ran.filter(|ran| ran.code == Some(0)) else { continue };
            let summary = ran.stdout.lines().rev().find(|line| line.contains("snapshot_id")).unwrap();
            let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
            let id = summary["snapshot_id"].as_str().unwrap().to_owned();
            self.stock.lock().unwrap().push(Saved { id, from: 0, content });
        }
    }

    fn forget(&self) {
        for round in 0.. {
            if !self.goes_on() {
                return;
            }
            self.give_way();
            let source = format!("source-{}", round % SOURCES);
            let args = ["forget", "--keep-last", "3", "--source", &source, "--json", "--retry-lock", "5s"];
            let ran = self.run(self.bench.command(args), false).unwrap();
            self.count("forget", Some(&ran));
            assert!(matches!(ran.code, Some(0 | 11)), "{ran:?}");
            if ran.code == Some(0) {
                let removed = ran.json()["removed"].as_array().unwrap().clone();
                let ids = removed.iter().map(|id| id.as_str().unwrap().to_owned());
                self.removed.lock().unwrap().extend(ids);
            }
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..800)));
        }
    }

    fn prune(&self) {
        while self.goes_on() {
            let mut args = vec!["prune"];
            if rand::random_bool(0.7) {
                args.extend(["--retry-lock", "10s"]);
            }
            if rand::random_bool(0.5) {
                args.extend(["--max-unused", "0"]);
            }
            self.pruning.store(true, Relaxed);
            let ran = self.run(self.bench.command(args), rand::random_bool(0.3));
            self.pruning.store(false, Relaxed);
            self.count("prune", ran.as_ref());
            if let Some(ran) = ran {
                assert!(matches!(ran.code, Some(0 | 11)), "{ran:?}");
            }
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1500)));
        }
    }
}

fn restic<const N: usize>(bench: &Bench, program: &Path, args: [&str; N]) -> Command {
    let mut command = Command::new(program);
    clean(&mut command, bench.folder.path());
    command.env("RESTIC_PASSWORD", PASSWORD).arg("--no-cache").arg("-r").arg(bench.repo()).args(args);
    command
}

#[test]
fn what_was_reported_saved_restores_whatever_happened_beside_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = TestCluster::private(15, &[]);
    let sources: Vec<TestDatabase> = (0..SOURCES).map(|_| cluster.create_database()).collect();
    for source in &sources {
        runtime.block_on(load_sql(source, TABLES));
    }
    let seconds = std::env::var("BASEKEEP_CONCURRENCY_SECONDS").ok().and_then(|s| s.parse().ok());
    let shared = Shared {
        bench: Bench::new(),
        until: Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS)),
        saved: Mutex::default(),
        stock: Mutex::default(),
        removed: Mutex::default(),
        figures: Mutex::default(),
        files: AtomicU32::default(),
        pruning: AtomicBool::default(),
    };
    std::thread::scope(|threads| {
        for (number, source) in sources.iter().enumerate() {
            let shared = &shared;
            threads.spawn(move || shared.back_up(number, source));
        }
        threads.spawn(|| {
            let programs = basekeep_testkit::restics();
            shared.back_up_with_restic(programs.last().unwrap());
        });
        threads.spawn(|| shared.forget());
        threads.spawn(|| shared.prune());
    });
    let figures = shared.figures.lock().unwrap().clone();
    eprintln!("{figures:#?}");

    // The programs are gone, so their locks are stale at once.
    let bench = &shared.bench;
    bench.run(["unlock"]).expect(0);
    bench.run(["verify", "--read-data"]).expect(0);
    let restored = everything_saved_restores(&shared, &sources, &runtime);
    bench.run(["prune", "--max-unused", "0"]).expect(0);
    bench.run(["verify", "--read-data"]).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
    eprintln!("{restored} snapshots restored and equal");
    assert!(shared.figure("backup done") >= 5 && shared.figure("prune done") >= 2, "{figures:?}");
    assert!(shared.figure("restic backup done") >= 1, "{figures:?}");
}

fn everything_saved_restores(
    shared: &Shared,
    sources: &[TestDatabase],
    runtime: &tokio::runtime::Runtime,
) -> usize {
    let bench = &shared.bench;
    let removed = shared.removed.lock().unwrap();
    let listed = bench.restic(["snapshots", "--json"]).expect(0).json();
    let listed: HashSet<&str> =
        listed.as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect();
    let mut restored = 0;
    for saved in shared.saved.lock().unwrap().iter().filter(|saved| !removed.contains(&saved.id)) {
        assert!(listed.contains(saved.id.as_str()), "{} of source {} is lost", saved.id, saved.from);
        let target = sources[saved.from].cluster().create_database();
        bench.run(["restore", &saved.id, "--to", &target.url(), "--yes"]).expect(0);
        assert_eq!(runtime.block_on(target.contents()), saved.content, "{}", saved.id);
        restored += 1;
    }
    for saved in shared.stock.lock().unwrap().iter() {
        let target = bench.folder.path().join("restored");
        bench.restic(["restore", &saved.id, "--target", target.to_str().unwrap()]).expect(0);
        let file = walk(&target).into_iter().find(|path| path.ends_with("data.bin")).unwrap();
        assert!(std::fs::read(file).unwrap() == saved.content, "{}", saved.id);
        std::fs::remove_dir_all(target).unwrap();
        restored += 1;
    }
    restored
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// About 55 MB, so that a backup can be caught in the middle.
const LARGE: &str = "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS a,
                     md5(n || 'b') || md5(n || 'c') || md5(n || 'd') || md5(n || 'e') || md5(n || 'f') AS b
                     FROM generate_series(1, 220000) n;";

async fn large_source() -> TestDatabase {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, LARGE).await;
    source
}

fn start_backup(bench: &Bench, source: &TestDatabase) -> Child {
    let mut command = bench.command(["backup", &source.url(), "--name", "source", "--jobs", "2"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Polls, for at most 30 seconds.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn files_in(folder: &Path) -> HashSet<PathBuf> {
    if folder.is_dir() { walk(folder).into_iter().collect() } else { HashSet::new() }
}

/// A backup that is stopped as a sleeping laptop stops it; meanwhile its lock is removed and what it relied on goes.
async fn suspended(bench: &Bench, source: &TestDatabase, meanwhile: impl FnOnce()) -> Ran {
    let locks = bench.repo().join("locks");
    let before = files_in(&locks);
    let child = start_backup(bench, source);
    until("the lock", || files_in(&locks).len() > before.len());
    let mut client = source.client().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let copying =
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%' AND application_name LIKE 'basekeep%'";
    while client.query(copying).await.unwrap().iter().next().is_none() {
        assert!(Instant::now() < deadline, "no COPY was seen");
    }
    signal(&child, "-STOP");
    meanwhile();
    signal(&child, "-CONT");
    Ran::of(child.wait_with_output().unwrap())
}

#[tokio::test]
async fn a_suspended_backup_whose_lock_was_removed_does_not_write_on() {
    let source = large_source().await;
    let bench = Bench::new();
    let ran = suspended(&bench, &source, || {
        let removed = bench.run(["unlock", "--remove-all"]).expect(0);
        assert_eq!(removed.stdout.matches("removed ").count(), 1, "{removed:?}");
        bench.run(["prune", "--max-unused", "0"]).expect(0);
    })
    .await
    .expect(11);
    assert!(ran.stderr.contains("lock"), "{}", ran.stderr);
    assert_eq!(bench.snapshots(), 0);
    assert_eq!(files_in(&bench.repo().join("index")).len(), 0, "no index names its packs");
    assert_eq!(files_in(&bench.repo().join("locks")).len(), 0);
    bench.run(["verify", "--read-data"]).expect(0);
    bench.backup(&source.url()).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
}

/// It had read the index before, and takes for known what prune then deletes.
#[tokio::test]
async fn a_suspended_backup_does_not_refer_to_what_was_pruned_meanwhile() {
    let source = large_source().await;
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    // The rows stay and are written anew, so that they are read again and found to be known.
    load_sql(&source, "UPDATE big SET n = n WHERE n > 110000").await;
    let ran = suspended(&bench, &source, || {
        bench.run(["unlock", "--remove-all"]).expect(0);
        bench.run(["forget", "latest"]).expect(0);
        bench.run(["prune", "--max-unused", "0"]).expect(0);
        assert_eq!(files_in(&bench.repo().join("data")).len(), 0, "nothing was needed");
    })
    .await
    .expect(11);
    assert!(ran.stderr.contains("lock"), "{}", ran.stderr);
    assert_eq!(bench.snapshots(), 0);
    bench.run(["verify", "--read-data"]).expect(0);
    bench.backup(&source.url()).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
    let target = source.cluster().create_database();
    bench.run(["restore", "--to", &target.url(), "--yes"]).expect(0);
    assert_eq!(target.contents().await, source.contents().await);
}

#[test]
fn retry_lock_waits_for_stock_restic() {
    let bench = Bench::new();
    let mut holder = restic(&bench, &basekeep_testkit::tool("restic", 0), ["backup", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("restic's lock", || files_in(&bench.repo().join("locks")).len() == 1);
    let refused = bench.run(["prune"]).expect(11);
    assert!(refused.stderr.contains("--retry-lock"), "the way out is named: {}", refused.stderr);
    let mut waiting = bench.command(["prune", "--retry-lock", "1m"]);
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    holder.stdin.take().unwrap().write_all(b"some data").unwrap();
    assert!(holder.wait().unwrap().success());
    Ran::of(waiting.wait_with_output().unwrap()).expect(0);
}

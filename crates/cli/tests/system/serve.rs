//! The daemon as a process: schedules on real servers, signals, and two of them on one repository that are killed in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use basekeep_server::history::{History, Query, Run};
use basekeep_server::jobs::{JobKind, Outcome};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::Bench;

const LONGEST: Duration = Duration::from_secs(120);

/// A folder with a repository, a configuration and a database with one table.
struct Place {
    bench: Bench,
    source: TestDatabase,
}

/// A daemon; killed when it is dropped.
struct Daemon {
    child: Child,
    state: PathBuf,
    log: PathBuf,
}

impl Place {
    async fn new(profile: &str) -> Self {
        let source = TestCluster::shared(16).create_database();
        load_sql(&source, "CREATE TABLE t AS SELECT n, md5(n::text) AS a FROM generate_series(1, 500) n")
            .await;
        let place = Self { bench: Bench::new(), source };
        place.configure(profile);
        place
    }

    fn config(&self) -> PathBuf {
        self.bench.folder.path().join("basekeep.toml")
    }

    fn configure(&self, profile: &str) {
        let url = toml::Value::String(self.source.url());
        let text = format!("[source.shop]\nurl = {url}\nprofile = \"p\"\n[profile.p]\n{profile}\n");
        std::fs::write(self.config(), text).unwrap();
    }

    fn locks(&self) -> usize {
        std::fs::read_dir(self.bench.repo().join("locks")).map_or(0, Iterator::count)
    }

    fn daemon(&self, name: &str, arguments: &[&str]) -> Daemon {
        let folder = self.bench.folder.path();
        let (state, log) = (folder.join(name), folder.join(format!("{name}.log")));
        let mut command = self.bench.command(["serve", "--log-format", "json", "--jobs", "2"]);
        command.arg("--state").arg(&state).args(arguments);
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        Daemon { child: command.stdout(Stdio::null()).spawn().unwrap(), state, log }
    }
}

impl Daemon {
    fn runs(&self) -> Vec<Run> {
        runs_in(&self.state)
    }

    fn done(&self, kind: JobKind) -> usize {
        let done = |run: &&Run| run.job == kind && run.outcome == Some(Outcome::Done);
        self.runs().iter().filter(done).count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// The exit code after SIGTERM.
    fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::SIGTERM);
        let code = self.child.wait().unwrap().code();
        (code, self.log())
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait(|| condition(self), || format!("{what}: {:#?}\n{}", self.runs(), self.log()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runs_in(state: &std::path::Path) -> Vec<Run> {
    let query = Query { limit: 10_000, ..Query::default() };
    // It is not there, or not ready, in the first moments.
    match History::read(state) {
        Ok(Some(history)) => history.runs(&query).unwrap(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn wait(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let until = Instant::now() + LONGEST;
    while !condition() {
        assert!(Instant::now() < until, "{}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The body of an answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_backs_up_forgets_reloads_and_stops_and_stock_restic_sees_nothing_strange() {
    let place = Place::new("backup = \"*/2 * * * * *\"\nkeep = { last = 2 }").await;
    let daemon = place.daemon("one", &["--listen", "127.0.0.1:0"]);
    daemon
        .wait_for("backups", |daemon| daemon.done(JobKind::Backup) >= 4 && daemon.done(JobKind::Forget) >= 3);
    let backup = daemon.runs().into_iter().rfind(|run| run.job == JobKind::Backup).unwrap();
    assert_eq!((backup.rows, backup.source.as_deref()), (Some(500), Some("shop")), "{backup:?}");

    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("/metrics")).unwrap();
    let message = serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].to_string();
    let address = message.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let metrics = get(&address, "/metrics");
    assert!(metrics.contains("basekeep_repository_up 1\n"), "{metrics}");
    assert!(
        metrics.contains("basekeep_runs_total{job_kind=\"backup\",source=\"shop\",outcome=\"done\"}"),
        "{metrics}"
    );
    assert!(get(&address, "/healthz").ends_with("ok\n"));

    // A broken configuration changes nothing.
    std::fs::write(place.config(), "[source.shop]\nurl = 5\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("a refusal", |daemon| daemon.log().contains("the configuration stays as it was"));
    let before = daemon.done(JobKind::Backup);
    daemon.wait_for("the old schedule", |daemon| daemon.done(JobKind::Backup) > before + 1);
    // A good one is taken over.
    place.configure("backup = \"0 0 1 1 *\"\ncheck = \"*/2 * * * * *\"\nkeep = { last = 2 }");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("checks", |daemon| daemon.done(JobKind::Check) >= 2);

    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert_eq!(place.locks(), 0, "{log}");
    assert_eq!(place.bench.snapshots(), 2, "retention");
    assert!(std::fs::read_dir(place.bench.repo().join("leases")).unwrap().count() >= 1);
    // Leases are nobody else's business.
    place.bench.restic(["check", "--read-data"]).expect(0);
    place.bench.restic(["prune"]).expect(0);
    place.bench.run(["check", "--read-data"]).expect(0);
    place.bench.run(["prune"]).expect(0);
    place.bench.run(["unlock"]).expect(0);
    let copy = place.bench.folder.path().join("copy");
    let copy = copy.to_str().unwrap();
    std::fs::write(place.bench.folder.path().join("password"), crate::program::PASSWORD).unwrap();
    place.bench.run(["init", "--repo", copy]).expect(0);
    place.bench.run(["copy", "--to", copy, "--to-password-file", "password"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_told_to_stop_interrupts_a_backup_and_the_next_one_does_it() {
    let place = Place::new("backup = \"0 0 1 1 *\"").await;
    let mut holder = place.source.client().await;
    holder.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // A source without a snapshot is backed up at once.
    let daemon = place.daemon("one", &["--listen", "off", "--lease", "5s"]);
    daemon.wait_for("a run", |daemon| !daemon.runs().is_empty());
    let state = daemon.state.clone();
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(runs_in(&state)[0].outcome, Some(Outcome::Interrupted));
    assert_eq!(place.locks(), 0, "{log}");
    holder.execute("ROLLBACK").await.unwrap();
    // Without a history, too.
    let daemon = place.daemon("two", &["--listen", "off"]);
    daemon.wait_for("the backup", |daemon| daemon.done(JobKind::Backup) == 1);
    daemon.stop();
    assert_eq!(place.bench.snapshots(), 1);
    // What is due is in the repository: nothing is done again.
    let daemon = place.daemon("three", &["--listen", "off"]);
    daemon.wait_for("ready", |daemon| daemon.log().contains("\"ready\""));
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.runs().is_empty(), "{:?}", daemon.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_that_are_killed_in_turn_do_each_backup_once() {
    const PERIOD: i64 = 10;
    let place = Place::new("backup = \"*/10 * * * * *\"").await;
    let mut holder = place.source.client().await;
    let start = |name: &str| place.daemon(name, &["--listen", "off", "--lease", "3s"]);
    let mut daemons: BTreeMap<String, Daemon> = BTreeMap::new();
    for name in ["one", "two"] {
        daemons.insert(name.to_owned(), start(name));
    }
    let states =
        |names: &[&str]| names.iter().map(|name| place.bench.folder.path().join(name)).collect::<Vec<_>>();
    let all = states(&["one", "two", "three", "four", "five"]);
    let done = || -> Vec<Run> {
        let runs = all.iter().flat_map(|state| runs_in(state));
        runs.filter(|run| run.outcome == Some(Outcome::Done)).collect()
    };
    wait(|| !done().is_empty(), || "no backup".to_owned());
    for next in ["three", "four", "five"] {
        // The next backup hangs, and its daemon is killed in the middle of it.
        holder.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let running =
            || daemons.iter().find(|(_, d)| d.runs().iter().any(|run| run.ended.is_none())).map(|(n, _)| n);
        wait(|| running().is_some(), || "nothing runs".to_owned());
        let name = running().unwrap().clone();
        let before = done().len();
        drop(daemons.remove(&name).unwrap());
        holder.execute("ROLLBACK").await.unwrap();
        wait(|| done().len() > before, || "nobody took over".to_owned());
        daemons.insert(next.to_owned(), start(next));
    }
    let before = done().len();
    wait(|| done().len() > before + 1, || "it does not go on".to_owned());
    for (_, daemon) in daemons {
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
    }
    let runs = done();
    let mut dues: Vec<_> = runs.iter().map(|run| run.due.unwrap().as_second()).collect();
    dues.sort_unstable();
    let unique: BTreeSet<i64> = dues.iter().copied().collect();
    assert_eq!(unique.len(), dues.len(), "twice: {dues:?}");
    assert_eq!(place.bench.snapshots(), dues.len(), "a snapshot for each: {dues:?}");
    for pair in dues.windows(2) {
        assert_eq!(pair[1] - pair[0], PERIOD, "missed: {dues:?}");
    }
}

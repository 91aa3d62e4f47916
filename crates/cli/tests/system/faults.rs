//! Nothing false is ever saved: whatever breaks, there is no new snapshot, the repository is sound, and the next backup works.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use basekeep_testkit::{Shutdown, TestCluster, TestDatabase, load_sql};

use crate::program::{Bench, Ran};
use crate::proxy::Proxy;

/// About 55 MB in one table and a few small ones, so that a backup takes long enough to be disturbed.
const ROWS: &str = "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS a,
                    md5(n || 'b') || md5(n || 'c') || md5(n || 'd') || md5(n || 'e') || md5(n || 'f') AS b
                    FROM generate_series(1, 220000) n;
                    CREATE TABLE small AS SELECT n FROM generate_series(1, 100) n;";

async fn disturbed_source() -> TestDatabase {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, ROWS).await;
    source
}

/// What must be true after every fault.
fn nothing_false_was_saved(bench: &Bench, source: &TestDatabase, snapshots: usize) {
    assert_eq!(bench.snapshots(), snapshots, "no snapshot was added");
    bench.run(["verify", "--read-data"]).expect(0);
    // Restic's own check reports a lock that a killed process left; `unlock` removes only stale ones.
    bench.restic(["unlock", "--remove-all"]).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
    bench.backup(&source.url()).expect(0);
    assert_eq!(bench.snapshots(), snapshots + 1, "the next backup succeeded");
}

fn start(bench: &Bench, url: &str) -> Child {
    bench
        .command(["backup", url, "--name", "source", "--jobs", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the query has a row, at most 30 seconds.
async fn until(source: &TestDatabase, sql: &str) -> Option<String> {
    let mut client = source.client().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let rows = client.query(sql).await.unwrap();
        if let Some(row) = rows.iter().next() {
            return Some(row.get(0).unwrap_or_default().to_owned());
        }
    }
    None
}

const COPYING: &str =
    "SELECT pid FROM pg_stat_activity WHERE query LIKE '%COPY%' AND query NOT LIKE '%pg_stat_activity%'
                       AND state = 'active' AND application_name LIKE 'basekeep%' LIMIT 1";

#[tokio::test]
async fn a_backend_killed_in_mid_copy_leaves_no_snapshot() {
    let source = disturbed_source().await;
    let bench = Bench::new();
    let child = start(&bench, &source.url());
    let pid = until(&source, COPYING).await.expect("a COPY was seen");
    source.client().await.query(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(matches!(ran.code, Some(1 | 13)), "{ran:?}");
    assert!(ran.stderr.contains("terminat"), "the server's reason is told: {}", ran.stderr);
    nothing_false_was_saved(&bench, &source, 0);
}

#[tokio::test]
async fn a_server_that_stops_leaves_no_snapshot() {
    let source = disturbed_source().await;
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    load_sql(&source, "UPDATE big SET a = a || 'x'").await;
    let child = start(&bench, &source.url());
    until(&source, COPYING).await.expect("a COPY was seen");
    source.cluster().stop(Shutdown::Immediate);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(matches!(ran.code, Some(1 | 13)), "{ran:?}");
    source.cluster().start();
    nothing_false_was_saved(&bench, &source, 1);
}

#[tokio::test]
async fn a_connection_cut_at_any_point_leaves_no_snapshot() {
    let source = disturbed_source().await;
    let bench = Bench::new();
    let port = source.cluster().port();
    let whole = 50_000_000_u64;
    for part in [1, 3, 10, 30, 60, 90] {
        let proxy = Proxy::cutting_after(port, whole * part / 100);
        let url = source.url().replace(&format!(":{port}/"), &format!(":{}/", proxy.port));
        let ran = Ran::of(start(&bench, &url).wait_with_output().unwrap());
        assert!(matches!(ran.code, Some(1 | 13)), "cut at {part} %: {ran:?}");
        assert!(ran.stderr.contains("error"), "{}", ran.stderr);
    }
    nothing_false_was_saved(&bench, &source, 0);
}

#[tokio::test]
async fn kill_9_at_many_points_leaves_no_snapshot_or_a_whole_one() {
    let source = disturbed_source().await;
    let bench = Bench::new();
    let began = Instant::now();
    bench.backup(&source.url()).expect(0);
    let whole = began.elapsed();
    for step in 1..=12_u32 {
        load_sql(&source, &format!("UPDATE big SET a = md5(n::text || '{step}') WHERE n % 12 = {step} % 12"))
            .await;
        let before = bench.snapshots();
        let mut child = start(&bench, &source.url());
        // The moment to kill is what varies here; nothing is waited for.
        let deadline = Instant::now() + whole * step / 12;
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let after = bench.snapshots();
        assert!(after == before || after == before + 1, "{before} then {after}");
        if finished && status.success() {
            assert_eq!(after, before + 1);
        }
        bench.run(["verify", "--read-data"]).expect(0);
    }
    let count = bench.snapshots();
    nothing_false_was_saved(&bench, &source, count);
    let target = source.cluster().create_database();
    bench.run(["restore", "--to", &target.url(), "--yes"]).expect(0);
}

#[tokio::test]
async fn an_interrupt_ends_with_130_and_removes_the_lock() {
    let source = disturbed_source().await;
    let bench = Bench::new();
    let child = start(&bench, &source.url());
    until(&source, COPYING).await.expect("a COPY was seen");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(130);
    assert!(ran.stderr.contains("interrupted"), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(bench.repo().join("locks")).unwrap().count(), 0, "the lock is gone");
    nothing_false_was_saved(&bench, &source, 0);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_no_snapshot() {
    if !is_root() {
        // Only root may mount the small file system that this needs.
        return;
    }
    let source = disturbed_source().await;
    let bench = Bench::new();
    let small = bench.folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(&small).status().unwrap();
    assert!(mounted.success());
    let _unmount = Unmount(small.clone());
    let repo = small.join("repo");
    bench.run(["init", "--repo", repo.to_str().unwrap()]).expect(0);
    let ran =
        bench.run(["backup", &source.url(), "--name", "source", "--repo", repo.to_str().unwrap()]).expect(1);
    assert!(ran.stderr.contains("space"), "the disk is named: {}", ran.stderr);
    let listed = bench.run(["list", "--json", "--repo", repo.to_str().unwrap()]).expect(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 0);
    bench.run(["verify", "--read-data", "--repo", repo.to_str().unwrap()]).expect(0);

    let larger = Command::new("mount").args(["-o", "remount,size=400m"]).arg(&small).status().unwrap();
    assert!(larger.success());
    bench.run(["backup", &source.url(), "--name", "source", "--repo", repo.to_str().unwrap()]).expect(0);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0")
}

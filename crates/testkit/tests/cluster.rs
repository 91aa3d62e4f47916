//! Clusters and databases: they work, and they are gone afterwards, however the process ends.

use basekeep_testkit::{Shutdown, TestCluster, servers};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn wait_until_gone(directory: &Path) {
    let start = Instant::now();
    while directory.exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} is still there", directory.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).join("fd").exists()
}

fn postmaster_pid(data: &Path) -> String {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn every_server_starts_and_answers_over_tcp_and_the_socket() {
    for server in servers() {
        let cluster = TestCluster::shared(server.major);
        let database = cluster.create_database_as("Odd name \"ü\"", "ENCODING 'UTF8' TEMPLATE template0");
        let mut client = database.client().await;
        assert_eq!(client.server_version() / 10_000, server.major);
        let rows = client.query("SELECT current_database()").await.unwrap();
        assert_eq!(rows.iter().next().unwrap().get(0), Some("Odd name \"ü\""));
        client.close().await;
        let psql = basekeep_testkit::tool("psql", server.major);
        let output = Command::new(psql).args(["-XAtc", "SELECT 1", &database.socket_url()]).output().unwrap();
        assert_eq!(output.stdout, b"1\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_database_is_dropped_even_with_sessions_and_subscriptions() {
    let cluster = TestCluster::shared(16);
    let database = cluster.create_database();
    let name = database.name().to_owned();
    let mut session = database.client().await;
    let subscription = "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false, slot_name = NONE)";
    session.execute(subscription).await.unwrap();
    drop(database);
    let other = cluster.create_database();
    let rows = other.client().await.query("SELECT datname FROM pg_database").await.unwrap();
    assert!(rows.iter().all(|row| row.get(0) != Some(name.as_str())));
}

#[tokio::test]
async fn a_private_cluster_has_its_settings_and_restarts_on_the_same_port() {
    let cluster = TestCluster::private(18, &[("wal_level", "logical"), ("max_prepared_transactions", "3")]);
    let database = cluster.create_database();
    database.client().await.execute("CREATE TABLE kept AS SELECT 1 AS a").await.unwrap();
    let port = cluster.port();
    cluster.stop(Shutdown::Immediate);
    cluster.set(&[("work_mem", "7MB")]);
    cluster.start();
    assert_eq!(cluster.port(), port);
    let mut client = database.client().await;
    let query = "SELECT current_setting('wal_level'), current_setting('work_mem'), a FROM kept";
    let rows = client.query(query).await.unwrap();
    let row = rows.iter().next().unwrap();
    assert_eq!([row.get(0), row.get(1), row.get(2)], [Some("logical"), Some("7MB"), Some("1")]);
}

#[test]
fn a_dropped_cluster_leaves_nothing() {
    let cluster = TestCluster::private(15, &[]);
    let directory = cluster.socket_directory().to_owned();
    let pid = postmaster_pid(&cluster.data_directory());
    assert!(is_alive(&pid));
    drop(cluster);
    assert!(!directory.exists());
    assert!(!is_alive(&pid));
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "runs as a child of another test"]
fn child_with_a_cluster() {
    let cluster = TestCluster::shared(17);
    println!(
        "\ncluster {} {}",
        cluster.socket_directory().display(),
        postmaster_pid(&cluster.data_directory())
    );
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_leaves_nothing() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "cluster::child_with_a_cluster", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("cluster ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let (directory, pid) = (Path::new(words.next().unwrap()), words.next().unwrap());
    assert!(directory.exists() && is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(directory);
    assert!(!is_alive(pid));
}

//! Fixtures load with our client on every server, and stock pg_dump and pg_restore take them through unharmed.

use basekeep_testkit::{
    ODD_CATALOG, ODD_CATALOG_LARGE_VALUES, SAMPLE_PROJECT, TestCluster, TestDatabase, pg_dump, servers,
    small_sample_project, tool,
};
use std::process::Command;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Dumps with stock tools into a new database of the same cluster.
fn copy_with_stock_tools(database: &TestDatabase) -> TestDatabase {
    let major = database.cluster().server().major;
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    run(Command::new(pg_dump(major))
        .args(["-Fd", "-j2", "-f"])
        .arg(&dump)
        .args(["--dbname", &database.url()]));
    let copy = database.cluster().create_database();
    let mut restore = Command::new(tool("pg_restore", major));
    run(restore.args(["--exit-on-error", "-j4", "--dbname", &copy.url()]).arg(&dump));
    copy
}

async fn survives_stock_tools(fixture: &str, major: u32) {
    let database = TestCluster::shared(major).create_database();
    database.load(fixture).await;
    let copy = copy_with_stock_tools(&database);
    assert_same_lines(&database.schema_dump(), &copy.schema_dump());
    assert_eq!(database.contents().await, copy.contents().await, "PostgreSQL {major}");
}

/// Names the first difference only: the texts are long.
fn assert_same_lines(ours: &str, theirs: &str) {
    let difference = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(difference, None);
    assert_eq!(ours.len(), theirs.len());
}

#[tokio::test]
async fn the_odd_catalog_survives_stock_tools_on_every_server() {
    for server in servers() {
        survives_stock_tools(ODD_CATALOG, server.major).await;
    }
}

#[tokio::test]
async fn the_sample_project_survives_stock_tools() {
    survives_stock_tools(SAMPLE_PROJECT, 17).await;
}

#[tokio::test]
async fn the_small_sample_project_has_the_same_definitions_and_fewer_rows() {
    let cluster = TestCluster::shared(15);
    let (whole, small) = (cluster.create_database(), cluster.create_database());
    whole.load(SAMPLE_PROJECT).await;
    small.load(&small_sample_project()).await;
    assert_same_lines(&whole.schema_dump(), &small.schema_dump());
    let rows = |content: &String| content.split(' ').next().unwrap().parse::<u64>().unwrap();
    let (whole, small) = (whole.contents().await, small.contents().await);
    for (table, content) in small.iter().filter(|(name, _)| name.starts_with("table ")) {
        let (less, more) = (rows(content), rows(&whole[table]));
        assert!(
            (less > 0 || more == 0) && less <= more && (more < 5000 || less * 19 < more),
            "{table}: {less} and {more} rows"
        );
    }
    assert_eq!(whole.len(), small.len());
}

#[tokio::test]
async fn the_odd_catalog_loads_twice_into_one_cluster() {
    let cluster = TestCluster::shared(18);
    let (first, second) = (cluster.create_database(), cluster.create_database());
    first.load(ODD_CATALOG).await;
    second.load(ODD_CATALOG).await;
}

#[tokio::test]
async fn the_sample_project_is_the_same_in_every_run_and_on_every_server() {
    let (old, new) = (TestCluster::shared(15).create_database(), TestCluster::shared(18).create_database());
    old.load(SAMPLE_PROJECT).await;
    new.load(SAMPLE_PROJECT).await;
    let contents = old.contents().await;
    assert_eq!(contents, new.contents().await);
    assert!(contents["table public.messages"].starts_with("80000 rows"));
}

#[tokio::test]
async fn large_values_load() {
    let database = TestCluster::shared(16).create_database();
    database.load(ODD_CATALOG_LARGE_VALUES).await;
    let sizes = "SELECT max(length(t)) FROM odd_large.texts";
    let rows = database.client().await.query(sizes).await.unwrap();
    assert_eq!(rows.iter().next().unwrap().get(0), Some("100000000"));
}

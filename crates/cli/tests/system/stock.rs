//! Recovery without basekeep: restic brings the folder back, psql and pg_restore the database.

use std::process::Command;

use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, TestDatabase, tool};

use crate::compare::{assert_same, picture};
use crate::program::{Bench, Ran};

fn pg_restore(folder: &std::path::Path, target: &TestDatabase, major: u32) {
    let mut command = Command::new(tool("pg_restore", major));
    command.args(["--exit-on-error", "-j4", "-d"]).arg(target.socket_url()).arg(folder.join("database"));
    Ran::of(command.output().unwrap()).expect(0);
}

async fn recovers_with_stock_programs(major: u32, fixture: &str) {
    let source = TestCluster::private(major, &[]).create_database();
    source.load(fixture).await;
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
    let folder = bench.restic_restore();

    let same_cluster = source.cluster().create_database();
    pg_restore(&folder, &same_cluster, major);
    let expected = picture(&source, major).await;
    assert_same(&expected, &picture(&same_cluster, major).await);

    // A cluster that has none of the roles: the script beside the archive creates them first.
    let fresh_cluster = TestCluster::private(major, &[]).create_database();
    let psql = tool("psql", major);
    let path = std::env::join_paths(
        [psql.parent().unwrap().to_path_buf()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let script = Command::new("sh")
        .arg(folder.join("restore.sh"))
        .arg(fresh_cluster.socket_url())
        .env("PATH", path)
        .output();
    Ran::of(script.unwrap()).expect(0);
    assert_same(&expected, &picture(&fresh_cluster, major).await);
}

#[tokio::test]
async fn odd_catalog_recovers_with_stock_programs_on_15() {
    recovers_with_stock_programs(15, ODD_CATALOG).await;
}

#[tokio::test]
async fn odd_catalog_recovers_with_stock_programs_on_16() {
    recovers_with_stock_programs(16, ODD_CATALOG).await;
}

#[tokio::test]
async fn odd_catalog_recovers_with_stock_programs_on_17() {
    recovers_with_stock_programs(17, ODD_CATALOG).await;
}

#[tokio::test]
async fn odd_catalog_recovers_with_stock_programs_on_18() {
    recovers_with_stock_programs(18, ODD_CATALOG).await;
}

#[tokio::test]
async fn sample_project_recovers_with_stock_programs() {
    recovers_with_stock_programs(15, SAMPLE_PROJECT).await;
}

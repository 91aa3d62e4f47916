//! Recovery without basekeep: restic brings the folder back, psql and pg_restore the database.

use std::process::Command;

use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, TestDatabase, tool};

use crate::compare::{assert_same, picture};
use crate::program::{Bench, Ran};

/// Restores with stock pg_restore. Its parallel mode deadlocks now and then on archives of its own, when it adds a foreign
/// key to a partitioned table beside `ALTER INDEX … ATTACH` on its partitions; only that is tried again.
fn pg_restore(folder: &std::path::Path, source: &TestDatabase, major: u32) -> TestDatabase {
    for _ in 0..5 {
        let target = source.cluster().create_database();
        let mut command = Command::new(tool("pg_restore", major));
        command.args(["--exit-on-error", "-j4", "-d"]).arg(target.socket_url()).arg(folder.join("database"));
        let ran = Ran::of(command.output().unwrap());
        if ran.code == Some(0) || !ran.stderr.contains("deadlock detected") {
            ran.expect(0);
            return target;
        }
    }
    panic!("pg_restore deadlocked five times in a row");
}

async fn recovers_with_stock_programs(major: u32, fixture: &str) {
    let source = TestCluster::private(major, &[]).create_database();
    source.load(fixture).await;
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    bench.restic(["check", "--read-data"]).expect(0);
    let folder = bench.restic_restore();

    let same_cluster = pg_restore(&folder, &source, major);
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

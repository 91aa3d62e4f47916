//! Every server version: backup, restore by basekeep itself, and the copy is the same.

use basekeep_testkit::{ODD_CATALOG, ODD_CATALOG_LARGE_VALUES, SAMPLE_PROJECT, TestCluster};

use crate::compare::{assert_same, picture};
use crate::program::Bench;

async fn comes_back(from: u32, to: u32, fixtures: &[&str]) {
    let source = TestCluster::private(from, &[]).create_database();
    for fixture in fixtures {
        source.load(fixture).await;
    }
    let target = if from == to {
        source.cluster().create_database()
    } else {
        TestCluster::private(to, &[]).create_database()
    };
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    bench.run(["restore", "--to", &target.url(), "--yes"]).expect(0);
    if from == to {
        assert_same(&picture(&source, to).await, &picture(&target, to).await);
    } else {
        // Versions print the same definition differently; the drill knows how, and compares what remains.
        assert_eq!(source.contents().await, target.contents().await);
        bench.run(["drill", "--on", &target.cluster().url("postgres")]).expect(0);
    }
}

#[tokio::test]
async fn odd_catalog_comes_back_on_15() {
    comes_back(15, 15, &[ODD_CATALOG, ODD_CATALOG_LARGE_VALUES]).await;
}

#[tokio::test]
async fn odd_catalog_comes_back_on_16() {
    comes_back(16, 16, &[ODD_CATALOG]).await;
}

#[tokio::test]
async fn odd_catalog_comes_back_on_17() {
    comes_back(17, 17, &[ODD_CATALOG]).await;
}

#[tokio::test]
async fn odd_catalog_comes_back_on_18() {
    comes_back(18, 18, &[ODD_CATALOG]).await;
}

#[tokio::test]
async fn sample_project_comes_back_on_a_newer_version() {
    comes_back(15, 18, &[SAMPLE_PROJECT]).await;
}

#[tokio::test]
async fn a_drill_proves_the_odd_catalog_and_the_list_shows_it() {
    let source = TestCluster::private(15, &[]).create_database();
    source.load(ODD_CATALOG).await;
    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    bench.run(["drill"]).expect(0);
    let listed = bench.run(["list", "--json"]).expect(0).json();
    assert_eq!(listed["snapshots"][0]["proven"], serde_json::json!(true), "{listed}");
    bench.restic(["check", "--read-data"]).expect(0);
}

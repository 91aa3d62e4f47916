//! Backup and restore of whole fixtures: definitions as pg_dump prints them and all digests are equal.

use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster};

use crate::support::{assert_same_text, backed_up, contents, definitions, into, restore};

async fn comes_back(major: u32, fixture: &str) {
    let cluster = TestCluster::shared(major);
    let source = cluster.create_database();
    source.load(fixture).await;
    let backup = backed_up(&source).await;
    // Files lie outside the database, and here nothing says how to reach them.
    let missing: Vec<_> = backup
        .manifest
        .not_captured
        .iter()
        .filter(|missing| !missing.what.starts_with("files of "))
        .collect();
    assert_eq!(missing, [] as [&basekeep_engine::stored::manifest::Missing; 0]);

    let target = cluster.create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, backup.manifest.totals.rows);
    assert_eq!(report.bytes, backup.manifest.totals.bytes);

    assert_same_text(&definitions(&source), &definitions(&target));
    let again = backed_up(&target).await;
    assert_eq!(contents(&again.manifest), contents(&backup.manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_comes_back_on_15() {
    comes_back(15, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_comes_back_on_16() {
    comes_back(16, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_comes_back_on_17() {
    comes_back(17, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_comes_back_on_18() {
    comes_back(18, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_comes_back_on_15() {
    comes_back(15, SAMPLE_PROJECT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_comes_back_on_18() {
    comes_back(18, SAMPLE_PROJECT).await;
}

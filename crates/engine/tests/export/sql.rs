//! SQL scripts through psql.

use basekeep_engine::export::{Compression, ExportOptions, Format, Halves};
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, TestDatabase};

use super::{export_to, fixture, psql};
use crate::support::{Backup, assert_same_text, backed_up, contents, definitions};

pub(super) async fn assert_same(source: &TestDatabase, backup: &Backup, target: &TestDatabase) {
    assert_same_text(&definitions(source), &definitions(target));
    let again = backed_up(target).await;
    let (found, expected) = (contents(&again.manifest), contents(&backup.manifest));
    let differing: Vec<_> = expected.iter().filter(|(name, value)| found.get(*name) != Some(value)).collect();
    assert_eq!(
        differing,
        [],
        "instead of these: {:?}",
        differing.iter().map(|(name, _)| found.get(*name)).collect::<Vec<_>>()
    );
    assert_eq!(found.len(), expected.len());
}

async fn loads(major: u32, text: &str, options: ExportOptions) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    let folder = tempfile::tempdir().unwrap();
    let report = export_to(&backup, &options, folder.path()).await.unwrap();
    assert_eq!(report.rows, backup.manifest.totals.rows);
    assert_eq!(report.failed, []);
    let target = cluster.create_database();
    psql(&target, &folder.path().join("database.sql"));
    assert_same(&source, &backup, &target).await;
}

fn sql() -> ExportOptions {
    ExportOptions::new([Format::Sql])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_loads_with_psql_15() {
    loads(15, ODD_CATALOG, sql()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_loads_with_psql_16() {
    loads(16, ODD_CATALOG, sql()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_loads_with_psql_18() {
    loads(18, ODD_CATALOG, sql()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_loads_with_psql() {
    loads(15, SAMPLE_PROJECT, sql()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_statements_give_the_same_rows() {
    loads(18, ODD_CATALOG, ExportOptions { inserts: true, ..sql() }).await;
}

/// Definitions, and then rows alone, where keys and triggers are there already.
async fn halves_load_one_after_the_other(major: u32, text: &str, inserts: bool) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    let folder = tempfile::tempdir().unwrap();
    let target = cluster.create_database();
    for halves in [Halves::Definitions, Halves::Data] {
        let options = ExportOptions { halves, inserts, ..sql() };
        export_to(&backup, &options, folder.path()).await.unwrap();
        psql(&target, &folder.path().join("database.sql"));
    }
    assert_same(&source, &backup, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_load_where_keys_and_triggers_are_there_already() {
    halves_load_one_after_the_other(15, ODD_CATALOG, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_as_insert_statements_load_there_too() {
    halves_load_one_after_the_other(18, ODD_CATALOG, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_sample_project_load_alone() {
    halves_load_one_after_the_other(15, SAMPLE_PROJECT, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_hold_the_same_and_only_the_owner_reads_them() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = TestCluster::shared(15);
    let (_source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        export_to(&backup, &ExportOptions { compression, ..sql() }, folder.path()).await.unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    let plain = std::fs::read(path("database.sql")).unwrap();
    for (name, program) in [("database.sql.gz", "gzip"), ("database.sql.zst", "zstd")] {
        let output = std::process::Command::new(program).arg("-dc").arg(path(name)).output();
        // Not every machine has zstd.
        let Ok(output) = output else { continue };
        assert!(output.status.success() && output.stdout == plain, "{name}");
    }
    for name in ["database.sql", "database.sql.gz", "database.sql.zst"] {
        let mode = std::fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_export_wrote_is_not_replaced() {
    let cluster = TestCluster::shared(15);
    let (_source, backup) = fixture(&cluster, "CREATE TABLE a (id int); INSERT INTO a VALUES (1);").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("database.sql");
    std::fs::write(&file, "mine").unwrap();
    let error = export_to(&backup, &sql(), folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), basekeep_engine::ErrorKind::Usage);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    export_to(&backup, &ExportOptions { overwrite: true, ..sql() }, folder.path()).await.unwrap();
    // From now on it is the export's own.
    export_to(&backup, &sql(), folder.path()).await.unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains("COPY public.a (id) FROM stdin;\n1\n\\.\n"));
}

/// The rows in the snapshot, or what the manifest says of them, are not what was backed up.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_those_of_the_backup_leave_no_file() {
    let cluster = TestCluster::shared(15);
    let (_source, backup) =
        fixture(&cluster, "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 1000);").await;
    let backup = crate::tampered::with_files(backup, |name, bytes| {
        (name == "manifest.json").then(|| {
            let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            manifest["tables"][0]["digest"] = "0".repeat(32).into();
            serde_json::to_vec(&manifest).unwrap()
        })
    })
    .await;
    for format in [Format::Sql, Format::Components, Format::Dump] {
        for inserts in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let options = ExportOptions { inserts, ..ExportOptions::new([format]) };
            let error = export_to(&backup, &options, folder.path()).await.unwrap_err();
            assert_eq!(error.kind(), basekeep_engine::ErrorKind::Difference, "{error}");
            let left = || {
                let mut names: Vec<String> = std::fs::read_dir(folder.path())
                    .unwrap()
                    .chain(std::fs::read_dir(folder.path().join("components")).into_iter().flatten())
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.retain(|name| name.contains("data") && !name.starts_with("copy-"));
                names
            };
            // The thread that writes takes a moment to see that nothing more comes.
            for _ in 0..500 {
                if left().is_empty() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!(left(), [] as [&str; 0]);
        }
    }
}

//! Plain copies after backups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use basekeep_engine::export::{ExportOptions, Format, SetOptions, SetReport, keep_set};
use basekeep_engine::{EngineError, Interrupt, InterruptHandle, Observer, Silent};
use basekeep_testkit::{SAMPLE_PROJECT, TestCluster, small_sample_project};

use super::archive::{pg_restore, run_script};
use super::sql::assert_same;
use super::{fixture, psql};
use crate::support::{Backup, assert_same_text, definitions};

fn options(folder: &Path) -> SetOptions {
    SetOptions {
        folder: folder.join("plain"),
        export: ExportOptions::new([Format::Sql, Format::Components]),
        keep: "1000y".parse().unwrap(),
        max: 2,
        compress_after: Some("1000y".parse().unwrap()),
    }
}

async fn keep(backup: &Backup, options: &SetOptions) -> Result<SetReport, EngineError> {
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    keep_set(&backup.repository, &backup.snapshot, options, &observer, &Interrupt::never()).await
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

/// A copy as if of another day.
fn copied_to(copy: &Path, name: &str) -> PathBuf {
    let other = copy.with_file_name(name);
    std::fs::create_dir(&other).unwrap();
    for name in [".basekeep-files", "database.sql", "restore.sh"] {
        std::fs::copy(copy.join(name), other.join(name)).unwrap();
    }
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_loads_and_old_ones_are_compressed_and_removed() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    let wanted = options(folder.path());
    let report = keep(&backup, &wanted).await.unwrap();
    assert_eq!(report.folder.parent().unwrap(), folder.path().join("plain/shop"));
    assert!(report.written.is_some() && report.removed.is_empty() && report.failed.is_empty());
    let target = cluster.create_database();
    psql(&target, &report.folder.join("database.sql"));
    assert_same_text(&definitions(&source), &definitions(&target));
    assert!(
        report.folder.join("components/05-users.sql").exists() && report.folder.join("restore.sh").exists()
    );

    // Copies of other days, somebody's own folder, and what an interrupted run left behind.
    let (old, older) = ("2020-02-01_00-00-00_0123abcd", "2020-01-01_00-00-00_0123abcd");
    copied_to(&report.folder, old);
    copied_to(&report.folder, older);
    let source_folder = report.folder.parent().unwrap();
    std::fs::create_dir(source_folder.join("2019-01-01_00-00-00_0123abcd")).unwrap();
    std::fs::create_dir(source_folder.join(format!(".{older}.partial"))).unwrap();
    let again =
        keep(&backup, &SetOptions { compress_after: Some("1d".parse().unwrap()), ..wanted }).await.unwrap();
    assert!(again.written.is_none() && again.failed.is_empty(), "{again:?}");
    assert_eq!((again.removed, again.compressed), (vec![older.to_owned()], vec![old.to_owned()]));
    let newest = report.folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(entries(source_folder), ["2019-01-01_00-00-00_0123abcd", old, newest]);
    let old = source_folder.join(old);
    assert!(old.join("database.sql.gz").exists() && !old.join("database.sql").exists());
    assert!(old.join("restore.sh").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_written_or_is_interrupted_leaves_nothing() {
    let cluster = TestCluster::shared(15);
    let (_source, backup) =
        fixture(&cluster, "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 100000);").await;
    let folder = tempfile::tempdir().unwrap();
    let wanted = options(folder.path());
    let (handle, interrupt) = InterruptHandle::new();
    handle.interrupt();
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let result = keep_set(&backup.repository, &backup.snapshot, &wanted, &observer, &interrupt).await;
    assert_eq!(result.unwrap_err().kind(), basekeep_engine::ErrorKind::Interrupted);
    assert_eq!(entries(&folder.path().join("plain/shop")), [] as [&str; 0]);

    // A selection of what is not there.
    let mut wrong = wanted.clone();
    wrong.export.selection.tables = vec!["public.none".into()];
    assert!(keep(&backup, &wrong).await.is_err());
    assert_eq!(entries(&folder.path().join("plain/shop")), [] as [&str; 0]);
    assert!(keep(&backup, &wanted).await.unwrap().written.is_some());
    assert_eq!(entries(&folder.path().join("plain/shop")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_and_a_script_that_were_compressed_after_7_days_load_as_before() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, &small_sample_project()).await;
    for format in [Format::Archive, Format::Sql] {
        let folder = tempfile::tempdir().unwrap();
        let wanted = SetOptions {
            export: ExportOptions::new([format]),
            compress_after: Some("7d".parse().unwrap()),
            max: 9,
            ..options(folder.path())
        };
        let report = keep(&backup, &wanted).await.unwrap();
        assert_eq!(report.compressed, Vec::<String>::new(), "it is of today");
        // The same copy, of a day when it would be older than that, and of one when it would not.
        let days_ago = |days: i64| {
            let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
            report.folder.with_file_name(format!("{}_0123abcd", time.strftime("%Y-%m-%d_%H-%M-%S")))
        };
        let (young, old) = (days_ago(6), days_ago(8));
        std::fs::rename(&report.folder, &old).unwrap();
        let again = keep(&backup, &wanted).await.unwrap();
        let name = old.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!((again.compressed, again.failed), (vec![name], vec![]));
        std::fs::rename(&again.folder, &young).unwrap();
        assert_eq!(keep(&backup, &wanted).await.unwrap().compressed, Vec::<String>::new());
        let target = cluster.create_database();
        match format {
            Format::Archive => {
                let files = entries(&old.join("database"));
                assert!(files.iter().filter(|name| name.ends_with(".dat.gz")).count() > 10, "{files:?}");
                pg_restore(&target, &old.join("database"), "2");
                assert_same(&source, &backup, &target).await;
            }
            _ => assert!(old.join("database.sql.gz").exists() && !old.join("database.sql").exists()),
        }
        let target = cluster.create_database();
        run_script(&target, &old);
        assert_same(&source, &backup, &target).await;
    }
}

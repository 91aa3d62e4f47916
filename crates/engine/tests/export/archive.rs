//! Archives through stock pg_restore.

use std::path::Path;
use std::process::Command;

use basekeep_engine::export::{Compression, ExportOptions, Format};
use basekeep_testkit::{ODD_CATALOG, TestCluster, TestDatabase, tool};

use super::sql::assert_same;
use super::{export_to, fixture};

#[track_caller]
pub(super) fn pg_restore(database: &TestDatabase, archive: &Path, jobs: &str) {
    let major = database.cluster().server().major;
    let output = Command::new(tool("pg_restore", major))
        .args(["--exit-on-error", "-j", jobs, "--dbname", &database.url()])
        .arg(archive)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the `restore.sh` of a folder.
#[track_caller]
pub(super) fn run_script(target: &TestDatabase, folder: &Path) {
    let bin = tool("psql", 15).parent().unwrap().display().to_string();
    let output = Command::new("sh")
        .arg(folder.join("restore.sh"))
        .arg(target.url())
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", folder.display());
}

async fn restores(major: u32, text: &str, compressions: &[Compression]) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    for &compression in compressions {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { compression, ..ExportOptions::new([Format::Archive, Format::Dump]) };
        let report = export_to(&backup, &options, folder.path()).await.unwrap();
        assert_eq!(report.rows, 2 * backup.manifest.totals.rows);
        for (name, jobs) in [("database", "1"), ("database.dump", "1")] {
            let target = cluster.create_database();
            pg_restore(&target, &folder.path().join(name), jobs);
            assert_same(&source, &backup, &target).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_restore_15_takes_the_odd_catalog() {
    restores(15, ODD_CATALOG, &[Compression::None, Compression::Gzip]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_restore_16_takes_the_odd_catalog() {
    restores(16, ODD_CATALOG, &[Compression::Gzip]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_restore_18_takes_the_odd_catalog() {
    restores(18, ODD_CATALOG, &[Compression::None, Compression::Gzip]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_beside_an_export_loads_it() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, ODD_CATALOG).await;
    for (format, compression) in [
        (Format::Archive, Compression::None),
        (Format::Dump, Compression::Gzip),
        (Format::Sql, Compression::None),
        (Format::Sql, Compression::Gzip),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { compression, ..ExportOptions::new([format]) };
        export_to(&backup, &options, folder.path()).await.unwrap();
        let inventory = std::fs::read_to_string(folder.path().join("BACKUP_MANIFEST.md")).unwrap();
        assert!(inventory.contains("database") && inventory.contains("odd.log"), "{inventory}");
        let target = cluster.create_database();
        run_script(&target, folder.path());
        assert_same(&source, &backup, &target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_one_file_and_several_are_refused() {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use basekeep_engine::export::{Target, export};
    use basekeep_engine::{ErrorKind, Interrupt, Observer, Silent};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let cluster = TestCluster::shared(18);
    let (source, backup) = fixture(&cluster, ODD_CATALOG).await;
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let kept = Kept::default();
    let streamed = async |formats: &[Format]| {
        let options = ExportOptions::new(formats.iter().copied());
        let target = Target::Stream(Box::new(kept.clone()));
        export(&backup.repository, &backup.snapshot, &options, target, &observer, &Interrupt::never()).await
    };
    streamed(&[Format::Archive]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.dump");
    std::fs::write(&file, kept.0.lock().unwrap().as_slice()).unwrap();
    let target = cluster.create_database();
    pg_restore(&target, &file, "2");
    assert_same(&source, &backup, &target).await;
    for formats in [&[Format::Sql, Format::Schema][..], &[Format::Components], &[Format::Files, Format::Sql]]
    {
        match streamed(formats).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Usage),
            // There are no files.
            Ok(_) => assert!(formats.contains(&Format::Files)),
        }
    }
}

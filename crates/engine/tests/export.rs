//! Exports loaded back with stock tools: what comes back is what was backed up.

mod archive;
mod components;
mod schema;
mod sets;
mod sql;
mod values;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use basekeep_engine::export::{ExportOptions, ExportReport, Target, export};
use basekeep_engine::{EngineError, Interrupt, Observer, Silent};
use basekeep_testkit::{TestCluster, TestDatabase, tool};

use crate::support::{Backup, backed_up};

/// A fixture in a database, and its backup.
pub(crate) async fn fixture(cluster: &TestCluster, fixture: &str) -> (TestDatabase, Backup) {
    let source = cluster.create_database();
    source.load(fixture).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

/// Exports into a folder.
pub(crate) async fn export_to(
    backup: &Backup,
    options: &ExportOptions,
    folder: &Path,
) -> Result<ExportReport, EngineError> {
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let target = Target::Folder(folder.to_owned());
    export(&backup.repository, &backup.snapshot, options, target, &observer, &Interrupt::never()).await
}

/// Loads a script with psql; the first error ends it.
#[track_caller]
pub(crate) fn psql(database: &TestDatabase, file: &Path) {
    let major = database.cluster().server().major;
    let output = Command::new(tool("psql", major))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", &database.url(), "-f"])
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", file.display());
    assert!(!complaints.contains("triggers of"), "{complaints}");
}

//! One consistent snapshot of a database into a repository: plan, run, finish.

use std::path::PathBuf;
use std::sync::Arc;

use basekeep_postgres::ConnectOptions;
use basekeep_repository::Repository;

use crate::stored::manifest::Manifest;
use crate::{EngineError, Interrupt, Observer};

/// What to back up.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name under which its snapshots are kept; one path component.
    pub name: String,
    /// How to reach it.
    pub connect: ConnectOptions,
}

/// How to back up.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// The user's tags.
    pub tags: Vec<String>,
    /// Connections that read rows; `None` chooses.
    pub jobs: Option<usize>,
    /// Read nothing but the catalog and say what would be done.
    pub dry_run: bool,
    /// The pg_dump to use; found otherwise.
    pub pg_dump: Option<PathBuf>,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The new snapshot's id; `None` for a dry run.
    pub snapshot: Option<String>,
    /// What is in it. `manifest.not_captured` not empty means exit code 3.
    pub manifest: Manifest,
}

/// Backs one source up. On any error (or interrupt) there is no snapshot, and locks are released.
pub async fn backup(
    repository: &Repository,
    source: &Source,
    options: &BackupOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<BackupReport, EngineError> {
    let _ = (repository, source, options, observer, interrupt);
    todo!()
}

//! Integrity of the repository, told in the words of databases: which snapshots and tables a damaged file touches.

use std::sync::Arc;

use basekeep_repository::{Repository, Snapshot};

use crate::{EngineError, Interrupt, Observer};

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only this snapshot; all of them otherwise.
    pub snapshot: Option<Snapshot>,
    /// Read and check every blob, and compare each table's rows and digest with the manifest.
    pub read_data: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file in the repository (`data/3f/3f…`), or the place in a snapshot.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Short ids of snapshots it touches.
    pub snapshots: Vec<String>,
    /// Tables (`public.orders`) or other files (`MANIFEST.md`) it touches.
    pub touches: Vec<String>,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Blobs whose content was read and checked.
    pub blobs_read: u64,
    /// Plain bytes read and checked.
    pub bytes_read: u64,
    /// Tables whose rows were counted and digested again.
    pub tables: u64,
    /// Damage. Empty means all is well.
    pub damage: Vec<Damage>,
    /// Harmless findings such as files that nothing refers to.
    pub notes: Vec<String>,
}

/// Verifies and reports; damage is in the report, an error means that verification itself could not go on.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<VerifyReport, EngineError> {
    let _ = (repository, options, observer, interrupt);
    todo!()
}

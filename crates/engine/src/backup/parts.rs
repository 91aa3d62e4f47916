//! What a snapshot holds beside the database: read after the rows, while the leading connection's transaction is still open.

use std::sync::Arc;

use basekeep_postgres::Client;
use basekeep_repository::{FileContent, Repository, Writer};

use super::plan::Plan;
use super::{Source, Stopped};
use crate::Observer;
use crate::stored::manifest::{Missing, Supabase, Warning};

/// Everything that was captured, and what was not.
#[derive(Default)]
pub(super) struct Parts {
    /// Files of the snapshot.
    pub(super) files: Vec<PartFile>,
    /// What could not be captured.
    pub(super) missing: Vec<Missing>,
    /// What a reader should know.
    pub(super) warnings: Vec<Warning>,
    /// The Supabase project; the counts of several pieces are put together.
    pub(super) supabase: Option<Supabase>,
}

impl Parts {
    /// Takes in what another piece captured.
    #[allow(dead_code, reason = "the pieces follow")]
    pub(super) fn add(&mut self, piece: Self) {
        self.files.extend(piece.files);
        self.missing.extend(piece.missing);
        self.warnings.extend(piece.warnings);
        match (&mut self.supabase, piece.supabase) {
            (Some(all), Some(more)) => {
                more.counts.iter().for_each(|(name, count)| all.count(name, *count));
                all.supply_again.extend(more.supply_again);
            }
            (all @ None, more) => *all = more,
            (Some(_), None) => {}
        }
    }

    /// Something that could not be captured.
    #[allow(dead_code, reason = "the pieces follow")]
    pub(super) fn miss(&mut self, what: impl Into<String>, reason: impl Into<String>, hint: Option<&str>) {
        self.missing.push(Missing {
            what: what.into(),
            reason: reason.into(),
            hint: hint.map(str::to_owned),
        });
    }
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

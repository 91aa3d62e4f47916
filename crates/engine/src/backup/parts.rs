//! What a snapshot holds beside the database: read after the rows, while the leading connection's transaction is still open.

use std::sync::Arc;

use basekeep_postgres::Client;
use basekeep_repository::{FileContent, Repository, Writer};

use super::plan::Plan;
use super::{Source, Stopped, files, management, project, supabase};
use crate::stored::manifest::{Missing, Supabase, Warning};
use crate::{Event, Observer};

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
    pub(super) fn miss(&mut self, what: impl Into<String>, reason: impl Into<String>, hint: Option<&str>) {
        self.missing.push(Missing {
            what: what.into(),
            reason: reason.into(),
            hint: hint.map(str::to_owned),
        });
    }

    /// Tells what could not be captured, and what is to know.
    fn tell(&self, observer: &Arc<dyn Observer>) {
        for missing in &self.missing {
            observer.event(Event::Warning {
                code: "not-captured".into(),
                message: format!("not captured: {}: {}", missing.what, missing.reason),
                hint: missing.hint.clone(),
            });
        }
        for warning in &self.warnings {
            observer.event(Event::Warning {
                code: warning.code.clone(),
                message: warning.message.clone(),
                hint: warning.hint.clone(),
            });
        }
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
    let mut parts = Parts::default();
    let (database, recognised) = supabase::capture(plan, leader, writer, observer).await?;
    parts.add(database);
    parts.add(project::capture(writer, source, recognised.is_some(), observer).await?);
    parts.add(files::capture(plan, leader, repository, writer, source, observer).await?);
    parts.add(management::capture(writer, source, recognised.is_some(), observer).await?);
    parts.tell(observer);
    Ok(parts)
}

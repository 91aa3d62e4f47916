//! `basekeep copy`: snapshots into another repository.

use std::path::PathBuf;

use basekeep_engine::EngineError;
use basekeep_engine::copy::{self, CopyReport, CopySelection};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::context::other::Role;
use crate::exit::Exit;
use crate::output::units;
use crate::progress;

/// Copy snapshots to another repository; only what is missing there travels
#[derive(Debug, Args)]
#[command(
    after_long_help = "Snapshots that the other repository has already are passed over, so that an interrupted copy is just \
repeated. The drills' proofs of a snapshot go with it. A snapshot that is damaged is named and not copied; the others are, \
and the exit code is 3.\n\n\
The target's password comes from --to-password-file, from BASEKEEP_TO_PASSWORD, BASEKEEP_TO_PASSWORD_FILE or \
BASEKEEP_TO_PASSWORD_COMMAND, or from the configuration where --to names a replica.\n\n\
Make a target with `basekeep init --repo TARGET --from-repo SOURCE --copy-chunker-params`, so that backups to either share \
their data."
)]
pub(crate) struct Copy {
    /// Ids, their beginnings, or `latest` [default: all snapshots]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// The target: a repository, or the name of a replica in basekeep.toml
    #[arg(long, value_name = "REPO")]
    to: String,
    /// Read the target's password from this file
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only snapshots with this tag; several: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    copied: Vec<CopiedDocument<'a>>,
    present: Vec<CopiedDocument<'a>>,
    not_copied: Vec<NotCopiedDocument<'a>>,
    blobs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct CopiedDocument<'a> {
    snapshot: &'a str,
    copy: &'a str,
}

#[derive(Serialize)]
struct NotCopiedDocument<'a> {
    snapshot: &'a str,
    reason: &'a str,
}

pub(crate) async fn run(command: &Copy, context: &Context) -> Result<Exit, EngineError> {
    let to = context.open_other(&command.to, command.to_password_file.as_deref(), Role::To).await?;
    let from = context.open_repository().await?;
    let selection = CopySelection {
        snapshots: command.snapshots.clone(),
        source: command.source.clone(),
        tags: command.tags.clone(),
    };
    let report = copy::copy(&from, &to, &selection, &context.observer(), &context.interrupt).await?;
    let exit = if report.not_copied.is_empty() { Exit::Done } else { Exit::Incomplete };
    if context.output.json {
        progress::emit(&context.output, &document(&report))?;
        return Ok(exit);
    }
    for failed in &report.not_copied {
        let id = units::short(failed.snapshot.rsplit('/').next().unwrap_or_default());
        context.output.warning(
            &format!("snapshot {id} was not copied: {}", failed.reason),
            Some("`basekeep verify --read-data` names everything that is damaged"),
        );
    }
    if !context.output.quiet {
        context.output.data(&text(&report))?;
    }
    Ok(exit)
}

fn both(ids: &[copy::Copied]) -> Vec<CopiedDocument<'_>> {
    ids.iter().map(|ids| CopiedDocument { snapshot: &ids.snapshot, copy: &ids.copy }).collect()
}

fn document(report: &CopyReport) -> Document<'_> {
    let not_copied = report
        .not_copied
        .iter()
        .map(|failed| NotCopiedDocument { snapshot: &failed.snapshot, reason: &failed.reason });
    Document {
        copied: both(&report.copied),
        present: both(&report.present),
        not_copied: not_copied.collect(),
        blobs: report.blobs,
        bytes: report.bytes,
    }
}

fn text(report: &CopyReport) -> String {
    let snapshots = |number: usize| units::counted(number as u64, "snapshot", "snapshots");
    let mut parts = vec![format!("{} copied", snapshots(report.copied.len()))];
    if !report.copied.is_empty() {
        parts.push(format!(
            "{} in {} travelled",
            units::bytes(report.bytes),
            units::counted(report.blobs, "blob", "blobs")
        ));
    }
    if !report.present.is_empty() {
        parts.push(format!("{} there already", units::count(report.present.len() as u64)));
    }
    if !report.not_copied.is_empty() {
        parts.push(format!("{} not copied", units::count(report.not_copied.len() as u64)));
    }
    parts.join(", ") + "\n"
}

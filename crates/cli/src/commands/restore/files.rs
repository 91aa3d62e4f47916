//! Storage files after the rows, or alone.

use basekeep_engine::files::{self, Address, FilesAccess, FilesOptions, FilesReport};
use basekeep_engine::postgres::ConnectOptions;
use basekeep_engine::restore::{FailedObject, RestoreReport};
use basekeep_engine::selection::Part;
use basekeep_engine::{EngineError, Repository, Snapshot};
use clap::Args;
use serde::Serialize;

use super::{FailedDocument, Restore};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::clean;
use crate::output::units;
use crate::{confirm, progress};

#[derive(Debug, Clone, Args)]
pub(super) struct FilesArguments {
    /// Leave the storage files out
    #[arg(long)]
    no_files: bool,
    /// Send the storage files alone: their rows are there already, or come with them
    #[arg(long = "files", conflicts_with_all = ["no_files", "create_database"])]
    pub(super) alone: bool,
    /// The target's Storage API, such as https://….supabase.co/storage/v1 [default: as configured, or by the target's address]
    #[arg(long, value_name = "URL")]
    storage_url: Option<String>,
    /// The variable that holds the key of the target's service role [default: SUPABASE_SERVICE_ROLE_KEY]
    #[arg(long, value_name = "VARIABLE")]
    storage_key_env: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    target: String,
    files: u64,
    files_present: u64,
    file_bytes: u64,
    seconds: f64,
    failed: Vec<FailedDocument<'a>>,
    warnings: &'a [String],
}

/// How the target's files are reached.
fn access(command: &Restore, context: &Context) -> Result<FilesAccess, EngineError> {
    let arguments = &command.files;
    if arguments.storage_url.is_none() && arguments.storage_key_env.is_none() {
        return context.target_files(command.to());
    }
    let variable = arguments.storage_key_env.as_deref().unwrap_or("SUPABASE_SERVICE_ROLE_KEY");
    let key = context.env.var(variable).ok_or_else(|| {
        EngineError::usage(format!("the variable {variable} is not set"))
            .hint("it holds the key of the service role of the project that the files go to")
    })?;
    let derived = || files::service_url(&command.target(context).ok()?);
    let url = arguments.storage_url.clone().or_else(derived).ok_or_else(|| {
        EngineError::usage("where the target's Storage API is cannot be told from its address")
            .hint("give it with --storage-url")
    })?;
    Ok(FilesAccess::service(Address::api(&url, key.into())))
}

/// Sends the files after everything else. What did not come back is added to the report.
pub(super) async fn after(
    command: &Restore,
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    report: &mut RestoreReport,
) -> Result<(), EngineError> {
    if command.files.no_files || !files::present(repository, snapshot).await? {
        return Ok(());
    }
    let options = FilesOptions { target: command.target(context)?, access: access(command, context)? };
    match &options.access {
        FilesAccess::Skip => {
            let message = "the storage files are left out, as the configuration says";
            if !context.output.json {
                context.output.warning(message, None);
            }
            report.warnings.push(message.into());
            return Ok(());
        }
        FilesAccess::Unknown => {
            let reason = "there is no key for the target's storage: set SUPABASE_SERVICE_ROLE_KEY, and then \
                          `basekeep restore --files` sends them (--no-files leaves them out)";
            report.failed.push(not_sent(reason));
            return Ok(());
        }
        FilesAccess::Unavailable { reason } => {
            report.failed.push(not_sent(reason));
            return Ok(());
        }
        FilesAccess::Service { .. } => {}
    }
    let sent = files::restore(repository, snapshot, &options, context.observer(), &context.interrupt).await;
    match sent {
        Ok(sent) => {
            (report.files, report.file_bytes, report.files_present) = (sent.sent, sent.bytes, sent.present);
            report.failed.extend(sent.failed);
            report.warnings.extend(sent.warnings);
        }
        // The rows are back, and that is to be told.
        Err(error) if error.kind() != basekeep_engine::ErrorKind::Interrupted => {
            report.failed.push(not_sent(error.message()));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The files that are sent when the rest is back, as a line of the plan; `None` when none are.
///
/// Errors: kind `Usage` when they were asked for and the snapshot has none.
pub(super) async fn announced(
    command: &Restore,
    partial: bool,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<&'static str>, EngineError> {
    let asked = command.selection.selection().parts.contains(&Part::Files);
    if partial && !asked || command.files.no_files {
        return Ok(None);
    }
    match files::present(repository, snapshot).await? {
        true => Ok(Some("storage files")),
        false if asked => {
            Err(EngineError::usage("the snapshot has no files").hint("`basekeep show` tells what it has"))
        }
        false => Ok(None),
    }
}

fn not_sent(reason: &str) -> FailedObject {
    FailedObject { object: "storage files".into(), reason: reason.to_owned(), skipped: true }
}

/// Sends the files alone.
pub(super) async fn alone(
    command: &Restore,
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    target: &ConnectOptions,
) -> Result<Exit, EngineError> {
    let id = snapshot.id.to_string();
    if !files::present(repository, snapshot).await? {
        return Err(EngineError::usage(format!("snapshot {} has no storage files", units::short(&id))));
    }
    let options = FilesOptions { target: target.clone(), access: access(command, context)? };
    if command.dry_run {
        let place = match &options.access {
            FilesAccess::Service { address, .. } => address.url.clone(),
            _ => "nowhere yet: no storage is named".to_owned(),
        };
        let text = format!("the storage files of snapshot {} would go to {place}\n", units::short(&id));
        context.output.data(&text)?;
        return Ok(Exit::Done);
    }
    if !command.yes {
        let question = format!("Type the database's name, {}, to go on:", target.database());
        confirm::name(&question, target.database(), &context.interrupt).await?;
    }
    let report =
        files::restore(repository, snapshot, &options, context.observer(), &context.interrupt).await?;
    let exit = if report.failed.is_empty() { Exit::Done } else { Exit::Incomplete };
    if context.output.json {
        progress::emit(&context.output, &document(&report, id, target))?;
        return Ok(exit);
    }
    let mut text = String::new();
    for failed in &report.failed {
        text += &format!("failed: {}: {}\n", clean(&failed.object), clean(&failed.reason));
    }
    text += &format!(
        "sent {} ({}) in {}, {} there already\n",
        units::counted(report.sent, "file", "files"),
        units::bytes(report.bytes),
        units::duration(report.elapsed),
        units::counted(report.present, "was", "were"),
    );
    context.output.data(&text)?;
    Ok(exit)
}

fn document<'a>(report: &'a FilesReport, snapshot: String, target: &ConnectOptions) -> Document<'a> {
    let failed = report.failed.iter().map(|failed| FailedDocument {
        object: &failed.object,
        reason: &failed.reason,
        skipped: failed.skipped,
    });
    Document {
        snapshot,
        target: target.redacted(),
        files: report.sent,
        files_present: report.present,
        file_bytes: report.bytes,
        seconds: report.elapsed.as_secs_f64(),
        failed: failed.collect(),
        warnings: &report.warnings,
    }
}

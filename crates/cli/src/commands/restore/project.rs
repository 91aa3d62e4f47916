//! Edge functions and configuration through the Management API, alone.

use basekeep_engine::config::{Management, ManagementEntry};
use basekeep_engine::project::{self, PushOptions, PushReport};
use basekeep_engine::restore::{FailedObject, RestoreReport};
use basekeep_engine::selection::{Part, Selection};
use basekeep_engine::{EngineError, ErrorKind, Repository, Snapshot};
use clap::Args;
use serde::Serialize;

use super::{FailedDocument, Restore};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::clean;
use crate::output::units;
use crate::{confirm, progress};

#[derive(Debug, Clone, Args)]
pub(super) struct ProjectArguments {
    /// Deploy the edge functions alone, through the target's Management API (the bundles that were deployed)
    #[arg(long, conflicts_with_all = ["create_database", "mode", "resume", "alone"])]
    functions: bool,
    /// Change the configuration of the target's project alone, where it differs (auth, REST, realtime, storage, server settings)
    #[arg(long, conflicts_with_all = ["create_database", "mode", "resume", "alone"])]
    configuration: bool,
    /// The target's project, where --to names no source with `management`; the token is in SUPABASE_ACCESS_TOKEN
    #[arg(long, value_name = "REFERENCE")]
    project_ref: Option<String>,
}

/// What is to be sent without the database being looked at, if that is asked for.
pub(super) fn asked_alone(command: &Restore) -> Option<PushOptions> {
    let arguments = &command.project;
    let selection = command.selection.selection();
    let only = Selection { parts: [Part::EdgeFunctions].into(), ..Selection::default() } == selection
        && command.conditions.is_empty();
    let options =
        PushOptions { functions: arguments.functions || only, configuration: arguments.configuration };
    (options.functions || options.configuration).then_some(options)
}

/// Edge functions that are sent when the rest is back, as a line of the plan; `None` when they are not asked for.
///
/// Errors: kind `Usage` when the target's project is not known.
pub(super) fn announced(command: &Restore, context: &Context) -> Result<Option<String>, EngineError> {
    if !command.selection.selection().parts.contains(&Part::EdgeFunctions) {
        return Ok(None);
    }
    let management = management(command, context)?;
    Ok(Some(format!("edge functions, to project {}", management.entry.project_ref)))
}

/// Deploys the edge functions after everything else. What did not come back is added to the report.
pub(super) async fn after(
    command: &Restore,
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    report: &mut RestoreReport,
) -> Result<(), EngineError> {
    let management = management(command, context)?;
    let options = PushOptions { functions: true, configuration: false };
    match project::push(repository, snapshot, &management, options, &context.interrupt).await {
        Ok(sent) => {
            report.functions = sent.functions;
            report.failed.extend(sent.failed);
            for warning in sent.warnings {
                if !context.output.json {
                    context.output.warning(&warning, None);
                }
                report.warnings.push(warning);
            }
        }
        // The rest is back, and that is to be told.
        Err(error) if error.kind() != ErrorKind::Interrupted => report.failed.push(FailedObject {
            object: "edge functions".into(),
            reason: error.message().to_owned(),
            skipped: true,
        }),
        Err(error) => return Err(error),
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    project: &'a str,
    functions: &'a [String],
    changed: &'a [String],
    failed: Vec<FailedDocument<'a>>,
    warnings: &'a [String],
}

/// Sends what is asked for.
pub(super) async fn alone(
    command: &Restore,
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    options: PushOptions,
) -> Result<Exit, EngineError> {
    let management = management(command, context)?;
    let reference = management.entry.project_ref.clone();
    let id = snapshot.id.to_string();
    let what = match (options.functions, options.configuration) {
        (true, true) => "edge functions and configuration",
        (true, false) => "edge functions",
        _ => "configuration",
    };
    if command.dry_run {
        let text = format!(
            "the {what} of snapshot {} would go to project {reference} at {}\n",
            units::short(&id),
            management.entry.url
        );
        context.output.data(&text)?;
        return Ok(Exit::Done);
    }
    if !command.yes {
        let question = format!("This changes what project {reference} serves. Type {reference} to go on:");
        confirm::name(&question, &reference, &context.interrupt).await?;
    }
    let report = project::push(repository, snapshot, &management, options, &context.interrupt).await?;
    let exit = if report.failed.is_empty() { Exit::Done } else { Exit::Incomplete };
    if context.output.json {
        progress::emit(&context.output, &document(&report, id, &reference))?;
        return Ok(exit);
    }
    for warning in &report.warnings {
        context.output.warning(warning, None);
    }
    context.output.data(&text(&report, &reference))?;
    Ok(exit)
}

fn management(command: &Restore, context: &Context) -> Result<Management, EngineError> {
    let configured = context.target_management(command.to())?;
    let Some(reference) = &command.project.project_ref else {
        return configured.ok_or_else(|| {
            EngineError::usage("which project functions and configuration go to is not known").hint(
                "give it with --project-ref, or add `management = { project_ref = \"…\" }` to the source",
            )
        });
    };
    let mut entry = configured.map_or_else(|| ManagementEntry::new(reference), |found| found.entry);
    entry.project_ref.clone_from(reference);
    Ok(entry.resolve(&context.env, &Default::default()))
}

fn text(report: &PushReport, reference: &str) -> String {
    let mut text = String::new();
    for failed in &report.failed {
        text += &format!("failed: {}: {}\n", clean(&failed.object), clean(&failed.reason));
    }
    for slug in &report.functions {
        text += &format!("deployed: {}\n", clean(slug));
    }
    for changed in &report.changed {
        text += &format!("changed: {}\n", clean(changed));
    }
    text += &format!(
        "project {reference}: {} deployed, {} changed, {} failed\n",
        units::counted(report.functions.len() as u64, "function", "functions"),
        units::counted(report.changed.len() as u64, "document", "documents"),
        report.failed.len()
    );
    text
}

fn document<'a>(report: &'a PushReport, snapshot: String, project: &'a str) -> Document<'a> {
    let failed = report.failed.iter().map(|failed| FailedDocument {
        object: &failed.object,
        reason: &failed.reason,
        skipped: failed.skipped,
    });
    Document {
        snapshot,
        project,
        functions: &report.functions,
        changed: &report.changed,
        failed: failed.collect(),
        warnings: &report.warnings,
    }
}

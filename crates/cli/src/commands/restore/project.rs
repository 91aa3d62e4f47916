//! Edge functions and configuration through the Management API, alone.

use basekeep_engine::config::{Management, ManagementEntry};
use basekeep_engine::project::{self, PushOptions, PushReport};
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

impl ProjectArguments {
    /// Whether this is asked for, and nothing else.
    pub(super) fn alone(&self) -> bool {
        self.functions || self.configuration
    }
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
) -> Result<Exit, EngineError> {
    let arguments = &command.project;
    let management = management(command, context)?;
    let reference = management.entry.project_ref.clone();
    let id = snapshot.id.to_string();
    let what = match (arguments.functions, arguments.configuration) {
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
    let options = PushOptions { functions: arguments.functions, configuration: arguments.configuration };
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

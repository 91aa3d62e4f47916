//! `basekeep restore`: a snapshot back into a database.

mod changes;
mod checklist;
mod files;
mod project;
mod wizard;

use std::path::PathBuf;

use basekeep_engine::postgres::ConnectOptions;
use basekeep_engine::restore::{
    self, FailedObject, OnConflict, Rename, RestoreOptions, RestorePlan, RestoreReport, RowCondition,
};
use basekeep_engine::{EngineError, Repository, listing};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::changes::ChangeDocument;
use self::checklist::Checklist;
use crate::arguments::mask::{self, MaskArguments, MaskDocument};
use crate::arguments::selection::SelectionArguments;
use crate::commands::verify::live::CheckDocument;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::{Align, Table, clean};
use crate::output::{JSON_VERSION, units};
use crate::{confirm, progress};

/// Restore a snapshot or a part of it into an empty, a new or a live database, or into a Supabase project
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = "The plan is printed and the target's database name is asked for, unless --yes is given. \
                             Objects that could not be restored are listed, and the exit code is 3. Afterwards the checklist of \
                             `verify --live` is gone through; when a line fails after a complete restore, the exit code \
                             is 4.\n\n\
                             A fresh Supabase project counts as empty: what the platform made there is left alone. \
                             Cron jobs and webhooks come back switched off unless they are enabled."
)]
pub(crate) struct Restore {
    /// An id, its beginning, or `latest` [default: latest]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// The target: a postgresql:// URL or a name from basekeep.toml; its database must be empty, or a fresh Supabase project
    ///
    /// Without it, on a terminal, everything is asked for.
    #[arg(long, value_name = "URL|SOURCE")]
    to: Option<String>,
    /// The target with a password that was typed.
    #[arg(skip)]
    address: Option<Box<ConnectOptions>>,
    #[command(flatten)]
    selection: SelectionArguments,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Create the target's database first; it must not exist
    #[arg(long)]
    create_database: bool,
    /// What the target may hold already
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Mode::Empty)]
    mode: Mode,
    /// Only the rows of this table for which the condition is true, such as 'public.orders: customer_id = 7'; alone, it means
    /// these rows and nothing else. Several times for several tables
    #[arg(long = "where", value_name = "TABLE: SQL", help_heading = "What part of the snapshot")]
    conditions: Vec<String>,
    /// Restore a schema under another name, as old=new. Several times for several
    #[arg(long, value_name = "OLD=NEW", help_heading = "What part of the snapshot")]
    rename_schema: Vec<String>,
    /// Restore a table under another name, as schema.old=schema.new. Several times for several
    #[arg(long, value_name = "OLD=NEW", help_heading = "What part of the snapshot")]
    rename_table: Vec<String>,
    /// Restore everything that is selected into this schema, which is made if it is not there
    #[arg(
        long,
        value_name = "SCHEMA",
        conflicts_with = "rename_schema",
        help_heading = "What part of the snapshot"
    )]
    into_schema: Option<String>,
    /// With --mode clear: do not back the target up into the same repository first
    #[arg(long)]
    no_safety_backup: bool,
    /// With --mode merge or clear: leave rows out that break a constraint of the target, and write them to --rejects
    #[arg(long, requires = "rejects")]
    load_what_fits: bool,
    /// The folder for rows that do not fit: a CSV file for each table, with the reason
    #[arg(long, value_name = "DIR", requires = "load_what_fits")]
    rejects: Option<PathBuf>,
    /// With --mode merge: what happens to a row whose key the target has with other values [default: keep]
    #[arg(long, value_name = "HOW", value_enum)]
    on_conflict: Option<Conflict>,
    /// Go on with a restore that ended early: what is there is skipped
    #[arg(long, conflicts_with_all = ["mode", "create_database"])]
    resume: bool,
    /// Replace functions, views, triggers and policies that the target has otherwise
    #[arg(long)]
    replace: bool,
    /// Let cron jobs run; otherwise they are made inactive
    #[arg(long)]
    enable_cron: bool,
    /// Let webhooks call; otherwise their triggers are made disabled
    #[arg(long)]
    enable_webhooks: bool,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Everything belongs to the role that connects
    #[arg(long)]
    no_owner: bool,
    /// Leave out grants
    #[arg(long)]
    no_privileges: bool,
    /// Do not go through the checklist of `verify --live` afterwards
    #[arg(long)]
    no_check: bool,
    /// Do not create roles that are missing
    #[arg(long)]
    no_roles: bool,
    /// Put everything into the default tablespace
    #[arg(long)]
    no_tablespaces: bool,
    #[command(flatten)]
    mask: MaskArguments,
    #[command(flatten)]
    files: files::FilesArguments,
    #[command(flatten)]
    project: project::ProjectArguments,
    /// Connections [default: chosen by the machine and the target]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

/// What the target may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nothing, or what a fresh Supabase project has
    Empty,
    /// Definitions and rows: the snapshot's are put in beside them
    Merge,
    /// Definitions and rows: what is restored takes their place, after a backup of the target
    Clear,
}

/// Whose row stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Conflict {
    /// The target's
    Keep,
    /// The snapshot's
    Replace,
    /// Neither: the table's rows are not restored
    Fail,
}

#[derive(Serialize)]
struct PlanDocument<'a> {
    version: u32,
    snapshot: String,
    target: String,
    summary: &'a [String],
    objects: Vec<CountDocument<'a>>,
    tables: Vec<TableDocument<'a>>,
    changes: Vec<ChangeDocument<'a>>,
    roles: &'a [String],
    masks: Option<MaskDocument<'a>>,
    equal: u64,
    differs: Vec<LostDocument<'a>>,
    platform: Vec<LostDocument<'a>>,
    lost: Vec<LostDocument<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct CountDocument<'a> {
    kind: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct TableDocument<'a> {
    table: &'a str,
    rows: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    target: String,
    objects: u64,
    tables: u64,
    rows: u64,
    unchanged: u64,
    conflicting: u64,
    rejected: u64,
    merged: Vec<changes::MergedDocument<'a>>,
    safety_snapshot: Option<&'a str>,
    bytes: u64,
    large_objects: u64,
    /// Storage files that were sent, their bytes, and files that were there already.
    files: u64,
    file_bytes: u64,
    files_present: u64,
    /// Edge functions that were deployed.
    functions: &'a [String],
    seconds: f64,
    failed: Vec<FailedDocument<'a>>,
    left_out: Vec<FailedDocument<'a>>,
    lost: Vec<LostDocument<'a>>,
    warnings: &'a [String],
    /// As of `verify --live`; absent when it was not gone through.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckDocument<'a>>>,
}

/// What the snapshot had before the repository was damaged and repaired.
#[derive(Serialize)]
struct LostDocument<'a> {
    what: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct FailedDocument<'a> {
    object: &'a str,
    reason: &'a str,
    skipped: bool,
}

impl Restore {
    fn snapshot(&self) -> &str {
        self.snapshot.as_deref().unwrap_or("latest")
    }

    /// What names the target.
    fn to(&self) -> &str {
        self.to.as_deref().unwrap_or_default()
    }

    /// Where it is.
    fn target(&self, context: &Context) -> Result<ConnectOptions, EngineError> {
        match &self.address {
            Some(address) => Ok((**address).clone()),
            None => context.target(self.to()),
        }
    }
}

pub(crate) async fn run(command: &Restore, context: &Context) -> Result<Exit, EngineError> {
    let asks = !command.yes && !command.dry_run;
    let Some(to) = &command.to else {
        wizard::possible(context)?;
        let repository = context.open_repository().await?;
        let command = wizard::fill(command, context, &repository).await?;
        let target = command.target(context)?;
        return into(&command, context, &repository, target).await;
    };
    let target = context.target(to)?;
    if command.on_conflict.is_some() && command.mode != Mode::Merge {
        return Err(EngineError::usage("--on-conflict has a meaning only with --mode merge")
            .hint("add --mode merge to put rows in beside those that are there"));
    }
    if asks && (context.output.json || !confirm::possible()) {
        return Err(EngineError::usage(format!("the restore into {} is not confirmed", target.redacted()))
            .hint("add --yes to go on without a question, or --dry-run to see the plan"));
    }
    let repository = context.open_repository().await?;
    into(command, context, &repository, target).await
}

/// Restores into a target that is known.
async fn into(
    command: &Restore,
    context: &Context,
    repository: &Repository,
    target: ConnectOptions,
) -> Result<Exit, EngineError> {
    let asks = !command.yes && !command.dry_run;
    let find = listing::find(repository, command.snapshot(), command.source.as_deref());
    let snapshot = context.interrupt.guard(find).await?;
    if command.files.alone {
        return files::alone(command, context, repository, &snapshot, &target).await;
    }
    if let Some(options) = project::asked_alone(command) {
        return project::alone(command, context, repository, &snapshot, options).await;
    }
    let options = RestoreOptions { mask: command.mask.rules(context)?, ..options(command, target.clone())? };
    let partial = !options.selection.is_everything() || !options.conditions.is_empty();
    let functions = project::announced(command, context)?;
    let mut plan = context.interrupt.guard(restore::plan(repository, &snapshot, &options)).await?;
    let files = files::announced(command, partial, repository, &snapshot).await?;
    for what in files.map(str::to_owned).iter().chain(&functions) {
        plan.summary.push(format!("then send {what}"));
        plan.changes.push(changes::sent(what));
    }
    let id = snapshot.id.to_string();

    if context.output.json && command.dry_run {
        context.output.document(&plan_document(&plan, &id, &target))?;
        return Ok(Exit::Done);
    }
    if command.dry_run || (!context.output.json && !context.output.quiet) || asks {
        let title = format!(
            "plan for snapshot {} of {} ({}):",
            units::short(&id),
            snapshot.hostname,
            units::time(snapshot.time),
        );
        let in_full = command.dry_run || context.output.verbose;
        let text = plan_text(&title, &plan, in_full, partial || command.mode != Mode::Empty);
        match command.dry_run {
            true => context.output.data(&text)?,
            false => context.output.line(text.trim_end()),
        }
    }
    if let Some(masks) = plan.masks.as_ref().filter(|_| !context.output.json) {
        mask::warn(masks, context);
    }
    for warning in &plan.warnings {
        if !context.output.json {
            context.output.warning(warning, None);
        }
    }
    for (what, reason) in plan.lost.iter().filter(|_| !context.output.json) {
        context.output.warning(&format!("{what}: {reason}"), None);
    }
    if command.dry_run {
        return Ok(Exit::Done);
    }
    if asks {
        let question = format!("Type the database's name, {}, to go on:", target.database());
        confirm::name(&question, target.database(), &context.interrupt).await?;
    }
    let lost = plan.lost.clone();
    let mut report = restore::execute(repository, plan, context.observer(), &context.interrupt).await?;
    if files.is_some() {
        files::after(command, context, repository, &snapshot, &mut report).await?;
    }
    if functions.is_some() {
        project::after(command, context, repository, &snapshot, &mut report).await?;
    }
    // The checklist is about a whole project.
    let checklist =
        Checklist::of(!command.no_check && !partial, repository, &snapshot, &target, context).await;
    tell(context, &report, &checklist, &lost, &id, &target)
}

fn options(command: &Restore, target: ConnectOptions) -> Result<RestoreOptions, EngineError> {
    let conditions = command.conditions.iter().map(|text| text.parse::<RowCondition>());
    if command.load_what_fits && command.mode == Mode::Empty {
        return Err(EngineError::usage("--load-what-fits has a meaning only with --mode merge or clear")
            .hint("tables that a restore makes get their constraints after the rows"));
    }
    let mut rename = Rename { into_schema: command.into_schema.clone(), ..Rename::default() };
    command.rename_schema.iter().try_for_each(|text| rename.schema(text))?;
    command.rename_table.iter().try_for_each(|text| rename.table(text))?;
    Ok(RestoreOptions {
        rename,
        selection: command.selection.selection(),
        conditions: conditions.collect::<Result<_, _>>()?,
        no_safety_backup: command.no_safety_backup,
        rejects: command.rejects.clone(),
        create_database: command.create_database,
        owner: !command.no_owner,
        privileges: !command.no_privileges,
        roles: !command.no_roles,
        tablespaces: !command.no_tablespaces,
        jobs: command.jobs.map(usize::from),
        mode: match (command.resume, command.mode) {
            (true, _) => restore::Mode::Resume,
            (false, Mode::Empty) => restore::Mode::Empty,
            (false, Mode::Clear) => restore::Mode::Clear,
            (false, Mode::Merge) => {
                restore::Mode::Merge(match command.on_conflict.unwrap_or(Conflict::Keep) {
                    Conflict::Keep => OnConflict::Keep,
                    Conflict::Replace => OnConflict::Replace,
                    Conflict::Fail => OnConflict::Fail,
                })
            }
        },
        replace: command.replace,
        enable_cron: command.enable_cron,
        enable_webhooks: command.enable_webhooks,
        ..RestoreOptions::new(target)
    })
}

fn plan_document<'a>(plan: &'a RestorePlan, id: &str, target: &ConnectOptions) -> PlanDocument<'a> {
    let tables =
        plan.tables.iter().map(|(table, rows, bytes)| TableDocument { table, rows: *rows, bytes: *bytes });
    PlanDocument {
        version: JSON_VERSION,
        snapshot: id.to_owned(),
        target: target.redacted(),
        summary: &plan.summary,
        objects: plan.objects.iter().map(|(kind, count)| CountDocument { kind, count: *count }).collect(),
        tables: tables.collect(),
        changes: changes::documents(&plan.changes),
        roles: &plan.roles,
        masks: plan.masks.as_ref().map(MaskDocument::of),
        equal: plan.equal,
        differs: lost_documents(&plan.differs),
        platform: lost_documents(&plan.platform),
        lost: lost_documents(&plan.lost),
        warnings: &plan.warnings,
    }
}

fn plan_text(title: &str, plan: &RestorePlan, in_full: bool, with_changes: bool) -> String {
    let mut text = format!("{title}\n");
    for line in &plan.summary {
        text += &format!("  {}\n", clean(line));
    }
    for (what, reason) in &plan.differs {
        text += &format!("  differs, left alone: {}: {}\n", clean(what), clean(reason));
    }
    for (what, reason) in plan.platform.iter().filter(|_| in_full) {
        text += &format!("  left out: {}: {}\n", clean(what), clean(reason));
    }
    if let Some(masks) = plan.masks.as_ref().filter(|_| in_full) {
        text += &mask::text(masks);
    }
    if with_changes {
        text += &changes::text(&plan.changes, in_full);
    } else if in_full && !plan.tables.is_empty() {
        let mut table = Table::new(&[("table", Align::Left), ("rows", Align::Right), ("size", Align::Right)]);
        for (name, rows, bytes) in &plan.tables {
            table.row([name.clone(), units::count(*rows), units::bytes(*bytes)]);
        }
        text += "\n";
        text += &table.render();
    }
    text
}

fn tell(
    context: &Context,
    report: &RestoreReport,
    checklist: &Checklist,
    lost: &[(String, String)],
    id: &str,
    target: &ConnectOptions,
) -> Result<Exit, EngineError> {
    let whole = report.failed.is_empty() && lost.is_empty() && report.rejected == 0;
    let exit = checklist.exit(if whole { Exit::Done } else { Exit::Incomplete });
    let output = &context.output;
    if output.json {
        progress::emit(output, &document(report, checklist, lost, id, target))?;
        return Ok(exit);
    }
    if exit != Exit::Done || !output.quiet {
        output.data(&(text(report, lost.len(), target, output.verbose) + &checklist.text(output.verbose)))?;
    }
    Ok(exit)
}

fn document<'a>(
    report: &'a RestoreReport,
    checklist: &'a Checklist,
    lost: &'a [(String, String)],
    id: &str,
    target: &ConnectOptions,
) -> Document<'a> {
    let documents = |all: &'a [FailedObject]| {
        all.iter()
            .map(|one| FailedDocument { object: &one.object, reason: &one.reason, skipped: one.skipped })
            .collect()
    };
    Document {
        snapshot: id.to_owned(),
        target: target.redacted(),
        objects: report.objects,
        tables: report.tables,
        rows: report.rows,
        unchanged: report.unchanged,
        conflicting: report.conflicting,
        rejected: report.rejected,
        merged: changes::merged(&report.merged),
        safety_snapshot: report.safety_snapshot.as_deref(),
        bytes: report.bytes,
        large_objects: report.large_objects,
        files: report.files,
        file_bytes: report.file_bytes,
        files_present: report.files_present,
        functions: &report.functions,
        seconds: report.elapsed.as_secs_f64(),
        failed: documents(&report.failed),
        left_out: documents(&report.left_out),
        lost: lost_documents(lost),
        warnings: &report.warnings,
        checks: checklist.documents(),
    }
}

fn lost_documents(lost: &[(String, String)]) -> Vec<LostDocument<'_>> {
    lost.iter().map(|(what, reason)| LostDocument { what, reason }).collect()
}

fn text(report: &RestoreReport, lost: usize, target: &ConnectOptions, verbose: bool) -> String {
    let mut text = String::new();
    for failed in &report.failed {
        let how = if failed.skipped { "skipped" } else { "failed" };
        text += &format!("{how}: {}: {}\n", clean(&failed.object), clean(&failed.reason));
    }
    let not_restored = match report.failed.len() as u64 {
        0 => String::new(),
        failed => format!(", {} not restored (listed above)", units::counted(failed, "object", "objects")),
    };
    let without = match lost as u64 {
        0 => String::new(),
        lost => format!(", without {} that damage took (named above)", units::counted(lost, "part", "parts")),
    };
    if verbose {
        for left in &report.left_out {
            text += &format!("left out: {}: {}\n", clean(&left.object), clean(&left.reason));
        }
    }
    if !report.left_out.is_empty() {
        text += &format!(
            "{} of the Supabase platform cannot be here and were left out, nothing of yours among them (--verbose lists them)\n",
            units::counted(report.left_out.len() as u64, "piece", "pieces")
        );
    }
    if report.files + report.files_present > 0 {
        text += &format!(
            "sent {} of storage ({}), {} there already\n",
            units::counted(report.files, "file", "files"),
            units::bytes(report.file_bytes),
            units::counted(report.files_present, "was", "were"),
        );
    }
    for slug in &report.functions {
        text += &format!("deployed: {}\n", clean(slug));
    }
    if report.unchanged + report.conflicting > 0 {
        text += &format!(
            "{} were there already, {} with other values\n",
            units::counted(report.unchanged + report.conflicting, "row", "rows"),
            units::count(report.conflicting)
        );
    }
    text += &changes::merged_text(&report.merged);
    if report.rejected > 0 {
        text += &format!(
            "{} did not fit and were left out: --rejects has them\n",
            units::counted(report.rejected, "row", "rows")
        );
    }
    text += &format!(
        "restored into {}: {}, {}, {}, {} in {}{not_restored}{without}\n",
        target.redacted(),
        units::counted(report.objects, "object", "objects"),
        units::counted(report.tables, "table", "tables"),
        units::counted(report.rows, "row", "rows"),
        units::bytes(report.bytes),
        units::duration(report.elapsed),
    );
    text
}

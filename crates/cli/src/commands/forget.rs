//! `basekeep forget`: removes snapshots by a policy, or exactly those that are named.

mod rules;
mod text;

use std::collections::BTreeMap;

use basekeep_engine::forget::{self, Entry, ForgetOptions, ForgetReport, Group, Policies};
use basekeep_engine::prune::PruneReport;
use basekeep_engine::{EngineError, Repository};
use basekeep_server::jobs::JobKind;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use self::rules::Rules;
use super::prune;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{JSON_VERSION, units};
use crate::record::Recording;

/// Remove snapshots that a retention policy does not keep, or exactly those that are named
///
/// Without --keep-… options, the snapshots of each source are judged by the `keep` of its profile in basekeep.toml. The
/// newest good snapshot of a source and the newest one that a drill has proven always stay, unless they are named. Hours,
/// days, weeks, months and years are those of this machine's time zone. `prune` (or --prune) frees the space.
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Remove exactly these: ids, their beginnings, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only snapshots with this tag; several: with all of them
    #[arg(long = "tag", value_name = "TAG", conflicts_with = "snapshots")]
    tags: Vec<String>,
    /// What snapshots are judged together: those of a source, or those of a source with the same tags
    #[arg(long, value_name = "WHAT", default_value = "source", value_parser = ["source", "source,tags"])]
    group_by: String,
    /// Say what would go and why the rest stays; remove nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Free the space at once, as `prune` does, if something was removed
    #[arg(long)]
    prune: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    dry_run: bool,
    groups: Vec<GroupDocument<'a>>,
    removed: &'a [String],
    proofs_removed: u64,
    /// Bytes that a prune frees afterwards; `null` where nothing goes, or where damage hides it.
    frees_bytes: Option<u64>,
    failed: Vec<FailedDocument<'a>>,
    without_policy: &'a BTreeMap<String, u64>,
    warnings: Vec<&'a str>,
    /// With --prune, as `prune --json` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    prune: Option<prune::Document<'a>>,
}

#[derive(Serialize)]
struct GroupDocument<'a> {
    source: &'a str,
    paths: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a [String]>,
    /// `null` where ids were given.
    policy: Option<&'a str>,
    keep: Vec<EntryDocument<'a>>,
    remove: Vec<EntryDocument<'a>>,
}

#[derive(Serialize)]
struct EntryDocument<'a> {
    id: String,
    time: String,
    tags: &'a [String],
    proven: Option<bool>,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct FailedDocument<'a> {
    id: &'a str,
    reason: &'a str,
}

pub(crate) async fn run(command: &Forget, context: &Context) -> Result<Exit, EngineError> {
    let options = options(command, context)?;
    refuse_append_only(command, context)?;
    let repository = context.open_repository().await?;
    let recording = (!command.dry_run).then(|| Recording::begin(JobKind::Forget, command.source.as_deref()));
    let forgotten = forget::forget(&repository, &options, &context.interrupt).await;
    if let Some(recording) = recording {
        recording.end(context, forgotten.as_ref().map(exit), |run| {
            let removed = forgotten.as_ref().map_or(0, |report| report.removed.len() as u64);
            let removed = units::counted(removed, "snapshot", "snapshots");
            run.summary = Some(format!("{removed} removed"));
        });
    }
    let report = forgotten?;
    let worthwhile = command.prune && report.failed.is_empty() && !report.removed.is_empty();
    if !worthwhile {
        show(command, context, &repository, &report, None)?;
        return Ok(exit(&report));
    }
    // What was removed is told first, or at least told: the prune may fail, or find the repository in use.
    if !context.output.json {
        show(command, context, &repository, &report, None)?;
    }
    let recording = Recording::begin(JobKind::Prune, None);
    let pruned = prune::after_forget(&repository, context).await;
    let end = pruned.as_ref().map(prune::exit);
    recording.end(context, end, |run| pruned.iter().for_each(|report| prune::fill(run, report)));
    if context.output.json {
        show(command, context, &repository, &report, pruned.as_ref().ok())?;
        return Ok(prune::exit(&pruned?));
    }
    prune::show(context, &pruned?, false)
}

fn options(command: &Forget, context: &Context) -> Result<ForgetOptions, EngineError> {
    let given = command.rules.policy()?;
    let policies = match given {
        Some(_) if !command.snapshots.is_empty() => {
            return Err(EngineError::usage("snapshots and rules about what to keep contradict each other")
                .hint("name snapshots to remove exactly those, or give rules and no snapshots"));
        }
        Some(policy) => Policies::Same(policy),
        None if !command.snapshots.is_empty() => Policies::BySource(BTreeMap::new()),
        None => Policies::BySource(configured(command, context)?),
    };
    Ok(ForgetOptions {
        snapshots: command.snapshots.clone(),
        policies,
        source: command.source.clone(),
        tags: command.tags.clone(),
        group_by_tags: command.group_by == "source,tags",
        dry_run: command.dry_run,
        // Where nobody would see it, or the prune finds out more exactly, it is not worth the walk.
        space: (context.output.json || !context.output.quiet) && (command.dry_run || !command.prune),
        now: Timestamp::now(),
        zone: TimeZone::system(),
    })
}

/// The policies of the configuration's sources; an error where there is none to apply.
fn configured(
    command: &Forget,
    context: &Context,
) -> Result<BTreeMap<String, basekeep_engine::retention::Policy>, EngineError> {
    let example =
        "or give rules, such as --keep-within 30d --keep-monthly 12; add --dry-run to see what they would do";
    let Some(config) = context.config()? else {
        return Err(EngineError::usage("nothing says what to keep, so nothing is removed")
            .hint("there is no basekeep.toml with a profile")
            .hint(example));
    };
    let sources =
        config.sources.iter().filter(|s| command.source.as_ref().is_none_or(|name| s.name == *name));
    let policies: BTreeMap<_, _> = sources
        .filter_map(|source| {
            let keep = config.profile_of(&source.name)?.keep.clone()?;
            Some((source.name.clone(), keep))
        })
        .collect();
    if policies.is_empty() {
        let about = command.source.as_ref().map_or_else(String::new, |name| format!(" of '{name}'"));
        return Err(EngineError::usage(format!("nothing says what to keep{about}, so nothing is removed"))
            .hint(format!(
                "add profile = \"production\" to a source in {}, and [profile.production] with \
                 keep = {{ within = \"30d\", monthly = 12 }}",
                config.file.display()
            ))
            .hint(example));
    }
    Ok(policies)
}

fn refuse_append_only(command: &Forget, context: &Context) -> Result<(), EngineError> {
    match context.append_only()? {
        true if !command.dry_run => {
            Err(EngineError::usage("basekeep.toml says that this repository is append-only here")
                .hint("run `forget` where credentials that may delete are configured (docs/SECURITY.md)")
                .hint("--dry-run works here"))
        }
        _ => Ok(()),
    }
}

fn show(
    command: &Forget,
    context: &Context,
    repository: &Repository,
    report: &ForgetReport,
    pruned: Option<&PruneReport>,
) -> Result<(), EngineError> {
    for warning in &report.warnings {
        context.output.warning(&warning.message, warning.hint.as_deref());
    }
    if context.output.json {
        return context.output.document(&document(command, report, pruned));
    }
    if !report.groups.is_empty() {
        context.output.data(&text::report(report, command.dry_run))?;
    }
    for (source, number) in &report.without_policy {
        context.output.note(&format!("note: {}", text::without_policy(source, *number)));
    }
    if report.groups.is_empty() && report.without_policy.is_empty() {
        context.output.note("no snapshot matches");
    }
    for (id, reason) in &report.failed {
        context
            .output
            .warning(&format!("{} was not removed: {reason}", crate::output::units::short(id)), None);
    }
    if !report.failed.is_empty() && !report.interrupted {
        context.output.hint(&format!(
            "what stays is whole and restorable; the storage of {} must allow deleting (docs/SECURITY.md)",
            repository.location()
        ));
    }
    Ok(())
}

fn exit(report: &ForgetReport) -> Exit {
    match report {
        ForgetReport { interrupted: true, .. } => Exit::Interrupted,
        ForgetReport { failed, .. } if !failed.is_empty() => Exit::Incomplete,
        _ => Exit::Done,
    }
}

fn document<'a>(command: &Forget, report: &'a ForgetReport, pruned: Option<&'a PruneReport>) -> Document<'a> {
    let failed = report.failed.iter().map(|(id, reason)| FailedDocument { id, reason });
    Document {
        version: JSON_VERSION,
        dry_run: command.dry_run,
        groups: report.groups.iter().map(GroupDocument::of).collect(),
        removed: &report.removed,
        proofs_removed: report.proofs_removed,
        frees_bytes: report.frees_bytes,
        failed: failed.collect(),
        without_policy: &report.without_policy,
        warnings: report.warnings.iter().map(|warning| warning.message.as_str()).collect(),
        prune: pruned.map(|report| prune::document(report, false)),
    }
}

impl<'a> GroupDocument<'a> {
    fn of(group: &'a Group) -> Self {
        Self {
            source: &group.source,
            paths: &group.paths,
            tags: group.tags.as_deref(),
            policy: group.policy.as_deref(),
            keep: group.keep.iter().map(EntryDocument::of).collect(),
            remove: group.remove.iter().map(EntryDocument::of).collect(),
        }
    }
}

impl<'a> EntryDocument<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            time: entry.time.to_string(),
            tags: &entry.tags,
            proven: entry.proven,
            reasons: entry.reasons.iter().map(ToString::to_string).collect(),
        }
    }
}

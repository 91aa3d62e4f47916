//! `basekeep prune`: frees the space of what no snapshot needs.

use std::sync::Arc;

use basekeep_engine::config::{MaxUnused, size};
use basekeep_engine::prune::{self, Amount, PruneOptions, PruneOutcome, PruneReport, PruneSummary};
use basekeep_engine::retention::Span;
use basekeep_engine::{EngineError, Repository, Silent};
use basekeep_server::history::RunResult;
use basekeep_server::jobs::JobKind;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;
use crate::progress;
use crate::record::Recording;

/// Free the space of what no snapshot needs any more
///
/// Packs that nothing needs are deleted; others are rewritten when too much in them is not needed. It can be interrupted at
/// any time and goes on where it was. Nobody can back up meanwhile. Where something cannot be read that may need anything,
/// nothing is removed.
#[derive(Debug, Default, Args)]
pub(crate) struct Prune {
    /// What may stay although nothing needs it: a percentage of what stays, a size, or `unlimited` [default: 5%, or
    /// max_unused of the configuration]
    #[arg(long, value_name = "LIMIT")]
    max_unused: Option<MaxUnused>,
    /// Rewrite no more than this in one go
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_repack_size: Option<u64>,
    /// Put small packs together
    #[arg(long)]
    repack_small: bool,
    /// Compress packs harder that belong to snapshots of this age, such as 7d [default: recompress_after of the
    /// configuration]
    #[arg(long, value_name = "AGE")]
    recompress_after: Option<Span>,
    /// Say what would be done; change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    dry_run: bool,
    plan: PlanDocument<'a>,
    done: Option<DoneDocument<'a>>,
}

#[derive(Serialize)]
struct PlanDocument<'a> {
    snapshots: u64,
    stored: AmountDocument,
    needed: AmountDocument,
    unused: AmountDocument,
    duplicates: AmountDocument,
    kept: AmountDocument,
    deleted: AmountDocument,
    repacked: AmountDocument,
    recompressed: AmountDocument,
    unindexed: AmountDocument,
    gone: u64,
    copied_bytes: u64,
    unused_after_bytes: u64,
    freed_bytes: u64,
    index_files: u64,
    index_files_replaced: u64,
    wrong_size: &'a [String],
}

#[derive(Serialize)]
struct AmountDocument {
    packs: u64,
    blobs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct DoneDocument<'a> {
    packs_deleted: u64,
    bytes_deleted: u64,
    packs_written: u64,
    bytes_written: u64,
    blobs_copied: u64,
    blobs_recompressed: u64,
    bytes_saved_by_recompression: u64,
    index_files_written: u64,
    index_files_deleted: u64,
    damaged: Vec<DamagedDocument<'a>>,
}

#[derive(Serialize)]
struct DamagedDocument<'a> {
    file: &'a str,
    problem: &'a str,
}

pub(crate) async fn run(command: &Prune, context: &Context) -> Result<Exit, EngineError> {
    if context.append_only()? && !command.dry_run {
        return Err(EngineError::usage("basekeep.toml says that this repository is append-only here")
            .hint("run `prune` where credentials that may delete are configured (docs/SECURITY.md)")
            .hint("--dry-run works here"));
    }
    let options = options(command, context)?;
    let repository = context.open_repository().await?;
    let recording = (!command.dry_run).then(|| Recording::begin(JobKind::Prune, None));
    let pruned = prune::prune(&repository, &options, context.observer(), &context.interrupt).await;
    if let Some(recording) = recording {
        recording.end(context, pruned.as_ref().map(exit), |run| {
            pruned.iter().for_each(|report| fill(run, report))
        });
    }
    show(context, &pruned?, command.dry_run)
}

/// What came out, for the history of runs.
pub(super) fn fill(run: &mut RunResult, report: &PruneReport) {
    let Some(done) = &report.done else { return };
    let change = i128::from(done.bytes_written) - i128::from(done.bytes_deleted);
    run.added_bytes = i64::try_from(change).ok();
    run.summary = Some(match u64::try_from(-change) {
        Ok(freed) => format!("{} freed", units::bytes(freed)),
        Err(_) => "nothing freed".to_owned(),
    });
}

/// For `forget --prune`: as the configuration says, and nothing is printed.
pub(super) async fn after_forget(
    repository: &Repository,
    context: &Context,
) -> Result<PruneReport, EngineError> {
    // One document is all that a program gets to read.
    let observer = if context.output.json { Arc::new(Silent) as _ } else { context.observer() };
    prune::prune(repository, &options(&Prune::default(), context)?, observer, &context.interrupt).await
}

/// What the command line leaves open, the configuration's profiles say: where they differ, what is gentler counts.
fn options(command: &Prune, context: &Context) -> Result<PruneOptions, EngineError> {
    let profiles = context.config()?.map(|config| config.profiles.as_slice()).unwrap_or_default();
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let ages = profiles.iter().filter_map(|profile| profile.recompress_after);
    let longest = ages.min_by_key(|age| age.before(now, &zone));
    let limits = profiles.iter().filter_map(|profile| profile.max_unused);
    Ok(PruneOptions {
        max_unused: command.max_unused.or_else(|| limits.reduce(gentler)),
        max_repack_size: command.max_repack_size,
        repack_small: command.repack_small,
        recompress_after: command.recompress_after.or(longest),
        dry_run: command.dry_run,
        now,
        zone,
    })
}

fn gentler(one: MaxUnused, other: MaxUnused) -> MaxUnused {
    match (one, other) {
        (MaxUnused::Percent(a), MaxUnused::Percent(b)) => MaxUnused::Percent(a.max(b)),
        (MaxUnused::Bytes(a), MaxUnused::Bytes(b)) => MaxUnused::Bytes(a.max(b)),
        (MaxUnused::Unlimited, _) | (_, MaxUnused::Unlimited) => MaxUnused::Unlimited,
        // They cannot be compared without the repository; a share grows with it.
        (MaxUnused::Percent(a), _) | (_, MaxUnused::Percent(a)) => MaxUnused::Percent(a),
    }
}

/// How a prune ended.
pub(super) fn exit(report: &PruneReport) -> Exit {
    let damaged = report.done.as_ref().is_some_and(|done| !done.damaged.is_empty());
    if damaged { Exit::Difference } else { Exit::Done }
}

/// Prints what was, or would be, done. For `forget --prune` too.
pub(super) fn show(context: &Context, report: &PruneReport, dry_run: bool) -> Result<Exit, EngineError> {
    let exit = exit(report);
    if context.output.json {
        progress::emit(&context.output, &document(report, dry_run))?;
        return Ok(exit);
    }
    if exit != Exit::Done || !context.output.quiet {
        context.output.data(&text(report, dry_run))?;
    }
    for pack in &report.plan.suspect {
        context.output.warning(&format!("{pack} has the wrong size and was left alone"), None);
    }
    for (file, problem) in report.done.iter().flat_map(|done| &done.damaged) {
        context.output.warning(&format!("{file} is damaged and was left where it is: {problem}"), None);
    }
    if exit != Exit::Done || !report.plan.suspect.is_empty() {
        context
            .output
            .hint("`basekeep check --read-data` names what is damaged; `basekeep repair` takes it out");
    }
    Ok(exit)
}

fn text(report: &PruneReport, dry_run: bool) -> String {
    let PruneReport { plan, done } = report;
    let mut text = String::new();
    let mut line = |name: &str, amount: Amount, always: bool| {
        if always || amount != Amount::default() {
            text += &format!("{name:<18} {}\n", figures(amount));
        }
    };
    line("stored", plan.stored, true);
    line("needed", plan.needed, true);
    line("not needed", plan.unused, true);
    line("second copies", plan.duplicates, false);
    line("packs that stay", plan.kept, true);
    line("to delete", plan.deleted, false);
    line("to rewrite", plan.repacked, false);
    line("to compress again", plan.recompressed, false);
    line("leftovers", plan.unindexed, false);
    if plan.gone > 0 {
        text += &format!("{:<18} {}\n", "already gone", units::counted(plan.gone, "pack", "packs"));
    }
    text += &match (done, dry_run) {
        (None, true) => format!(
            "would free {}; {} that nothing needs would stay\n",
            units::bytes(plan.freed),
            units::bytes(plan.unused_after)
        ),
        (None, false) => {
            format!("nothing to do; {} that nothing needs may stay\n", units::bytes(plan.unused_after))
        }
        (Some(done), _) => summary(plan, done),
    };
    text
}

fn summary(plan: &PruneSummary, done: &PruneOutcome) -> String {
    let mut text = format!(
        "{} deleted ({})",
        units::counted(done.packs_deleted, "pack", "packs"),
        units::bytes(done.bytes_deleted)
    );
    if done.packs_written > 0 {
        text += &format!(
            ", {} written ({})",
            units::counted(done.packs_written, "pack", "packs"),
            units::bytes(done.bytes_written)
        );
    }
    if done.blobs_recompressed > 0 {
        text += &format!(
            "; {} compressed harder, {} saved",
            units::counted(done.blobs_recompressed, "blob", "blobs"),
            units::bytes(done.bytes_saved)
        );
    }
    format!(
        "{text}\nfreed {}; {} that nothing needs stays\n",
        units::bytes(done.bytes_deleted.saturating_sub(done.bytes_written)),
        units::bytes(plan.unused_after)
    )
}

fn figures(amount: Amount) -> String {
    let packs = units::counted(amount.packs, "pack", "packs");
    match amount.blobs {
        0 => format!("{packs}, {}", units::bytes(amount.bytes)),
        blobs => {
            format!("{packs}, {}, {}", units::counted(blobs, "blob", "blobs"), units::bytes(amount.bytes))
        }
    }
}

pub(super) fn document(report: &PruneReport, dry_run: bool) -> Document<'_> {
    let plan = &report.plan;
    let amount =
        |amount: Amount| AmountDocument { packs: amount.packs, blobs: amount.blobs, bytes: amount.bytes };
    Document {
        dry_run,
        plan: PlanDocument {
            snapshots: plan.snapshots,
            stored: amount(plan.stored),
            needed: amount(plan.needed),
            unused: amount(plan.unused),
            duplicates: amount(plan.duplicates),
            kept: amount(plan.kept),
            deleted: amount(plan.deleted),
            repacked: amount(plan.repacked),
            recompressed: amount(plan.recompressed),
            unindexed: amount(plan.unindexed),
            gone: plan.gone,
            copied_bytes: plan.copied_bytes,
            unused_after_bytes: plan.unused_after,
            freed_bytes: plan.freed,
            index_files: plan.index_files,
            index_files_replaced: plan.index_files_replaced,
            wrong_size: &plan.suspect,
        },
        done: report.done.as_ref().map(|done| DoneDocument {
            packs_deleted: done.packs_deleted,
            bytes_deleted: done.bytes_deleted,
            packs_written: done.packs_written,
            bytes_written: done.bytes_written,
            blobs_copied: done.blobs_copied,
            blobs_recompressed: done.blobs_recompressed,
            bytes_saved_by_recompression: done.bytes_saved,
            index_files_written: done.index_files_written,
            index_files_deleted: done.index_files_deleted,
            damaged: done.damaged.iter().map(|(file, problem)| DamagedDocument { file, problem }).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_say_what_stays_and_what_goes() {
        let amount = |packs, blobs, bytes| Amount { packs, blobs, bytes };
        let plan = PruneSummary {
            stored: amount(3, 20, 3 << 20),
            needed: amount(2, 12, 2 << 20),
            unused: amount(2, 8, 1 << 20),
            kept: amount(1, 5, 1 << 20),
            deleted: amount(1, 4, 1 << 20),
            repacked: amount(1, 11, 1 << 20),
            freed: 1 << 20,
            ..PruneSummary::default()
        };
        let report = PruneReport { plan: plan.clone(), done: None };
        assert_eq!(
            text(&report, true),
            "stored             3 packs, 20 blobs, 3.0 MiB\n\
             needed             2 packs, 12 blobs, 2.0 MiB\n\
             not needed         2 packs, 8 blobs, 1.0 MiB\n\
             packs that stay    1 pack, 5 blobs, 1.0 MiB\n\
             to delete          1 pack, 4 blobs, 1.0 MiB\n\
             to rewrite         1 pack, 11 blobs, 1.0 MiB\n\
             would free 1.0 MiB; 0 B that nothing needs would stay\n"
        );
        let done = PruneOutcome {
            packs_deleted: 2,
            bytes_deleted: 2 << 20,
            packs_written: 1,
            bytes_written: 1 << 20,
            ..PruneOutcome::default()
        };
        let text = text(&PruneReport { plan, done: Some(done) }, false);
        assert!(
            text.ends_with(
                "2 packs deleted (2.0 MiB), 1 pack written (1.0 MiB)\nfreed 1.0 MiB; 0 B that nothing needs stays\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn of_two_profiles_the_gentler_limit_counts() {
        assert_eq!(gentler(MaxUnused::Percent(5.0), MaxUnused::Percent(10.0)), MaxUnused::Percent(10.0));
        assert_eq!(gentler(MaxUnused::Bytes(1), MaxUnused::Unlimited), MaxUnused::Unlimited);
    }
}

//! `basekeep repair`: a damaged repository back to a good one, with everything named that was lost.

use basekeep_engine::EngineError;
use basekeep_engine::repair::{
    self, Fate, PackRepair, Part, Remaining, RepairOptions, RepairReport, SnapshotRepair,
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::clean;
use crate::output::units;
use crate::progress;

/// Repair a damaged repository, and name what was lost
#[derive(Debug, Args)]
#[command(after_long_help = "\
Back up again first: what is still in the database is stored again and makes old snapshots whole.

    basekeep repair index --read-data    forget blobs that cannot be read
    basekeep backup                      store them again
    basekeep repair                      drop what is lost for good

A damaged snapshot is replaced by one without what is lost: the rows of a table whose file cannot be read
whole, for example. It keeps its time and tags and is tagged `repaired`. A snapshot without a table of
contents is removed. Nothing is removed before what replaces it is stored.")]
pub(crate) struct Repair {
    /// Only this [default: the index, then the snapshots]
    #[arg(value_name = "WHAT")]
    what: Option<What>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Read every byte, to find what has rotted
    #[arg(long)]
    read_data: bool,
    /// Remove damaged snapshots whole, without making new ones of what is left
    #[arg(long)]
    forget_only: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Packs and index
    Index,
    /// Snapshots that need what is lost
    Snapshots,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    packs: Vec<PackDocument<'a>>,
    index: &'a [String],
    restored: &'a [&'static str],
    snapshots: Vec<SnapshotDocument<'a>>,
    remaining: Vec<RemainingDocument<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct PackDocument<'a> {
    file: &'a str,
    problem: &'a str,
    blobs_kept: Option<u64>,
    blobs_lost: Option<u64>,
    still_there: bool,
}

#[derive(Serialize)]
struct SnapshotDocument<'a> {
    id: &'a str,
    source: Option<&'a str>,
    time: Option<String>,
    replaced_by: Option<&'a str>,
    removed: bool,
    reason: Option<&'a str>,
    lost: Vec<LossDocument<'a>>,
    rebuilt: &'a [String],
    still_there: bool,
}

#[derive(Serialize)]
struct LossDocument<'a> {
    what: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct RemainingDocument<'a> {
    file: &'a str,
    problem: &'a str,
    hint: Option<&'a str>,
}

pub(crate) async fn run(command: &Repair, context: &Context) -> Result<Exit, EngineError> {
    if !command.dry_run && context.append_only()? {
        return Err(EngineError::usage("basekeep.toml says that this repository is append-only here")
            .hint("run `repair` where credentials that may delete are configured (docs/SECURITY.md)")
            .hint("--dry-run works here"));
    }
    let repository = context.open_repository().await?;
    let options = RepairOptions {
        part: match command.what {
            None => Part::All,
            Some(What::Index) => Part::Index,
            Some(What::Snapshots) => Part::Snapshots,
        },
        read_data: command.read_data,
        forget_only: command.forget_only,
        dry_run: command.dry_run,
    };
    let report = repair::repair(&repository, &options, context.observer(), &context.interrupt).await?;
    let exit = exit(&report, command.dry_run);
    let output = &context.output;
    if output.json {
        progress::emit(output, &document(&report, command.dry_run))?;
        return Ok(exit);
    }
    for note in &report.notes {
        output.note(&format!("note: {}", clean(note)));
    }
    if exit != Exit::Done || !output.quiet {
        output.data(&text(&report, &options))?;
    }
    let mut hints: Vec<&str> = report.remaining.iter().filter_map(|left| left.hint.as_deref()).collect();
    hints.dedup();
    hints.iter().for_each(|hint| output.hint(hint));
    if command.dry_run && report.lost_something() {
        output.hint(
            "first `basekeep repair index`, then `basekeep backup`: what is still in the database makes \
             snapshots whole again",
        );
    }
    Ok(exit)
}

fn exit(report: &RepairReport, dry_run: bool) -> Exit {
    match () {
        () if dry_run && report.damaged => Exit::Difference,
        () if !report.remaining.is_empty() => Exit::Difference,
        () if report.lost_something() => Exit::Incomplete,
        () => Exit::Done,
    }
}

fn text(report: &RepairReport, options: &RepairOptions) -> String {
    if report.is_empty() {
        let more = if options.read_data { "" } else { "; --read-data would look into the packs too" };
        return format!("nothing to repair{more}\n");
    }
    let mut text = String::new();
    for pack in &report.packs {
        text += &pack_text(pack, options.dry_run);
    }
    for line in &report.index {
        text += &format!("index: {}\n", clean(line));
    }
    for name in &report.restored {
        text += &format!("stored again: {name}\n");
    }
    for snapshot in &report.snapshots {
        text += &snapshot_text(snapshot, options.dry_run);
    }
    for left in &report.remaining {
        text += &format!("still damaged: {}: {}\n", left.file, clean(&left.problem));
    }
    text += match (options.dry_run, report.remaining.is_empty()) {
        (true, _) => "nothing was changed (--dry-run)\n",
        (false, true) => "repaired: no damage is left\n",
        (false, false) => "repaired, but damage is left\n",
    };
    text
}

fn pack_text(pack: &PackRepair, dry_run: bool) -> String {
    let outcome = match pack.blobs {
        Some((kept, lost)) => {
            format!("{} kept, {} lost", units::counted(kept, "blob", "blobs"), units::count(lost))
        }
        None if dry_run => "what is good in it would be kept".to_owned(),
        None => "no index lists it".to_owned(),
    };
    let stays = if pack.still_there { "; the storage refused to remove it" } else { "" };
    format!("pack {}: {}: {outcome}{stays}\n", pack.file, clean(&pack.problem))
}

fn snapshot_text(snapshot: &SnapshotRepair, dry_run: bool) -> String {
    let whose = match (&snapshot.source, snapshot.time) {
        (Some(source), Some(time)) => format!(" of {} ({})", clean(source), units::time(time)),
        _ => String::new(),
    };
    let outcome = match (&snapshot.fate, dry_run) {
        (Fate::Replaced { by: Some(new) }, _) => format!("replaced by {}", units::short(new)),
        (Fate::Replaced { by: None }, _) => "would be replaced".to_owned(),
        (Fate::Removed { reason }, false) => format!("removed: {}", clean(reason)),
        (Fate::Removed { reason }, true) => format!("would be removed: {}", clean(reason)),
    };
    let mut text = format!("snapshot {}{whose}: {outcome}\n", units::short(&snapshot.id));
    for loss in &snapshot.lost {
        text += &format!("  without {}: {}\n", clean(&loss.what), clean(&loss.reason));
    }
    for name in &snapshot.rebuilt {
        text += &format!("  {} written anew\n", clean(name));
    }
    if snapshot.still_there {
        text += "  the storage refused to remove it: both are there\n";
    }
    text
}

fn document(report: &RepairReport, dry_run: bool) -> Document<'_> {
    let packs = report.packs.iter().map(|pack| PackDocument {
        file: &pack.file,
        problem: &pack.problem,
        blobs_kept: pack.blobs.map(|(kept, _)| kept),
        blobs_lost: pack.blobs.map(|(_, lost)| lost),
        still_there: pack.still_there,
    });
    let remaining = report.remaining.iter().map(|Remaining { file, problem, hint }| RemainingDocument {
        file,
        problem,
        hint: hint.as_deref(),
    });
    Document {
        dry_run,
        packs: packs.collect(),
        index: &report.index,
        restored: &report.restored,
        snapshots: report.snapshots.iter().map(snapshot_document).collect(),
        remaining: remaining.collect(),
        notes: &report.notes,
    }
}

fn snapshot_document(snapshot: &SnapshotRepair) -> SnapshotDocument<'_> {
    let (replaced_by, reason) = match &snapshot.fate {
        Fate::Replaced { by } => (by.as_deref(), None),
        Fate::Removed { reason } => (None, Some(reason.as_str())),
    };
    let lost = snapshot.lost.iter().map(|loss| LossDocument { what: &loss.what, reason: &loss.reason });
    SnapshotDocument {
        id: &snapshot.id,
        source: snapshot.source.as_deref(),
        time: snapshot.time.map(|time| time.to_string()),
        replaced_by,
        removed: reason.is_some(),
        reason,
        lost: lost.collect(),
        rebuilt: &snapshot.rebuilt,
        still_there: snapshot.still_there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::repair::Loss;

    fn report() -> RepairReport {
        RepairReport {
            damaged: true,
            packs: vec![PackRepair {
                file: "data/3f/3f00".to_owned(),
                problem: "1 of its 9 blobs are damaged".to_owned(),
                blobs: Some((8, 1)),
                still_there: false,
            }],
            snapshots: vec![SnapshotRepair {
                id: "a1b2c3d4e5".to_owned(),
                source: Some("shop".to_owned()),
                time: None,
                lost: vec![Loss {
                    what: "rows of public.orders".to_owned(),
                    reason: "lost to damage in pack 3f00".to_owned(),
                }],
                rebuilt: vec!["MANIFEST.md".to_owned()],
                fate: Fate::Replaced { by: Some("b7c8d9e0ff".to_owned()) },
                still_there: false,
            }],
            ..RepairReport::default()
        }
    }

    #[test]
    fn what_was_lost_is_named() {
        let options = RepairOptions::default();
        assert_eq!(
            text(&report(), &options),
            "pack data/3f/3f00: 1 of its 9 blobs are damaged: 8 blobs kept, 1 lost\n\
             snapshot a1b2c3d4: replaced by b7c8d9e0\n  without rows of public.orders: lost to damage in pack 3f00\n  \
             MANIFEST.md written anew\nrepaired: no damage is left\n"
        );
        assert_eq!(
            text(&RepairReport::default(), &options),
            "nothing to repair; --read-data would look into the packs too\n"
        );
    }

    #[test]
    fn losses_and_what_remains_show_in_the_exit_code() {
        assert_eq!(exit(&report(), false), Exit::Incomplete);
        assert_eq!(exit(&report(), true), Exit::Difference);
        assert_eq!(exit(&RepairReport::default(), true), Exit::Done);
        let only_packs = RepairReport { packs: report().packs, ..RepairReport::default() };
        assert_eq!(exit(&only_packs, false), Exit::Done);
    }
}

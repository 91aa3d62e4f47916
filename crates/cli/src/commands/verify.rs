//! `basekeep verify`: the repository's integrity, or with `--live` whether a database works as a snapshot says.

pub(super) mod live;

use basekeep_engine::repair::advice;
use basekeep_engine::verify::{self, VerifyOptions, VerifyReport};
use basekeep_engine::{EngineError, listing};
use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;
use crate::progress;

/// Check that the repository holds everything that its snapshots need
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("chosen").args(["snapshot", "live"]).multiple(true),
    after_long_help = "With --live a database is checked instead of the repository: connection, tables, accounts, storage \
                             and its policies, relationships, row level security, publications. What must be written to be tried \
                             is rolled back. When a line fails, the exit code is 4."
)]
pub(crate) struct Verify {
    /// An id, its beginning, or `latest` [default: all snapshots]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME", requires = "chosen")]
    source: Option<String>,
    /// Read every byte, and count and digest every table's rows again
    #[arg(long)]
    read_data: bool,
    /// Check this database against the snapshot (`latest` unless one is named): a postgresql:// URL or a name from
    /// basekeep.toml
    #[arg(long, value_name = "URL|SOURCE", conflicts_with = "read_data")]
    live: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    snapshots: u64,
    packs: u64,
    packs_read: u64,
    blobs_read: u64,
    bytes_read: u64,
    tables: u64,
    damage: Vec<DamageDocument<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct DamageDocument<'a> {
    file: &'a str,
    problem: &'a str,
    snapshots: &'a [String],
    touches: &'a [String],
}

pub(crate) async fn run(command: &Verify, context: &Context) -> Result<Exit, EngineError> {
    let live = command.live.as_deref().map(|text| context.target(text)).transpose()?;
    let repository = context.open_repository().await?;
    let wanted = command.snapshot.as_deref().or(live.as_ref().map(|_| "latest"));
    let snapshot = match wanted {
        Some(wanted) => {
            let find = listing::find(&repository, wanted, command.source.as_deref());
            Some(context.interrupt.guard(find).await?)
        }
        None => None,
    };
    if let (Some(target), Some(snapshot)) = (&live, &snapshot) {
        return live::run(&repository, snapshot, target, context).await;
    }
    let options = VerifyOptions { snapshot, read_data: command.read_data };
    let report = verify::verify(&repository, &options, context.observer(), &context.interrupt).await?;
    let read = match command.read_data {
        true => format!(
            ", {}, {} counted and digested again",
            amount_read(&report),
            units::counted(report.tables, "table", "tables")
        ),
        false => "; --read-data would read the rows too".to_owned(),
    };
    show(context, &report, &read, command.read_data)
}

/// Prints a report and decides the exit code. `read` says what of the data was read; next to damage it stands only if `always`.
pub(super) fn show(
    context: &Context,
    report: &VerifyReport,
    read: &str,
    always: bool,
) -> Result<Exit, EngineError> {
    let exit = if report.damage.is_empty() { Exit::Done } else { Exit::Difference };
    if context.output.json {
        progress::emit(&context.output, &document(report))?;
        return Ok(exit);
    }
    for note in &report.notes {
        context.output.note(&format!("note: {note}"));
    }
    if exit != Exit::Done || !context.output.quiet {
        context.output.data(&text(report, read, always))?;
    }
    for line in advice(report) {
        context.output.hint(line);
    }
    Ok(exit)
}

/// `1.5 GiB in 6,000 blobs read`.
pub(super) fn amount_read(report: &VerifyReport) -> String {
    let blobs = units::counted(report.blobs_read, "blob", "blobs");
    format!("{} in {blobs} read", units::bytes(report.bytes_read))
}

fn document(report: &VerifyReport) -> Document<'_> {
    let damage = report.damage.iter().map(|damage| DamageDocument {
        file: &damage.file,
        problem: &damage.problem,
        snapshots: &damage.snapshots,
        touches: &damage.touches,
    });
    Document {
        ok: report.damage.is_empty(),
        snapshots: report.snapshots,
        packs: report.packs,
        packs_read: report.packs_read,
        blobs_read: report.blobs_read,
        bytes_read: report.bytes_read,
        tables: report.tables,
        damage: damage.collect(),
        notes: &report.notes,
    }
}

/// How many names of one list are shown before the rest is counted.
const SHOWN: usize = 8;

fn text(report: &VerifyReport, read: &str, always: bool) -> String {
    let looked = format!(
        "{}, {}",
        units::counted(report.snapshots, "snapshot", "snapshots"),
        units::counted(report.packs, "pack", "packs")
    );
    if report.damage.is_empty() {
        return format!("no damage found: {looked}{read}\n");
    }
    let mut text = format!("damage found: {looked}{}\n", if always { read } else { "" });
    for damage in &report.damage {
        text += &format!("  {}: {}\n", damage.file, damage.problem);
        if !damage.snapshots.is_empty() {
            text += &format!("    snapshots: {}\n", some(&damage.snapshots));
        }
        if !damage.touches.is_empty() {
            text += &format!("    touches:   {}\n", some(&damage.touches));
        }
    }
    text
}

fn some(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| crate::output::table::clean(name)).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), units::count(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::verify::Damage;

    #[test]
    fn damage_names_file_snapshots_and_tables() {
        let damage = Damage {
            file: "data/3f/3f00".to_owned(),
            problem: "is missing".to_owned(),
            snapshots: vec!["a1b2c3d4".to_owned()],
            touches: (0..10).map(|i| format!("public.t{i}")).collect(),
        };
        let report = VerifyReport { snapshots: 1, packs: 2, damage: vec![damage], ..VerifyReport::default() };
        assert_eq!(
            text(&report, "", false),
            "damage found: 1 snapshot, 2 packs\n  data/3f/3f00: is missing\n    snapshots: a1b2c3d4\n    touches:   \
             public.t0, public.t1, public.t2, public.t3, public.t4, public.t5, public.t6, public.t7 and 2 more\n"
        );
    }
}

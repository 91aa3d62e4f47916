//! A repository of 1 TiB that is not there: index, snapshots and trees are real, the packs of data are claimed to exist by the
//! store. Each piece of work is measured in a process of its own, and the figures go into docs/BENCHMARKS.md.

mod build;
mod claims;
mod measure;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use measure::{PHASES, Phase};

/// Where the table goes.
const DOCUMENT: &str = "docs/BENCHMARKS.md";
const BEGIN: &str = "<!-- scale -->";
const END: &str = "<!-- /scale -->";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Builds, measures, writes the table. With a phase and a folder: that phase alone.
pub(crate) fn main(root: &Path) -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let done = match (arguments.next(), arguments.next()) {
        (Some(phase), Some(folder)) => measure::run(&phase, Path::new(&folder)),
        _ => all(root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synthetic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all(root: &Path) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("basekeep-synthetic-{}", std::process::id()));
    let result = in_folder(root, &folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn in_folder(root: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let built = child("build", folder)?;
    eprintln!("synthetic: {}", built.detail);
    let mut rows = Vec::new();
    for (name, title) in PHASES {
        let phase = child(name, folder)?;
        eprintln!("synthetic: {title}: {:.2} s, {} MiB, {}", phase.seconds, phase.peak_mib, phase.detail);
        rows.push((title, phase));
    }
    write_table(&root.join(DOCUMENT), &built.detail, &rows)
}

/// A phase in a process of its own, whose peak of memory is the phase's.
fn child(name: &str, folder: &Path) -> Result<Phase> {
    let status = Command::new(std::env::current_exe()?).args(["synthetic", name]).arg(folder).status()?;
    if !status.success() {
        return Err(format!("the phase {name} failed").into());
    }
    Phase::read(&folder.join(name))
}

fn write_table(document: &PathBuf, built: &str, rows: &[(&str, Phase)]) -> Result<()> {
    let mut table = format!(
        "{BEGIN}\n## A repository of 1 TiB\n\nWritten by `xtask synthetic`: index, trees and snapshots are real, packs of data are claimed \
         by the store. {built}. Each\nline is a process of its own; peak memory is its `VmHWM`.\n\n\
         | work | wall (s) | peak memory (MiB) | |\n| --- | ---: | ---: | --- |\n"
    );
    for (title, phase) in rows {
        table += &format!("| {title} | {:.2} | {} | {} |\n", phase.seconds, phase.peak_mib, phase.detail);
    }
    table += END;
    let text = std::fs::read_to_string(document)?;
    let text = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) => format!("{}{table}{}", &text[..begin], &text[end + END.len()..]),
        _ => format!("{}\n\n{table}\n", text.trim_end()),
    };
    std::fs::write(document, text)?;
    Ok(())
}

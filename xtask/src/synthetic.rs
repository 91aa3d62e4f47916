//! A repository of 1 TiB that is not there: index, snapshots and trees are real, the packs of data are claimed to exist by the
//! store. Each piece of work is measured in a process of its own; `scripts/bench` puts the printed section into docs/BENCHMARKS.md.

mod build;
mod claims;
mod measure;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use measure::{PHASES, Phase};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Builds, measures, prints the section. With a phase and a folder: that phase alone.
pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let done = match (arguments.next(), arguments.next()) {
        (Some(phase), Some(folder)) => measure::run(&phase, Path::new(&folder)),
        _ => all(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synthetic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("basekeep-synthetic-{}", std::process::id()));
    let result = in_folder(&folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn in_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let built = child("build", folder)?;
    eprintln!("synthetic: {}", built.detail);
    let mut rows = Vec::new();
    for (name, title) in PHASES {
        let phase = child(name, folder)?;
        eprintln!("synthetic: {title}: {:.2} s, {} MiB, {}", phase.seconds, phase.peak_mib, phase.detail);
        rows.push((title, phase));
    }
    print_section(&built.detail, &rows)
}

/// A phase in a process of its own, whose peak of memory is the phase's.
fn child(name: &str, folder: &Path) -> Result<Phase> {
    let status = Command::new(std::env::current_exe()?).args(["synthetic", name]).arg(folder).status()?;
    if !status.success() {
        return Err(format!("the phase {name} failed").into());
    }
    Phase::read(&folder.join(name))
}

fn print_section(built: &str, rows: &[(&str, Phase)]) -> Result<()> {
    let mut section = format!(
        "\n## A repository of 1 TiB\n\nIndex, trees and snapshots are real, packs of data are claimed by the store (`cargo run --release \
         --package xtask --features synthetic -- synthetic`).\n{built}.\nEach line is a process of its own; peak memory is its `VmHWM`.\n\n\
         | work | wall (s) | peak memory (MiB) | |\n| --- | ---: | ---: | --- |\n"
    );
    for (title, phase) in rows {
        section += &format!("| {title} | {:.2} | {} | {} |\n", phase.seconds, phase.peak_mib, phase.detail);
    }
    Ok(std::io::stdout().write_all(section.as_bytes())?)
}

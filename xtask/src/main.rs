//! Chores of the workspace that are programs. `cargo xtask tidy` checks the rules of docs/ARCHITECTURE.md; `synthetic` (in a
//! release build with the feature of that name) measures what a repository of 1 TiB costs.

#![allow(clippy::print_stderr)]

#[cfg(feature = "synthetic")]
mod synthetic;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(root),
        #[cfg(feature = "synthetic")]
        Some("synthetic") => synthetic::main(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            eprintln!("       cargo run --release --package xtask --features synthetic -- synthetic");
            ExitCode::from(2)
        }
    }
}

fn tidy(root: &Path) -> ExitCode {
    let findings = match tidy::check(root) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("tidy: cannot read the workspace: {error}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    let errors = findings.iter().filter(|finding| finding.fatal).count();
    eprintln!("tidy: {errors} errors, {} warnings", findings.len() - errors);
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `basekeep completions`: scripts for shells.

use basekeep_engine::EngineError;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example: basekeep completions bash > ~/.local/share/bash-completion/completions/basekeep"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(command: &Completions, context: &Context) -> Result<Exit, EngineError> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "basekeep", &mut script);
    context.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

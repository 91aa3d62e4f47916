//! `basekeep man`: manual pages.

use std::path::PathBuf;

use basekeep_engine::EngineError;
use clap::{Args, CommandFactory};

use crate::arguments::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Print the manual page, or write those of all commands into a folder
#[derive(Debug, Args)]
#[command(after_help = "Example: basekeep man | man -l -")]
pub(crate) struct Man {
    /// Write basekeep.1 and a page for each command into this folder
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(crate) fn run(command: &Man, context: &Context) -> Result<Exit, EngineError> {
    let mut cli = Cli::command();
    cli.build();
    match &command.output {
        Some(folder) => {
            let failed = |error| {
                EngineError::failed(format!("cannot write manual pages into {}", folder.display()))
                    .caused_by(error)
            };
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(cli, folder).map_err(failed)?;
            context.output.note(&format!("manual pages are in {}", folder.display()));
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(cli)
                .render(&mut page)
                .map_err(|error| EngineError::failed("cannot render the manual page").caused_by(error))?;
            context.output.data(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Exit::Done)
}

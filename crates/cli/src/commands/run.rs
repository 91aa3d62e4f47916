//! `basekeep run`: a command with a backup beside it or before it. The command has the terminal, gets the signals, and
//! its exit code is ours.

mod background;
mod before;
mod child;

use std::ffi::OsString;
use std::time::Duration;

use basekeep_engine::EngineError;
use clap::{Args, ValueEnum};

use crate::arguments::{Global, duration};
use crate::context::Context;
use crate::exit::Exit;

/// Run a command with a backup in the background, or before it
#[derive(Debug, Args)]
#[command(
    after_long_help = "`basekeep run -- ./start_full_stack.sh` starts the script, and begins a backup in the background when the source's database answers; \
whatever becomes of the backup, the script goes on. `basekeep run --before -- ./deploy.sh` backs up first and does not start the script if that fails. \
The exit code is that of the command (128 and the signal's number if one ended it), or that of the backup if the command was not started.\n\n\
A backup that left something out (exit code 3) counts as failed for --before, unless --even-if incomplete is given."
)]
pub(crate) struct Run {
    /// Back up first, and start the command only if that succeeds
    #[arg(long)]
    before: bool,
    /// With --before: what is no reason not to start the command
    #[arg(long, value_name = "WHAT", requires = "before")]
    even_if: Option<EvenIf>,
    /// Wait for this as well: a postgresql://, http:// or tcp://host:port URL that answers, or a shell command that succeeds
    #[arg(long, value_name = "CONDITION")]
    when: Vec<String>,
    /// Wait so long for it
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    wait: Duration,
    /// Back up this source; can be given several times [default: all configured sources]
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// Tag the snapshots; can be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EvenIf {
    /// The backup left something out, and said what
    Incomplete,
}

pub(crate) async fn run(command: &Run, context: &Context) -> Result<Exit, EngineError> {
    if command.before {
        return before::run(command, context).await;
    }
    background::run(command, context).await
}

/// What a backup is called with, apart from its sources: they may hold passwords, and go another way.
fn arguments(command: &Run, global: &Global) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: Option<OsString>| {
        arguments.push(name.into());
        arguments.extend(value);
    };
    add("backup", None);
    if let Some(config) = &global.config {
        add("--config", Some(config.into()));
    }
    if let Some(repo) = &global.repo {
        add("--repo", Some(repo.into()));
    }
    if let Some(time) = global.retry_lock {
        add("--retry-lock", Some(format!("{}s", time.as_secs()).into()));
    }
    for (name, given) in [
        ("--no-cache", global.no_cache),
        ("--verbose", global.verbose),
        ("--no-progress", global.no_progress),
    ] {
        if given {
            add(name, None);
        }
    }
    for tag in &command.tags {
        add("--tag", Some(tag.into()));
    }
    arguments
}

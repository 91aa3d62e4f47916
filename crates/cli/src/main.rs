//! The binary `basekeep`: arguments in, text or JSON out, exit codes. How the work is done is the engine's business.

mod alerting;
mod arguments;
mod commands;
mod confirm;
mod context;
mod exit;
mod output;
mod progress;
mod record;
mod reports;
mod runs;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use arguments::Cli;
use basekeep_engine::Interrupt;
use clap::Parser;
use context::Context;
use exit::Exit;
use output::Output;

/// How long background work may go on after the command has ended (it has nothing left to do by then).
const SHUTDOWN: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return arguments::report(&error),
    };
    let output = Output::new(&cli.global);
    output::start_log(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error =
                basekeep_engine::EngineError::failed("cannot start the program's threads").caused_by(error);
            output.error(&error);
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(run(cli, output));
    // A thread that waits for a line of input would otherwise keep the process alive.
    runtime.shutdown_timeout(SHUTDOWN);
    exit.into()
}

async fn run(cli: Cli, output: Output) -> Exit {
    let interrupt = if cli.command.handles_signals() { Interrupt::never() } else { signals::listen(&output) };
    let context = Context::new(cli.global, output, interrupt);
    match commands::run(cli.command, &context).await {
        Ok(exit) => exit,
        Err(error) => {
            context.output.error(&error);
            Exit::of(&error)
        }
    }
}

//! One module per command.

use basekeep_engine::EngineError;
use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

mod alert;
mod backup;
mod cat;
mod check;
mod completions;
mod copy;
mod dashboard;
mod demo;
mod diff;
mod doctor;
mod drill;
mod export;
mod forget;
mod generate;
mod history;
mod init;
mod key;
mod list;
mod log;
mod man;
mod manifest;
mod monitor;
mod pace;
mod prune;
mod repair;
mod report;
mod restore;
mod run;
mod serve;
mod show;
mod status;
mod unlock;
mod verify;

/// The commands, in the order of a first day.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Init),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Run(run::Run),
    Log(log::Log),
    Status(status::Status),
    List(list::List),
    Show(show::Show),
    Report(report::Report),
    Verify(verify::Verify),
    Repair(repair::Repair),
    Drill(drill::Drill),
    Restore(restore::Restore),
    Diff(diff::Diff),
    History(history::History),
    Monitor(monitor::Monitor),
    Alert(alert::Alert),
    Export(export::Export),
    Dashboard(dashboard::Dashboard),
    Copy(copy::Copy),
    Key(key::Key),
    Cat(cat::Cat),
    Forget(forget::Forget),
    Prune(prune::Prune),
    Check(check::Check),
    Unlock(unlock::Unlock),
    Generate(generate::Generate),
    Serve(serve::Serve),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Whether it has its own way with signals.
    pub(crate) fn handles_signals(&self) -> bool {
        matches!(self, Self::Run(_))
    }
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<Exit, EngineError> {
    match command {
        Command::Init(command) => init::run(&command, context).await,
        Command::Doctor(command) => doctor::run(&command, context).await,
        Command::Backup(command) => backup::run(&command, context).await,
        Command::Run(command) => run::run(&command, context).await,
        Command::Log(command) => log::run(&command, context).await,
        Command::Status(command) => status::run(&command, context).await,
        Command::List(command) => list::run(&command, context).await,
        Command::Show(command) => show::run(&command, context).await,
        Command::Report(command) => report::run(&command, context).await,
        Command::Verify(command) => verify::run(&command, context).await,
        Command::Repair(command) => repair::run(&command, context).await,
        Command::Drill(command) => drill::run(&command, context).await,
        Command::Restore(command) => restore::run(&command, context).await,
        Command::Diff(command) => diff::run(&command, context).await,
        Command::History(command) => history::run(&command, context).await,
        Command::Monitor(command) => monitor::run(&command, context).await,
        Command::Alert(command) => alert::run(&command, context).await,
        Command::Export(command) => export::run(&command, context).await,
        Command::Dashboard(command) => dashboard::run(&command, context).await,
        Command::Copy(command) => copy::run(&command, context).await,
        Command::Cat(command) => cat::run(&command, context).await,
        Command::Key(command) => key::run(&command, context).await,
        Command::Forget(command) => forget::run(&command, context).await,
        Command::Prune(command) => prune::run(&command, context).await,
        Command::Check(command) => check::run(&command, context).await,
        Command::Unlock(command) => unlock::run(&command, context).await,
        Command::Generate(command) => generate::run(&command, context).await,
        Command::Serve(command) => serve::run(&command, context).await,
        Command::Demo(command) => demo::run(&command, context).await,
        Command::Completions(command) => completions::run(&command, context),
        Command::Man(command) => man::run(&command, context),
    }
}

//! `run --before`: the backup, then the command.

use std::os::fd::AsFd;
use std::process::Stdio;

use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::ready::Condition;
use tokio::process::Command;

use super::{EvenIf, Run, arguments, child};
use crate::commands::backup::detach::{HandedOver, check, hand_over};
use crate::commands::init::address;
use crate::context::Context;
use crate::context::sources::Wanted;
use crate::exit::Exit;
use crate::output::units;
use crate::runs::Runs;

pub(super) async fn run(command: &Run, context: &Context) -> Result<Exit, EngineError> {
    let wanted = check(context, &command.sources, None)?;
    let mut signals = child::Signals::catch()?;
    let name = child::name(&command.command);
    let not_started = format!("{name} was not started");
    for text in &command.when {
        let condition = Condition::read(text, &context.env)?;
        let up = tokio::select! {
            up = condition.wait(command.wait) => up,
            _ = signals.next() => return Ok(Exit::Interrupted),
        };
        if !up {
            let message = format!("{condition} is not up after {}", units::duration(command.wait));
            return Err(EngineError::new(ErrorKind::Unreachable, message).hint(not_started));
        }
    }
    let runs = Runs::of(&context.env);
    let run = runs.as_ref().map(|runs| runs.new_name(std::process::id())).unwrap_or_default();
    let code = back_up(command, context, &run, &mut signals).await?;
    let accepted = code == 0 || (code == 3 && command.even_if == Some(EvenIf::Incomplete));
    if !accepted {
        let error = match code {
            3 => EngineError::failed(format!("the backup is incomplete, so {not_started}"))
                .hint("what is missing stands above; --even-if incomplete starts it all the same"),
            130 => EngineError::failed(format!("the backup was interrupted, so {not_started}")),
            code => EngineError::failed(format!("the backup failed with exit code {code}, so {not_started}")),
        };
        context.output.error(&error);
        return Ok(Exit::Other(code));
    }
    let back = back(context, &wanted, runs.as_ref(), &run);
    back.iter().for_each(|line| context.output.note(&format!("to go back: {line}")));

    let mut process = match child::start(&command.command) {
        Ok(process) => process,
        Err((code, error)) => {
            context.output.error(&EngineError::failed(format!("cannot start {name}")).caused_by(error));
            return Ok(Exit::Other(code));
        }
    };
    let code = loop {
        tokio::select! {
            status = process.wait() => break status.map(child::code).unwrap_or(1),
            kind = signals.next() => signals.pass(kind, &process),
        }
    };
    if code != 0 {
        context.output.note(&format!("{name} ended with exit code {code}"));
        back.iter().for_each(|line| context.output.note(&format!("to go back: {line}")));
    }
    Ok(Exit::Other(code))
}

/// The backup as a process of its own, which handles the signals as ever. Its result goes to standard error: standard
/// output is the command's.
async fn back_up(
    command: &Run,
    context: &Context,
    run: &str,
    signals: &mut child::Signals,
) -> Result<u8, EngineError> {
    let failed = |error: std::io::Error| EngineError::failed("cannot begin the backup").caused_by(error);
    let errors = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut process = Command::new(std::env::current_exe().map_err(failed)?)
        .args(arguments(command, &context.global))
        .arg("--handed-over")
        .stdin(Stdio::piped())
        .stdout(errors)
        .spawn()
        .map_err(failed)?;
    let handed = HandedOver { run: run.to_owned(), detached: false, sources: command.sources.clone() };
    hand_over(&mut process, &handed).await.map_err(failed)?;
    loop {
        tokio::select! {
            status = process.wait() => return status.map(child::code).map_err(failed),
            kind = signals.next() => signals.pass(kind, &process),
        }
    }
}

/// The commands that put back what was backed up.
fn back(context: &Context, wanted: &[Wanted], runs: Option<&Runs>, run: &str) -> Vec<String> {
    let Some((record, _)) = runs.and_then(|runs| runs.read(run)) else { return Vec::new() };
    let mut options = String::new();
    if let Some(config) = &context.global.config {
        options += &format!(" --config {}", config.display());
    }
    if let Some(repo) = &context.global.repo {
        options += &format!(" --repo {repo}");
    }
    let line = |(source, id): &(String, String)| {
        let target = wanted.iter().find(|wanted| wanted.name() == source);
        let target = match target {
            Some(Wanted::Given(given)) => {
                let shown = given.connect.redacted();
                address::take(&shown).map_or(shown, |address| address.url)
            }
            _ => source.clone(),
        };
        format!("basekeep restore{options} {} --to '{target}' --mode clear", units::short(id))
    };
    record.snapshots.iter().map(line).collect()
}

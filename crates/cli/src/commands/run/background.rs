//! `run`: the command at once, and a backup in the background when the database answers.

use std::time::Duration;

use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::ready::Condition;

use super::{Run, arguments, child};
use crate::commands::backup::detach::{self, Detached};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{units, with_causes};
use crate::runs::State;

/// How often it is looked whether the backup has ended.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(command: &Run, context: &Context) -> Result<Exit, EngineError> {
    // What is wrong with the options is told before anything starts.
    let conditions: Result<Vec<_>, _> =
        command.when.iter().map(|text| Condition::read(text, &context.env)).collect();
    let conditions = conditions?;
    let mut signals = child::Signals::catch()?;
    let mut process = match child::start(&command.command) {
        Ok(process) => process,
        Err((code, error)) => {
            let name = child::name(&command.command);
            context.output.error(&EngineError::failed(format!("cannot start {name}")).caused_by(error));
            return Ok(Exit::Other(code));
        }
    };
    let mut backup = Box::pin(begin(command, context, conditions));
    let mut code = None;
    // Until the backup has begun, or there is none to begin.
    let detached = loop {
        tokio::select! {
            status = process.wait(), if code.is_none() => {
                let ended = status.map(child::code).unwrap_or(1);
                if ended != 0 {
                    context.output.note("no backup: the command failed before one began");
                    return Ok(Exit::Other(ended));
                }
                // A script that starts a stack and returns: what it started is up soon, if not by now.
                code = Some(ended);
            }
            begun = &mut backup => break begun,
            kind = signals.next() => match code {
                None => signals.pass(kind, &process),
                Some(code) => return Ok(Exit::Other(code)),
            },
        }
    };
    let mut following = match &detached {
        Ok(detached) => {
            tell(detached, context);
            Some(Box::pin(end(detached, context)))
        }
        Err(error) => {
            context.output.warning(
                &format!("no backup: {}", with_causes(error)),
                error.hints().first().map(String::as_str),
            );
            None
        }
    };
    let code = match code {
        Some(code) => code,
        None => loop {
            let ended = async {
                match &mut following {
                    Some(end) => end.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = process.wait() => break status.map(child::code).unwrap_or(1),
                () = ended => following = None,
                kind = signals.next() => signals.pass(kind, &process),
            }
        },
    };
    Ok(Exit::Other(code))
}

/// Waits for the databases and what else was named, then begins the backup.
async fn begin(
    command: &Run,
    context: &Context,
    mut conditions: Vec<Condition>,
) -> Result<Detached, EngineError> {
    for source in detach::check(context, &command.sources, None)? {
        let source = source.resolve(context)?;
        conditions.push(Condition::Database(Box::new(source.connect)));
    }
    let all = async {
        for condition in &conditions {
            if !condition.wait(command.wait).await {
                return Some(condition);
            }
        }
        None
    };
    if let Some(missing) = all.await {
        let message = format!("{missing} is not up after {}", units::duration(command.wait));
        return Err(EngineError::new(ErrorKind::Unreachable, message).hint("--wait waits longer"));
    }
    detach::spawn(context, arguments(command, &context.global), &command.sources, None).await
}

fn tell(detached: &Detached, context: &Context) {
    context.output.note(&format!(
        "backup of {} began in the background: process {} (users, roles, policies, functions, files, all rows)",
        detached.sources.join(", "),
        detached.pid
    ));
    context.output.note(&format!("follow it with `basekeep log -f {}`", detached.run));
}

/// Tells how it ended.
async fn end(detached: &Detached, context: &Context) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some((record, state)) = detached.runs.read(&detached.run) else { return };
        let how = match state {
            State::Running => continue,
            State::Ended(0) => {
                for (source, id) in &record.snapshots {
                    let time = record.ended.map(|ended| ended.duration_since(record.started));
                    let time = time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
                    let id = units::short(id);
                    context.output.note(&format!("snapshot {id} of {source}, in {}", units::duration(time)));
                }
                return;
            }
            State::Ended(code) => format!("ended with exit code {code}"),
            State::Died => "was killed".to_owned(),
        };
        let hint = format!("`basekeep log {}` says more", detached.run);
        context.output.warning(&format!("the backup in the background {how}"), Some(&hint));
        return;
    }
}

//! `backup --detach`: the same backup as a process of its own, which the terminal's end does not reach. What may hold a
//! password goes to it on standard input, never on its command line.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use basekeep_engine::EngineError;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command as Process};

use super::{Backup, end_run, work};
use crate::context::Context;
use crate::context::sources::{Wanted, is_conninfo};
use crate::exit::Exit;
use crate::output::{JSON_VERSION, units};
use crate::runs::{Runs, State};

/// How long a new process may take until it says that it has begun.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is read of what is handed over.
const LARGEST: u64 = 4 << 20;
/// Options that are the caller's own business.
const NOT_HANDED_ON: [&str; 4] = ["--detach", "--json", "--quiet", "-q"];

/// What the new process is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::commands) struct HandedOver {
    /// The run's name.
    pub(in crate::commands) run: String,
    /// It writes into a log, in a session of its own.
    pub(in crate::commands) detached: bool,
    /// As they stood on the command line; none means all that are configured.
    pub(in crate::commands) sources: Vec<String>,
}

/// A backup in the background.
#[derive(Debug)]
pub(in crate::commands) struct Detached {
    pub(in crate::commands) run: String,
    pub(in crate::commands) pid: u32,
    pub(in crate::commands) log: PathBuf,
    pub(in crate::commands) runs: Runs,
    pub(in crate::commands) sources: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    run: &'a str,
    pid: u32,
    log: String,
    sources: &'a [String],
}

/// Begins it, says where to look, and returns.
pub(super) async fn start(command: &Backup, context: &Context) -> Result<Exit, EngineError> {
    let handed = |argument: &OsString| {
        argument.to_str().is_none_or(|text| {
            let source = is_conninfo(text) && command.sources.iter().any(|source| source == text);
            !source && !NOT_HANDED_ON.contains(&text)
        })
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(handed).collect();
    let detached = spawn(context, arguments, &command.sources, command.name.as_deref()).await?;
    if context.output.json {
        let log = detached.log.display().to_string();
        let Detached { run, pid, sources, .. } = &detached;
        context.output.document(&Document { version: JSON_VERSION, run, pid: *pid, log, sources })?;
        return Ok(Exit::Done);
    }
    context.output.data(&format!(
        "backup of {} began in the background: process {}, log {}\n",
        detached.sources.join(", "),
        detached.pid,
        detached.log.display()
    ))?;
    context.output.note(&format!("follow it with `basekeep log -f {}`", detached.run));
    Ok(Exit::Done)
}

/// Starts a backup as a process of its own, with these arguments. What cannot work at all is an error at once: sources that
/// nobody knows, no repository, a password that would have to be typed.
pub(in crate::commands) async fn spawn(
    context: &Context,
    mut arguments: Vec<OsString>,
    sources: &[String],
    name: Option<&str>,
) -> Result<Detached, EngineError> {
    let wanted = check(context, sources, name)?;
    let names: Vec<String> = wanted.iter().map(|source| source.name().to_owned()).collect();
    let runs = Runs::of(&context.env).ok_or_else(|| {
        EngineError::usage("there is no place for the log").hint("set HOME or XDG_STATE_HOME")
    })?;
    let run = runs.new_name(std::process::id());
    let log = runs.make_log(&run)?;
    let failed = |error: std::io::Error| {
        EngineError::failed("cannot begin a backup in the background").caused_by(error)
    };
    arguments.push("--handed-over".into());
    let mut child = Process::new(std::env::current_exe().map_err(failed)?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let handed = HandedOver { run: run.clone(), detached: true, sources: sources.to_vec() };
    hand_over(&mut child, &handed).await.map_err(failed)?;
    let pid = began(&mut child, &runs, &run).await?;
    Ok(Detached { log: runs.log(&run), run, pid, runs, sources: names })
}

/// The sources, where a backup by another process can work: nobody will type a password there.
pub(in crate::commands) fn check(
    context: &Context,
    sources: &[String],
    name: Option<&str>,
) -> Result<Vec<Wanted>, EngineError> {
    let wanted = context.wanted_sources(sources, name)?;
    let place = context.repository_place()?;
    if context.password_from(&place)?.is_none() {
        return Err(EngineError::usage(format!("no password is known for the repository at {}", place.url))
            .hint("nobody can type it there: set BASEKEEP_PASSWORD, BASEKEEP_PASSWORD_FILE or BASEKEEP_PASSWORD_COMMAND"));
    }
    Ok(wanted)
}

/// Tells a new process what to do.
pub(in crate::commands) async fn hand_over(child: &mut Child, handed: &HandedOver) -> std::io::Result<()> {
    let text = serde_json::to_vec(handed)?;
    match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(&text).await,
        None => Ok(()),
    }
}

/// Waits until it says that it has begun.
async fn began(child: &mut Child, runs: &Runs, run: &str) -> Result<u32, EngineError> {
    let start = Instant::now();
    loop {
        let ended = child.try_wait().ok().flatten();
        if let Some((record, state)) = runs.read(run)
            && (state != State::Died || ended.is_some())
        {
            return Ok(record.pid);
        }
        if ended.is_some() || start.elapsed() > PATIENCE {
            let log = runs.log(run);
            return Err(EngineError::failed("the backup in the background did not begin")
                .hint(format!("{} says why", log.display())));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The other side: does what it is told on standard input. All that it has to say is said before its end is noted, so that
/// who follows the log sees everything.
pub(super) async fn handed_over(command: &Backup, context: &Context) -> Result<Exit, EngineError> {
    let handed = receive()?;
    if handed.detached {
        // It fails only for the leader of a process group, who has a session already.
        let _ = nix::unistd::setsid();
    }
    let names = context.wanted_sources(&handed.sources, command.name.as_deref());
    let names = names.map(|wanted| wanted.iter().map(|source| source.name().to_owned()).collect());
    let runs = Runs::of(&context.env);
    let begun = match (&runs, names) {
        (Some(runs), Ok(names)) => Some(runs.begin(&handed.run, names, handed.detached)),
        _ => None,
    };
    let mut own = match begun {
        // Whoever started it waits for the note; elsewhere it is no reason not to back up.
        Some(Err(error)) if handed.detached => return Err(error),
        begun => begun.and_then(Result::ok),
    };
    if handed.detached {
        context.output.line(&format!("{} process {} began", now(), std::process::id()));
    }
    let result = work(command, &handed.sources, context, &mut own).await;
    if let Err(error) = &result {
        context.output.error(error);
    }
    let exit = result.as_ref().map_or_else(Exit::of, |exit| *exit);
    if handed.detached {
        context.output.line(&format!("{} ended with exit code {}", now(), exit.code()));
    }
    end_run(own, &result);
    Ok(exit)
}

fn receive() -> Result<HandedOver, EngineError> {
    let mut text = String::new();
    let wrong = || EngineError::usage("--handed-over is for this program's own processes");
    std::io::stdin().take(LARGEST).read_to_string(&mut text).map_err(|error| wrong().caused_by(error))?;
    serde_json::from_str(&text).map_err(|_| wrong())
}

fn now() -> String {
    units::time(jiff::Timestamp::now())
}

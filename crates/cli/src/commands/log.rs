//! `basekeep log`: what a backup in the background said, and says.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use basekeep_engine::EngineError;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;
use crate::runs::{Record, Runs, State};

/// How often it is looked for something new.
const PAUSE: Duration = Duration::from_millis(100);
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// Show the log of a backup in the background
#[derive(Debug, Args)]
#[command(
    after_long_help = "With -f the exit code is that of the backup, 1 if it was killed. `basekeep status` lists the last runs."
)]
pub(crate) struct Log {
    /// A run, the beginning of its name, its process, or a source [default: the newest run with a log]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    event: &'static str,
    line: &'a str,
}

#[derive(Serialize)]
struct Result_<'a> {
    version: u32,
    event: &'static str,
    run: &'a str,
    pid: u32,
    sources: &'a [String],
    /// `running`, `ended` or `died`.
    state: &'static str,
    exit_code: Option<u8>,
}

pub(crate) async fn run(command: &Log, context: &Context) -> Result<Exit, EngineError> {
    let runs = Runs::of(&context.env).ok_or_else(none)?;
    let record = find(&runs, command.run.as_deref())?;
    let path = runs.log(&record.run);
    let mut log = File::open(&path)
        .map_err(|error| EngineError::failed(format!("cannot read {}", path.display())).caused_by(error))?;
    let mut printer = Printer { context, rest: Vec::new() };
    let state = loop {
        // Looked at before the log is read: what is said before the end is in the log by then.
        let state = runs.read(&record.run).map_or(State::Died, |(_, state)| state);
        if !printer.copy(&mut log)? {
            return Ok(Exit::Done);
        }
        if state != State::Running || !command.follow {
            break state;
        }
        tokio::select! {
            () = context.interrupt.requested() => return Ok(Exit::Interrupted),
            () = tokio::time::sleep(PAUSE) => {}
        }
    };
    printer.end()?;
    if context.output.json {
        context.output.document(&result(&record, state))?;
    }
    match state {
        _ if !command.follow => Ok(Exit::Done),
        State::Ended(code) => Ok(Exit::Other(code)),
        State::Running | State::Died => {
            Err(EngineError::failed(format!("the run was killed: process {} is gone", record.pid))
                .hint("there is no snapshot of it; what was uploaded is found again by the next backup"))
        }
    }
}

fn result(record: &Record, state: State) -> Result_<'_> {
    let exit_code = if let State::Ended(code) = state { Some(code) } else { None };
    Result_ {
        version: JSON_VERSION,
        event: "result",
        run: &record.run,
        pid: record.pid,
        sources: &record.sources,
        state: state.name(),
        exit_code,
    }
}

/// The run that is meant.
fn find(runs: &Runs, wanted: Option<&str>) -> Result<Record, EngineError> {
    let all: Vec<Record> =
        runs.all().into_iter().map(|(record, _)| record).filter(|record| record.detached).collect();
    let Some(wanted) = wanted else { return all.into_iter().next().ok_or_else(none) };
    let named = all.iter().find(|record| record.run == wanted).or_else(|| {
        let process = |record: &&Record| record.pid.to_string() == wanted;
        let source = |record: &&Record| record.sources.iter().any(|source| source == wanted);
        // The newest one that fits comes first.
        all.iter().find(process).or_else(|| all.iter().find(source))
    });
    if let Some(found) = named {
        return Ok(found.clone());
    }
    let begins: Vec<&Record> = all.iter().filter(|record| record.run.starts_with(wanted)).collect();
    match begins[..] {
        [one] => Ok(one.clone()),
        [] if all.is_empty() => Err(none()),
        [] => Err(EngineError::usage(format!("no run with a log is '{}'", wanted.escape_debug()))
            .hint(format!("the newest one is {}", all.first().map_or("", |record| record.run.as_str())))),
        [..] => Err(EngineError::usage(format!(
            "the names of {} runs begin with '{}'",
            begins.len(),
            wanted.escape_debug()
        ))
        .hint("give more of it")),
    }
}

fn none() -> EngineError {
    EngineError::usage("there is no log").hint("`basekeep backup --detach` makes one")
}

struct Printer<'a> {
    context: &'a Context,
    /// The beginning of a line that has no end yet, for JSON.
    rest: Vec<u8>,
}

impl Printer<'_> {
    /// Prints what is new; `false` when nobody reads any more.
    fn copy(&mut self, log: &mut File) -> Result<bool, EngineError> {
        let mut piece = vec![0; PIECE];
        loop {
            let read = log
                .read(&mut piece)
                .map_err(|error| EngineError::failed("cannot read the log").caused_by(error))?;
            let new = piece.get(..read).unwrap_or_default();
            if new.is_empty() {
                return Ok(true);
            }
            if !self.context.output.json {
                if !self.context.output.bytes(new)? {
                    return Ok(false);
                }
                continue;
            }
            self.rest.extend_from_slice(new);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.line(line.strip_suffix(b"\n").unwrap_or(&line))?;
            }
        }
    }

    /// A last line that has no end.
    fn end(&mut self) -> Result<(), EngineError> {
        match std::mem::take(&mut self.rest) {
            rest if rest.is_empty() => Ok(()),
            rest => self.line(&rest),
        }
    }

    fn line(&self, line: &[u8]) -> Result<(), EngineError> {
        let line = String::from_utf8_lossy(line);
        self.context.output.document(&Line { version: JSON_VERSION, event: "line", line: &line })
    }
}

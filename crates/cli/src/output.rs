//! What the program prints: data to standard output, everything else to standard error.

mod log;
pub(crate) mod table;
pub(crate) mod units;

use std::error::Error as _;
use std::io::{self, ErrorKind as IoKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use basekeep_engine::EngineError;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::arguments::Global;
use crate::exit::{Exit, kind_name};

/// The version of every JSON document.
pub(crate) const JSON_VERSION: u32 = 1;

/// Whether a log stands in for notes and warnings, so that every line of it has one form.
static LOGS: AtomicBool = AtomicBool::new(false);

/// Prints in the way that the user asked for. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// Progress bars may be drawn.
    pub(crate) bars: bool,
    colours: bool,
    /// Printing and drawing take turns.
    turn: Arc<std::sync::Mutex<Option<indicatif::ProgressBar>>>,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    version: u32,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct WarningDocument<'a> {
    version: u32,
    warning: WarningBody<'a>,
}

#[derive(Serialize)]
struct WarningBody<'a> {
    message: &'a str,
    hint: Option<&'a str>,
}

/// An error in JSON, also as a part of other documents.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) hints: &'a [String],
    pub(crate) exit_code: u8,
}

impl<'a> ErrorBody<'a> {
    pub(crate) fn of(error: &'a EngineError) -> Self {
        Self {
            kind: kind_name(error.kind()),
            message: with_causes(error),
            hints: error.hints(),
            exit_code: Exit::of(error).code(),
        }
    }
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            bars: terminal && !dumb && !global.no_progress && !global.quiet && !global.json,
            colours: terminal && !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            turn: Arc::default(),
        }
    }

    /// Data for standard output, as it is. A reader that has gone away (`| head`) is no error.
    pub(crate) fn data(&self, text: &str) -> Result<(), EngineError> {
        self.bytes(text.as_bytes()).map(drop)
    }

    /// The same for any bytes; `false` when the reader has gone away.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<bool, EngineError> {
        self.above_bar(|| {
            let mut stdout = io::stdout().lock();
            match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == IoKind::BrokenPipe => Ok(false),
                Err(error) => Err(EngineError::failed("cannot write to standard output").caused_by(error)),
            }
        })
    }

    /// One JSON document on a line of its own.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), EngineError> {
        let text = serde_json::to_string(document)
            .map_err(|error| EngineError::failed("cannot write the result as JSON").caused_by(error))?;
        self.data(&(text + "\n"))
    }

    /// Something by the way, unless the user wants quiet or a program is reading.
    pub(crate) fn note(&self, text: &str) {
        if LOGS.load(Ordering::Relaxed) {
            tracing::info!("{text}");
        } else if !self.quiet && !self.json {
            self.line(text);
        }
    }

    /// Something to know that did not stop the work.
    pub(crate) fn warning(&self, message: &str, hint: Option<&str>) {
        if LOGS.load(Ordering::Relaxed) {
            tracing::warn!(hint, "{message}");
            return;
        }
        if self.json {
            let document = WarningDocument { version: JSON_VERSION, warning: WarningBody { message, hint } };
            if let Ok(text) = serde_json::to_string(&document) {
                self.line(&text);
            }
            return;
        }
        self.line(&format!("{} {}", self.colour("33", "warning:"), table::clean(message)));
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    /// What to do about the line before.
    pub(crate) fn hint(&self, hint: &str) {
        self.line(&format!("{} {}", self.colour("36", "hint:"), table::clean(hint)));
    }

    /// An error, with its causes and hints.
    pub(crate) fn error(&self, error: &EngineError) {
        if self.json {
            let document = ErrorDocument { version: JSON_VERSION, error: ErrorBody::of(error) };
            if let Ok(text) = serde_json::to_string(&document) {
                self.line(&text);
            }
            return;
        }
        let text = table::clean(&with_causes(error));
        self.line(&format!("{} {text}", self.colour("31;1", "error:")));
        for hint in error.hints() {
            self.hint(hint);
        }
    }

    /// One line on standard error; nobody is left to tell when that fails.
    pub(crate) fn line(&self, text: &str) {
        self.above_bar(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// From now on (or not any more) `bar` is on the screen, and lines go above it.
    pub(crate) fn show_bar(&self, bar: Option<indicatif::ProgressBar>) {
        if let Ok(mut current) = self.turn.lock() {
            *current = bar;
        }
    }

    fn above_bar<T>(&self, print: impl FnOnce() -> T) -> T {
        match self.turn.lock() {
            Ok(bar) => match &*bar {
                Some(bar) => bar.suspend(print),
                None => print(),
            },
            Err(_) => print(),
        }
    }

    fn colour(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The message and the causes that it does not mention itself, in one line.
pub(crate) fn with_causes(error: &EngineError) -> String {
    let mut text = error.message().to_owned();
    let mut cause = error.source();
    while let Some(current) = cause {
        let message = current.to_string();
        if !message.is_empty() && !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = current.source();
    }
    text
}

/// The program's own log, on standard error, when `BASEKEEP_LOG` or --verbose asks for it.
pub(crate) fn start_log(global: &Global) {
    let filter = match std::env::var("BASEKEEP_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::new(filter),
        _ if global.verbose => EnvFilter::new("warn,basekeep=info"),
        _ => return,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// Starts the log of `serve`, which is all that it prints: lines for people, or JSON. `BASEKEEP_LOG` says how much.
pub(crate) fn start_server_log(json: bool) {
    LOGS.store(true, Ordering::Relaxed);
    let given = std::env::var("BASEKEEP_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::new(given.as_deref().unwrap_or("warn,basekeep=info,basekeep_server=info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // One that runs already (--verbose, BASEKEEP_LOG) stays as it is.
    let _ = match json {
        true => log.fmt_fields(log::JsonFields).event_format(log::JsonLines).try_init(),
        false => log.with_ansi(false).with_target(false).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_the_message_once() {
        let error = EngineError::failed("open ./b: cannot read it")
            .caused_by(EngineError::failed("cannot read it").caused_by(io::Error::other("no such thing")));
        assert_eq!(with_causes(&error), "open ./b: cannot read it: no such thing");
    }
}

//! A child process that gets our signals.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use basekeep_engine::EngineError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// The signals that are passed on. They are caught from the moment that this is made.
pub(super) struct Signals {
    streams: Vec<(Signal, Stream)>,
    /// The terminal sends its signals to the child by itself.
    terminal: bool,
}

impl Signals {
    pub(super) fn catch() -> Result<Self, EngineError> {
        let all = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ];
        let streams = all.into_iter().map(|kind| Ok((kind, signal(SignalKind::from_raw(kind as i32))?)));
        let streams: std::io::Result<Vec<_>> = streams.collect();
        let streams =
            streams.map_err(|error| EngineError::failed("cannot catch signals").caused_by(error))?;
        Ok(Self { streams, terminal: std::io::stdin().is_terminal() })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        let all = self.streams.iter_mut().map(|(kind, stream)| {
            let kind = *kind;
            Box::pin(async move {
                if stream.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
                kind
            })
        });
        let mut all: Vec<_> = all.collect();
        std::future::poll_fn(|task| {
            let ready = all.iter_mut().find_map(|one| match one.as_mut().poll(task) {
                std::task::Poll::Ready(kind) => Some(kind),
                std::task::Poll::Pending => None,
            });
            ready.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }

    /// Hands one on. What the terminal sent was sent to the child as well.
    pub(super) fn pass(&self, kind: Signal, child: &Child) {
        let by_terminal = self.terminal && matches!(kind, Signal::SIGINT | Signal::SIGQUIT);
        if by_terminal {
            return;
        }
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), kind);
        }
    }
}

/// Starts the user's command. `None`, and why, where it cannot be: as a shell, 127 if there is none and else 126.
pub(super) fn start(command: &[OsString]) -> Result<Child, (u8, std::io::Error)> {
    let (program, arguments) = command.split_first().ok_or((127, std::io::ErrorKind::NotFound.into()))?;
    Command::new(program).args(arguments).spawn().map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        (code, error)
    })
}

/// Its exit code as a shell has it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// For messages.
pub(super) fn name(command: &[OsString]) -> String {
    command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
}

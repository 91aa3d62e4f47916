//! Ctrl-C and SIGTERM: the first asks the work to stop cleanly, the second ends the program where it stands.

use basekeep_engine::{Interrupt, InterruptHandle};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::output::Output;

/// Listens from now on. Where signals cannot be caught they keep their default meaning.
pub(crate) fn listen(output: &Output) -> Interrupt {
    let (handle, interrupt) = InterruptHandle::new();
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return interrupt;
    };
    let output = output.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if asked {
                std::process::exit(Exit::Interrupted.code().into());
            }
            asked = true;
            handle.interrupt();
            output.note("stopping; once more ends at once");
        }
    });
    interrupt
}

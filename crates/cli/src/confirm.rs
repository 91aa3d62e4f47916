//! Questions on the terminal. Nothing is ever asked when standard input or standard error is not a terminal.

use std::io::{BufRead, IsTerminal, Write};

use basekeep_engine::{EngineError, ErrorKind, Interrupt};

/// Whether there is somebody to ask.
pub(crate) fn possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for `expected` to be typed; anything else is a refusal.
pub(crate) async fn name(question: &str, expected: &str, interrupt: &Interrupt) -> Result<(), EngineError> {
    let question = question.to_owned();
    let typed = ask(interrupt, move || {
        write!(std::io::stderr(), "{question} ")?;
        std::io::stderr().flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    })
    .await?;
    match typed.trim_end_matches(['\n', '\r']) == expected {
        true => Ok(()),
        false => Err(EngineError::failed("not confirmed, nothing was done")
            .hint(format!("type {expected} to go on, or use --yes"))),
    }
}

/// Asks for a password without showing it.
pub(crate) fn password(question: &str) -> Result<String, EngineError> {
    rpassword::prompt_password(format!("{question}: "))
        .map_err(|error| EngineError::failed("cannot read the password from the terminal").caused_by(error))
}

async fn ask(
    interrupt: &Interrupt,
    question: impl FnOnce() -> std::io::Result<String> + Send + 'static,
) -> Result<String, EngineError> {
    let answer = async {
        match tokio::task::spawn_blocking(question).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(EngineError::failed("cannot read the answer").caused_by(error)),
            Err(_) => Err(EngineError::new(ErrorKind::Interrupted, "interrupted")),
        }
    };
    interrupt.guard(answer).await
}

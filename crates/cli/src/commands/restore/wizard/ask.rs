//! Questions with choices, each on a thread of its own so that signals are heard meanwhile.

use basekeep_engine::{EngineError, ErrorKind, Interrupt};
use dialoguer::console::Term;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};

/// Lines of a list that are shown at once.
const LINES: usize = 15;

/// Asks on the terminal (standard error and standard input).
pub(super) struct Asker<'a> {
    interrupt: &'a Interrupt,
}

impl<'a> Asker<'a> {
    pub(super) fn new(interrupt: &'a Interrupt) -> Self {
        Self { interrupt }
    }

    /// One of several; gives its number.
    pub(super) async fn one(
        &self,
        question: &str,
        choices: Vec<String>,
        first: usize,
    ) -> Result<usize, EngineError> {
        let question = question.to_owned();
        self.ask(move |theme| {
            Select::with_theme(theme)
                .with_prompt(question)
                .items(&choices)
                .default(first)
                .max_length(LINES)
                .interact()
        })
        .await
    }

    /// Some of several, at least one; gives their numbers.
    pub(super) async fn several(
        &self,
        question: &str,
        choices: Vec<String>,
    ) -> Result<Vec<usize>, EngineError> {
        loop {
            let (question, choices) = (question.to_owned(), choices.clone());
            let chosen = self
                .ask(move |theme| {
                    MultiSelect::with_theme(theme)
                        .with_prompt(question)
                        .items(&choices)
                        .max_length(LINES)
                        .interact()
                })
                .await?;
            if !chosen.is_empty() {
                return Ok(chosen);
            }
        }
    }

    /// Yes or no.
    pub(super) async fn yes(&self, question: &str, first: bool) -> Result<bool, EngineError> {
        let question = question.to_owned();
        self.ask(move |theme| Confirm::with_theme(theme).with_prompt(question).default(first).interact())
            .await
    }

    /// Some text.
    pub(super) async fn text(&self, question: &str) -> Result<String, EngineError> {
        let question = question.to_owned();
        self.ask(move |theme| Input::<String>::with_theme(theme).with_prompt(question).interact_text()).await
    }

    /// Some text that is not shown.
    pub(super) async fn password(&self, question: &str) -> Result<String, EngineError> {
        let question = question.to_owned();
        self.ask(move |theme| Password::with_theme(theme).with_prompt(question).interact()).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&ColorfulTheme) -> dialoguer::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let answer = async {
            match tokio::task::spawn_blocking(move || question(&ColorfulTheme::default())).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(dialoguer::Error::IO(error))) if error.kind() != std::io::ErrorKind::Interrupted => {
                    Err(EngineError::failed("cannot read the answer").caused_by(error))
                }
                Ok(Err(_)) | Err(_) => Err(EngineError::new(ErrorKind::Interrupted, "interrupted")),
            }
        };
        let answer = self.interrupt.guard(answer).await;
        if answer.is_err() {
            // A list hides the cursor while it is shown. Where that fails there is nobody to see it.
            let _ = Term::stderr().show_cursor();
        }
        answer
    }
}

//! What others may ask of a running daemon: the dashboard, signals.

use std::sync::Arc;

use basekeep_engine::EngineError;
use tokio::sync::{mpsc, oneshot};

use super::ask;
use crate::agenda::Upcoming;
use crate::history::History;
use crate::jobs::Job;
use crate::live::Live;

pub(super) enum Command {
    Start(Job, oneshot::Sender<Result<(), EngineError>>),
    Stop(Job, oneshot::Sender<bool>),
    Upcoming(oneshot::Sender<Vec<Upcoming>>),
    Reload(oneshot::Sender<Result<(), EngineError>>),
}

/// A daemon that runs. Cloning is cheap.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    history: Arc<History>,
    live: Live,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, history: Arc<History>, live: Live) -> Self {
        Self { commands, history, live }
    }

    /// The history of runs.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// What runs now.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Starts a job as soon as its source is free; it is then in [`Live`] and in the history.
    ///
    /// Errors: nobody knows the job, it runs already, or the daemon has ended.
    pub async fn start(&self, job: Job) -> Result<(), EngineError> {
        ask(&self.commands, |answer| Command::Start(job, answer)).await.unwrap_or_else(|| Err(ended()))
    }

    /// Asks a job that runs to stop. Gives whether it ran.
    pub async fn stop(&self, job: Job) -> bool {
        ask(&self.commands, |answer| Command::Stop(job, answer)).await.unwrap_or(false)
    }

    /// What is next, job by job. Empty until the repository has been asked.
    pub async fn upcoming(&self) -> Vec<Upcoming> {
        ask(&self.commands, Command::Upcoming).await.unwrap_or_default()
    }

    /// Reads the configuration again. After an error the old one holds.
    pub async fn reload(&self) -> Result<(), EngineError> {
        ask(&self.commands, Command::Reload).await.unwrap_or_else(|| Err(ended()))
    }
}

fn ended() -> EngineError {
    EngineError::failed("the daemon has ended")
}

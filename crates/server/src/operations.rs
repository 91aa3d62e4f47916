//! The seam between the daemon and the work: what there is to do, what the repository knows, how a job is run, and who may
//! run it where several servers share a repository.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use basekeep_engine::{EngineError, Interrupt, Observer};
use jiff::Timestamp;

use crate::agenda::{Planned, Start};
use crate::history::RunResult;
use crate::jobs::Job;

/// The work. The command line implements it with the same code as its commands; tests simulate it.
#[async_trait]
pub trait Operations: Send + Sync {
    /// What there is to do, as the configuration says now.
    fn planned(&self) -> Vec<Planned>;

    /// Reads the configuration again. After an error the old one holds.
    async fn reload(&self) -> Result<(), EngineError>;

    /// Until when each job counts as done, by what the repository says; jobs of which it says nothing are left out.
    async fn known(&self) -> Result<BTreeMap<Job, Timestamp>, EngineError>;

    /// Takes the lease that `job` needs.
    async fn lease(&self, job: &Job) -> Result<Leased, EngineError>;

    /// Runs a job. Whatever goes wrong is in the result.
    async fn run(&self, start: &Start, observer: Arc<dyn Observer>, interrupt: &Interrupt) -> RunResult;
}

/// What became of asking for a lease.
pub enum Leased {
    /// It is ours.
    Held(Box<dyn Held>),
    /// Another server has it: who that is.
    Busy(String),
}

/// A lease that is held. Dropped without a release it expires by itself.
#[async_trait]
pub trait Held: Send + Sync {
    /// Until when `job` was done, by us or another server.
    fn done(&self, job: &Job) -> Option<Timestamp>;

    /// Waits until it is lost, which may be never; gives why.
    async fn lost(&self) -> String;

    /// Gives it back. `done` is a job, and the time of its schedule that is done or given up.
    async fn release(self: Box<Self>, done: Option<(&Job, Timestamp)>) -> Result<(), EngineError>;
}

/// What else wants to know of runs: alerts, reports.
#[async_trait]
pub trait AfterRun: Send + Sync {
    /// A run begins.
    async fn started(&self, _run: &crate::history::NewRun) {}

    /// A run ended; it is in the history already. It must not take longer than a few seconds.
    async fn ended(&self, run: &crate::history::Run);
}

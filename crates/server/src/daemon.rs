//! The daemon: asks the agenda what to start, runs it under its lease, and takes note of how it ended.

mod handle;
mod run;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use basekeep_engine::{EngineError, Interrupt};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::agenda::{self, Agenda, Ended, Start};
use crate::clock::Clock;
use crate::history::{self, History};
use crate::jobs::{Job, Outcome};
use crate::live::Live;
use crate::operations::{AfterRun, Operations};

use handle::Command;
pub use handle::Handle;
use run::Runner;

/// How many commands may wait.
const COMMANDS: usize = 64;
/// How long to wait before the repository is asked again what it knows.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// How often old runs are forgotten.
const FORGET_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// What the daemon does at moments that the service manager wants to hear of. Called from the daemon's own task.
pub trait Notices: Send + Sync {
    /// It is ready: what is due is known.
    fn ready(&self) {}
    /// The configuration is read again.
    fn reloading(&self) {}
    /// It ends as soon as what runs is stopped.
    fn stopping(&self) {}
    /// Its loop goes round.
    fn alive(&self) {}
    /// Something to tell the operator.
    fn note(&self, _text: &str) {}
    /// Something went wrong that is no run's business.
    fn warning(&self, _text: &str) {}
}

/// Notices that nobody hears.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl Notices for Unheard {}

/// What a daemon is made of.
pub struct Daemon {
    /// The work.
    pub operations: Arc<dyn Operations>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where runs are remembered.
    pub history: Arc<History>,
    /// What runs now.
    pub live: Live,
    /// How many jobs run at once, at least one.
    pub limit: usize,
    /// How often another server's run is looked at: well within the time in which its lease expires.
    pub busy: SignedDuration,
    /// How long runs are remembered.
    pub keep: SignedDuration,
    /// Who hears of runs that ended.
    pub after: Vec<Arc<dyn AfterRun>>,
    /// Who hears of the daemon itself.
    pub notices: Arc<dyn Notices>,
}

impl Daemon {
    /// A daemon with the usual settings.
    pub fn new(operations: Arc<dyn Operations>, clock: Arc<dyn Clock>, history: Arc<History>) -> Self {
        Self {
            operations,
            clock,
            history,
            live: Live::default(),
            limit: std::thread::available_parallelism().map_or(1, usize::from),
            busy: agenda::BUSY,
            keep: history::KEEP,
            after: Vec::new(),
            notices: Arc::new(Unheard),
        }
    }

    /// The handle, and the daemon's work, which ends after `interrupt`, when everything that ran has stopped.
    pub fn start(self, interrupt: Interrupt) -> (Handle, impl Future<Output = ()> + Send) {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let handle = Handle::new(sender, self.history.clone(), self.live.clone());
        let runner = Arc::new(Runner {
            operations: self.operations.clone(),
            clock: self.clock.clone(),
            history: self.history.clone(),
            live: self.live.clone(),
            after: self.after.clone(),
        });
        let now = self.clock.now();
        let agenda = Agenda::new(self.limit).with_busy(self.busy);
        let work = Loop {
            daemon: self,
            runner,
            agenda,
            commands,
            tasks: JoinSet::new(),
            stops: BTreeMap::new(),
            known: false,
            ask: now,
            forget: now,
        };
        (handle, work.run(interrupt))
    }
}

struct Loop {
    daemon: Daemon,
    runner: Arc<Runner>,
    agenda: Agenda,
    commands: mpsc::Receiver<Command>,
    tasks: JoinSet<(Start, Ended)>,
    /// How to stop what runs.
    stops: BTreeMap<Job, basekeep_engine::InterruptHandle>,
    /// Whether the repository has said what it knows.
    known: bool,
    /// When to ask it.
    ask: Timestamp,
    /// When to forget old runs.
    forget: Timestamp,
}

impl Loop {
    async fn run(mut self, interrupt: Interrupt) {
        loop {
            self.daemon.notices.alive();
            let now = self.daemon.clock.now();
            if !self.known && now >= self.ask {
                tokio::select! {
                    () = self.ask(now) => {}
                    () = interrupt.requested() => break,
                }
            }
            if now >= self.forget {
                self.forget(now);
            }
            if self.known {
                for start in self.agenda.tick(now) {
                    self.spawn(start);
                }
            }
            let wake = self.wake(self.daemon.clock.now());
            tokio::select! {
                biased;
                () = interrupt.requested() => break,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Some(command) = self.commands.recv() => self.command(command).await,
                () = self.daemon.clock.sleep_until(wake) => {}
            }
        }
        self.stop().await;
    }

    fn wake(&self, now: Timestamp) -> Timestamp {
        let ask = (!self.known).then_some(self.ask);
        let agenda = if self.known { self.agenda.wake(now) } else { None };
        [ask, agenda, Some(self.forget)].into_iter().flatten().min().unwrap_or(now)
    }

    /// Asks the repository what it knows; without an answer nothing is started, since everything might be a double.
    async fn ask(&mut self, now: Timestamp) {
        match self.daemon.operations.known().await {
            Ok(known) => {
                self.agenda.plan(self.daemon.operations.planned(), &known, now);
                self.known = true;
                self.daemon.notices.ready();
            }
            Err(error) => {
                let text = format!("what is due is not known yet: {}", history::text_of(&error));
                self.daemon.notices.warning(&text);
                self.ask = self.daemon.clock.now().checked_add(ASK_AGAIN).unwrap_or(now);
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.forget = now.checked_add(FORGET_EVERY).unwrap_or(now);
        let Ok(before) = now.checked_sub(self.daemon.keep) else { return };
        if let Err(error) = self.daemon.history.forget_before(before) {
            self.daemon.notices.warning(&format!("old runs stay in the history: {error}"));
        }
    }

    fn spawn(&mut self, start: Start) {
        let (handle, interrupt) = basekeep_engine::InterruptHandle::new();
        self.stops.insert(start.job.clone(), handle);
        let runner = self.runner.clone();
        self.tasks.spawn(async move {
            // A panic in the work must not leave the job running for ever in the agenda's eyes.
            let work = AssertUnwindSafe(runner.run(&start, &interrupt)).catch_unwind();
            let ended = work.await.unwrap_or(Ended::Ran(Outcome::Failed));
            (start, ended)
        });
    }

    fn ended(&mut self, ended: Result<(Start, Ended), tokio::task::JoinError>) {
        // The task itself catches whatever could fail.
        let Ok((start, ended)) = ended else { return };
        self.stops.remove(&start.job);
        self.agenda.ended(&start, ended, self.daemon.clock.now());
    }

    async fn command(&mut self, command: Command) {
        let now = self.daemon.clock.now();
        match command {
            Command::Start(job, answer) => {
                let _ = answer.send(self.start(&job, now));
            }
            Command::Stop(job, answer) => {
                let stop = self.stops.get(&job);
                if let Some(stop) = stop {
                    stop.interrupt();
                }
                let _ = answer.send(stop.is_some());
            }
            Command::Upcoming(answer) => {
                let _ = answer.send(self.agenda.upcoming(now));
            }
            Command::Reload(answer) => {
                let result = self.reload(now).await;
                let _ = answer.send(result);
            }
        }
    }

    fn start(&mut self, job: &Job, now: Timestamp) -> Result<(), EngineError> {
        if !self.known {
            return Err(EngineError::failed("the repository cannot be asked yet, so nothing is started"));
        }
        if !self.agenda.knows(job) {
            return Err(EngineError::usage(format!("there is no job '{job}' here")));
        }
        if !self.agenda.demand(job, now) {
            return Err(EngineError::usage(format!("'{job}' runs already, or is about to")));
        }
        Ok(())
    }

    async fn reload(&mut self, now: Timestamp) -> Result<(), EngineError> {
        self.daemon.notices.reloading();
        let result = self.daemon.operations.reload().await;
        match &result {
            Ok(()) => {
                // Sources that are new ask the repository; the others keep what is known of them.
                let known = self.daemon.operations.known().await;
                if let Err(error) = &known {
                    let text = format!("what is due is not known yet: {}", history::text_of(error));
                    self.daemon.notices.warning(&text);
                    (self.known, self.ask) = (false, now.checked_add(ASK_AGAIN).unwrap_or(now));
                }
                if let Ok(known) = known {
                    self.agenda.plan(self.daemon.operations.planned(), &known, now);
                    self.daemon.notices.note("the configuration was read again");
                }
            }
            Err(error) => {
                let text = history::text_of(error);
                self.daemon.notices.warning(&format!("the configuration stays as it was: {text}"));
            }
        }
        self.daemon.notices.ready();
        result
    }

    /// Interrupts what runs and waits for it.
    async fn stop(mut self) {
        self.daemon.notices.stopping();
        for stop in self.stops.values() {
            stop.interrupt();
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.daemon.notices.alive();
            self.ended(ended);
        }
    }
}

/// Sends a command and waits for its answer.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    commands.send(command(sender)).await.ok()?;
    answer.await.ok()
}

#[cfg(test)]
mod tests;

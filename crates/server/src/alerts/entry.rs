//! The entry for whoever runs something: what happened goes in, messages go out.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::{AlertsEntry, Topic};
use basekeep_engine::monitor::Finding;
use basekeep_engine::postgres::{Environment, Secret};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::channel::{Channel, ChannelInfo, Patience, Signal, Task};
use super::message::{Level, Message};
use super::redact::Redactor;
use super::run::{Run, RunEnd, RunStart};
use super::state::{Entry, News};
use super::store::Store;
use crate::history;

/// Messages that wait for one channel. What finds its queue full is told with the next observation.
const QUEUE: usize = 64;

/// Failures that are remembered until somebody asks.
const FAILURES: usize = 100;

/// What [`Alerts`] needs to know beside the configuration's section.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where the state is kept; `None` keeps it in memory.
    pub state: Option<PathBuf>,
    /// The configuration's folder: its `.env` files are looked into for variables.
    pub folder: PathBuf,
    /// Variables.
    pub env: Environment,
    /// How long a channel is tried.
    pub patience: Patience,
    /// Further secrets that no message may hold, such as the repository's password.
    pub secrets: Vec<Secret>,
}

impl Setup {
    /// The usual one.
    pub fn new(folder: impl Into<PathBuf>, env: Environment, state: Option<PathBuf>) -> Self {
        Self { state, folder: folder.into(), env, patience: Patience::default(), secrets: Vec::new() }
    }

    /// Where the state is kept by default: beside the history of runs. `None` where that has no place.
    pub fn state_file(env: &Environment) -> Option<PathBuf> {
        history::state_folder(None, env).map(|folder| folder.join("alerts.json"))
    }
}

/// Something that was observed.
#[derive(Debug, Clone)]
pub enum Observation {
    /// A run ended. Alerts about earlier runs of the job on that source are over if it went well.
    Run(Run),
    /// Everything that the monitor finds about this source (`None`: about the repository). What is not among the findings
    /// any more is over.
    Findings {
        /// The source.
        source: Option<String>,
        /// All that alerts about it.
        findings: Vec<Finding>,
    },
}

/// A message that a channel did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The channel.
    pub channel: String,
    /// Why, without secrets.
    pub reason: String,
}

/// Watches what happens and tells people. It is made inside a tokio runtime; dropping it ends its tasks, so call
/// [`Alerts::flush`] first.
#[derive(Debug)]
pub struct Alerts {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    infos: Vec<ChannelInfo>,
    repeat: Option<SignedDuration>,
    /// Ends the channels' tasks.
    _tasks: JoinSet<()>,
    /// Messages on their way.
    waiting: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    redactor: Redactor,
    patience: Patience,
    failures: Mutex<Vec<Failure>>,
}

#[derive(Debug)]
struct Lane {
    channel: Arc<Channel>,
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    task: Task,
    done: oneshot::Sender<bool>,
}

impl Alerts {
    /// Makes the channels ready. One that cannot be used (a variable that is not set, say) is a failure that
    /// [`Alerts::flush`] gives, and does not stop the others.
    pub fn new(entry: &AlertsEntry, setup: Setup) -> Self {
        let mut redactor = Redactor::default();
        for secret in &setup.secrets {
            redactor.hide(secret);
        }
        let (mut channels, mut infos, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for one in &entry.notify {
            match Channel::resolve(one, entry, &setup.folder, &setup.env, &mut redactor) {
                Ok(channel) => {
                    channels.push(Arc::new(channel));
                    infos.push(ChannelInfo::of(one, None));
                }
                Err(error) => {
                    let reason = redactor.clean(&error.to_string());
                    tracing::warn!(channel = %one.name, %reason, "a channel cannot be used");
                    infos.push(ChannelInfo::of(one, Some(reason.clone())));
                    failures.push(Failure { channel: one.name.clone(), reason });
                }
            }
        }
        let shared = Arc::new(Shared {
            store: Store::new(setup.state),
            redactor,
            patience: setup.patience,
            failures: Mutex::new(failures),
        });
        let mut tasks = JoinSet::new();
        let lanes = channels.into_iter().map(|channel| lane(channel, &shared, &mut tasks)).collect();
        let repeat = entry.repeat.and_then(|time| SignedDuration::try_from(time).ok());
        Self { shared, lanes, infos, repeat, _tasks: tasks, waiting: Mutex::default() }
    }

    /// Whether anybody would be told anything.
    pub fn is_configured(&self) -> bool {
        !self.infos.is_empty()
    }

    /// The channels, in the order of the configuration.
    pub fn channels(&self) -> &[ChannelInfo] {
        &self.infos
    }

    /// The alerts that go on.
    pub fn firing(&self) -> Vec<Entry> {
        self.shared.store.read().firing().cloned().collect()
    }

    /// A run begins: tells the dead man's switches that watch it. Returns at once.
    pub fn started(&self, start: &RunStart) {
        let what = match &start.source {
            Some(source) => format!("{} of {source} began", start.job),
            None => format!("{} began", start.job),
        };
        self.signal(Signal::Start, &start.job, start.source.as_deref(), &what);
    }

    /// Takes note of something, and tells what of it is news. Returns at once: messages are sent in the background.
    pub fn observe(&self, observation: Observation, now: Timestamp) {
        self.observe_all(vec![observation], now);
    }

    /// The same for several things: what of them is news is one message.
    pub fn observe_all(&self, observations: Vec<Observation>, now: Timestamp) {
        let mut found = Vec::new();
        for observation in observations {
            match observation {
                Observation::Run(run) => {
                    let line = run.line();
                    let signal = match run.end {
                        RunEnd::Done => Some(Signal::Success),
                        RunEnd::Incomplete(_) | RunEnd::Failed(_) => Some(Signal::Fail),
                        RunEnd::Interrupted => None,
                    };
                    if let Some(signal) = signal {
                        self.signal(signal, &run.job, run.source.as_deref(), &line);
                        let scope = format!("run {} {}", run.job, run.source.as_deref().unwrap_or_default());
                        found.push((scope, Vec::from_iter(run.finding())));
                    }
                }
                Observation::Findings { source, findings } => {
                    found.push((format!("monitor {}", source.as_deref().unwrap_or_default()), findings));
                }
            }
        }
        // Without anybody to tell, nothing is news: it will be once there is a channel.
        if found.is_empty() || !self.lanes.iter().any(|lane| !lane.channel.is_ping()) {
            return;
        }
        let redactor = &self.shared.redactor;
        for finding in found.iter_mut().flat_map(|(_, findings)| findings) {
            finding.message = redactor.clean(&finding.message);
            finding.command = redactor.clean(&finding.command);
        }
        let news: Vec<News> = self.shared.store.change(|states| {
            let observed =
                found.into_iter().map(|(scope, found)| states.observe(&scope, found, now, self.repeat));
            observed.flatten().collect()
        });
        let items = news.iter().map(|one| one.item.clone()).collect();
        if let Some(message) = Message::of_items(items, now) {
            self.deliver(message, news);
        }
    }

    /// Sends a digest or a summary to the channels that want it. Returns at once.
    pub fn send(&self, message: Message) {
        self.deliver(message, Vec::new());
    }

    /// Sends a test message to the channel of this name and waits for it. The error says why it was not taken.
    ///
    /// # Errors
    /// Kind `Usage` when there is no such channel, or it cannot be used; `Failed` when it did not take the message.
    pub async fn test(&self, name: &str, now: Timestamp) -> Result<(), EngineError> {
        let Some(info) = self.infos.iter().find(|info| info.name == name) else {
            let names: Vec<&str> = self.infos.iter().map(|info| info.name.as_str()).collect();
            return Err(EngineError::usage(format!("there is no channel '{}'", name.escape_debug()))
                .hint(format!("the channels are {}", names.join(", "))));
        };
        if let Some(problem) = &info.problem {
            return Err(EngineError::usage(problem.clone()));
        }
        let text =
            "This is a test: channels of basekeep work. Nothing is wrong.\n\n- run: `basekeep alert list`\n";
        let message = Message::new(Topic::Alerts, "basekeep: a test message", text, now).level(Level::Note);
        let Some(lane) = self.lanes.iter().find(|lane| lane.channel.name == name) else {
            return Err(EngineError::failed(format!("channel '{name}' is not ready")));
        };
        let task = match lane.channel.is_ping() {
            true => Task::Signal(Signal::Success, "a test message of basekeep".into()),
            false => Task::Message(Arc::new(message)),
        };
        let sent = lane.channel.run(&task, &self.shared.patience, &self.shared.redactor).await;
        sent.map_err(|reason| EngineError::failed(format!("channel '{name}': {reason}")))
    }

    /// Waits until everything that was handed over has arrived or was given up, at most so long. Gives what failed since
    /// the last call.
    pub async fn flush(&self, limit: Duration) -> Vec<Failure> {
        let mut waiting = std::mem::take(&mut *lock(&self.waiting));
        let all = async { while waiting.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            let reason = format!("messages are still on their way after {} s", limit.as_secs());
            tracing::warn!("{reason}");
            self.shared.failed("alerts", &reason);
            // They go on in the background.
            waiting.detach_all();
        }
        std::mem::take(&mut *lock(&self.shared.failures))
    }

    fn signal(&self, signal: Signal, job: &str, source: Option<&str>, text: &str) {
        let text: Arc<str> = self.shared.redactor.clean(text).into();
        for lane in self.lanes.iter().filter(|lane| lane.channel.watches(job, source)) {
            let done = self.queue(lane, Task::Signal(signal, text.clone()));
            self.track(async move { drop(done.await) });
        }
    }

    fn deliver(&self, message: Message, news: Vec<News>) {
        let redactor = &self.shared.redactor;
        let message = Arc::new(Message {
            title: redactor.clean(&message.title),
            text: redactor.clean(&message.text),
            ..message
        });
        let results: Vec<_> = self
            .lanes
            .iter()
            .filter_map(|lane| Some(self.queue(lane, Task::Message(lane.channel.wants(&message)?))))
            .collect();
        let shared = self.shared.clone();
        self.track(async move {
            let wanted = !results.is_empty();
            let taken = futures::future::join_all(results).await;
            if news.is_empty() {
                return;
            }
            // One channel is enough: people were told. Where no channel wants it, nobody waits for it.
            let told = !wanted || taken.contains(&Ok(true));
            let now = message.time;
            let settled = tokio::task::spawn_blocking(move || {
                shared.store.change(|states| match told {
                    true => states.told(&news, now),
                    false => states.not_told(&news),
                });
            });
            drop(settled.await);
        });
    }

    fn queue(&self, lane: &Lane, task: Task) -> oneshot::Receiver<bool> {
        let (done, taken) = oneshot::channel();
        if lane.queue.try_send(Job { task, done }).is_err() {
            self.shared.failed(&lane.channel.name, "too many messages wait for it; this one was left out");
        }
        taken
    }

    fn track(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = lock(&self.waiting);
        while waiting.try_join_next().is_some() {}
        waiting.spawn(work);
    }
}

fn lane(channel: Arc<Channel>, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Lane {
    let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
    let (own, shared) = (channel.clone(), shared.clone());
    tasks.spawn(async move {
        while let Some(Job { task, done }) = jobs.recv().await {
            let sent = own.run(&task, &shared.patience, &shared.redactor).await;
            if let Err(reason) = &sent {
                shared.failed(&own.name, reason);
            }
            let _ = done.send(sent.is_ok());
        }
    });
    Lane { channel, queue }
}

impl Shared {
    fn failed(&self, channel: &str, reason: &str) {
        tracing::warn!(%channel, %reason, "a message was not delivered");
        let mut failures = lock(&self.failures);
        if failures.len() < FAILURES {
            failures.push(Failure { channel: channel.to_owned(), reason: reason.to_owned() });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Channels: where messages go, and how often it is tried.

mod chat;
mod command;
pub(crate) mod http;
mod mail;
mod ping;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use basekeep_engine::config::{AlertsEntry, ChannelEntry, ChannelKind, Dotenv, Topic};
use basekeep_engine::postgres::{Environment, Secret};
use basekeep_engine::{EngineError, ResultExt};
use serde::Serialize;

use super::message::Message;
use super::redact::Redactor;
use chat::Style;
pub(super) use ping::Signal;

/// How long a channel is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// The wait after the first try; each further one is four times as long.
    pub wait: Duration,
    /// How long one try may take.
    pub limit: Duration,
}

impl Default for Patience {
    /// Four tries within a minute and a half at most.
    fn default() -> Self {
        Self { tries: 4, wait: Duration::from_secs(1), limit: Duration::from_secs(10) }
    }
}

/// The longest wait that a server may ask for with `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a try failed. The text holds no address, since addresses are secrets.
#[derive(Debug)]
pub(super) struct SendError {
    pub(super) text: String,
    /// Whether another try may help.
    pub(super) again: bool,
    /// How long the server asks to wait.
    pub(super) after: Option<Duration>,
}

impl SendError {
    fn for_good(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: false, after: None }
    }

    fn for_now(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: true, after: None }
    }
}

/// A channel as `basekeep alert list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`, `discord`, `teams`, `email`, `ping` or `command`.
    pub kind: &'static str,
    /// What it is told: `alerts`, `digest`, `runs`.
    pub topics: Vec<&'static str>,
    /// The sources it is about; `null` for all.
    pub sources: Option<Vec<String>>,
    /// Where its address comes from; recipients for mail. Never the address itself.
    pub place: String,
    /// Why it cannot be used, if so.
    pub problem: Option<String>,
}

impl ChannelInfo {
    pub(super) fn of(entry: &ChannelEntry, problem: Option<String>) -> Self {
        let place = match &entry.kind {
            ChannelKind::Webhook { url, .. }
            | ChannelKind::Slack { url }
            | ChannelKind::Discord { url }
            | ChannelKind::Teams { url }
            | ChannelKind::Ping { url, .. } => format!("address from {url}"),
            ChannelKind::Email { to } => to.join(", "),
            ChannelKind::Command { .. } => "command from basekeep.toml".to_owned(),
        };
        Self {
            name: entry.name.clone(),
            kind: entry.kind.word(),
            // A ping hears of runs, not of messages.
            topics: match entry.kind {
                ChannelKind::Ping { .. } => Vec::new(),
                _ => entry.topics.iter().map(|topic| topic.word()).collect(),
            },
            sources: entry.sources.clone(),
            place,
            problem,
        }
    }
}

/// A channel that is ready.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: String,
    topics: Vec<Topic>,
    sources: Option<Vec<String>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Webhook(webhook::Webhook),
    Chat(chat::Chat),
    Mail(mail::Mail),
    Ping(ping::Ping),
    Command(Secret),
}

/// What a channel is asked to do.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Carry a message.
    Message(Arc<Message>),
    /// Tell a dead man's switch.
    Signal(Signal, Arc<str>),
}

impl Channel {
    /// Reads its secrets and tells `redactor` about them.
    pub(super) fn resolve(
        entry: &ChannelEntry,
        alerts: &AlertsEntry,
        folder: &Path,
        env: &Environment,
        redactor: &mut Redactor,
    ) -> Result<Self, EngineError> {
        let dotenv = Dotenv::of_project(folder);
        let doing = || format!("channel '{}' of [alerts]", entry.name);
        let mut read = |from: &basekeep_engine::config::SecretFrom| -> Result<Secret, EngineError> {
            let secret = from.read(env, &dotenv).doing(doing)?;
            redactor.hide(&secret);
            Ok(secret)
        };
        let kind = match &entry.kind {
            ChannelKind::Webhook { url, secret } => {
                let secret = secret.as_ref().map(&mut read).transpose()?;
                webhook::Webhook::new(http::address(&read(url)?).doing(doing)?, secret).map(Kind::Webhook)
            }
            ChannelKind::Slack { url } => {
                chat::Chat::new(Style::Slack, http::address(&read(url)?).doing(doing)?).map(Kind::Chat)
            }
            ChannelKind::Discord { url } => {
                chat::Chat::new(Style::Discord, http::address(&read(url)?).doing(doing)?).map(Kind::Chat)
            }
            ChannelKind::Teams { url } => {
                chat::Chat::new(Style::Teams, http::address(&read(url)?).doing(doing)?).map(Kind::Chat)
            }
            ChannelKind::Email { to } => match &alerts.smtp {
                Some(smtp) => mail::Mail::new(smtp, to, env, &dotenv, redactor).map(Kind::Mail),
                None => Err(EngineError::usage("there is no [alerts.smtp]")),
            },
            ChannelKind::Ping { url, start, fail, plain, job } => {
                let url = http::address(&read(url)?).doing(doing)?;
                let mut other = |from: &Option<_>| -> Result<_, EngineError> {
                    from.as_ref().map(|from| http::address(&read(from)?).doing(doing)).transpose()
                };
                ping::Ping::new(url, other(start)?, other(fail)?, *plain, job.clone()).map(Kind::Ping)
            }
            ChannelKind::Command { line } => {
                redactor.hide(line);
                Ok(Kind::Command(line.clone()))
            }
        };
        Ok(Self {
            name: entry.name.clone(),
            topics: entry.topics.clone(),
            sources: entry.sources.clone(),
            kind: kind.doing(doing)?,
        })
    }

    /// What of a message it is to carry, if anything.
    pub(super) fn wants(&self, message: &Arc<Message>) -> Option<Arc<Message>> {
        if matches!(self.kind, Kind::Ping(_)) || !self.topics.contains(&message.topic) {
            return None;
        }
        match &self.sources {
            None => Some(message.clone()),
            Some(sources) => message.only(sources).map(Arc::new),
        }
    }

    /// Whether it is to be told about this job's runs of that source.
    pub(super) fn watches(&self, job: &str, source: Option<&str>) -> bool {
        let Kind::Ping(ping) = &self.kind else { return false };
        let sources = self.sources.as_ref();
        ping.job == job
            && sources.is_none_or(|sources| source.is_some_and(|name| sources.iter().any(|s| s == name)))
    }

    /// Whether it is a dead man's switch.
    pub(super) fn is_ping(&self) -> bool {
        matches!(self.kind, Kind::Ping(_))
    }

    /// Tries until it works, or `patience` ends. The error is the last try's.
    pub(super) async fn run(
        &self,
        task: &Task,
        patience: &Patience,
        redactor: &Redactor,
    ) -> Result<(), String> {
        let mut wait = patience.wait;
        let tries = patience.tries.max(1);
        let mut number = 1;
        // The same for all tries, so that a receiver can tell them from several messages.
        let delivery: [u8; 16] = rand::random();
        let delivery = hex::encode(delivery);
        loop {
            let done = tokio::time::timeout(patience.limit, self.once(task, &delivery, redactor)).await;
            let error = match done {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => SendError::for_now(format!("no answer within {} s", patience.limit.as_secs_f64())),
            };
            let text = redactor.clean(&error.text);
            if !error.again || number >= tries {
                return Err(if number > 1 { format!("{text} ({number} tries)") } else { text });
            }
            tracing::debug!(channel = %self.name, %text, number, "a message was not delivered; trying again");
            tokio::time::sleep(error.after.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait = wait.saturating_mul(4);
            number += 1;
        }
    }

    async fn once(&self, task: &Task, delivery: &str, redactor: &Redactor) -> Result<(), SendError> {
        match (&self.kind, task) {
            (Kind::Webhook(webhook), Task::Message(message)) => webhook.send(message, delivery).await,
            (Kind::Chat(chat), Task::Message(message)) => chat.send(message).await,
            (Kind::Mail(mail), Task::Message(message)) => mail.send(message, delivery).await,
            (Kind::Command(line), Task::Message(message)) => command::send(line, message, redactor).await,
            (Kind::Ping(ping), Task::Signal(signal, text)) => ping.send(*signal, text).await,
            // `wants` and `watches` keep them apart.
            (Kind::Ping(_), Task::Message(_)) | (_, Task::Signal(..)) => Ok(()),
        }
    }
}

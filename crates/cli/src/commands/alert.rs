//! `basekeep alert`: the channels of `[alerts]`, and what goes on.

use basekeep_engine::EngineError;
use basekeep_server::alerts::state::Entry;
use basekeep_server::alerts::{ChannelInfo, Patience};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::{Align, Table, clean};
use crate::output::{JSON_VERSION, units, with_causes};

/// Test the channels that alerts go to, and list what alerts
#[derive(Debug, Args)]
#[command(
    after_long_help = "Channels stand in `notify` of [alerts] in basekeep.toml: webhook, slack, discord, teams, email, ping and command \
(docs/ALERTS.md). `basekeep backup`, `basekeep drill` and `basekeep serve` tell them how runs end, and `basekeep monitor --notify` what it \
finds. An alert is told when it begins, when it ends, and once a day while it goes on."
)]
pub(crate) struct Alert {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send a test message to all channels, or to one
    Test(Test),
    /// List the channels, and the alerts that go on
    List,
}

#[derive(Debug, Args)]
struct Test {
    /// Only to this channel; can be given several times
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<String>,
}

#[derive(Serialize)]
struct TestDocument<'a> {
    version: u32,
    channels: Vec<TestedDocument<'a>>,
}

#[derive(Serialize)]
struct TestedDocument<'a> {
    name: &'a str,
    sent: bool,
    /// Why it was not sent.
    problem: Option<String>,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    version: u32,
    channels: &'a [ChannelInfo],
    alerts: Vec<AlertDocument<'a>>,
}

#[derive(Serialize)]
struct AlertDocument<'a> {
    source: Option<&'a str>,
    code: &'a str,
    subject: Option<&'a str>,
    severity: basekeep_engine::monitor::Severity,
    message: &'a str,
    since: String,
    /// When a channel last took a message about it; `null` if none has yet.
    told: Option<String>,
    command: &'a str,
}

pub(crate) async fn run(command: &Alert, context: &Context) -> Result<Exit, EngineError> {
    let Some(config) = context.config()? else {
        return Err(EngineError::usage("there is no basekeep.toml here that could name channels")
            .hint("`basekeep init` writes one; docs/ALERTS.md shows its [alerts] section"));
    };
    // Whoever tests wants to know now.
    let alerts = context.alerts(config, Patience { tries: 1, ..Patience::default() });
    match &command.what {
        What::List => {
            let firing = alerts.firing();
            match context.output.json {
                true => context.output.document(&list_document(alerts.channels(), &firing))?,
                false => context.output.data(&list_text(alerts.channels(), &firing))?,
            }
            Ok(Exit::Done)
        }
        What::Test(test) => {
            if !alerts.is_configured() {
                return Err(EngineError::usage(format!("{} names no channel", config.file.display()))
                    .hint("add for example: [alerts] notify = [{ slack_env = \"SLACK_WEBHOOK\" }]"));
            }
            let names: Vec<&str> = match test.channels.is_empty() {
                true => alerts.channels().iter().map(|channel| channel.name.as_str()).collect(),
                false => test.channels.iter().map(String::as_str).collect(),
            };
            let (mut exit, mut tested) = (Exit::Done, Vec::new());
            for name in names {
                let sent = context.interrupt.guard(alerts.test(name, Timestamp::now())).await;
                if !context.output.json {
                    match &sent {
                        Ok(()) => context.output.data(&format!("{}: sent\n", clean(name)))?,
                        Err(error) => context.output.error(error),
                    }
                }
                exit = exit.worst(sent.as_ref().err().map_or(Exit::Done, Exit::of));
                let problem = sent.as_ref().err().map(with_causes);
                tested.push(TestedDocument { name, sent: sent.is_ok(), problem });
            }
            if context.output.json {
                context.output.document(&TestDocument { version: JSON_VERSION, channels: tested })?;
            }
            Ok(exit)
        }
    }
}

fn list_document<'a>(channels: &'a [ChannelInfo], firing: &'a [Entry]) -> ListDocument<'a> {
    let alerts = firing.iter().map(|entry| AlertDocument {
        source: entry.finding.source.as_deref(),
        code: &entry.finding.code,
        subject: entry.finding.subject.as_deref(),
        severity: entry.finding.severity,
        message: &entry.finding.message,
        since: entry.began.to_string(),
        told: entry.told.map(|time| time.to_string()),
        command: &entry.finding.command,
    });
    ListDocument { version: JSON_VERSION, channels, alerts: alerts.collect() }
}

fn list_text(channels: &[ChannelInfo], firing: &[Entry]) -> String {
    let mut text = String::new();
    if channels.is_empty() {
        text += "no channels; docs/ALERTS.md shows how to add one\n";
    } else {
        let left = Align::Left;
        let mut table = Table::new(&[
            ("channel", left),
            ("kind", left),
            ("is told", left),
            ("sources", left),
            ("where", left),
        ]);
        for channel in channels {
            let told = if channel.topics.is_empty() {
                "runs, as pings".to_owned()
            } else {
                channel.topics.join(", ")
            };
            let place = match &channel.problem {
                Some(problem) => format!("NOT READY: {problem}"),
                None => channel.place.clone(),
            };
            let sources = channel.sources.as_ref().map_or_else(|| "all".to_owned(), |names| names.join(", "));
            table.row([channel.name.clone(), channel.kind.to_owned(), told, sources, place]);
        }
        text += &table.render();
    }
    if firing.is_empty() {
        return text + "nothing alerts\n";
    }
    for entry in firing {
        let finding = &entry.finding;
        text += &clean(&format!(
            "{} {}: {}; since {}, {}",
            super::monitor::severity(finding.severity),
            finding.source.as_deref().unwrap_or("repository"),
            finding.message,
            units::time(entry.began),
            match entry.told {
                Some(time) => format!("told {}", units::time(time)),
                None => "nobody was told yet".to_owned(),
            },
        ));
        text.push('\n');
    }
    text
}

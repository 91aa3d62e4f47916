//! `report --digest`: what happened within some days, also as a message.

use basekeep_engine::config::Topic;
use basekeep_engine::listing::{self, Filter};
use basekeep_engine::monitor::{self, Options};
use basekeep_engine::report::digest::{Digest, Known, Now, Runs, digest};
use basekeep_engine::{EngineError, Repository};
use basekeep_server::alerts::{Level, Message};
use basekeep_server::history::Run;
use basekeep_server::jobs::Outcome;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Report;
use crate::context::Context;
use crate::exit::Exit;
use crate::reports::freed;

pub(super) async fn run(command: &Report, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let now = Timestamp::now();
    let from = now - SignedDuration::from_hours(24 * i64::from(command.days));
    let digest = context.interrupt.guard(gather(&repository, context, from, now)).await?;
    match (context.output.json, command.markdown) {
        (true, _) => context.output.document(&digest)?,
        // It is sent, and whoever wants quiet wants to hear of failures alone.
        _ if context.output.quiet && command.notify => {}
        (_, true) => context.output.data(&digest.markdown())?,
        _ => context.output.data(&digest.text())?,
    }
    // A channel that does not take it makes the exit code 3.
    match command.notify && !send(&digest, context).await? {
        true => Ok(Exit::Incomplete),
        false => Ok(Exit::Done),
    }
}

/// What happened from `from` to `to`.
pub(in crate::commands) async fn gather(
    repository: &Repository,
    context: &Context,
    from: Timestamp,
    to: Timestamp,
) -> Result<Digest, EngineError> {
    let options = Options::of(context.config()?, &[], to, TimeZone::system());
    let report = monitor::monitor(repository, &options).await?;
    let all = listing::list(repository, &Filter::default()).await?.snapshots;
    let known = context.runs_since(from).map(|runs| known(&runs));
    Ok(digest(&all, &Now::from(&report), known.as_ref(), from, to))
}

/// Adds up the history's runs, which come newest first.
fn known(runs: &[Run]) -> Known {
    let mut known = Known { freed_bytes: runs.iter().map(freed).sum(), ..Known::default() };
    for run in runs {
        let Some(outcome) = run.outcome else { continue };
        let of_job: &mut Runs = known.runs.entry((run.job.to_string(), run.source.clone())).or_default();
        match outcome {
            Outcome::Done => of_job.done += 1,
            Outcome::Incomplete => of_job.incomplete += 1,
            Outcome::Difference | Outcome::Failed | Outcome::Interrupted => {
                of_job.failed += 1;
                if of_job.last_error.is_none() {
                    let error = run.error.as_deref().and_then(|error| error.lines().next());
                    let error = error.unwrap_or_else(|| outcome.name()).to_owned();
                    of_job.last_error = Some((run.started, error));
                }
            }
        }
    }
    known
}

/// Sends it to the channels that want digests; gives whether all of them took it.
pub(in crate::commands) async fn send(digest: &Digest, context: &Context) -> Result<bool, EngineError> {
    let Some(config) = context.config()?.filter(|config| !config.alerts.notify.is_empty()) else {
        return Err(EngineError::usage("there is nobody to send the digest to")
            .hint("add notify = [{ email = \"ops@example.com\" }] to [alerts] (docs/ALERTS.md)"));
    };
    Ok(context.send(config, message(digest)).await)
}

fn message(digest: &Digest) -> Message {
    let level = if digest.findings.is_empty() { Level::Good } else { Level::Warning };
    Message::new(Topic::Digest, digest.title(), digest.markdown(), digest.to).level(level)
}

//! `basekeep unlock`: removes locks that nobody holds any more.

use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::unlock::{self, LockSummary, UnlockReport};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{JSON_VERSION, units};

/// Remove locks that nobody holds any more
///
/// A lock is stale when its process on this machine is gone, or when it was not refreshed for 30 minutes. Stale locks stop
/// nobody; this removes their files.
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// Remove locks that somebody holds too; whoever works under one stops with an error
    #[arg(long)]
    remove_all: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    removed: Vec<LockDocument<'a>>,
    held: Vec<LockDocument<'a>>,
    failed: Vec<LockDocument<'a>>,
}

#[derive(Serialize)]
struct LockDocument<'a> {
    file: &'a str,
    hostname: Option<&'a str>,
    username: Option<&'a str>,
    pid: Option<u32>,
    exclusive: Option<bool>,
    age_seconds: u64,
    /// Why it is not honoured; `null` for one that is held.
    stale: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(crate) async fn run(command: &Unlock, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let report = context.interrupt.guard(unlock::unlock(&repository, command.remove_all)).await?;
    let exit = if report.failed.is_empty() { Exit::Done } else { Exit::Incomplete };
    if context.output.json {
        context.output.document(&document(&report))?;
        return Ok(exit);
    }
    if exit != Exit::Done || !context.output.quiet {
        context.output.data(&text(&report))?;
    }
    for (lock, error) in &report.failed {
        context.output.warning(&format!("{} was not removed: {error}", lock.file), None);
    }
    if exit != Exit::Done {
        context.output.hint("storage that only appends keeps locks; they stop nobody once they are stale");
    }
    Ok(exit)
}

fn document(report: &UnlockReport) -> Document<'_> {
    Document {
        version: JSON_VERSION,
        removed: report.removed.iter().map(|lock| LockDocument::of(lock, None)).collect(),
        held: report.held.iter().map(|lock| LockDocument::of(lock, None)).collect(),
        failed: report.failed.iter().map(|(lock, error)| LockDocument::of(lock, Some(error))).collect(),
    }
}

impl<'a> LockDocument<'a> {
    fn of(lock: &'a LockSummary, error: Option<&'a str>) -> Self {
        let holder = lock.holder.as_ref();
        Self {
            file: &lock.file,
            hostname: holder.map(|holder| holder.hostname.as_str()),
            username: holder.map(|holder| holder.username.as_str()),
            pid: holder.map(|holder| holder.pid),
            exclusive: holder.map(|holder| holder.exclusive),
            age_seconds: lock.age_seconds,
            stale: lock.stale.as_deref(),
            error,
        }
    }
}

fn text(report: &UnlockReport) -> String {
    if report.removed.is_empty() && report.held.is_empty() && report.failed.is_empty() {
        return "no locks\n".to_owned();
    }
    let mut text = String::new();
    for lock in &report.removed {
        text += &format!("removed  {}{}\n", holder(lock), why(lock));
    }
    for lock in &report.held {
        text += &format!("held     {}\n", holder(lock));
    }
    text
}

/// `exclusive, ada on db1 (process 42), refreshed 2 min 5 s ago`.
fn holder(lock: &LockSummary) -> String {
    let age = units::duration(Duration::from_secs(lock.age_seconds));
    let text = match &lock.holder {
        None => format!("{}, {age} old", lock.file),
        Some(holder) => format!(
            "{}{} on {} (process {}), refreshed {age} ago",
            if holder.exclusive { "exclusive, " } else { "" },
            holder.username,
            holder.hostname,
            holder.pid
        ),
    };
    crate::output::table::clean(&text)
}

fn why(lock: &LockSummary) -> String {
    lock.stale.as_ref().map_or_else(String::new, |why| format!(": {}", crate::output::table::clean(why)))
}

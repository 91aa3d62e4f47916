//! `basekeep status`: of each source what runs, what was last, what is next, how old the newest backup is, and what is proven.

mod gather;
mod text;

use basekeep_engine::EngineError;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{ErrorBody, JSON_VERSION};

/// Say what runs, what was last, what is next, and what is proven
#[derive(Debug, Args)]
#[command(
    after_long_help = "Running and last runs are those of this machine: of every `basekeep backup`, and of `basekeep serve`. Snapshots and \
proofs are those of the repository, whoever made them. The next times are those of the source's profile.\n\n\
The exit code is 0 also where a run failed; it is that of the error where the repository cannot be opened."
)]
pub(crate) struct Status {
    /// Names of sources [default: all that are configured, or that the repository has]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    sources: &'a [SourceStatus],
    /// Why nothing is known from the repository.
    error: Option<ErrorBody<'a>>,
}

/// One source.
#[derive(Debug, Default, Serialize)]
struct SourceStatus {
    source: String,
    running: Vec<RunStatus>,
    /// The newest run that is over.
    last_run: Option<RunStatus>,
    /// The newest snapshot.
    last: Option<SnapshotStatus>,
    /// The newest snapshot that a drill has proven.
    proof: Option<SnapshotStatus>,
    /// Times of the profile, the nearest first; empty without schedules.
    next: Vec<NextStatus>,
}

#[derive(Debug, Clone, Serialize)]
struct RunStatus {
    job: String,
    /// The name for `basekeep log`; `null` for runs of the daemon.
    run: Option<String>,
    pid: Option<u32>,
    #[serde(serialize_with = "seconds")]
    started: jiff::Timestamp,
    ended: Option<String>,
    /// `running`, `ended` or `died`.
    state: &'static str,
    exit_code: Option<u8>,
    log: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct SnapshotStatus {
    id: String,
    #[serde(serialize_with = "seconds")]
    time: jiff::Timestamp,
    age_seconds: i64,
    tables: Option<u64>,
    rows: Option<u64>,
    bytes: Option<u64>,
    added_bytes: Option<u64>,
    not_captured: u64,
    /// Result of the newest drill; `null` when there was none.
    proven: Option<bool>,
}

#[derive(Debug, Serialize)]
struct NextStatus {
    job: &'static str,
    #[serde(serialize_with = "seconds")]
    time: jiff::Timestamp,
    in_seconds: i64,
}

fn seconds<S: serde::Serializer>(time: &jiff::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

pub(crate) async fn run(command: &Status, context: &Context) -> Result<Exit, EngineError> {
    let now = jiff::Timestamp::now();
    let (found, error) = gather::gather(command, context, now).await?;
    if context.output.json {
        let error = error.as_ref().map(ErrorBody::of);
        context.output.document(&Document { version: JSON_VERSION, sources: &found, error })?;
    } else {
        if let Some(error) = &error {
            context.output.error(error);
        }
        context.output.data(&text::text(&found, now, error.is_none()))?;
    }
    Ok(error.as_ref().map_or(Exit::Done, Exit::of))
}

//! `basekeep report`: a summary of a snapshot, or of some days.

pub(super) mod digest;
mod text;

use basekeep_engine::{EngineError, listing, report};
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;

/// Summarize a snapshot, or with --digest the last days
#[derive(Debug, Args)]
#[command(
    after_long_help = "A summary says what was saved, against the snapshot before, what is missing, what was cleaned up, whether it is proven, \
and how it is put back. `folder` of [report] in basekeep.toml writes one after each backup.\n\n\
What was cleaned up, and which runs failed, is known from the history of runs on this machine."
)]
pub(crate) struct Report {
    /// An id, its beginning, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME", conflicts_with = "digest")]
    source: Option<String>,
    /// Print Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// All sources over some days: runs, failures, growth, space, proof, and what alerts
    #[arg(long)]
    digest: bool,
    /// With --digest: so many days
    #[arg(long, value_name = "N", default_value_t = 7, requires = "digest", value_parser = clap::value_parser!(u16).range(1..=3660))]
    days: u16,
    /// With --digest: send it to the channels of [alerts] that want it
    #[arg(long, requires = "digest")]
    notify: bool,
}

pub(crate) async fn run(command: &Report, context: &Context) -> Result<Exit, EngineError> {
    if command.digest {
        return digest::run(command, context).await;
    }
    let repository = context.open_repository().await?;
    let find = listing::find(&repository, &command.snapshot, command.source.as_deref());
    let snapshot = context.interrupt.guard(find).await?;
    let found = context.report(&repository, &snapshot).await?;
    match (context.output.json, command.markdown) {
        (true, _) => context.output.document(&found)?,
        (_, true) => context.output.data(&report::markdown(&found))?,
        _ => context.output.data(&text::text(&found))?,
    }
    Ok(Exit::Done)
}

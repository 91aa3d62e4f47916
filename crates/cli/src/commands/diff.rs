//! `basekeep diff`: what differs between two snapshots, or a snapshot and a live database.

pub(super) mod document;
pub(super) mod text;

use std::sync::Arc;

use basekeep_engine::diff::{self, Options, Secrets, Tables};
use basekeep_engine::{EngineError, Observer, Repository, Silent, Snapshot, listing};
use clap::Args;

use crate::arguments::selection::SelectionArguments;
use crate::context::Context;
use crate::exit::Exit;

/// What stands for the source's database as it is now.
const LIVE: &str = "live";
/// Longer values are cut, in bytes.
pub(super) const LONGEST: usize = 80;
/// The same for programs.
pub(super) const LONGEST_IN_JSON: usize = 64 << 10;

/// Show what differs between two snapshots, or a snapshot and a live database
#[derive(Debug, Args)]
#[command(
    after_long_help = "Without B the newest snapshot of A's source is compared; without A, too, the two newest ones. With `live`, or \
                             --with, the database itself is read, in one transaction that changes nothing. Definitions are \
                             shown by object as unified diffs, with keys, policies, triggers, privileges and comments under \
                             their table; then roles, settings, sequences, extensions and files, then the rows of each table, by \
                             primary key, with old and new values. Of the rows only what can differ is read. \
                             Columns and settings whose names say that they hold secrets are hidden: `•••`.\n\n\
                             With --exit-code the exit code is 0 when nothing differs and 1 when something does. What is \
                             missing in a snapshot is listed, and the exit code is 3."
)]
pub(crate) struct Diff {
    /// The older snapshot: an id, its beginning, or `latest`
    #[arg(value_name = "A")]
    a: Option<String>,
    /// The newer snapshot, or `live`: the source's database as it is now
    #[arg(value_name = "B")]
    b: Option<String>,
    /// Compare with this live database: a postgresql:// URL or a name from basekeep.toml
    #[arg(long, value_name = "URL|SOURCE", conflicts_with = "b")]
    with: Option<String>,
    /// The source whose snapshots are meant
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only definitions, roles, settings and files; no tables
    #[arg(long, conflicts_with_all = ["rows", "no_rows"])]
    schema_only: bool,
    /// Only tables and their rows
    #[arg(long, conflicts_with = "no_rows")]
    rows: bool,
    /// Of tables only counts and sizes: no rows are read
    #[arg(long)]
    no_rows: bool,
    #[command(flatten)]
    selection: SelectionArguments,
    /// Only counts: no definitions, files or rows one by one
    #[arg(long)]
    summary: bool,
    /// Show at most N rows of a table and N files of a kind
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Show new and removed definitions, and long values, as a whole
    #[arg(long)]
    full: bool,
    /// Show secrets, too
    #[arg(long)]
    show_secrets: bool,
    /// End with 0 when nothing differs, and with 1 when something does
    #[arg(long)]
    exit_code: bool,
}

pub(crate) async fn run(command: &Diff, context: &Context) -> Result<Exit, EngineError> {
    let columns = context.config()?.map(|config| config.secret_columns.clone()).unwrap_or_default();
    let repository = context.open_repository().await?;
    let (a, b) = context.interrupt.guard(command.sides(&repository)).await?;
    let target = match (&b, &command.with) {
        (Some(_), _) => None,
        (None, Some(text)) => Some(context.target(text)?),
        // The source of the snapshot, if it is configured under its name.
        (None, None) => Some(context.target(&a.hostname)?),
    };
    let options = Options {
        definitions: !command.rows,
        tables: match (command.schema_only, command.no_rows) {
            (true, _) => Tables::Nothing,
            (false, true) => Tables::Figures,
            (false, false) => Tables::Rows,
        },
        selection: command.selection.selection(),
        limit: if command.summary { 0 } else { command.limit },
        longest: match (command.full, context.output.json) {
            (true, _) => usize::MAX,
            (false, true) => LONGEST_IN_JSON,
            (false, false) => LONGEST,
        },
        secrets: Secrets { show: command.show_secrets, columns },
        ..Options::default()
    };
    let observer: Arc<dyn Observer> = if context.output.json { Arc::new(Silent) } else { context.observer() };
    let interrupt = &context.interrupt;
    let diff = match (&b, &target) {
        (_, Some(target)) => {
            diff::live(&repository, &a, target, &context.env, &options, &observer, interrupt).await?
        }
        (Some(b), None) => diff::snapshots(&repository, &a, b, &options, &observer, interrupt).await?,
        (None, None) => return Err(EngineError::usage("there is nothing to compare with")),
    };
    if context.output.json {
        context.output.document(&document::of(&diff, command.summary))?;
    } else {
        context.output.data(&text::of(&diff, command.summary, command.full))?;
    }
    for note in diff.notes.iter().filter(|_| !context.output.json) {
        context.output.note(&format!("note: {note}"));
    }
    for missing in diff.not_compared.iter().filter(|_| !context.output.json) {
        let line = format!("not compared: {}: {}", missing.what, missing.reason);
        context.output.warning(&line, missing.hint.as_deref());
    }
    Ok(match (command.exit_code && !diff.is_equal(), diff.not_compared.is_empty()) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Done,
        (false, false) => Exit::Incomplete,
    })
}

impl Diff {
    /// The snapshots that are meant, the older one first where they are not both named. Without a second one a live database
    /// is meant.
    async fn sides(&self, repository: &Repository) -> Result<(Snapshot, Option<Snapshot>), EngineError> {
        let source = self.source.as_deref();
        let live = self.with.is_some() || self.b.as_deref() == Some(LIVE);
        let (a, b) = match (&self.a, &self.b) {
            (a, _) if live || a.as_deref() == Some(LIVE) => {
                let wanted = a.as_deref().filter(|a| *a != LIVE).unwrap_or("latest");
                return Ok((listing::find(repository, wanted, source).await?, None));
            }
            (Some(a), Some(b)) => {
                let a = listing::find(repository, a, source).await?;
                let b = listing::find(repository, b, source).await;
                (a, b.map_err(|error| error.hint("`live` is the source's database as it is now; --with takes a name or a URL of another one"))?)
            }
            (Some(a), None) => {
                let a = listing::find(repository, a, source).await?;
                let newest = listing::find(repository, "latest", Some(&a.hostname)).await?;
                if newest.id == a.id { (listing::before(repository, &a).await?, a) } else { (a, newest) }
            }
            (None, _) => {
                let newest = listing::find(repository, "latest", source).await?;
                (listing::before(repository, &newest).await?, newest)
            }
        };
        Ok((a, Some(b)))
    }
}

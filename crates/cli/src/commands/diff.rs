//! `basekeep diff`: what differs between two snapshots.

mod document;
mod text;

use std::sync::Arc;

use basekeep_engine::diff::{self, Options, Secrets, Tables};
use basekeep_engine::{EngineError, Observer, Repository, Silent, Snapshot, listing};
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;

/// Longer values are cut, in bytes.
const LONGEST: usize = 80;
/// The same for programs.
const LONGEST_IN_JSON: usize = 64 << 10;

/// Show what differs between two snapshots
#[derive(Debug, Args)]
#[command(
    after_long_help = "Without B the newest snapshot of A's source is compared; without A, too, the two newest ones. Definitions are \
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
    /// The newer snapshot
    #[arg(value_name = "B")]
    b: Option<String>,
    /// The source whose snapshots are meant
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only definitions, roles, settings and files; no tables
    #[arg(long, conflicts_with_all = ["rows", "no_rows", "tables"])]
    schema_only: bool,
    /// Only tables and their rows
    #[arg(long, conflicts_with = "no_rows")]
    rows: bool,
    /// Of tables only counts and sizes: no rows are read
    #[arg(long)]
    no_rows: bool,
    /// Only this table, `schema.name` or `name`, `*` for any text; several may be given. Definitions are left out
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
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
    let repository = context.open_repository().await?;
    let (a, b) = context.interrupt.guard(command.sides(&repository)).await?;
    let options = Options {
        definitions: !command.rows && command.tables.is_empty(),
        tables: match (command.schema_only, command.no_rows) {
            (true, _) => Tables::Nothing,
            (false, true) => Tables::Figures,
            (false, false) => Tables::Rows,
        },
        only: command.tables.clone(),
        limit: if command.summary { 0 } else { command.limit },
        longest: match (command.full, context.output.json) {
            (true, _) => usize::MAX,
            (false, true) => LONGEST_IN_JSON,
            (false, false) => LONGEST,
        },
        secrets: Secrets { show: command.show_secrets, ..Secrets::default() },
        ..Options::default()
    };
    let observer: Arc<dyn Observer> = if context.output.json { Arc::new(Silent) } else { context.observer() };
    let diff = diff::snapshots(&repository, &a, &b, &options, &observer, &context.interrupt).await?;
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
    /// The snapshots that are meant, the older one first where they are not both named.
    async fn sides(&self, repository: &Repository) -> Result<(Snapshot, Snapshot), EngineError> {
        let source = self.source.as_deref();
        match (&self.a, &self.b) {
            (Some(a), Some(b)) => {
                Ok((listing::find(repository, a, source).await?, listing::find(repository, b, source).await?))
            }
            (Some(a), None) => {
                let a = listing::find(repository, a, source).await?;
                let newest = listing::find(repository, "latest", Some(&a.hostname)).await?;
                if newest.id == a.id {
                    return Ok((listing::before(repository, &a).await?, a));
                }
                Ok((a, newest))
            }
            (None, _) => {
                let newest = listing::find(repository, "latest", source).await?;
                Ok((listing::before(repository, &newest).await?, newest))
            }
        }
    }
}

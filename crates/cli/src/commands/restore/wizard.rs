//! `restore` without a target, on a terminal: asks for what the flags say otherwise, and prints the equal command line.
//!
//! It only fills in the command. The plan, the question for the target's name, progress and checklist are those of the
//! command itself.

mod ask;
mod words;

use basekeep_engine::listing::{self, Filter, SnapshotSummary};
use basekeep_engine::postgres::{ConnectOptions, Secret};
use basekeep_engine::restore::Found;
use basekeep_engine::selection::{Part, Selection};
use basekeep_engine::stored::manifest::Manifest;
use basekeep_engine::{EngineError, ErrorKind, Repository, restore};
use clap::ValueEnum;

use self::ask::Asker;
use super::{Conflict, Mode, Restore};
use crate::arguments::selection::SelectionArguments;
use crate::context::Context;
use crate::context::sources::is_conninfo;
use crate::{confirm, output};

/// How often a wrong password may be typed.
const ATTEMPTS: usize = 3;

/// Asks on the terminal. Changes nothing anywhere.
///
/// Errors: as kind `Usage` where nobody can be asked; `Interrupted` when the questions are broken off.
pub(super) async fn fill(
    command: &Restore,
    context: &Context,
    repository: &Repository,
) -> Result<Restore, EngineError> {
    let asker = Asker::new(&context.interrupt);
    let mut command = command.clone();
    let mut answers = Vec::new();
    if command.snapshot.is_none() {
        let chosen = snapshot(&asker, repository, command.source.as_deref()).await?;
        answers.push(chosen.clone());
        command.snapshot = Some(chosen);
    }
    if command.selection.selection().is_everything() && command.conditions.is_empty() {
        let found = listing::find(repository, command.snapshot(), command.source.as_deref()).await?;
        let manifest = listing::manifest(repository, &found).await?;
        let chosen = selection(&asker, &manifest).await?;
        answers.extend(chosen.arguments());
        command.selection = SelectionArguments::of(chosen);
    }
    let target = target(&asker, &mut command, &mut answers, context).await?;
    let line = words::line(std::env::args().skip(1), &answers);
    context.output.line(&format!("\nthe same without questions:\n  {line}\n"));
    if target.has_password() {
        context.output.line("  (with the target's password in PGPASSWORD, or in ~/.pgpass)\n");
    }
    command.address = Some(Box::new(target));
    Ok(command)
}

/// Refuses where nobody can be asked.
pub(super) fn possible(context: &Context) -> Result<(), EngineError> {
    if confirm::possible() && !context.output.json {
        return Ok(());
    }
    Err(EngineError::usage("no target is named")
        .hint("give one with --to: a postgresql:// URL or a name from basekeep.toml")
        .hint("on a terminal, `basekeep restore` asks for everything"))
}

async fn snapshot(
    asker: &Asker<'_>,
    repository: &Repository,
    source: Option<&str>,
) -> Result<String, EngineError> {
    let filter = Filter { source: source.map(str::to_owned), ..Filter::default() };
    let listing = listing::list(repository, &filter).await?;
    let snapshots: Vec<&SnapshotSummary> = listing.snapshots.iter().rev().collect();
    if snapshots.is_empty() {
        return Err(EngineError::usage("there is no snapshot to restore")
            .hint("`basekeep list` shows what there is, `basekeep backup` makes one"));
    }
    let lines = words::snapshots(&snapshots);
    let chosen = asker.one("Which snapshot?", lines, 0).await?;
    Ok(snapshots.get(chosen).map(|chosen| output::units::short(&chosen.id).to_owned()).unwrap_or_default())
}

async fn selection(asker: &Asker<'_>, manifest: &Manifest) -> Result<Selection, EngineError> {
    let mut selection = Selection::default();
    let choices = ["everything", "some parts (schema, data, users, policies, …)", "some tables"];
    match asker.one("What of it?", choices.map(str::to_owned).into(), 0).await? {
        1 => {
            let names = Part::ALL.map(|part| part.name().to_owned()).into();
            for chosen in asker.several("Which parts? (space selects, enter ends)", names).await? {
                selection.parts.extend(Part::ALL.get(chosen).copied());
            }
        }
        2 => {
            let lines = words::tables(&manifest.tables);
            for chosen in asker.several("Which tables? (space selects, enter ends)", lines).await? {
                selection.tables.extend(manifest.tables.get(chosen).map(words::table_name));
            }
        }
        _ => return Ok(selection),
    }
    let needed = "Also what it needs (types, functions of triggers, tables of foreign keys)?";
    selection.with_dependencies = asker.yes(needed, true).await?;
    Ok(selection)
}

/// Asks for the target until it can be looked at, and for what depends on what is there.
async fn target(
    asker: &Asker<'_>,
    command: &mut Restore,
    answers: &mut Vec<String>,
    context: &Context,
) -> Result<ConnectOptions, EngineError> {
    let name = target_name(asker, context).await?;
    let mut target = context.target(&name)?;
    // A password that stands in it is not shown.
    let shown = if is_conninfo(&name) { target.redacted() } else { name.clone() };
    answers.extend(["--to".to_owned(), shown]);
    command.to = Some(name);
    let mut found = context.interrupt.guard(restore::look(&target)).await?;
    for _ in 0..ATTEMPTS {
        if found != Found::Refused {
            break;
        }
        let typed = asker.password(&format!("Password of {} at {}", target.user(), target.host())).await?;
        target = target.with_password(Secret::new(typed));
        found = context.interrupt.guard(restore::look(&target)).await?;
    }
    match found {
        Found::Refused => {
            return Err(EngineError::new(
                ErrorKind::Unreachable,
                format!("{} refuses the password", target.redacted()),
            )
            .hint("check the role's name and password"));
        }
        Found::NoDatabase if command.create_database => {}
        Found::NoDatabase => {
            let question = format!("There is no database '{}' yet. Create it?", target.database());
            if !asker.yes(&question, true).await? {
                return Err(EngineError::new(ErrorKind::Interrupted, "nothing was done"));
            }
            command.create_database = true;
            answers.push("--create-database".to_owned());
        }
        Found::Database { relations } if relations > 0 && command.mode == Mode::Empty && !command.resume => {
            mode(asker, command, answers, relations).await?;
        }
        Found::Database { .. } => {}
    }
    Ok(target)
}

async fn target_name(asker: &Asker<'_>, context: &Context) -> Result<String, EngineError> {
    let sources = context.config()?.map(|config| config.sources.as_slice()).unwrap_or_default();
    let url = "Where to? (postgresql://user@host:5432/database)";
    if sources.is_empty() {
        return asker.text(url).await;
    }
    let mut choices = vec!["another database".to_owned()];
    choices.extend(sources.iter().map(|source| format!("{} (of basekeep.toml)", source.name)));
    match asker.one("Where to?", choices, 0).await?.checked_sub(1) {
        None => asker.text(url).await,
        Some(number) => Ok(sources.get(number).map(|source| source.name.clone()).unwrap_or_default()),
    }
}

async fn mode(
    asker: &Asker<'_>,
    command: &mut Restore,
    answers: &mut Vec<String>,
    relations: u64,
) -> Result<(), EngineError> {
    let question = format!(
        "The target holds {}. What of it?",
        output::units::counted(relations, "table, view or sequence", "tables, views and sequences")
    );
    command.mode = variant(asker, &question).await?;
    answers.extend(["--mode".to_owned(), words::name(&command.mode)]);
    if command.mode == Mode::Merge && command.on_conflict.is_none() {
        let chosen = variant(asker, "A row whose key the target has with other values:").await?;
        answers.extend(["--on-conflict".to_owned(), words::name::<Conflict>(&chosen)]);
        command.on_conflict = Some(chosen);
    }
    Ok(())
}

/// One of a flag's values, shown with what the help says of each.
async fn variant<T: ValueEnum + Copy>(asker: &Asker<'_>, question: &str) -> Result<T, EngineError> {
    let choices = T::value_variants().iter().map(words::choice).collect();
    let chosen = asker.one(question, choices, 0).await?;
    T::value_variants().get(chosen).copied().ok_or_else(|| EngineError::failed("that choice does not exist"))
}

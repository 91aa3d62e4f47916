//! A summary of one snapshot for people and programs: what was saved, against the snapshot before, what is missing, what was
//! cleaned up, whether it is proven, and how it is put back.

pub mod digest;
pub mod folder;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};

use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;
use serde::Serialize;

use crate::listing::{self, Filter};
use crate::stored::manifest::{Manifest, Missing, Warning};
use crate::{EngineError, ErrorKind};

pub use markdown::markdown;

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// Everything that is worth knowing of one snapshot. It holds no row's value and no secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The source's name.
    pub source: String,
    /// The snapshot's id.
    pub snapshot: String,
    /// When the database was looked at.
    pub time: Timestamp,
    /// How long the backup took.
    pub seconds: f64,
    /// The database's name.
    pub database: String,
    /// The server's version.
    pub server: String,
    /// Nothing is missing.
    pub complete: bool,
    /// Sums, now and in the snapshot before.
    pub totals: Vec<Line>,
    /// What a Supabase project has: users, policies, edge functions, files…; empty for other databases.
    pub project: Vec<Line>,
    /// Definitions by kind, what people look for first.
    pub components: Vec<Line>,
    /// What is said of the project without being a number.
    pub facts: Vec<(String, String)>,
    /// The snapshot before.
    pub before: Option<Before>,
    /// Tables that are new, went away or have other numbers of rows; the largest changes first.
    pub tables: Vec<TableLine>,
    /// Tables whose foreign keys form a circle; no fault, a restore copes with it.
    pub circles: Vec<Vec<String>>,
    /// What could not be captured.
    pub not_captured: Vec<Missing>,
    /// What to know.
    pub warnings: Vec<Warning>,
    /// What was removed since the snapshot before, where that is known.
    pub cleanup: Option<Cleanup>,
    /// What drills found.
    pub proof: Proof,
    /// Commands that put it back: all of it, a part, without basekeep.
    pub restore: Vec<Command>,
}

/// One number, now and before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is counted.
    pub name: String,
    /// Now; `None` where there is none any more.
    pub now: Option<u64>,
    /// In the snapshot before; `None` where it was not there, or there is no such snapshot.
    pub before: Option<u64>,
    /// It counts bytes.
    pub bytes: bool,
}

/// The snapshot before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Before {
    /// Its id.
    pub snapshot: String,
    /// When it was taken.
    pub time: Timestamp,
}

/// A table's rows, now and before; `None` where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableLine {
    /// Schema and name.
    pub table: String,
    /// Now.
    pub rows: Option<u64>,
    /// Before.
    pub rows_before: Option<u64>,
}

/// What retention and prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cleanup {
    /// Bytes that were freed.
    pub freed_bytes: u64,
    /// What was done, a line each.
    pub done: Vec<String>,
}

/// What drills found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The newest drill of this very snapshot: `true` equal, `false` different, `None` for no drill.
    pub equal: Option<bool>,
    /// The newest proven snapshot of the source: its id and when it was taken.
    pub newest: Option<(String, Timestamp)>,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// What it is for.
    pub about: String,
    /// The line for a shell.
    pub line: String,
}

/// Reads what a report needs. `options` are put behind `basekeep restore` in its commands (` --config FILE`, say).
///
/// Errors: the snapshot was not made by basekeep, or cannot be read.
pub async fn report(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &str,
) -> Result<Report, EngineError> {
    let manifest = listing::manifest(repository, snapshot).await?;
    let before = match listing::before(repository, snapshot).await {
        // One that cannot be read, or that basekeep did not make, is nothing to compare with.
        Ok(before) => listing::manifest(repository, &before).await.ok().map(|manifest| (before, manifest)),
        Err(error) if error.kind() == ErrorKind::Usage => None,
        Err(error) => return Err(error),
    };
    let filter = Filter { source: Some(snapshot.hostname.clone()), ..Filter::default() };
    let all = listing::list(repository, &filter).await?.snapshots;
    let id = snapshot.id.to_string();
    let proof = Proof {
        equal: all.iter().find(|one| one.id == id).and_then(|one| one.proven),
        newest: all.iter().rfind(|one| one.proven == Some(true)).map(|one| (one.id.clone(), one.time)),
    };
    Ok(of(
        &id,
        &manifest,
        before.as_ref().map(|(before, manifest)| (before.id.to_string(), manifest)),
        proof,
        options,
    ))
}

fn of(id: &str, now: &Manifest, before: Option<(String, &Manifest)>, proof: Proof, options: &str) -> Report {
    let earlier = before.as_ref().map(|(_, manifest)| *manifest);
    Report {
        version: VERSION,
        source: now.source.clone(),
        snapshot: id.to_owned(),
        time: now.time,
        seconds: now.duration_seconds,
        database: now.server.database.clone(),
        server: now.server.version.clone(),
        complete: now.not_captured.is_empty(),
        totals: totals(now, earlier),
        project: project(now, earlier),
        components: components(now, earlier),
        facts: facts(now),
        before: before.as_ref().map(|(id, manifest)| Before { snapshot: id.clone(), time: manifest.time }),
        tables: earlier.map(|earlier| tables(now, earlier)).unwrap_or_default(),
        circles: now.circular_foreign_keys.clone(),
        not_captured: now.not_captured.clone(),
        warnings: now.warnings.clone(),
        cleanup: None,
        proof,
        restore: commands(id, &now.source, options),
    }
}

fn totals(now: &Manifest, before: Option<&Manifest>) -> Vec<Line> {
    let line = |name: &str, bytes, value: &dyn Fn(&Manifest) -> u64| Line {
        name: name.to_owned(),
        now: Some(value(now)),
        before: before.map(value),
        bytes,
    };
    let mut lines = vec![
        line("tables", false, &|m| m.totals.tables),
        line("rows", false, &|m| m.totals.rows),
        line("bytes of rows", true, &|m| m.totals.bytes),
        line("large objects", false, &|m| m.large_objects.count),
        line("sequences", false, &|m| m.sequences.len() as u64),
        line("roles", false, &|m| m.roles.len() as u64),
        line("added to the repository", true, &|m| m.totals.added_bytes),
    ];
    lines.retain(|line| line.bytes || line.now != Some(0) || line.before.is_some_and(|before| before > 0));
    lines
}

/// What people look for first; the rest follows by name.
const FIRST: [&str; 7] = ["table", "view", "function", "trigger", "policy", "rls enabled", "index"];

fn components(now: &Manifest, before: Option<&Manifest>) -> Vec<Line> {
    let order = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut names: BTreeSet<&String> = now.components.keys().collect();
    names.extend(before.iter().flat_map(|before| before.components.keys()));
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort_by_key(|name| order(name));
    let line = |name: &String| Line {
        name: name.clone(),
        now: now.components.get(name).copied(),
        before: before.and_then(|before| before.components.get(name).copied()),
        bytes: false,
    };
    names.into_iter().map(line).collect()
}

fn project(now: &Manifest, before: Option<&Manifest>) -> Vec<Line> {
    let Some(current) = &now.supabase else { return Vec::new() };
    let earlier = before.and_then(|before| before.supabase.as_ref());
    let mut lines: Vec<Line> = Vec::new();
    let all = current
        .counts_in_order()
        .into_iter()
        .chain(earlier.iter().flat_map(|earlier| earlier.counts_in_order()));
    for (name, _) in all {
        let shown = name.replace('_', " ");
        if !lines.iter().any(|line| line.name == shown) {
            lines.push(Line {
                name: shown,
                now: current.counts.get(name).copied(),
                before: earlier.and_then(|earlier| earlier.counts.get(name).copied()),
                bytes: name.ends_with("bytes"),
            });
        }
    }
    lines
}

fn facts(manifest: &Manifest) -> Vec<(String, String)> {
    let Some(supabase) = &manifest.supabase else { return Vec::new() };
    let counted = |name: &str| supabase.counts.contains_key(&name.replace(' ', "_"));
    supabase.lines().into_iter().filter(|(name, _)| !counted(name)).collect()
}

fn tables(now: &Manifest, before: &Manifest) -> Vec<TableLine> {
    let rows = |manifest: &Manifest| -> BTreeMap<String, u64> {
        manifest.tables.iter().map(|table| (format!("{}.{}", table.schema, table.name), table.rows)).collect()
    };
    let (now, before) = (rows(now), rows(before));
    let names: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    let mut lines: Vec<TableLine> = names
        .into_iter()
        .map(|name| TableLine {
            table: name.clone(),
            rows: now.get(name).copied(),
            rows_before: before.get(name).copied(),
        })
        .filter(|line| line.rows != line.rows_before)
        .collect();
    let change = |line: &TableLine| line.rows.unwrap_or(0).abs_diff(line.rows_before.unwrap_or(0));
    lines.sort_by_key(|line| std::cmp::Reverse(change(line)));
    lines
}

fn commands(id: &str, source: &str, options: &str) -> Vec<Command> {
    let short = id.get(..8).unwrap_or(id);
    let command = |about: &str, line: String| Command { about: about.to_owned(), line };
    vec![
        command(
            "into an empty database",
            format!("basekeep restore{options} {short} --to postgresql://user@host:5432/empty_database"),
        ),
        command(
            "in the place of what is in the source now, which is backed up first",
            format!(
                "basekeep restore{options} {short} --to '{}' --mode clear",
                source.replace('\'', r"'\''")
            ),
        ),
        command("without basekeep", format!("restic restore {short} --target out && less out/*/MANIFEST.md")),
    ]
}

#[cfg(test)]
pub(crate) mod tests;

//! `basekeep list`: the snapshots of a repository.

use basekeep_engine::cat::{self, FileKind};
use basekeep_engine::listing::{self, Filter, Listing, SnapshotSummary};
use basekeep_engine::{EngineError, Repository};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;
use crate::output::table::{Align, Table};
use crate::output::units;

/// List the snapshots, oldest first
#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list
    #[arg(value_name = "KIND", value_enum, default_value_t)]
    kind: Kind,
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only snapshots with this tag; several: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only the newest N of those that match
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// What can be listed. All but snapshots are ids, one on each line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[default]
    Snapshots,
    Index,
    Keys,
    Locks,
    Packs,
}

#[derive(Serialize)]
struct IdsDocument<'a> {
    version: u32,
    ids: &'a [String],
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    snapshots: Vec<Line<'a>>,
    unreadable: Vec<Unreadable<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    time: String,
    source: &'a str,
    tags: &'a [String],
    tables: Option<u64>,
    rows: Option<u64>,
    bytes: Option<u64>,
    added_bytes: Option<u64>,
    /// Result of the newest drill; `null` when there was none.
    proven: Option<bool>,
    not_captured: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<&'a str>,
}

#[derive(Serialize)]
struct Unreadable<'a> {
    id: &'a str,
    reason: &'a str,
}

pub(crate) async fn run(command: &List, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let kind = match command.kind {
        Kind::Snapshots => return snapshots(command, &repository, context).await,
        Kind::Index => FileKind::Index,
        Kind::Keys => FileKind::Key,
        Kind::Locks => FileKind::Lock,
        Kind::Packs => FileKind::Pack,
    };
    let ids = context.interrupt.guard(cat::ids(&repository, kind)).await?;
    match context.output.json {
        true => context.output.document(&IdsDocument { version: JSON_VERSION, ids: &ids })?,
        false => context.output.data(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?,
    }
    Ok(Exit::Done)
}

async fn snapshots(command: &List, repository: &Repository, context: &Context) -> Result<Exit, EngineError> {
    let filter = Filter { source: command.source.clone(), tags: command.tags.clone(), last: command.last };
    let listing = context.interrupt.guard(listing::list(repository, &filter)).await?;
    if context.output.json {
        context.output.document(&document(&listing))?;
        return Ok(Exit::Done);
    }
    for (id, reason) in &listing.unreadable {
        context.output.warning(
            &format!("snapshot {} cannot be read: {reason}", units::short(id)),
            Some("`basekeep verify` says what is damaged"),
        );
    }
    for snapshot in &listing.snapshots {
        if let Some(reason) = &snapshot.damaged {
            context.output.warning(
                &format!("the manifest of snapshot {} cannot be read: {reason}", units::short(&snapshot.id)),
                Some("`basekeep verify` says what is damaged"),
            );
        }
    }
    if listing.snapshots.is_empty() {
        let narrowed = command.source.is_some() || !command.tags.is_empty();
        context.output.note(match narrowed {
            true => "no snapshot matches",
            false => "no snapshots yet; `basekeep backup` makes one",
        });
        return Ok(Exit::Done);
    }
    context.output.data(&text(&listing))?;
    Ok(Exit::Done)
}

fn document(listing: &Listing) -> Document<'_> {
    Document {
        version: JSON_VERSION,
        snapshots: listing.snapshots.iter().map(Line::of).collect(),
        unreadable: listing.unreadable.iter().map(|(id, reason)| Unreadable { id, reason }).collect(),
    }
}

impl<'a> Line<'a> {
    fn of(snapshot: &'a SnapshotSummary) -> Self {
        Self {
            id: &snapshot.id,
            time: snapshot.time.to_string(),
            source: &snapshot.source,
            tags: &snapshot.tags,
            tables: snapshot.tables,
            rows: snapshot.rows,
            bytes: snapshot.bytes,
            added_bytes: snapshot.added_bytes,
            proven: snapshot.proven,
            not_captured: snapshot.not_captured,
            damaged: snapshot.damaged.as_deref(),
        }
    }
}

fn text(listing: &Listing) -> String {
    let mut table = Table::new(&[
        ("snapshot", Align::Left),
        ("time", Align::Left),
        ("source", Align::Left),
        ("tables", Align::Right),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("added", Align::Right),
        ("proven", Align::Left),
        ("tags", Align::Left),
    ]);
    for s in &listing.snapshots {
        let known =
            |number: Option<u64>, show: fn(u64) -> String| number.map_or_else(|| "-".to_owned(), show);
        let proven = match s.proven {
            None => "-",
            Some(true) => "yes",
            Some(false) => "DIFFERENT",
        };
        let mut tags = s.tags.join(",");
        if s.not_captured > 0 {
            let missing = format!("({} not captured)", units::count(s.not_captured));
            tags = if tags.is_empty() { missing } else { format!("{tags} {missing}") };
        }
        table.row([
            units::short(&s.id).to_owned(),
            units::time(s.time),
            s.source.clone(),
            known(s.tables, units::count),
            known(s.rows, units::count),
            known(s.bytes, units::bytes),
            known(s.added_bytes, units::bytes),
            proven.to_owned(),
            tags,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let snapshot = SnapshotSummary {
            id: "3f".repeat(32),
            time: "2026-11-21T10:00:00Z".parse().unwrap(),
            source: "shop".to_owned(),
            tags: vec!["nightly".to_owned()],
            rows: Some(310_000),
            tables: Some(42),
            bytes: Some(5 << 20),
            added_bytes: Some(1 << 20),
            proven: Some(true),
            not_captured: 0,
            damaged: None,
        };
        let foreign = SnapshotSummary {
            id: "a0".repeat(32),
            rows: None,
            tables: None,
            bytes: None,
            added_bytes: None,
            proven: None,
            tags: Vec::new(),
            not_captured: 2,
            ..snapshot.clone()
        };
        Listing { snapshots: vec![snapshot, foreign], unreadable: Vec::new() }
    }

    #[test]
    fn the_document_has_the_promised_fields() {
        let value = serde_json::to_value(document(&listing())).unwrap();
        assert_eq!(value["version"], 1);
        let first = &value["snapshots"][0];
        for field in ["id", "time", "source", "tags", "rows", "bytes", "added_bytes", "proven"] {
            assert!(!first[field].is_null(), "{field}");
        }
        assert_eq!(first["time"], "2026-11-21T10:00:00Z");
        assert!(value["snapshots"][1]["proven"].is_null());
    }

    #[test]
    fn unknown_numbers_are_a_dash() {
        let text = text(&listing());
        assert!(text.lines().nth(1).unwrap().contains("310,000"), "{text}");
        assert!(text.lines().nth(2).unwrap().ends_with("-       (2 not captured)"), "{text}");
    }
}

//! `basekeep show`: what is in a snapshot.

mod reading;
mod supabase;

use basekeep_engine::Repository;
use basekeep_engine::config::nearest;
use basekeep_engine::stored::manifest::Manifest;
use basekeep_engine::{EngineError, listing, objects};
use clap::Args;
use serde::Serialize;

use self::reading::ReadingDocument;
use self::supabase::SupabaseDocument;
use super::manifest::{MissingDocument, WarningDocument};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::{Align, Table, clean};
use crate::output::{JSON_VERSION, units};

/// Show what is in a snapshot, and what is not
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// An id, its beginning, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Every table with rows, size and digest
    #[arg(long)]
    tables: bool,
    /// Every object of this kind by name (`table`, `policy`, `fk constraint`…); without KIND all of them
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "", conflicts_with = "tables")]
    objects: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    id: String,
    time: String,
    source: &'a str,
    tags: &'a [String],
    basekeep: &'a str,
    server: ServerDocument<'a>,
    pg_dump: &'a str,
    seconds: f64,
    rows: u64,
    bytes: u64,
    added_bytes: u64,
    components: &'a std::collections::BTreeMap<String, u64>,
    tables: Vec<TableDocument<'a>>,
    sequences: u64,
    large_objects: LargeObjectsDocument,
    extensions: Vec<ExtensionDocument<'a>>,
    roles: &'a [String],
    circular_foreign_keys: &'a [Vec<String>],
    not_captured: Vec<MissingDocument<'a>>,
    warnings: Vec<WarningDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<ReadingDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supabase: Option<SupabaseDocument<'a>>,
}

#[derive(Serialize)]
struct ServerDocument<'a> {
    version: &'a str,
    database: &'a str,
    encoding: &'a str,
    collate: &'a str,
    ctype: &'a str,
}

#[derive(Serialize)]
struct TableDocument<'a> {
    schema: &'a str,
    name: &'a str,
    rows: u64,
    bytes: u64,
    taken_over_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_whole: Option<&'a str>,
    digest: &'a str,
}

#[derive(Serialize)]
struct LargeObjectsDocument {
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct ExtensionDocument<'a> {
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct ObjectsDocument<'a> {
    version: u32,
    id: &'a str,
    objects: Vec<ObjectDocument<'a>>,
}

#[derive(Serialize)]
struct ObjectDocument<'a> {
    kind: &'a str,
    name: &'a str,
}

pub(crate) async fn run(command: &Show, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    if let Some(kind) = &command.objects {
        return show_objects(command, context, &repository, kind).await;
    }
    let (snapshot, manifest) = context
        .interrupt
        .guard(async {
            let snapshot = listing::find(&repository, &command.snapshot, command.source.as_deref()).await?;
            let manifest = listing::manifest(&repository, &snapshot).await?;
            Ok((snapshot, manifest))
        })
        .await?;
    let id = snapshot.id.to_string();
    if context.output.json {
        context.output.document(&document(id, &snapshot.tags, &manifest))?;
    } else if command.tables {
        context.output.data(&tables(&manifest))?;
    } else {
        context.output.data(&text(&id, &snapshot.tags, &manifest))?;
    }
    Ok(Exit::Done)
}

async fn show_objects(
    command: &Show,
    context: &Context,
    repository: &Repository,
    kind: &str,
) -> Result<Exit, EngineError> {
    let (snapshot, all) = context
        .interrupt
        .guard(async {
            let snapshot = listing::find(repository, &command.snapshot, command.source.as_deref()).await?;
            let all = objects::list(repository, &snapshot).await?;
            Ok((snapshot, all))
        })
        .await?;
    let kind = kind.to_lowercase().replace(['-', '_'], " ");
    let wanted: Vec<_> = all.iter().filter(|object| kind.is_empty() || object.kind == kind).collect();
    if wanted.is_empty() {
        let mut kinds: Vec<&str> = all.iter().map(|object| object.kind.as_str()).collect();
        kinds.dedup();
        let error =
            EngineError::usage(format!("the snapshot has no object of kind '{}'", kind.escape_debug()));
        return Err(match nearest(&kind, &kinds) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("its kinds are {}", kinds.join(", "))),
        });
    }
    if context.output.json {
        let objects = wanted.iter().map(|object| ObjectDocument { kind: &object.kind, name: &object.name });
        let id = snapshot.id.to_string();
        let document = ObjectsDocument { version: JSON_VERSION, id: &id, objects: objects.collect() };
        context.output.document(&document)?;
    } else {
        let lines: String = wanted.iter().map(|object| clean(&object.name) + "\n").collect();
        context.output.data(&lines)?;
    }
    Ok(Exit::Done)
}

fn document<'a>(id: String, tags: &'a [String], m: &'a Manifest) -> Document<'a> {
    let table = |t: &'a basekeep_engine::stored::manifest::Table| TableDocument {
        schema: &t.schema,
        name: &t.name,
        rows: t.rows,
        bytes: t.bytes,
        taken_over_bytes: t.taken_over_bytes,
        read_whole: t.read_whole.as_deref(),
        digest: &t.digest,
    };
    Document {
        version: JSON_VERSION,
        id,
        time: m.time.to_string(),
        source: &m.source,
        tags,
        basekeep: &m.basekeep,
        server: ServerDocument {
            version: &m.server.version,
            database: &m.server.database,
            encoding: &m.server.encoding,
            collate: &m.server.collate,
            ctype: &m.server.ctype,
        },
        pg_dump: &m.pg_dump,
        seconds: m.duration_seconds,
        rows: m.totals.rows,
        bytes: m.totals.bytes + m.large_objects.bytes,
        added_bytes: m.totals.added_bytes,
        components: &m.components,
        tables: m.tables.iter().map(table).collect(),
        sequences: m.sequences.len() as u64,
        large_objects: LargeObjectsDocument { count: m.large_objects.count, bytes: m.large_objects.bytes },
        extensions: m
            .extensions
            .iter()
            .map(|e| ExtensionDocument { name: &e.name, version: &e.version })
            .collect(),
        roles: &m.roles,
        circular_foreign_keys: &m.circular_foreign_keys,
        not_captured: m.not_captured.iter().map(MissingDocument::of).collect(),
        warnings: m.warnings.iter().map(WarningDocument::of).collect(),
        reading: m.reading.as_ref().map(|reading| ReadingDocument::of(reading, m)),
        supabase: m.supabase.as_ref().map(SupabaseDocument::of),
    }
}

/// How many tables the summary shows, largest first.
const LARGEST: usize = 10;

fn text(id: &str, tags: &[String], m: &Manifest) -> String {
    let mut facts = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    fact("snapshot", id.to_owned());
    fact("source", m.source.clone());
    fact("taken", units::time(m.time));
    if !tags.is_empty() {
        fact("tags", tags.join(", "));
    }
    fact(
        "server",
        format!("PostgreSQL {}, database {}, {}", m.server.version, m.server.database, m.server.encoding),
    );
    fact("definitions", format!("by pg_dump {}", m.pg_dump));
    fact("tables", units::count(m.totals.tables));
    fact("rows", format!("{}, {}", units::count(m.totals.rows), units::bytes(m.totals.bytes)));
    fact("sequences", units::count(m.sequences.len() as u64));
    if m.large_objects.count > 0 {
        let (count, bytes) = (units::count(m.large_objects.count), units::bytes(m.large_objects.bytes));
        fact("large objects", format!("{count}, {bytes}"));
    }
    if !m.extensions.is_empty() {
        let names: Vec<String> = m.extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect();
        fact("extensions", names.join(", "));
    }
    if !m.roles.is_empty() {
        fact("roles", m.roles.join(", "));
    }
    for circle in &m.circular_foreign_keys {
        fact("circle of keys", circle.join(", "));
    }
    let time = units::duration(std::time::Duration::from_secs_f64(m.duration_seconds.max(0.0)));
    fact("added", format!("{} in {time}", units::bytes(m.totals.added_bytes)));
    if let Some(reading) = &m.reading {
        reading::facts(reading, m).into_iter().for_each(|(name, value)| fact(name, value));
    }
    let mut text = facts.render();

    if let Some(supabase) = &m.supabase {
        text += &format!("\n{}", supabase::text(supabase));
    }
    if !m.components.is_empty() {
        let mut table = Table::new(&[("objects", Align::Left), ("", Align::Right)]);
        for (kind, count) in &m.components {
            table.row([kind.clone(), units::count(*count)]);
        }
        text += &format!("\n{}", table.render());
    }
    if !m.tables.is_empty() {
        let mut largest: Vec<_> = m.tables.iter().collect();
        largest.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        let mut table =
            Table::new(&[("largest tables", Align::Left), ("rows", Align::Right), ("size", Align::Right)]);
        for t in largest.iter().take(LARGEST) {
            table.row([format!("{}.{}", t.schema, t.name), units::count(t.rows), units::bytes(t.bytes)]);
        }
        text += &format!("\n{}", table.render());
        if m.tables.len() > LARGEST {
            text += &format!(
                "and {} more; --tables shows all\n",
                units::count((m.tables.len() - LARGEST) as u64)
            );
        }
    }
    for missing in &m.not_captured {
        text += &format!("\nnot captured: {}: {}", clean(&missing.what), clean(&missing.reason));
    }
    for warning in &m.warnings {
        text += &format!("\nwarning: {}", clean(&warning.message));
    }
    if !m.not_captured.is_empty() || !m.warnings.is_empty() {
        text.push('\n');
    }
    text
}

fn tables(m: &Manifest) -> String {
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("taken over", Align::Right),
        ("digest", Align::Left),
        ("read as a whole because", Align::Left),
    ]);
    for t in &m.tables {
        table.row([
            format!("{}.{}", t.schema, t.name),
            units::count(t.rows),
            units::bytes(t.bytes),
            units::bytes(t.taken_over_bytes),
            t.digest.clone(),
            clean(t.read_whole.as_deref().unwrap_or_default()),
        ]);
    }
    table.render()
}

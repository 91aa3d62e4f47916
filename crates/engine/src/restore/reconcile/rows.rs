//! Rows that go into tables which are there already: which ones can, which need not, and how.

use std::collections::HashMap;

use basekeep_archive::Entry;
use basekeep_postgres::{Client, quote_qualified};
use basekeep_supabase::objects;
use basekeep_supabase::platform::is_platform_schema;

use super::{Reconciled, is_data};
use crate::restore::contents::Contents;
use crate::restore::names::CopyStatement;
use crate::restore::project::{Held, Relation, has_rows};
use crate::restore::{FailedObject, Mode, OnConflict, RestoreOptions};
use crate::stored::manifest;
use crate::{EngineError, ResultExt};

/// How rows go into a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::restore) enum Load {
    /// In one COPY: it holds none yet.
    AtOnce,
    /// Beside the rows that it has.
    Merge(OnConflict),
    /// In the place of the rows that it has.
    Replace,
}

/// Decides about rows, sequences and large objects; definitions are decided.
pub(in crate::restore) async fn rows(
    client: &mut Client,
    contents: &mut Contents,
    held: &Held,
    options: &RestoreOptions,
    result: &mut Reconciled,
) -> Result<(), EngineError> {
    let tables: HashMap<i32, manifest::Table> =
        contents.manifest.tables.iter().map(|table| (table.dump_id, table.clone())).collect();
    let large_objects = has_large_objects(client).await?;
    let mut older = Vec::new();
    for entry in contents.archive.entries.iter_mut().filter(|entry| is_data(entry)) {
        if entry.dependencies.iter().any(|id| result.keep.contains(id)) {
            result.keep.insert(entry.dump_id);
            continue;
        }
        match entry.desc.as_slice() {
            b"TABLE DATA" => match tables.get(&entry.dump_id) {
                Some(stored) => table(client, entry, stored, held, options, result, &mut older).await?,
                None => {
                    result.keep.insert(entry.dump_id);
                }
            },
            b"SEQUENCE SET" => sequence(entry, held, options, result),
            b"MATERIALIZED VIEW DATA" => {
                result.keep.insert(entry.dump_id);
            }
            b"BLOB" | b"BLOB METADATA" | b"BLOBS" | b"COMMENT" | b"SECURITY LABEL" => {
                if !large_objects {
                    result.keep.insert(entry.dump_id);
                } else if matches!(entry.desc.as_slice(), b"BLOBS") {
                    result.lost.push(lost(entry, "the target has large objects already"));
                }
            }
            _ => {}
        }
    }
    for entry in &contents.archive.entries {
        let about = entry.tag.as_ref().is_some_and(|tag| tag.starts_with(b"LARGE OBJECT"));
        if entry.desc == "ACL" && about && !large_objects {
            result.keep.insert(entry.dump_id);
        }
    }
    if !result.of_the_moment.is_empty() {
        let tables: Vec<String> =
            result.of_the_moment.drain(..).map(|(table, rows)| format!("{table} ({rows})")).collect();
        result.warnings.push(format!(
            "rows of the moment are the platform's and are not loaded, the snapshot keeps them: {}",
            tables.join(", ")
        ));
    }
    if older.is_empty() {
        return Ok(());
    }
    Err(EngineError::usage(format!("the target is older than the backup: {}", older.join("; ")))
        .hint("restore to a project whose platform is as new as the backup's"))
}

async fn has_large_objects(client: &mut Client) -> Result<bool, EngineError> {
    let sql = "SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1";
    let rows = client.query(sql).await.doing(|| "see whether the target has large objects")?;
    Ok(rows.iter().next().is_some())
}

fn lost(entry: &Entry, reason: impl Into<String>) -> FailedObject {
    FailedObject { object: entry.display(), reason: reason.into(), skipped: true }
}

async fn table(
    client: &mut Client,
    entry: &Entry,
    stored: &manifest::Table,
    held: &Held,
    options: &RestoreOptions,
    result: &mut Reconciled,
    older: &mut Vec<String>,
) -> Result<(), EngineError> {
    let (schema, name) = (&stored.schema, &stored.name);
    if stored.rows == 0 && options.mode != Mode::Clear {
        return Ok(());
    }
    if held.is_project && objects::rows_are_platforms(schema, name) {
        if objects::rows_are_of_the_moment(schema, name) {
            result.of_the_moment.push((format!("{schema}.{name}"), stored.rows));
        }
        return Ok(());
    }
    let Some(relation) = held.relations.get(&(schema.clone(), name.clone())) else {
        let reason = "the target has no such table";
        if stored.rows == 0 {
            return Ok(());
        }
        if held.is_project && is_platform_schema(schema) {
            result.platform.push((entry.display(), reason.into()));
        } else if stored.extension.is_some() {
            // The extension is created by this restore.
            result.keep.insert(entry.dump_id);
        } else {
            result.lost.push(lost(entry, reason));
        }
        return Ok(());
    };
    let copy = entry.copy_stmt.as_ref().and_then(|text| CopyStatement::parse(&text.to_string()));
    let Some(copy) = copy else {
        result.lost.push(lost(entry, "the archive has no COPY statement for it"));
        return Ok(());
    };
    // Empty both here and there, or not to be known.
    if stored.rows == 0 && !(relation.may_select && has_rows(client, schema, name).await?) {
        return Ok(());
    }
    if let Some(reason) = obstacle(relation, &copy, held) {
        result.lost.push(lost(entry, reason));
        return Ok(());
    }
    if let Some(column) = copy.columns.iter().find(|column| !relation.columns.contains_key(*column)) {
        older.push(format!("{schema}.{name} has no column {column}"));
        return Ok(());
    }
    let load = if !relation.may_select || !has_rows(client, schema, name).await? {
        Load::AtOnce
    } else {
        result.present.insert(entry.dump_id);
        // Rows as they were backed up are not what a masked restore brings.
        if options.mask.is_none() && is_there(client, stored, &copy).await? {
            result.equal += 1;
            return Ok(());
        }
        match options.mode {
            Mode::Merge(on_conflict) => Load::Merge(on_conflict),
            Mode::Clear => Load::Replace,
            Mode::Empty | Mode::Resume => Load::Merge(OnConflict::Keep),
        }
    };
    result.loads.insert(entry.dump_id, load);
    result.keep.insert(entry.dump_id);
    Ok(())
}

/// Why rows cannot go into the table.
fn obstacle(relation: &Relation, copy: &CopyStatement, held: &Held) -> Option<String> {
    if !relation.may_insert {
        return Some("the restoring role may not write to the table".into());
    }
    if !held.may_replicate {
        return Some(
            "the restoring role may not set session_replication_role, and triggers would act on the rows"
                .into(),
        );
    }
    let generated = |name: &&String| relation.columns.get(*name).is_some_and(|column| column.generated);
    if let Some(column) = copy.columns.iter().find(generated) {
        return Some(format!("the target computes the column {column} by itself"));
    }
    let needed = |(name, column): &(&String, &crate::restore::project::Column)| {
        column.needed && !column.generated && !copy.columns.contains(name)
    };
    let column = relation.columns.iter().find(needed)?.0;
    Some(format!("the target's column {column} must have a value, and the backup has none"))
}

/// Whether the table holds exactly the rows of the snapshot.
async fn is_there(
    client: &mut Client,
    stored: &manifest::Table,
    copy: &CopyStatement,
) -> Result<bool, EngineError> {
    let name = quote_qualified(&stored.schema, &stored.name);
    let doing = || format!("compare the rows of {name}");
    let rows = client.query(&format!("SELECT pg_catalog.count(*) FROM {name}")).await.doing(doing)?;
    let count = rows.iter().next().and_then(|row| row.get(0)?.parse::<u64>().ok());
    if count != Some(stored.rows) || stored.load_via_root.is_some() {
        return Ok(false);
    }
    client
        .execute("SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET search_path = ''")
        .await
        .doing(doing)?;
    let columns = if copy.columns.is_empty() { String::new() } else { format!(" ({})", copy.column_list()) };
    let mut rows = client.copy_out(&format!("COPY {name}{columns} TO STDOUT")).await.doing(doing)?;
    let mut buffer = Vec::new();
    while rows.read(&mut buffer).await.doing(doing)? {
        buffer.clear();
    }
    let digest = rows.digest();
    Ok(format!("{:032x}", digest.sum) == stored.digest && digest.rows == stored.rows)
}

fn sequence(entry: &mut Entry, held: &Held, options: &RestoreOptions, result: &mut Reconciled) {
    let text = |bytes: &Option<bstr::BString>| bytes.as_ref().map(ToString::to_string).unwrap_or_default();
    let (schema, name) = (text(&entry.namespace), text(&entry.tag));
    if held.is_project && is_platform_schema(&schema) && objects::rows_are_platforms(&schema, &name) {
        return;
    }
    match held.relations.get(&(schema.clone(), name.clone())) {
        Some(sequence) if sequence.may_update => {}
        Some(_) => return result.lost.push(lost(entry, "the restoring role may not set it")),
        None if held.is_project && is_platform_schema(&schema) => return,
        None => return result.lost.push(lost(entry, "the target has no such sequence")),
    }
    if matches!(options.mode, Mode::Merge(_)) {
        let definition = text(&entry.defn);
        let value = definition.rsplit(", ").nth(1).and_then(|value| value.parse::<i64>().ok());
        let Some(value) = value else { return };
        // Never back: rows of the target's own may have come from it.
        let sql = definition.trim_end().trim_end_matches(';');
        let relation = quote_qualified(&schema, &name);
        entry.defn = Some(format!("{sql} WHERE (SELECT last_value FROM {relation}) < {value};\n").into());
    }
    result.keep.insert(entry.dump_id);
}

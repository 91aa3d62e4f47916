//! A restore under other names: schemas, or single tables. The archive's entries and the manifest get the new names before
//! anything looks at the target, so that every mode works with them as with any others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use basekeep_archive::{Archive, Entry, Renames, Wording};

use super::Rename;
use super::contents::Contents;
use crate::EngineError;
use crate::selection::Tree;

/// The old and the new schema and name of an object.
type Move = ((String, String), (String, String));

/// Kinds of objects that have a schema and can be moved to another one.
const MOVABLE: [&[u8]; 17] = [
    b"TABLE",
    b"FOREIGN TABLE",
    b"VIEW",
    b"MATERIALIZED VIEW",
    b"SEQUENCE",
    b"TYPE",
    b"SHELL TYPE",
    b"DOMAIN",
    b"FUNCTION",
    b"PROCEDURE",
    b"AGGREGATE",
    b"COLLATION",
    b"STATISTICS",
    b"TEXT SEARCH CONFIGURATION",
    b"TEXT SEARCH DICTIONARY",
    b"TABLE DATA",
    b"SEQUENCE SET",
];
/// Kinds that are named by signs or in pairs, which cannot be told from others in a definition.
const FIXED: [&[u8]; 6] = [
    b"OPERATOR",
    b"OPERATOR CLASS",
    b"OPERATOR FAMILY",
    b"CONVERSION",
    b"TEXT SEARCH PARSER",
    b"TEXT SEARCH TEMPLATE",
];

/// Gives what is selected its new names; gives warnings. `schemas` are those that the target has, new ones
/// belong to `user`.
///
/// Errors, as kind `Usage`: a name that is not selected, two objects with one new name, objects that cannot be renamed safely.
pub(super) fn apply(
    contents: &mut Contents,
    rename: &Rename,
    schemas: &BTreeSet<String>,
    user: &str,
) -> Result<Vec<String>, EngineError> {
    let archive = &mut contents.archive;
    let tree = Tree::new(archive);
    let moving = schema_names(archive, rename)?;
    let mut renames = Renames { schemas: moving.clone(), ..Renames::default() };
    names_in_schemas(archive, &moving, &mut renames)?;
    for ((schema, table), new) in &rename.tables {
        table_names(archive, &tree, (schema, table), new, &mut renames)?;
    }
    collisions(&renames)?;
    let mut warnings = Vec::new();
    let mut refused = Vec::new();
    let places: Vec<Option<Move>> = (0..archive.entries.len())
        .map(|n| {
            // What is about a constraint is tagged with its table.
            let is_key = |n: &usize| archive.entries[*n].desc == "CONSTRAINT";
            let of = |above: usize| moved(&archive.entries[above], &renames);
            tree.chain(n).filter(|n| !is_key(n)).find_map(of).or_else(|| tree.chain(n).find_map(of))
        })
        .collect();
    for (entry, place) in archive.entries.iter_mut().zip(places) {
        rewrite(entry, place, &renames, &mut warnings, &mut refused);
    }
    if !refused.is_empty() {
        return Err(EngineError::usage(format!(
            "it cannot be renamed without doubt: {}",
            refused.join("; ")
        ))
        .hint("choose another name for the schema"));
    }
    let wanted: BTreeSet<String> = renames.names.values().map(|(schema, _)| schema.clone()).collect();
    create_schemas(archive, wanted.into_iter().filter(|name| !schemas.contains(name)), user);
    manifest(contents, &renames);
    if !warnings.is_empty() {
        warnings = vec![format!(
            "texts that mention old names stay as they are, look at them: {}",
            warnings.join(", ")
        )];
    }
    Ok(warnings)
}

/// The two sides of the first equals sign outside of double quotes.
pub(super) fn pair(text: &str) -> Option<(&str, &str)> {
    cut(text, '=')
}

/// `schema.name`, each perhaps in double quotes.
pub(super) fn qualified(text: &str) -> Option<(String, String)> {
    let (schema, name) = cut(text, '.')?;
    (!schema.is_empty() && !name.is_empty()).then(|| (plain(schema), plain(name)))
}

/// A name without the double quotes that it may have.
pub(super) fn plain(text: &str) -> String {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|_| text.len() > 1);
    inside.map_or_else(|| text.to_owned(), |inside| inside.replace("\"\"", "\""))
}

fn cut(text: &str, mark: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let at = text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == mark && !quoted).then_some(at)
    })?;
    Some((&text[..at], &text[at + 1..]))
}

/// New names of whole schemas.
fn schema_names(archive: &Archive, rename: &Rename) -> Result<BTreeMap<String, String>, EngineError> {
    let there: BTreeSet<String> = archive
        .entries
        .iter()
        .filter_map(|entry| match entry.desc.as_slice() {
            b"SCHEMA" => entry.tag.as_ref(),
            _ => entry.namespace.as_ref(),
        })
        .map(ToString::to_string)
        .filter(|name| !name.is_empty())
        .collect();
    let mut names = BTreeMap::new();
    if let Some(into) = &rename.into_schema {
        // Grants on the old schemas are not those of the new one.
        names.extend(there.iter().map(|name| (name.clone(), into.clone())));
    }
    for (old, new) in &rename.schemas {
        if !there.contains(old) {
            return Err(EngineError::usage(format!(
                "the schema '{old}' is to be renamed, and nothing of it is selected"
            )));
        }
        names.insert(old.clone(), new.clone());
    }
    names.retain(|old, new| old != new);
    Ok(names)
}

fn names_in_schemas(
    archive: &Archive,
    moving: &BTreeMap<String, String>,
    renames: &mut Renames,
) -> Result<(), EngineError> {
    for entry in &archive.entries {
        let schema = text(&entry.namespace);
        let Some(new) = moving.get(&schema) else { continue };
        if FIXED.contains(&entry.desc.as_slice()) {
            return Err(EngineError::usage(format!("{} cannot be moved to another schema", entry.display()))
                .hint("restore without it: select the tables and functions by name"));
        }
        if let Some(name) = own_name(entry) {
            renames.names.insert((schema, name.clone()), (new.clone(), name));
        }
    }
    Ok(())
}

/// A table's new name, and those of what belongs to it.
fn table_names(
    archive: &Archive,
    tree: &Tree,
    (schema, table): (&str, &str),
    (new_schema, new): &(String, String),
    renames: &mut Renames,
) -> Result<(), EngineError> {
    let is_it = |entry: &Entry| {
        matches!(entry.desc.as_slice(), b"TABLE" | b"TABLE DATA")
            && text(&entry.namespace) == schema
            && text(&entry.tag) == table
    };
    if !archive.entries.iter().any(is_it) {
        return Err(EngineError::usage(format!(
            "the table {schema}.{table} is to be renamed, and it is not selected"
        )));
    }
    let parts: Vec<&Entry> = archive
        .entries
        .iter()
        .enumerate()
        .filter(|(n, _)| tree.chain(*n).any(|above| is_it(&archive.entries[above])))
        .map(|(_, entry)| entry)
        .collect();
    if parts.iter().any(|part| part.desc == "TABLE ATTACH" || part.desc == "TABLE" && !is_it(part)) {
        return Err(EngineError::usage(format!(
            "{schema}.{table} is partitioned, and its parts have names of their own"
        ))
        .hint("--into-schema or --rename-schema moves all of them"));
    }
    let stays = schema == new_schema;
    let renamed = |name: &str| match name.strip_prefix(table) {
        _ if !stays => name.to_owned(),
        Some(rest) => format!("{new}{rest}"),
        None => format!("{name}_{new}"),
    };
    for part in parts {
        let name = own_name(part).unwrap_or_default();
        let key = (text(&part.namespace), name.clone());
        match part.desc.as_slice() {
            _ if is_it(part) => {
                renames.names.insert(key, (new_schema.clone(), new.clone()));
            }
            b"INDEX" | b"CONSTRAINT" if stays => {
                renames.indexes.insert(name.clone(), renamed(&name));
                renames.names.insert(key, (new_schema.clone(), renamed(&name)));
            }
            _ if !name.is_empty() => {
                renames.names.insert(key, (new_schema.clone(), renamed(&name)));
            }
            _ => {}
        }
    }
    // A sequence without its definition is set, and is that of the target.
    Ok(())
}

/// The name of what an entry makes, as other definitions say it after its schema.
fn own_name(entry: &Entry) -> Option<String> {
    let tag = text(&entry.tag);
    match entry.desc.as_slice() {
        b"INDEX" => Some(tag),
        // Its index has its name.
        b"CONSTRAINT" => tag.rsplit_once(' ').map(|(_, name)| name.to_owned()),
        b"FUNCTION" | b"PROCEDURE" | b"AGGREGATE" => {
            Some(tag.split_once('(').map_or(tag.clone(), |(name, _)| name.to_owned()))
        }
        desc if MOVABLE.contains(&desc) => Some(tag),
        _ => None,
    }
}

fn collisions(renames: &Renames) -> Result<(), EngineError> {
    let mut old_of: HashMap<&(String, String), &(String, String)> = HashMap::new();
    for (old, new) in &renames.names {
        if let Some(other) = old_of.insert(new, old) {
            return Err(EngineError::usage(format!(
                "{}.{} and {}.{} would both be {}.{}",
                old.0, old.1, other.0, other.1, new.0, new.1
            )));
        }
    }
    Ok(())
}

/// The old and the new name of what this entry makes, if it moves.
fn moved(entry: &Entry, renames: &Renames) -> Option<Move> {
    let key = (text(&entry.namespace), own_name(entry)?);
    let new = renames.names.get(&key)?.clone();
    Some((key, new))
}

fn rewrite(
    entry: &mut Entry,
    place: Option<Move>,
    renames: &Renames,
    warnings: &mut Vec<String>,
    refused: &mut Vec<String>,
) {
    let name = entry.display();
    let (schema, tag) = (text(&entry.namespace), text(&entry.tag));
    let of_schema = matches!(entry.desc.as_slice(), b"SCHEMA" | b"DEFAULT ACL")
        || schema.is_empty() && tag.starts_with("SCHEMA ");
    let wording = match entry.desc.as_slice() {
        b"SEQUENCE SET" => Wording::Literals,
        _ if of_schema => Wording::OfSchema,
        _ => Wording::Definition,
    };
    let mut mentioned = false;
    for definition in [&mut entry.defn, &mut entry.drop_stmt, &mut entry.copy_stmt].into_iter().flatten() {
        let new = renames.rewrite(definition, wording);
        *definition = new.text.into();
        mentioned |= new.mentioned;
        if let Some(doubt) = new.doubt {
            refused.push(format!("{name} uses the name {doubt} for something else, too"));
        }
    }
    if mentioned && entry.desc != "COMMENT" {
        warnings.push(name);
    }
    if of_schema {
        return rewrite_schema(entry, &schema, &tag, renames);
    }
    let Some(((_, old), (new_schema, new))) = place else { return };
    entry.namespace = Some(new_schema.as_str().into());
    let mut tag = tag;
    if old != new {
        tag = with_new_name(&entry.desc, &tag, &old, &new);
    }
    if matches!(entry.desc.as_slice(), b"CONSTRAINT" | b"COMMENT") {
        for (old, new) in &renames.indexes {
            let named = entry.desc == "CONSTRAINT" && tag.ends_with(&format!(" {old}"));
            if named {
                tag.truncate(tag.len() - old.len());
                tag.push_str(new);
                break;
            }
            if let Some(rest) = tag.strip_prefix(&format!("CONSTRAINT {old} ")) {
                tag = format!("CONSTRAINT {new} {rest}");
                break;
            }
        }
    }
    if tag.contains('(') {
        let types = renames.rewrite(tag.as_bytes(), Wording::Definition).text;
        tag = String::from_utf8_lossy(&types).into_owned();
    }
    entry.tag = Some(tag.into());
}

/// `orders`, `orders orders_pkey`, `TABLE orders`, `COLUMN orders.id`, `POLICY own ON orders`.
fn with_new_name(desc: &[u8], tag: &str, old: &str, new: &str) -> String {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with([' ', '.']);
    if !matches!(desc, b"ACL" | b"COMMENT" | b"SECURITY LABEL") {
        return match tag.strip_prefix(old).filter(|rest| ends(rest)) {
            Some(rest) => format!("{new}{rest}"),
            None => tag.to_owned(),
        };
    }
    for before in ["TABLE ", "COLUMN ", "SEQUENCE ", "INDEX "] {
        if let Some(rest) =
            tag.strip_prefix(before).and_then(|rest| rest.strip_prefix(old)).filter(|r| ends(r))
        {
            return format!("{before}{new}{rest}");
        }
    }
    match tag.strip_suffix(old).filter(|before| before.ends_with(" ON ")) {
        Some(before) => format!("{before}{new}"),
        None => tag.to_owned(),
    }
}

/// The schema itself, grants and comments on it.
fn rewrite_schema(entry: &mut Entry, schema: &str, tag: &str, renames: &Renames) {
    if let Some(new) = renames.schemas.get(schema) {
        entry.namespace = Some(new.as_str().into());
    }
    if let Some(new) = tag.strip_prefix("SCHEMA ").and_then(|name| renames.schemas.get(name)) {
        entry.tag = Some(format!("SCHEMA {new}").into());
    }
    if entry.desc == "SCHEMA"
        && let Some(new) = renames.schemas.get(tag)
    {
        // The one that is always there has no statement.
        let quoted = basekeep_archive::quote_identifier(new);
        entry.defn = Some(format!("CREATE SCHEMA {quoted};\n").into());
        entry.drop_stmt = Some(format!("DROP SCHEMA {quoted};\n").into());
        entry.tag = Some(new.as_str().into());
    }
}

/// Schemas that neither the archive nor the target has; one of the archive's is enough.
fn create_schemas(archive: &mut Archive, wanted: impl Iterator<Item = String>, user: &str) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    archive.entries.retain(|entry| entry.desc != "SCHEMA" || known.insert(text(&entry.tag)));
    for name in wanted.filter(|name| !known.contains(name)) {
        let dump_id = archive.next_dump_id();
        let Some(first) = archive.entries.first() else { return };
        let quoted = basekeep_archive::quote_identifier(&name);
        let entry = Entry {
            dump_id,
            had_dumper: false,
            catalog: basekeep_archive::CatalogId::default(),
            tag: Some(name.as_str().into()),
            desc: "SCHEMA".into(),
            section: basekeep_archive::Section::PreData,
            defn: Some(format!("CREATE SCHEMA {quoted};\n").into()),
            drop_stmt: Some(format!("DROP SCHEMA {quoted};\n").into()),
            copy_stmt: None,
            namespace: None,
            tablespace: None,
            table_access_method: None,
            relkind: None,
            owner: Some(user.into()),
            with_oids: false,
            dependencies: Vec::new(),
            storage: first.storage.clone(),
        };
        archive.entries.insert(0, entry);
    }
}

fn manifest(contents: &mut Contents, renames: &Renames) {
    let new = |schema: &mut String, name: &mut String| {
        if let Some(found) = renames.names.get(&(schema.clone(), name.clone())) {
            (*schema, *name) = found.clone();
        }
    };
    for table in &mut contents.manifest.tables {
        new(&mut table.schema, &mut table.name);
        if let Some((schema, name)) = &mut table.load_via_root {
            new(schema, name);
        }
    }
    for sequence in &mut contents.manifest.sequences {
        new(&mut sequence.schema, &mut sequence.name);
    }
}

fn text(bytes: &Option<bstr::BString>) -> String {
    bytes.as_ref().map(ToString::to_string).unwrap_or_default()
}

//! From the words of a selection to entries.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use basekeep_archive::{Archive, Entry};

use super::part::is_data;
use super::pattern::{Pattern, QualifiedPattern, first_dot, nearest};
use super::tree::Tree;
use super::{Needed, Part, Selected, Selection};
use crate::EngineError;

/// The kinds that `--table` names.
const RELATIONS: [&[u8]; 5] = [b"TABLE", b"VIEW", b"MATERIALIZED VIEW", b"FOREIGN TABLE", b"SEQUENCE"];
/// Kinds that are named by their table and their own name.
const OF_TABLES: [&[u8]; 7] =
    [b"POLICY", b"TRIGGER", b"RULE", b"CONSTRAINT", b"FK CONSTRAINT", b"CHECK CONSTRAINT", b"DEFAULT"];

pub(super) fn apply(selection: &Selection, archive: &Archive) -> Result<Selected, EngineError> {
    let tree = Tree::new(archive);
    let parts = match (selection.parts.is_empty(), selection.names_objects()) {
        (true, false) => None,
        (true, true) => Some(BTreeSet::new()),
        (false, false) => Some(selection.parts.clone()),
        // A place narrows down what is in it; what is in no place is meant whole.
        (false, true) => {
            Some(selection.parts.iter().copied().filter(|part| part.is_beside_the_archive()).collect())
        }
    };
    let everything = Selected { parts, ..Selected::default() };
    let mut selected = BTreeSet::new();
    let places = places(selection, archive, &tree)?;
    for (n, entry) in archive.entries.iter().enumerate().filter(|(_, entry)| !is_setting(entry)) {
        let object = about(&tree, archive, n);
        let is_kind =
            selection.parts.is_empty() || selection.parts.iter().any(|part| part.has(entry, object));
        if is_kind && places.as_ref().is_none_or(|places| places.contains(&n)) {
            selected.insert(n);
        }
    }
    selected.extend(objects(selection, archive, &tree)?);
    if !selection.parts.is_empty() {
        refuse_absent(selection, archive, &tree)?;
    }
    Ok(with_needs(selection, archive, &tree, selected, everything))
}

/// The encoding and the like.
fn is_setting(entry: &Entry) -> bool {
    matches!(entry.desc.as_slice(), b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH")
}

/// What a comment or a grant is about; any other entry itself.
fn about<'a>(tree: &Tree, archive: &'a Archive, n: usize) -> &'a Entry {
    let attribute =
        |n: &usize| matches!(archive.entries[*n].desc.as_slice(), b"ACL" | b"COMMENT" | b"SECURITY LABEL");
    let object = tree.chain(n).find(|n| !attribute(n)).unwrap_or(n);
    &archive.entries[object]
}

/// What is in the schemas and tables that are named; `None` when none are.
fn places(
    selection: &Selection,
    archive: &Archive,
    tree: &Tree,
) -> Result<Option<HashSet<usize>>, EngineError> {
    if selection.schemas.is_empty() && selection.tables.is_empty() {
        // With objects alone, nothing else is meant.
        return Ok((!selection.objects.is_empty() && selection.parts.is_empty()).then(HashSet::new));
    }
    let mut found = HashSet::new();
    for name in &selection.schemas {
        let pattern = Pattern::new(name);
        let here = (0..archive.entries.len()).filter(|&n| in_schema(archive, tree, n, &pattern));
        if !extend(&mut found, here) {
            let known =
                archive.entries.iter().filter_map(|entry| Some(entry.namespace.as_ref()?.to_string()));
            return Err(absent(format!("the snapshot has no schema '{name}'"), nearest(name, known)));
        }
    }
    for name in &selection.tables {
        let pattern = QualifiedPattern::parse(name)?;
        let is_meant = |n: usize| {
            let entry = &archive.entries[n];
            RELATIONS.contains(&entry.desc.as_slice()) && pattern.matches(&schema(entry), &tag(entry))
        };
        let here = (0..archive.entries.len()).filter(|&n| tree.chain(n).any(is_meant));
        if !extend(&mut found, here) {
            let relations = archive.entries.iter().filter(|entry| RELATIONS.contains(&entry.desc.as_slice()));
            let known = relations.map(|entry| format!("{}.{}", schema(entry), tag(entry)));
            return Err(absent(format!("the snapshot has no table '{name}'"), nearest(name, known)));
        }
    }
    Ok(Some(found))
}

/// Whether the entry, or what it is about, is in such a schema or is that schema.
fn in_schema(archive: &Archive, tree: &Tree, n: usize, pattern: &Pattern) -> bool {
    tree.chain(n).any(|n| {
        let entry = &archive.entries[n];
        let own = entry.namespace.as_ref().is_some_and(|name| pattern.matches(&name.to_string()));
        own || entry.desc == "SCHEMA" && pattern.matches(&tag(entry))
    })
}

fn extend(found: &mut HashSet<usize>, more: impl Iterator<Item = usize>) -> bool {
    let mut any = false;
    for n in more {
        any = true;
        found.insert(n);
    }
    any
}

fn absent(message: String, near: Option<String>) -> EngineError {
    let error = EngineError::usage(message);
    match near {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("`basekeep show --objects KIND` lists what it has"),
    }
}

fn objects(selection: &Selection, archive: &Archive, tree: &Tree) -> Result<HashSet<usize>, EngineError> {
    let mut found = HashSet::new();
    for text in &selection.objects {
        let Some((kind, name)) =
            text.split_once(':').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        else {
            return Err(EngineError::usage(format!("'{text}' does not say the kind and the name of an object"))
                .hint("write kind:name, such as 'policy:storage.objects/own files' or 'function:public.total(integer)'"));
        };
        let kind = kind.trim().replace(['-', '_'], " ").to_uppercase();
        let is_kind = |entry: &Entry| {
            let desc = entry.desc.as_slice();
            match kind.as_str() {
                "CONSTRAINT" => desc.ends_with(b"CONSTRAINT"),
                "FOREIGN KEY" => desc == b"FK CONSTRAINT",
                _ => desc == kind.as_bytes(),
            }
        };
        let of_kind: Vec<usize> =
            (0..archive.entries.len()).filter(|&n| is_kind(&archive.entries[n])).collect();
        if of_kind.is_empty() {
            let kinds: BTreeSet<String> = archive
                .entries
                .iter()
                .filter(|entry| !is_setting(entry))
                .map(|entry| entry.desc.to_string().to_lowercase())
                .collect();
            let message = format!("the snapshot has no objects of the kind '{}'", kind.to_lowercase());
            return Err(absent(message, nearest(&kind, kinds.into_iter())));
        }
        let wanted = ObjectPattern::parse(name);
        let meant: HashSet<usize> =
            of_kind.iter().copied().filter(|&n| wanted.matches(archive, tree, n)).collect();
        if meant.is_empty() {
            let known = of_kind.iter().map(|&n| object_name(archive, tree, n));
            let near = nearest(name, known).map(|near| format!("{}:{near}", kind.to_lowercase()));
            return Err(absent(format!("the snapshot has no {} '{name}'", kind.to_lowercase()), near));
        }
        found.extend((0..archive.entries.len()).filter(|&n| tree.chain(n).any(|n| meant.contains(&n))));
    }
    Ok(found)
}

/// `schema.table/name`, `schema.name` or `name`.
struct ObjectPattern {
    whole: Pattern,
    schema: Option<Pattern>,
    name: Pattern,
    /// For what belongs to a table: the table, then `name` is the own name.
    of_table: Option<(Pattern, Pattern)>,
}

impl ObjectPattern {
    fn parse(text: &str) -> Self {
        let (schema, name) = match first_dot(text) {
            Some(at) => (Some(Pattern::new(&text[..at])), &text[at + 1..]),
            None => (None, text),
        };
        let of_table = name.split_once('/').map(|(table, own)| (Pattern::new(table), Pattern::new(own)));
        Self { whole: Pattern::new(text), schema, name: Pattern::new(name), of_table }
    }

    fn matches(&self, archive: &Archive, tree: &Tree, n: usize) -> bool {
        let entry = &archive.entries[n];
        let (space, tag) = (schema(entry), tag(entry));
        if space.is_empty() {
            return self.whole.matches(&tag);
        }
        if self.schema.as_ref().is_some_and(|pattern| !pattern.matches(&space)) {
            return false;
        }
        if let (Some((table, own)), Some((of, name))) = (&self.of_table, own_name(archive, tree, n)) {
            return table.matches(&of) && own.matches(&name);
        }
        // A function may be named without its arguments: then all of that name are meant.
        self.name.matches(&tag) || tag.split_once('(').is_some_and(|(bare, _)| self.name.matches(bare))
    }
}

/// The table and the own name of what belongs to a table.
fn own_name(archive: &Archive, tree: &Tree, n: usize) -> Option<(String, String)> {
    let entry = archive.entries.get(n)?;
    if !OF_TABLES.contains(&entry.desc.as_slice()) {
        return None;
    }
    let table = tag(archive.entries.get(tree.parent(n)?)?);
    let own = tag(entry).strip_prefix(&table)?.trim_start().to_owned();
    Some((table, own))
}

/// As it is named on a command line.
pub(super) fn object_name(archive: &Archive, tree: &Tree, n: usize) -> String {
    let entry = &archive.entries[n];
    let name = match own_name(archive, tree, n) {
        Some((table, own)) => format!("{table}/{own}"),
        None => tag(entry),
    };
    match schema(entry) {
        space if space.is_empty() => name,
        space => format!("{space}.{name}"),
    }
}

/// A part that the snapshot has nothing of was not meant.
fn refuse_absent(selection: &Selection, archive: &Archive, tree: &Tree) -> Result<(), EngineError> {
    for part in selection.parts.iter().filter(|part| !part.is_beside_the_archive()) {
        // They may be beside the archive, and a database that has none of them is not told from one that lost them.
        if matches!(part, Part::Schema | Part::Data | Part::Encryption | Part::Cron) {
            continue;
        }
        let any = archive
            .entries
            .iter()
            .enumerate()
            .any(|(n, entry)| !is_setting(entry) && part.has(entry, about(tree, archive, n)));
        if !any {
            return Err(EngineError::usage(format!("the snapshot has no {part}"))
                .hint("`basekeep show` tells what it has"));
        }
    }
    Ok(())
}

/// Adds what is needed, or names it.
fn with_needs(
    selection: &Selection,
    archive: &Archive,
    tree: &Tree,
    mut selected: BTreeSet<usize>,
    mut result: Selected,
) -> Selected {
    if selection.is_everything() {
        result.entries = selected.iter().map(|&n| archive.entries[n].dump_id).collect();
        return result;
    }
    let with_rows = selection.parts.is_empty() || selection.parts.contains(&Part::Data);
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    for n in 0..archive.entries.len() {
        members.entry(tree.root(n)).or_default().push(n);
    }
    let mut open: Vec<usize> = selected.iter().copied().collect();
    let mut needed: BTreeMap<usize, usize> = BTreeMap::new();
    while let Some(n) = open.pop() {
        for other in archive.entries[n].dependencies.iter().filter_map(|id| tree.index(*id)) {
            let entry = &archive.entries[other];
            // Rows come in an order, but do not need each other; a grant on a column comes after that on its table.
            if selected.contains(&other) || is_data(entry) || entry.desc == "ACL" || is_setting(entry) {
                continue;
            }
            if !selection.with_dependencies {
                needed.entry(other).or_insert(n);
                continue;
            }
            // A table without its row security would be open to everybody, so it comes whole.
            for &part in members.get(&tree.root(other)).into_iter().flatten() {
                let rows = is_data(&archive.entries[part]);
                if (with_rows || !rows) && selected.insert(part) {
                    result.pulled_in.insert(archive.entries[part].dump_id);
                    open.push(part);
                }
            }
        }
    }
    result.entries = selected.iter().map(|&n| archive.entries[n].dump_id).collect();
    result.needed = needed
        .into_iter()
        .map(|(n, by)| Needed { dump_id: archive.entries[n].dump_id, by: archive.entries[by].dump_id })
        .collect();
    result
}

fn schema(entry: &Entry) -> String {
    entry.namespace.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn tag(entry: &Entry) -> String {
    entry.tag.as_ref().map(ToString::to_string).unwrap_or_default()
}

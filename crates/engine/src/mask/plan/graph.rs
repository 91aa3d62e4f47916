//! Columns that must have the same masks: those of a foreign key and those it refers to, and a column of a partition and that
//! of its table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use basekeep_archive::{Archive, Entry};

use super::super::method::Method;
use crate::restore::{Token, tokens};
use crate::stored::columns::Columns;

/// Schema, table and column.
pub(super) type Name = (String, String, String);

/// Makes a name.
pub(super) fn name(schema: &str, table: &str, column: &str) -> Name {
    (schema.to_owned(), table.to_owned(), column.to_owned())
}

/// As a person would write it.
pub(super) fn shown((schema, table, column): &Name) -> String {
    format!("{schema}.{table}.{column}")
}

/// The columns, and what is decided about them.
pub(super) struct Graph {
    /// For each group of tied columns, by any of them, its first one.
    groups: HashMap<Name, Name>,
    members: BTreeMap<Name, BTreeSet<Name>>,
    /// The partitioned table of each partition.
    parents: HashMap<(String, String), (String, String)>,
    /// What rules say.
    rules: BTreeMap<Name, Method>,
    /// What follows from that: the method, and the column whose rule it is.
    followed: BTreeMap<Name, (Method, Name)>,
}

impl Graph {
    /// Ties the columns of a snapshot.
    pub(super) fn new(columns: &Columns, archive: &Archive) -> Self {
        let mut graph = Self {
            groups: HashMap::new(),
            members: BTreeMap::new(),
            parents: parents(archive),
            rules: BTreeMap::new(),
            followed: BTreeMap::new(),
        };
        for table in &columns.tables {
            for key in &table.foreign_keys {
                let (schema, referenced) = &key.references;
                for (column, other) in key.columns.iter().zip(&key.referenced) {
                    graph.tie(name(&table.schema, &table.name, column), name(schema, referenced, other));
                }
            }
            if let Some((schema, parent)) =
                graph.parents.get(&(table.schema.clone(), table.name.clone())).cloned()
            {
                for column in &table.columns {
                    graph.tie(
                        name(&table.schema, &table.name, &column.name),
                        name(&schema, &parent, &column.name),
                    );
                }
            }
        }
        // Partitions that are partitioned have no rows of their own.
        for ((schema, table), (parent_schema, parent)) in graph.parents.clone() {
            let inner: Vec<Name> =
                graph.groups.keys().filter(|(s, t, _)| *s == schema && *t == table).cloned().collect();
            for column in inner {
                let above = name(&parent_schema, &parent, &column.2);
                graph.tie(column, above);
            }
        }
        graph
    }

    fn tie(&mut self, one: Name, other: Name) {
        let (one, other) = (self.group(&one), self.group(&other));
        if one == other {
            return;
        }
        let moved = self.members.remove(&other).unwrap_or_default();
        for member in &moved {
            self.groups.insert(member.clone(), one.clone());
        }
        self.members.entry(one).or_default().extend(moved);
    }

    /// The group of a column, made for it alone where there is none.
    fn group(&mut self, column: &Name) -> Name {
        if let Some(group) = self.groups.get(column) {
            return group.clone();
        }
        self.groups.insert(column.clone(), column.clone());
        self.members.insert(column.clone(), [column.clone()].into());
        column.clone()
    }

    /// A table and the partitioned tables that it is a part of.
    pub(super) fn family(&self, schema: &str, table: &str) -> Vec<(String, String)> {
        let mut family = vec![(schema.to_owned(), table.to_owned())];
        while let Some(parent) = family.last().and_then(|last| self.parents.get(last)) {
            if family.contains(parent) {
                break;
            }
            family.push(parent.clone());
        }
        family
    }

    /// A rule covers a column.
    pub(super) fn cover(&mut self, column: Name, method: &Method) {
        self.rules.insert(column, method.clone());
    }

    /// Lets columns that are tied to covered ones follow their rules. Null is no value that anything refers to.
    pub(super) fn follow(&mut self, problems: &mut Vec<String>) {
        for members in self.members.values() {
            let mut ruled = members
                .iter()
                .filter_map(|column| Some((column, self.rules.get(column)?)))
                .filter(|(_, method)| **method != Method::Null);
            let Some((first, method)) = ruled.next() else { continue };
            for (other, another) in ruled.filter(|(_, another)| *another != method) {
                problems.push(format!(
                    "{} (method {}) and {} (method {}) refer to each other and need the same rule",
                    shown(first),
                    method.name(),
                    shown(other),
                    another.name()
                ));
            }
            if *method == Method::Keep {
                continue;
            }
            for column in members.iter().filter(|column| !self.rules.contains_key(*column)) {
                self.followed.insert(column.clone(), (method.clone(), first.clone()));
            }
        }
    }

    /// What becomes of a column, and the column whose rule it follows.
    pub(super) fn method(&self, column: &Name) -> Option<(&Method, Option<&Name>)> {
        match self.rules.get(column) {
            Some(method) => Some((method, None)),
            None => self.followed.get(column).map(|(method, first)| (method, Some(first))),
        }
    }

    /// Columns whose different values must stay different: those of keys and unique indexes, whatever these look like, and
    /// the columns tied to them.
    pub(super) fn unique(&self, columns: &Columns, archive: &Archive) -> BTreeSet<Name> {
        let mut unique = BTreeSet::new();
        for table in &columns.tables {
            let keys = table.primary_key.iter().chain(table.unique_keys.iter().map(|key| &key.columns));
            unique.extend(keys.flatten().map(|column| name(&table.schema, &table.name, column)));
        }
        let entries: HashMap<i32, &Entry> =
            archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
        for entry in
            archive.entries.iter().filter(|entry| entry.desc == "INDEX" || entry.desc == "CONSTRAINT")
        {
            let Some(words) = unique_words(entry) else { continue };
            let tables = entry
                .dependencies
                .iter()
                .filter_map(|id| entries.get(id))
                .filter(|entry| entry.desc == "TABLE");
            for table in tables {
                let (schema, name) = names(table);
                let known =
                    columns.table(&schema, &name).map(|table| table.columns.as_slice()).unwrap_or_default();
                let named = known.iter().filter(|column| words.contains(&column.name));
                unique.extend(named.map(|column| (schema.clone(), name.clone(), column.name.clone())));
            }
        }
        let groups: BTreeSet<&Name> = unique.iter().filter_map(|column| self.groups.get(column)).collect();
        let tied: Vec<Name> =
            groups.iter().filter_map(|group| self.members.get(*group)).flatten().cloned().collect();
        unique.extend(tied);
        unique
    }
}

/// The words of a unique index or constraint before its condition.
fn unique_words(entry: &Entry) -> Option<BTreeSet<String>> {
    let definition = entry.defn.as_ref()?.to_string();
    let mut words = BTreeSet::new();
    let mut unique = false;
    for token in tokens(&definition) {
        match token {
            Token::Word(word) if word == "WHERE" => break,
            Token::Word(word) if word == "UNIQUE" => unique = true,
            Token::Word(word) | Token::Quoted(word) => {
                words.insert(word);
            }
            Token::Text(_) | Token::Mark(_) => {}
        }
    }
    unique.then_some(words)
}

fn parents(archive: &Archive) -> HashMap<(String, String), (String, String)> {
    let entries: HashMap<i32, &Entry> = archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    archive
        .entries
        .iter()
        .filter(|entry| entry.desc == "TABLE ATTACH")
        .filter_map(|attach| {
            let child = names(attach);
            let tables =
                attach.dependencies.iter().filter_map(|id| entries.get(id)).map(|entry| names(entry));
            let parent = tables.into_iter().find(|table| *table != child)?;
            Some((child, parent))
        })
        .collect()
}

/// Schema and name of an entry.
fn names(entry: &Entry) -> (String, String) {
    let text = |text: Option<&bstr::BString>| text.map(ToString::to_string).unwrap_or_default();
    (text(entry.namespace.as_ref()), text(entry.tag.as_ref()))
}

//! What a database should have, read from the archive of its definitions.

use std::collections::HashSet;

use basekeep_archive::{Archive, Entry};
use bstr::{BStr, ByteSlice};

/// What a database should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Tables whose rows are in the backup.
    pub tables: Vec<ExpectedTable>,
    /// Foreign keys.
    pub foreign_keys: Vec<ExpectedForeignKey>,
    /// Tables with row level security, as schema and name.
    pub row_security: Vec<(String, String)>,
    /// Policies, as schema, table and name.
    pub policies: Vec<(String, String, String)>,
    /// Publications.
    pub publications: Vec<ExpectedPublication>,
    /// Partitions, as schema and name.
    partitions: HashSet<(String, String)>,
}

/// A table with rows in the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// How many rows the backup has.
    pub rows: u64,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedForeignKey {
    /// The referencing table's schema.
    pub schema: String,
    /// The referencing table.
    pub table: String,
    /// The constraint's name.
    pub name: String,
    /// Whether it was valid; otherwise it was `NOT VALID` or `NOT ENFORCED`.
    pub valid: bool,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPublication {
    /// Its name.
    pub name: String,
    /// Tables that are listed in it, as schema and name.
    pub tables: Vec<(String, String)>,
}

impl Expected {
    /// Reads the definitions. Rows are the caller's to add: the archive does not count them.
    pub fn from_archive(archive: &Archive) -> Self {
        let mut expected = Self::default();
        for entry in &archive.entries {
            let schema = text(entry.namespace.as_ref().map(|name| name.as_bstr()));
            let tag = text(entry.tag.as_ref().map(|name| name.as_bstr()));
            match entry.desc.as_slice() {
                b"ROW SECURITY" => expected.row_security.push((schema, tag)),
                b"TABLE ATTACH" => {
                    expected.partitions.insert((schema, tag));
                }
                b"POLICY" => {
                    if let Some((table, name)) = split(archive, entry, &tag) {
                        expected.policies.push((schema, table, name));
                    }
                }
                b"FK CONSTRAINT" => {
                    if let Some((table, name)) = split(archive, entry, &tag) {
                        let definition = entry.defn.as_ref().map(|defn| defn.trim_end()).unwrap_or_default();
                        let valid = ![&b"NOT VALID;"[..], b"NOT ENFORCED;"]
                            .into_iter()
                            .any(|end| definition.ends_with(end));
                        expected.foreign_keys.push(ExpectedForeignKey { schema, table, name, valid });
                    }
                }
                b"PUBLICATION" => {
                    expected.publications.push(ExpectedPublication { name: tag, tables: Vec::new() });
                }
                _ => {}
            }
        }
        let members = archive.entries.iter().filter(|entry| entry.desc == "PUBLICATION TABLE");
        for (publication, table) in members.filter_map(|entry| publication_table(archive, entry)) {
            let found = expected.publications.iter_mut().find(|expected| expected.name == publication);
            if let Some(found) = found {
                found.tables.push(table);
            }
        }
        expected
    }

    /// Whether the backup has this table as a partition of another.
    pub(super) fn is_partition(&self, schema: &str, name: &str) -> bool {
        self.partitions.contains(&(schema.to_owned(), name.to_owned()))
    }

    /// How many rows the backup has of a table; `None` when the table is not in it.
    pub(super) fn rows(&self, schema: &str, name: &str) -> Option<u64> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name).map(|table| table.rows)
    }
}

/// A tag that is a table's name, a blank and another name; either may have blanks, but the table is in the archive.
fn split(archive: &Archive, entry: &Entry, tag: &str) -> Option<(String, String)> {
    let tables = archive.entries.iter().filter(|table| {
        matches!(table.desc.as_slice(), b"TABLE" | b"FOREIGN TABLE")
            && table.namespace == entry.namespace
            && entry.dependencies.contains(&table.dump_id)
    });
    let mut found: Vec<(String, String)> = tables
        .filter_map(|table| {
            let table = text(table.tag.as_ref().map(|name| name.as_bstr()));
            let name = tag.strip_prefix(&table)?.strip_prefix(' ')?.to_owned();
            Some((table, name))
        })
        .collect();
    found.sort_by_key(|(table, _)| table.len());
    // Where the archive does not have the table itself, a table's name without blanks is the likely one.
    found.pop().or_else(|| tag.split_once(' ').map(|(table, name)| (table.to_owned(), name.to_owned())))
}

/// The publication and the table of an entry whose tag has both names.
fn publication_table(archive: &Archive, entry: &Entry) -> Option<(String, (String, String))> {
    let dependency = |desc: &str| {
        archive
            .entries
            .iter()
            .find(|other| other.desc == desc && entry.dependencies.contains(&other.dump_id))
            .map(|other| text(other.tag.as_ref().map(|name| name.as_bstr())))
    };
    let tag = text(entry.tag.as_ref().map(|name| name.as_bstr()));
    let schema = text(entry.namespace.as_ref().map(|name| name.as_bstr()));
    let (publication, table) = match dependency("PUBLICATION") {
        Some(publication) => {
            let table = tag.strip_prefix(&publication)?.strip_prefix(' ')?.to_owned();
            (publication, table)
        }
        None => tag.split_once(' ').map(|(publication, table)| (publication.to_owned(), table.to_owned()))?,
    };
    Some((publication, (schema, table)))
}

fn text(name: Option<&BStr>) -> String {
    name.map(|name| name.to_str_lossy().into_owned()).unwrap_or_default()
}

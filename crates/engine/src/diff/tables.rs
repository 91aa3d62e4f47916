//! Tables: which both sides have, and with which columns and keys.

use std::collections::BTreeMap;

use super::Change;
use super::rows::RowDifferences;
use super::rows::shape::Columns;
use crate::restore::{Contents, CopyStatement};
use crate::stored::columns;
use crate::stored::manifest::Table;

/// A table with rows that differ, or that only one side has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDifference {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Whether the whole table is new or gone; `Changed` otherwise.
    pub change: Change,
    /// On the first side.
    pub a: Option<TableFigures>,
    /// On the second side.
    pub b: Option<TableFigures>,
    /// The rows, where both sides have the table and they were read.
    pub rows: Option<RowDifferences>,
}

/// A table's count and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFigures {
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
}

impl TableFigures {
    pub(super) fn of(table: &Table) -> Self {
        Self { rows: table.rows, bytes: table.bytes }
    }
}

/// A table by name, on one side or on both.
pub(super) struct Pair<'a> {
    pub(super) a: Option<&'a Table>,
    pub(super) b: Option<&'a Table>,
}

/// All tables of both sides, by name.
pub(super) fn pairs<'a>(a: &'a [Table], b: &'a [Table]) -> Vec<((&'a str, &'a str), Pair<'a>)> {
    let mut pairs: BTreeMap<(&str, &str), Pair<'_>> = BTreeMap::new();
    for table in a {
        pairs.insert((&table.schema, &table.name), Pair { a: Some(table), b: None });
    }
    for table in b {
        pairs.entry((&table.schema, &table.name)).or_insert(Pair { a: None, b: None }).b = Some(table);
    }
    pairs.into_iter().collect()
}

/// Whether two tables have the same rows, as their digests say. Their columns must be the same.
pub(super) fn same_rows(a: &Table, b: &Table) -> bool {
    a.rows == b.rows && a.bytes == b.bytes && a.digest == b.digest
}

/// The columns of a snapshot's tables.
pub(super) struct Described<'a> {
    stored: Option<&'a columns::Columns>,
    by_file: BTreeMap<&'a str, &'a columns::Table>,
    copies: BTreeMap<i32, &'a basekeep_archive::Entry>,
}

impl<'a> Described<'a> {
    pub(super) fn new(contents: &'a Contents, stored: Option<&'a columns::Columns>) -> Self {
        let entries = contents.archive.entries.iter().filter(|entry| entry.copy_stmt.is_some());
        let tables = stored.into_iter().flat_map(|columns| &columns.tables);
        Self {
            stored,
            by_file: tables.map(|table| (table.file.as_str(), table)).collect(),
            copies: entries.map(|entry| (entry.dump_id, entry)).collect(),
        }
    }

    /// Whether the snapshot says which keys there are.
    pub(super) fn knows_keys(&self) -> bool {
        self.stored.is_some()
    }

    /// A table's columns, and the key that tells its rows apart.
    pub(super) fn of(&self, table: &Table) -> Columns {
        if let Some(stored) = self.by_file.get(table.file.as_str()) {
            let names = stored.columns.iter().map(|column| column.name.clone()).collect();
            return Columns { names, key: key(stored) };
        }
        let copy = self.copies.get(&table.dump_id).and_then(|entry| entry.copy_stmt.as_ref());
        let parsed = copy.and_then(|copy| CopyStatement::parse(&copy.to_string()));
        Columns { names: parsed.map(|copy| copy.columns).unwrap_or_default(), key: None }
    }
}

/// The primary key, or a unique key that has no nulls.
fn key(table: &columns::Table) -> Option<Vec<String>> {
    let not_null = |name: &String| table.columns.iter().any(|column| &column.name == name && column.not_null);
    let unique = || {
        let mut keys = table.unique_keys.iter();
        keys.find(|key| key.nulls_equal || key.columns.iter().all(not_null)).map(|key| key.columns.clone())
    };
    table.primary_key.clone().or_else(unique)
}

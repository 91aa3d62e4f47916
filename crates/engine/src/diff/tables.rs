//! Tables: counts and sizes on both sides, and which of them have other rows.

use std::collections::BTreeMap;

use super::Change;
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
}

/// A table's count and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFigures {
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
}

/// The tables that differ, by name, and how many are equal.
pub(super) fn compare(a: &[Table], b: &[Table]) -> (Vec<TableDifference>, u64) {
    let by_name = |tables: &[Table]| -> BTreeMap<(String, String), Table> {
        tables.iter().map(|table| ((table.schema.clone(), table.name.clone()), table.clone())).collect()
    };
    let (left, mut right) = (by_name(a), by_name(b));
    let figures = |table: &Table| TableFigures { rows: table.rows, bytes: table.bytes };
    let (mut differing, mut equal) = (Vec::new(), 0);
    let mut add = |(schema, name), change, a: Option<&Table>, b: Option<&Table>| {
        differing.push(TableDifference { schema, name, change, a: a.map(figures), b: b.map(figures) });
    };
    for (name, a) in left {
        match right.remove(&name) {
            None => add(name, Change::Removed, Some(&a), None),
            Some(b) if same(&a, &b) => equal += 1,
            Some(b) => add(name, Change::Changed, Some(&a), Some(&b)),
        }
    }
    for (name, b) in right {
        add(name, Change::Added, None, Some(&b));
    }
    differing.sort_by(|x, y| (&x.schema, &x.name).cmp(&(&y.schema, &y.name)));
    (differing, equal)
}

/// Whether two tables have the same rows, as their digests say.
fn same(a: &Table, b: &Table) -> bool {
    a.rows == b.rows && a.bytes == b.bytes && a.digest == b.digest
}

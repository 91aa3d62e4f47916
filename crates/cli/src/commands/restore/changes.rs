//! What a restore does to each object and each table's rows: as planned, and as it came.

use basekeep_engine::restore::{Change, ChangeKind, MergedTable};
use serde::Serialize;

use crate::output::table::{Align, Table};
use crate::output::units;

/// Longer lists are cut unless all is asked for.
const SHOWN: usize = 40;

#[derive(Serialize)]
pub(super) struct ChangeDocument<'a> {
    object: &'a str,
    /// `create`, `replace`, `load`, `replace-rows`, `merge`, `set` or `skip`.
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// Only rows for which this is true.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    /// Whether it comes along since others need it.
    pulled_in: bool,
}

#[derive(Serialize)]
pub(super) struct MergedDocument<'a> {
    object: &'a str,
    inserted: u64,
    updated: u64,
    unchanged: u64,
    conflicting: u64,
    rejected: u64,
}

/// What goes to a service when the database is done.
pub(super) fn sent(what: &str) -> Change {
    Change {
        object: what.to_owned(),
        action: ChangeKind::Load,
        rows: None,
        condition: None,
        pulled_in: false,
    }
}

pub(super) fn documents(changes: &[Change]) -> Vec<ChangeDocument<'_>> {
    changes
        .iter()
        .map(|change| ChangeDocument {
            object: &change.object,
            action: change.action.name(),
            rows: change.rows,
            condition: change.condition.as_deref(),
            pulled_in: change.pulled_in,
        })
        .collect()
}

/// A line for each change; what is skipped only in full.
pub(super) fn text(changes: &[Change], in_full: bool) -> String {
    let mut table = Table::new(&[("", Align::Left), ("what", Align::Left), ("rows", Align::Right)]);
    let told: Vec<&Change> =
        changes.iter().filter(|change| in_full || change.action != ChangeKind::Skip).collect();
    let shown = if in_full { told.len() } else { told.len().min(SHOWN) };
    for change in &told[..shown] {
        let rows = match (change.rows, &change.condition) {
            (Some(rows), Some(_)) => format!("up to {}", units::count(rows)),
            (Some(rows), None) => units::count(rows),
            (None, _) => String::new(),
        };
        let mut what = change.object.clone();
        if let Some(condition) = &change.condition {
            what += &format!(" where {condition}");
        }
        if change.pulled_in {
            what += " (needed)";
        }
        table.row([change.action.name().replace('-', " "), what, rows]);
    }
    if told.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}", table.render());
    if shown < told.len() {
        text += &format!("and {} more: --dry-run or --verbose lists them\n", told.len() - shown);
    }
    text
}

pub(super) fn merged(tables: &[MergedTable]) -> Vec<MergedDocument<'_>> {
    tables
        .iter()
        .map(|table| MergedDocument {
            object: &table.object,
            inserted: table.inserted,
            updated: table.updated,
            unchanged: table.unchanged,
            conflicting: table.conflicting,
            rejected: table.rejected,
        })
        .collect()
}

/// What became of the rows of tables that were there; nothing when there were none.
pub(super) fn merged_text(tables: &[MergedTable]) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let names = ["", "inserted", "updated", "unchanged", "conflicting", "rejected"];
    let columns: Vec<(&str, Align)> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (*name, if n == 0 { Align::Left } else { Align::Right }))
        .collect();
    let mut text = Table::new(&columns);
    for table in tables {
        let counts = [table.inserted, table.updated, table.unchanged, table.conflicting, table.rejected];
        text.row(std::iter::once(table.object.clone()).chain(counts.map(units::count)));
    }
    text.render()
}

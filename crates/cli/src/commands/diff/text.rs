//! A diff for people: first what differs and how much of it, then each difference.

use std::collections::BTreeMap;

use basekeep_engine::diff::{
    Change, Diff, FieldChange, Items, ObjectDifference, RowChange, Side, TableDifference, Value,
};

use crate::output::table::{Align, Table, clean};
use crate::output::units;

/// What stands for a secret.
const HIDDEN: &str = "•••";

pub(super) fn of(diff: &Diff, summary: bool, full: bool) -> String {
    let mut text = format!("{} → {}\n", side(&diff.a), side(&diff.b));
    if diff.is_equal() {
        return text + "nothing differs\n";
    }
    text += &counts(diff);
    text += &tables(diff);
    if !summary {
        text += &objects(&diff.objects, full);
        for items in &diff.items {
            text += &section(items);
        }
        for table in &diff.tables {
            text += &rows(table);
        }
    }
    text
}

fn side(side: &Side) -> String {
    match &side.snapshot {
        Some(id) => format!("{} of {} ({})", units::short(id), clean(&side.source), units::time(side.time)),
        None => format!("{} as it is now", clean(&side.source)),
    }
}

/// How many of each kind are new, gone or changed.
fn counts(diff: &Diff) -> String {
    let mut kinds: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for object in &diff.objects {
        kinds.entry(&object.kind).or_default()[object.change as usize] += 1;
    }
    for items in &diff.items {
        kinds.insert(items.kind, [items.added, items.removed, items.changed]);
    }
    if kinds.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("differs", Align::Left),
        ("added", Align::Right),
        ("removed", Align::Right),
        ("changed", Align::Right),
    ]);
    for (kind, counts) in kinds {
        let cells = counts.map(|n| if n == 0 { "-".to_owned() } else { units::count(n) });
        table.row(std::iter::once(kind.to_owned()).chain(cells));
    }
    format!("\n{}", table.render())
}

fn tables(diff: &Diff) -> String {
    if diff.tables.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("tables", Align::Left),
        ("added", Align::Right),
        ("removed", Align::Right),
        ("changed", Align::Right),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("", Align::Left),
    ]);
    for t in &diff.tables {
        table.row(line(t));
    }
    let equal = units::counted(diff.equal_tables, "table has", "tables have");
    format!("\n{}{equal} the same rows\n", table.render())
}

fn line(t: &TableDifference) -> [String; 7] {
    let both = |of: fn(&basekeep_engine::diff::TableFigures) -> String| match (&t.a, &t.b) {
        (Some(a), Some(b)) if of(a) == of(b) => of(a),
        (Some(a), Some(b)) => format!("{} → {}", of(a), of(b)),
        (Some(one), None) | (None, Some(one)) => of(one),
        (None, None) => String::new(),
    };
    let counts = match &t.rows {
        Some(found) => [found.added, found.removed, found.changed]
            .map(|n| if n == 0 { "-".to_owned() } else { units::count(n) }),
        None => [const { String::new() }; 3],
    };
    let word = match (t.change, &t.rows) {
        (Change::Changed, Some(found)) if found.key.is_empty() => "no key".to_owned(),
        (Change::Changed, _) => String::new(),
        (change, _) => format!("table {}", change.word()),
    };
    let [added, removed, changed] = counts;
    let (rows, size) = (both(|f| units::count(f.rows)), both(|f| units::bytes(f.bytes)));
    [format!("{}.{}", t.schema, t.name), added, removed, changed, rows, size, word]
}

/// The rows of a table that differ.
fn rows(t: &TableDifference) -> String {
    let Some(found) = &t.rows else { return String::new() };
    let mut text = format!("\nrows of {}.{}\n", clean(&t.schema), clean(&t.name));
    for (columns, word) in [(&found.columns_added, "new"), (&found.columns_removed, "removed")] {
        if !columns.is_empty() {
            text += &format!("  {word} columns, not compared: {}\n", clean(&columns.join(", ")));
        }
    }
    for row in &found.shown {
        text += &format!("  {}\n", row_text(row));
    }
    let told: u64 = found.shown.iter().map(|row| row.count).sum();
    match found.count().saturating_sub(told) {
        0 => text,
        more => text + &format!("  and {} more; --limit shows more\n", units::count(more)),
    }
}

/// `~ id=7: total 5 → 6`, `+ id=8: total 1`, `- id=9: …`.
fn row_text(row: &RowChange) -> String {
    let key: Vec<String> =
        row.key.iter().map(|(name, value)| format!("{}={}", clean(name), value_text(value))).collect();
    let key = key.join(" ");
    let values = |of: fn(&FieldChange) -> &Option<Value>| {
        let others = row.fields.iter().filter(|field| row.key.iter().all(|(name, _)| name != &field.name));
        let told = others.filter_map(|field| {
            of(field).as_ref().map(|value| format!("{} {}", clean(&field.name), value_text(value)))
        });
        told.collect::<Vec<_>>().join(", ")
    };
    let times = if row.count > 1 { format!(" ({} times)", units::count(row.count)) } else { String::new() };
    let (sign, values) = match row.change {
        Change::Added => ("+", values(|field| &field.new)),
        Change::Removed => ("-", values(|field| &field.old)),
        Change::Changed => ("~", row.fields.iter().map(field_text).collect::<Vec<_>>().join(", ")),
    };
    let colon = if key.is_empty() || values.is_empty() { "" } else { ": " };
    format!("{sign} {key}{colon}{values}{times}")
}

/// Each object with what belongs to it.
fn objects(objects: &[ObjectDifference], full: bool) -> String {
    let mut text = String::new();
    let mut of = None;
    for object in objects {
        if of != Some(&object.of) {
            text += &format!("\n{}\n", clean(&object.of));
            of = Some(&object.of);
        }
        let name = if object.name == object.of { "definition" } else { &object.name };
        text += &format!("  {}: {}\n", clean(name), object.change.word());
        if object.change == Change::Changed || full {
            for line in object.diff.lines() {
                text += &format!("    {}\n", clean(line));
            }
        }
    }
    text
}

fn section(items: &Items) -> String {
    let mut text = format!("\n{}\n", items.kinds);
    for item in &items.shown {
        text += &format!("  {}: {}", clean(&item.name), item.change.word());
        if item.change == Change::Changed {
            let fields: Vec<String> = item.fields.iter().map(field_text).collect();
            text += &format!(": {}", fields.join(", "));
        }
        text.push('\n');
    }
    match items.count().saturating_sub(items.shown.len() as u64) {
        0 => text,
        more => text + &format!("  and {} more; --limit shows more\n", units::count(more)),
    }
}

/// `total 5 → 7`.
pub(crate) fn field_text(change: &FieldChange) -> String {
    let told = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), value_text);
    format!("{} {} → {}", clean(&change.name), told(&change.old), told(&change.new))
}

/// A value in one line.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Hidden => HIDDEN.to_owned(),
        Value::Shown(text) if text.is_empty() => "''".to_owned(),
        Value::Shown(text) => clean(text),
        Value::Long { start, bytes } => format!("{}… ({})", clean(start), units::bytes(*bytes)),
    }
}

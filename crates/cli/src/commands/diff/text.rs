//! A diff for people: first what differs and how much of it, then each difference.

use std::collections::BTreeMap;

use basekeep_engine::diff::{
    Change, Diff, FieldChange, Items, ObjectDifference, Side, TableDifference, Value,
};

use crate::output::table::{Align, Table, clean};
use crate::output::units;

/// What stands for a secret.
const HIDDEN: &str = "•••";
/// Longer values are cut, unless all of them is asked for.
const LONGEST_VALUE: usize = 80;

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
            text += &section(items, full);
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

fn line(t: &TableDifference) -> [String; 4] {
    let both = |of: fn(&basekeep_engine::diff::TableFigures) -> String| match (&t.a, &t.b) {
        (Some(a), Some(b)) if of(a) == of(b) => of(a),
        (Some(a), Some(b)) => format!("{} → {}", of(a), of(b)),
        (Some(one), None) | (None, Some(one)) => of(one),
        (None, None) => String::new(),
    };
    let word = if t.change == Change::Changed { String::new() } else { t.change.word().to_owned() };
    [
        format!("{}.{}", t.schema, t.name),
        both(|f| units::count(f.rows)),
        both(|f| units::bytes(f.bytes)),
        word,
    ]
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

fn section(items: &Items, full: bool) -> String {
    let mut text = format!("\n{}\n", items.kinds);
    for item in &items.shown {
        text += &format!("  {}: {}", clean(&item.name), item.change.word());
        if item.change == Change::Changed {
            let fields: Vec<String> = item.fields.iter().map(|change| field(change, full)).collect();
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
pub(super) fn field(change: &FieldChange, full: bool) -> String {
    let told =
        |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), |v| value_text(v, full));
    format!("{} {} → {}", clean(&change.name), told(&change.old), told(&change.new))
}

/// A value in one line, cut where it is long.
pub(super) fn value_text(value: &Value, full: bool) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Hidden => HIDDEN.to_owned(),
        Value::Shown(text) if full || text.chars().count() <= LONGEST_VALUE => clean(text),
        Value::Shown(text) => {
            let cut: String = text.chars().take(LONGEST_VALUE).collect();
            format!("{}… ({} characters)", clean(&cut), units::count(text.chars().count() as u64))
        }
    }
}

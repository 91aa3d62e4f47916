//! A database as lists: its tables' rows and its objects; random changes to both, as SQL; and what differs between two of them.

use std::collections::{BTreeMap, BTreeSet};

use basekeep_engine::diff::{Diff, FieldChange, Value};
use basekeep_engine::history::{Event, Version};
use basekeep_postgres::quote_literal;
use basekeep_repository::Snapshot;

use crate::incremental::random::Random;

type Row = Vec<Option<String>>;
/// A row by column.
pub(super) type Watched = Vec<(String, Option<String>)>;

#[derive(Clone)]
struct Table {
    /// How many of the columns, from the first, are the key.
    key: usize,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone)]
pub(super) struct Model {
    tables: BTreeMap<String, Table>,
    /// Objects by the name that people know, and what defines them.
    objects: BTreeMap<String, String>,
    numbers: u64,
}

fn literal(value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| "NULL".to_owned(), |text| quote_literal(text))
}

/// Texts that COPY must escape, and plain ones.
fn text(random: &mut Random) -> Option<String> {
    let odd = ["", "\\N", "a\tb", "line\nline", "back\\slash", "•é日本", "'", "{\"a\": [1]}"];
    match random.below(10) {
        0 => None,
        1..4 => Some((*random.pick(&odd)).to_owned()),
        n => Some(format!("{n} {}", random.below(1_000_000))),
    }
}

impl Table {
    fn new(key: usize, columns: &[&str]) -> Self {
        Self { key, columns: columns.iter().map(|&name| name.into()).collect(), rows: Vec::new() }
    }

    /// Numbers for the first column of a key, texts for all else.
    fn row(&self, number: u64, random: &mut Random) -> Row {
        let value = |place: usize, random: &mut Random| match place {
            0 if self.key > 0 => Some(number.to_string()),
            place if place < self.key => Some(format!("k{}", number % 7)),
            _ => text(random),
        };
        (0..self.columns.len()).map(|place| value(place, random)).collect()
    }

    /// The condition that finds one row.
    fn condition(&self, name: &str, row: &Row) -> String {
        let equal = |columns: usize| {
            let pairs = self.columns.iter().zip(row).take(columns);
            pairs
                .map(|(column, value)| format!("{column}::text IS NOT DISTINCT FROM {}", literal(value)))
                .collect::<Vec<_>>()
                .join(" AND ")
        };
        match self.key {
            0 => format!("ctid = (SELECT ctid FROM {name} WHERE {} LIMIT 1)", equal(row.len())),
            key => equal(key),
        }
    }

    fn insert(&self, name: &str, rows: &[Row]) -> String {
        let tuples: Vec<String> = rows
            .iter()
            .map(|row| format!("({})", row.iter().map(literal).collect::<Vec<_>>().join(", ")))
            .collect();
        format!("INSERT INTO {name} ({}) VALUES {};\n", self.columns.join(", "), tuples.join(", "))
    }

    fn create(&self, name: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| format!("{column} {}", if n == 0 && self.key > 0 { "bigint" } else { "text" }))
            .collect();
        let key = match self.key {
            0 => String::new(),
            key => format!(", PRIMARY KEY ({})", self.columns[..key].join(", ")),
        };
        format!("CREATE TABLE {name} ({}{key});\n", columns.join(", "))
    }
}

impl Model {
    pub(super) fn begin(random: &mut Random) -> (Self, String) {
        let mut model = Self { tables: BTreeMap::new(), objects: BTreeMap::new(), numbers: 0 };
        let mut sql = String::new();
        for (name, table, rows, padding) in [
            ("keyed", Table::new(1, &["id", "a", "b"]), 400, 0),
            ("pair", Table::new(2, &["x", "y", "v"]), 200, 0),
            ("bag", Table::new(0, &["v", "w"]), 100, 0),
            // More than one blob, so that blobs are shared among changed ranges.
            ("wide", Table::new(1, &["id", "v"]), 900, 3_000),
            ("few", Table::new(1, &["id", "v"]), 3, 0),
        ] {
            sql += &model.add(name, table, rows, padding, random);
        }
        (model, sql)
    }

    fn add(
        &mut self,
        name: &str,
        mut table: Table,
        rows: u64,
        padding: usize,
        random: &mut Random,
    ) -> String {
        let mut sql = table.create(name);
        for _ in 0..rows {
            self.numbers += 1;
            let mut row = table.row(self.numbers, random);
            if padding > 0 {
                // Random enough not to be one chunk over and over.
                let words = (0..padding / 20).map(|_| format!("{:019} ", random.below(u64::MAX)));
                row[1] = Some(words.collect());
            }
            table.rows.push(row);
        }
        if rows > 0 {
            sql += &table.insert(name, &table.rows);
        }
        self.tables.insert(name.to_owned(), table);
        self.define(name);
        sql
    }

    /// Takes note of a table's definition.
    fn define(&mut self, name: &str) {
        let Some(table) = self.tables.get(name) else { return };
        self.objects.insert(format!("table public.{name}"), format!("{:?}", table.columns));
        if table.key > 0 {
            self.objects.entry(format!("constraint {name}_pkey on public.{name}")).or_default();
        }
    }

    /// Some changes; gives their SQL, command by command.
    pub(super) fn act(&mut self, random: &mut Random) -> Vec<String> {
        let mut sql = String::from("BEGIN;\n");
        for _ in 0..1 + random.below(8) {
            let names: Vec<String> = self.tables.keys().cloned().collect();
            let name = random.pick(&names).clone();
            sql += &match random.below(100) {
                0..10 => self.definition(&name, random),
                _ => self.rows(&name, random),
            };
        }
        sql += "COMMIT;\n";
        let mut commands = vec![sql];
        if random.below(8) == 0 {
            // Rows move to other blocks; nothing that a diff tells changes.
            let moves = ["VACUUM keyed", "VACUUM FULL wide", "CLUSTER wide USING wide_pkey"];
            let command = *random.pick(&moves);
            if command.starts_with("CLUSTER") {
                // The index is remembered.
                self.objects.insert("constraint wide_pkey on public.wide".into(), "clustered".into());
            }
            commands.push(command.to_owned());
        }
        commands
    }

    fn rows(&mut self, name: &str, random: &mut Random) -> String {
        let Some(table) = self.tables.get_mut(name) else { return String::new() };
        let mut sql = String::new();
        for _ in 0..1 + random.below(6) {
            let choice = random.below(10);
            if choice < 3 || table.rows.is_empty() {
                self.numbers += 1;
                let row = match (table.key, table.rows.first()) {
                    // Twice the same row, where there is no key.
                    (0, Some(first)) if choice == 0 => first.clone(),
                    _ => table.row(self.numbers, random),
                };
                sql += &table.insert(name, std::slice::from_ref(&row));
                table.rows.push(row);
                continue;
            }
            let at = random.below(table.rows.len() as u64) as usize;
            let condition = table.condition(name, &table.rows[at]);
            match choice {
                3..6 => {
                    sql += &format!("DELETE FROM {name} WHERE {condition};\n");
                    table.rows.remove(at);
                }
                6 if table.key > 0 => {
                    self.numbers += 1;
                    let number = self.numbers.to_string();
                    sql += &format!("UPDATE {name} SET {} = {number} WHERE {condition};\n", table.columns[0]);
                    table.rows[at][0] = Some(number);
                }
                _ if table.columns.len() > table.key => {
                    let others = (table.columns.len() - table.key) as u64;
                    let place = table.key + random.below(others) as usize;
                    let value = text(random);
                    sql += &format!(
                        "UPDATE {name} SET {} = {} WHERE {condition};\n",
                        table.columns[place],
                        literal(&value)
                    );
                    table.rows[at][place] = value;
                }
                _ => {}
            }
        }
        sql
    }

    fn definition(&mut self, name: &str, random: &mut Random) -> String {
        self.numbers += 1;
        let number = self.numbers;
        match random.below(8) {
            0 => {
                let value = text(random);
                let Some(table) = self.tables.get_mut(name) else { return String::new() };
                let column = format!("c{number}");
                table.rows.iter_mut().for_each(|row| row.push(value.clone()));
                table.columns.push(column.clone());
                self.define(name);
                let sql =
                    format!("ALTER TABLE {name} ADD COLUMN {column} text DEFAULT {};\n", literal(&value));
                sql + &format!("ALTER TABLE {name} ALTER COLUMN {column} DROP DEFAULT;\n")
            }
            1 => {
                let Some(table) = self.tables.get_mut(name) else { return String::new() };
                if table.columns.len() <= table.key + 1 {
                    return String::new();
                }
                let place = table.key + random.below((table.columns.len() - table.key) as u64) as usize;
                let column = table.columns.remove(place);
                table.rows.iter_mut().for_each(|row| drop(row.remove(place)));
                self.define(name);
                format!("ALTER TABLE {name} DROP COLUMN {column};\n")
            }
            2 => {
                let rows = random.below(20);
                let key = random.below(2) as usize;
                self.add(&format!("extra{number}"), Table::new(key, &["id", "v"]), rows, 0, random)
            }
            3 if name.starts_with("extra") => {
                self.tables.remove(name);
                self.objects.retain(|object, _| !object.ends_with(&format!("public.{name}")));
                format!("DROP TABLE {name};\n")
            }
            4 => {
                self.objects.insert(format!("policy p{number} on public.{name}"), String::new());
                format!("CREATE POLICY p{number} ON {name} USING (true);\n")
            }
            5 => {
                let function = random.below(3);
                self.objects.insert(format!("function public.f{function}()"), number.to_string());
                format!(
                    "CREATE OR REPLACE FUNCTION f{function}() RETURNS bigint LANGUAGE sql AS 'SELECT {number}::bigint';\n"
                )
            }
            6 => {
                self.objects.insert(format!("comment on table public.{name}"), number.to_string());
                format!("COMMENT ON TABLE {name} IS '{number}';\n")
            }
            _ => {
                self.objects.insert(format!("privileges on table public.{name}"), String::new());
                format!("GRANT SELECT ON {name} TO PUBLIC;\n")
            }
        }
    }

    /// The rows of `keyed` with small keys.
    pub(super) fn watched(&self) -> BTreeMap<String, Watched> {
        let Some(table) = self.tables.get("keyed") else { return BTreeMap::new() };
        let small = table.rows.iter().filter(|row| row[0].as_ref().is_some_and(|key| key.len() <= 2));
        small
            .map(|row| {
                let key = row[0].clone().unwrap_or_default();
                (key, table.columns.iter().cloned().zip(row.iter().cloned()).collect())
            })
            .collect()
    }

    /// What differs between this and a later state, a line for each difference.
    pub(super) fn changes_to(&self, other: &Self) -> BTreeSet<String> {
        let mut changes = BTreeSet::new();
        let names: BTreeSet<&String> = self.objects.keys().chain(other.objects.keys()).collect();
        for name in names {
            match (self.objects.get(name), other.objects.get(name)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(_), Some(_)) => drop(changes.insert(format!("object {name} changed"))),
                (Some(_), None) => drop(changes.insert(format!("object {name} removed"))),
                (None, _) => drop(changes.insert(format!("object {name} added"))),
            }
        }
        let names: BTreeSet<&String> = self.tables.keys().chain(other.tables.keys()).collect();
        for name in names {
            match (self.tables.get(name), other.tables.get(name)) {
                (Some(a), Some(b)) => table_changes(name, a, b, &mut changes),
                (Some(a), None) => drop(changes.insert(format!("table {name} removed {}", a.rows.len()))),
                (None, Some(b)) => drop(changes.insert(format!("table {name} added {}", b.rows.len()))),
                (None, None) => {}
            }
        }
        changes
    }
}

fn table_changes(name: &str, a: &Table, b: &Table, changes: &mut BTreeSet<String>) {
    let common: Vec<(usize, usize)> = a
        .columns
        .iter()
        .enumerate()
        .filter_map(|(i, column)| Some((i, b.columns.iter().position(|other| other == column)?)))
        .collect();
    let of_a = |row: &Row| -> Row { common.iter().map(|(i, _)| row[*i].clone()).collect() };
    let of_b = |row: &Row| -> Row { common.iter().map(|(_, j)| row[*j].clone()).collect() };
    if a.key == 0 {
        let mut counts: BTreeMap<Row, i64> = BTreeMap::new();
        a.rows.iter().for_each(|row| *counts.entry(of_a(row)).or_default() -= 1);
        b.rows.iter().for_each(|row| *counts.entry(of_b(row)).or_default() += 1);
        for (row, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            let word = if count > 0 { "added" } else { "removed" };
            changes.insert(format!("row of {name} {word} {} times {row:?}", count.abs()));
        }
        return;
    }
    let key = |row: &Row, table: &Table| row[..table.key].to_vec();
    let left: BTreeMap<Row, &Row> = a.rows.iter().map(|row| (key(row, a), row)).collect();
    let right: BTreeMap<Row, &Row> = b.rows.iter().map(|row| (key(row, b), row)).collect();
    for (key, row) in &left {
        match right.get(key) {
            None => drop(changes.insert(format!("row of {name} removed {key:?} {:?}", of_a(row)))),
            Some(other) => {
                for (i, j) in common.iter().filter(|(i, j)| row[*i] != other[*j]) {
                    let (column, old, new) = (&a.columns[*i], &row[*i], &other[*j]);
                    changes.insert(format!("row of {name} changed {key:?} {column}: {old:?} to {new:?}"));
                }
            }
        }
    }
    for (key, row) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
        changes.insert(format!("row of {name} added {key:?} {:?}", of_b(row)));
    }
}

fn value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Shown(text) => Some(text.clone()),
        Value::Long { .. } | Value::Hidden => panic!("nothing is to be hidden or cut"),
    }
}

/// What a diff tells, in the same lines.
pub(super) fn told(diff: &Diff) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    assert_eq!(diff.items, []);
    for object in &diff.objects {
        lines.insert(format!("object {} {}", object.name, object.change.word()));
    }
    for table in &diff.tables {
        let name = &table.name;
        let Some(rows) = &table.rows else {
            let count = table.a.or(table.b).map_or(0, |figures| figures.rows);
            lines.insert(format!("table {name} {} {count}", table.change.word()));
            continue;
        };
        let told: u64 = rows.shown.iter().map(|row| row.count).sum();
        assert_eq!(told, rows.count(), "{name}");
        for row in &rows.shown {
            let key: Row = row.key.iter().map(|(_, text)| value(text)).collect();
            let word = row.change.word();
            let changed = row.fields.iter().filter(|field| field.old.is_some() && field.new.is_some());
            for field in changed {
                let side = |text: &Option<Value>| text.as_ref().and_then(value);
                let (old, new) = (side(&field.old), side(&field.new));
                lines.insert(format!("row of {name} changed {key:?} {}: {old:?} to {new:?}", field.name));
            }
            let one_sided = row.fields.iter().filter(|field| field.old.is_none() != field.new.is_none());
            let only =
                |name: &String| !rows.columns_added.contains(name) && !rows.columns_removed.contains(name);
            let values: Row = one_sided
                .filter(|field| only(&field.name))
                .map(|field| field.old.as_ref().or(field.new.as_ref()).and_then(value))
                .collect();
            if word != "changed" {
                let which = match rows.key.is_empty() {
                    true => format!("{} times", row.count),
                    false => format!("{key:?}"),
                };
                lines.insert(format!("row of {name} {word} {which} {values:?}"));
            }
        }
    }
    lines
}

/// A version of a row as a line.
pub(super) fn version(version: &Version) -> String {
    let side = |text: &Option<Value>| text.as_ref().map(value);
    let field = |field: &FieldChange| (field.name.clone(), side(&field.old), side(&field.new));
    let mut fields: Vec<_> = version.fields.iter().map(field).collect();
    fields.sort();
    format!("{} {:?} {fields:?}", version.snapshot, version.event)
}

/// The same from what was watched.
pub(super) fn versions(watched: &[(Snapshot, BTreeMap<String, Watched>)], key: &str) -> Vec<String> {
    let mut versions = Vec::new();
    let mut before: Option<&Watched> = None;
    for (snapshot, rows) in watched {
        let now = rows.get(key);
        let of = |row: Option<&Watched>, name: &String| {
            row.and_then(|row| row.iter().find(|(column, _)| column == name)).map(|(_, text)| text.clone())
        };
        let names: BTreeSet<&String> =
            before.into_iter().chain(now).flatten().map(|(column, _)| column).collect();
        let changed: Vec<_> = names
            .into_iter()
            .map(|name| (name.clone(), of(before, name), of(now, name)))
            .filter(|(_, old, new)| old != new)
            .collect();
        let event = match (before, now) {
            (None, None) => None,
            (None, Some(_)) => Some((Event::Appeared, changed)),
            (Some(_), None) => Some((Event::Gone, Vec::new())),
            (Some(_), Some(_)) => (!changed.is_empty()).then_some((Event::Changed, changed)),
        };
        versions.extend(event.map(|(event, fields)| format!("{} {event:?} {fields:?}", snapshot.id)));
        before = now;
    }
    versions
}

//! A diff as JSON.

use std::collections::BTreeMap;

use basekeep_engine::diff::{
    Diff, FieldChange, Items, ObjectDifference, RowChange, RowDifferences, Side, TableDifference,
    TableFigures, Value,
};
use serde::{Serialize, Serializer};

use crate::commands::manifest::MissingDocument;
use crate::output::JSON_VERSION;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    version: u32,
    a: SideDocument<'a>,
    b: SideDocument<'a>,
    equal: bool,
    objects: Vec<ObjectDocument<'a>>,
    items: Vec<ItemsDocument<'a>>,
    tables: Vec<TableDocument<'a>>,
    equal_tables: u64,
    not_compared: Vec<MissingDocument<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct SideDocument<'a> {
    /// `null` for a live database.
    snapshot: Option<&'a str>,
    source: &'a str,
    time: String,
}

#[derive(Serialize)]
struct ObjectDocument<'a> {
    kind: &'a str,
    name: &'a str,
    of: &'a str,
    change: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a str>,
}

#[derive(Serialize)]
struct ItemsDocument<'a> {
    kind: &'a str,
    added: u64,
    removed: u64,
    changed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<Vec<ItemDocument<'a>>>,
}

#[derive(Serialize)]
struct ItemDocument<'a> {
    name: &'a str,
    change: &'a str,
    fields: Vec<FieldDocument<'a>>,
}

/// `old` and `new` are absent where there was or is none, `{"hidden":true}` where they are secret, and
/// `{"start":"…","bytes":1000000}` where they are too long.
#[derive(Serialize)]
pub(crate) struct FieldDocument<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<ValueDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<ValueDocument<'a>>,
}

pub(crate) struct ValueDocument<'a>(&'a Value);

impl Serialize for ValueDocument<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Hidden {
            hidden: bool,
        }
        #[derive(Serialize)]
        struct Long<'a> {
            start: &'a str,
            bytes: u64,
        }
        match self.0 {
            Value::Null => to.serialize_none(),
            Value::Shown(text) => to.serialize_str(text),
            Value::Hidden => Hidden { hidden: true }.serialize(to),
            Value::Long { start, bytes } => Long { start, bytes: *bytes }.serialize(to),
        }
    }
}

#[derive(Serialize)]
struct TableDocument<'a> {
    schema: &'a str,
    name: &'a str,
    change: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<FiguresDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<FiguresDocument>,
    /// Absent where no rows were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<RowsDocument<'a>>,
}

#[derive(Serialize)]
struct RowsDocument<'a> {
    key: &'a [String],
    added: u64,
    removed: u64,
    changed: u64,
    changed_columns: &'a BTreeMap<String, u64>,
    columns_added: &'a [String],
    columns_removed: &'a [String],
    read_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<Vec<RowDocument<'a>>>,
}

#[derive(Serialize)]
struct RowDocument<'a> {
    change: &'a str,
    count: u64,
    key: BTreeMap<&'a str, ValueDocument<'a>>,
    columns: Vec<FieldDocument<'a>>,
}

#[derive(Serialize)]
struct FiguresDocument {
    rows: u64,
    bytes: u64,
}

pub(super) fn of(diff: &Diff, summary: bool) -> Document<'_> {
    Document {
        version: JSON_VERSION,
        a: side(&diff.a),
        b: side(&diff.b),
        equal: diff.is_equal(),
        objects: diff.objects.iter().map(|o| object(o, summary)).collect(),
        items: diff.items.iter().map(|i| items(i, summary)).collect(),
        tables: diff.tables.iter().map(|t| table(t, summary)).collect(),
        equal_tables: diff.equal_tables,
        not_compared: diff.not_compared.iter().map(MissingDocument::of).collect(),
        notes: &diff.notes,
    }
}

fn side(side: &Side) -> SideDocument<'_> {
    SideDocument { snapshot: side.snapshot.as_deref(), source: &side.source, time: side.time.to_string() }
}

fn object(object: &ObjectDifference, summary: bool) -> ObjectDocument<'_> {
    ObjectDocument {
        kind: &object.kind,
        name: &object.name,
        of: &object.of,
        change: object.change.word(),
        diff: (!summary).then_some(object.diff.as_str()),
    }
}

fn items(items: &Items, summary: bool) -> ItemsDocument<'_> {
    let shown = items.shown.iter().map(|item| ItemDocument {
        name: &item.name,
        change: item.change.word(),
        fields: item.fields.iter().map(field).collect(),
    });
    ItemsDocument {
        kind: items.kind,
        added: items.added,
        removed: items.removed,
        changed: items.changed,
        shown: (!summary).then(|| shown.collect()),
    }
}

pub(crate) fn field(change: &FieldChange) -> FieldDocument<'_> {
    FieldDocument {
        name: &change.name,
        old: change.old.as_ref().map(ValueDocument),
        new: change.new.as_ref().map(ValueDocument),
    }
}

fn table(table: &TableDifference, summary: bool) -> TableDocument<'_> {
    let figures = |side: Option<TableFigures>| side.map(|f| FiguresDocument { rows: f.rows, bytes: f.bytes });
    TableDocument {
        schema: &table.schema,
        name: &table.name,
        change: table.change.word(),
        a: figures(table.a),
        b: figures(table.b),
        rows: table.rows.as_ref().map(|found| rows(found, summary)),
    }
}

fn rows(found: &RowDifferences, summary: bool) -> RowsDocument<'_> {
    RowsDocument {
        key: &found.key,
        added: found.added,
        removed: found.removed,
        changed: found.changed,
        changed_columns: &found.changed_columns,
        columns_added: &found.columns_added,
        columns_removed: &found.columns_removed,
        read_bytes: found.read_bytes,
        shown: (!summary).then(|| found.shown.iter().map(row).collect()),
    }
}

fn row(row: &RowChange) -> RowDocument<'_> {
    RowDocument {
        change: row.change.word(),
        count: row.count,
        key: row.key.iter().map(|(name, value)| (name.as_str(), ValueDocument(value))).collect(),
        columns: row.fields.iter().map(field).collect(),
    }
}

//! What differs between two snapshots, as the dashboard shows it.

use std::sync::Arc;

use basekeep_engine::diff::{
    self, Diff, FieldChange as Field, Options, RowChange as Row, Secrets, Side, TableDifference, Tables,
    Value,
};
use basekeep_engine::{Interrupt, Observer, Silent};
use basekeep_server::web::panel::{
    Answer, ComparedSide, Comparison, DiffRequest, FieldChange, ItemChange, Notice, ObjectChange, RowChange,
    RowCounts, TableChange,
};

use super::EnginePanel;

/// Rows of a table, and files of a kind, that are shown.
const ROWS: usize = 50;
/// The longest value that is shown, in bytes.
const LONGEST: usize = 160;

impl EnginePanel {
    pub(super) async fn comparison(&self, request: &DiffRequest) -> Answer<Comparison> {
        let (a, b) = (self.found(&request.a).await?, self.found(&request.b).await?);
        let repository = self.repository().await?;
        let columns =
            self.reading().config()?.map(|config| config.secret_columns.clone()).unwrap_or_default();
        let options = Options {
            tables: if request.rows { Tables::Rows } else { Tables::Figures },
            limit: ROWS,
            longest: LONGEST,
            secrets: Secrets { show: false, columns },
            ..Options::default()
        };
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let found = diff::snapshots(&repository, &a, &b, &options, &observer, &Interrupt::never()).await?;
        Ok(told(found))
    }
}

fn told(found: Diff) -> Comparison {
    let equal = found.is_equal();
    let items = found.items.into_iter().flat_map(|items| {
        let kind = items.kind;
        items.shown.into_iter().map(move |item| ItemChange {
            kind: kind.to_owned(),
            name: item.name,
            change: item.change.word().to_owned(),
            fields: item.fields.into_iter().map(field).collect(),
        })
    });
    let objects = found.objects.into_iter().map(|object| ObjectChange {
        change: object.change.word().to_owned(),
        name: object.name,
        diff: object.diff,
    });
    let missing = found.not_compared.into_iter();
    Comparison {
        equal,
        a: side(found.a),
        b: side(found.b),
        items: items.collect(),
        objects: objects.collect(),
        tables: found.tables.into_iter().map(table).collect(),
        equal_tables: found.equal_tables,
        not_compared: missing.map(|m| Notice { what: m.what, reason: m.reason, hint: m.hint }).collect(),
        notes: found.notes,
    }
}

fn side(side: Side) -> ComparedSide {
    ComparedSide { id: side.snapshot.unwrap_or_default(), source: side.source, time: side.time }
}

fn table(table: TableDifference) -> TableChange {
    let counts = table.rows.as_ref();
    TableChange {
        table: format!("{}.{}", table.schema, table.name),
        change: table.change.word().to_owned(),
        rows_before: table.a.map(|figures| figures.rows),
        rows: table.b.map(|figures| figures.rows),
        counts: counts.map(|rows| RowCounts {
            added: rows.added,
            removed: rows.removed,
            changed: rows.changed,
        }),
        shown: table.rows.map(|rows| rows.shown.into_iter().map(row).collect()).unwrap_or_default(),
    }
}

fn row(row: Row) -> RowChange {
    let key =
        row.key.into_iter().map(|(name, value)| FieldChange { name, old: None, new: Some(word(value)) });
    RowChange {
        change: row.change.word().to_owned(),
        key: key.collect(),
        fields: row.fields.into_iter().map(field).collect(),
    }
}

fn field(field: Field) -> FieldChange {
    FieldChange { name: field.name, old: field.old.map(word), new: field.new.map(word) }
}

fn word(value: Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Shown(text) => text,
        Value::Long { start, bytes } => format!("{start}… ({bytes} bytes)"),
        Value::Hidden => "(hidden)".to_owned(),
    }
}

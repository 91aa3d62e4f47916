//! Rows as values, a file for each table: `json/<schema>/<table>.json` and the like.

use std::collections::HashMap;

use super::job::{Job, Sums};
use super::place::Place;
use super::split::names::{Names, part};
use super::{Counts, ExportReport, Format, Sink, TableSource};
use crate::stored::columns::{Columns, Table};
use crate::values::{Column, Csv, Json, JsonLayout, Parquet, ValueWriter};
use crate::{EngineError, listing};

/// Writes the rows of all tables that the export wants.
pub(super) async fn write(
    job: &Job<'_>,
    format: Format,
    place: &mut Place,
    report: &mut ExportReport,
) -> Result<Sums, EngineError> {
    let tables: Vec<TableSource<'_>> = job.tables().collect();
    if place.folder().is_none() && tables.len() != 1 {
        return Err(EngineError::usage(format!(
            "standard output takes one table, and there are {}",
            tables.len()
        ))
        .hint("name one with --table, or write to a folder with -o DIR"));
    }
    let form = Form::of(format);
    let types = match form.needs_types {
        true => listing::columns(job.repository, job.snapshot).await?,
        false => None,
    };
    let known = types.as_ref().map(by_name).unwrap_or_default();
    if form.needs_types && types.is_none() {
        report.warn(
            "the snapshot does not know the types of its columns: all values are shown as texts".into(),
        );
    }
    let keys: Vec<_> = tables.iter().map(|source| key(source)).collect();
    let names = Names::of(keys.iter());
    let compression = job.options.compression;
    let mut sums = Sums::default();
    for (source, key) in tables.iter().zip(&keys) {
        let columns = columns(source, types.as_ref(), &known, &mut report.warnings)?;
        let mut writer = form.writer(job, source, columns);
        if let Some(reason) = writer.impossible() {
            report.failed.push((format!("{} as {}", source.name(), form.ending), reason));
            continue;
        }
        let name = format!("{}{}.{}{}", form.area(), names.path(key), form.ending, compression.suffix());
        let mut sink = place.begin(&name, compression)?;
        sums.add(table(job, source, writer.as_mut(), &mut sink).await?);
        place.end(&name, sink).await?;
        job.table_done();
        let what = || format!("some values of {}", source.name());
        report.failed.extend(writer.losses().into_iter().map(|loss| (what(), loss)));
    }
    if job.is_everything()
        && let Some(folder) = place.folder()
    {
        report.removed += folder.remove_stale(&form.area())?;
    }
    Ok(sums)
}

/// Writes one table.
async fn table(
    job: &Job<'_>,
    source: &TableSource<'_>,
    writer: &mut dyn ValueWriter,
    sink: &mut dyn Sink,
) -> Result<Counts, EngineError> {
    let mut out = Vec::new();
    writer.begin(&mut out)?;
    let mut rows = source.rows()?;
    let mut before = 0;
    while let Some(piece) = rows.next().await {
        let piece = piece?;
        writer.rows(&piece, &mut out)?;
        sink.write(&out).await?;
        out.clear();
        let now = rows.digest().rows;
        job.passed(now - before, piece.len() as u64);
        before = now;
    }
    writer.end(&mut out)?;
    sink.write(&out).await?;
    let digest = rows.digest();
    Ok(Counts { rows: digest.rows, bytes: digest.bytes })
}

/// One way to show values.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: Format,
    ending: &'static str,
    needs_types: bool,
}

impl Form {
    fn of(format: Format) -> Self {
        let (ending, needs_types) = match format {
            Format::Csv => ("csv", false),
            Format::JsonLines => ("jsonl", true),
            Format::Parquet => ("parquet", true),
            _ => ("json", true),
        };
        Self { format, ending, needs_types }
    }

    /// The folder of its files.
    fn area(self) -> String {
        format!("{}/", self.ending)
    }

    fn writer(self, job: &Job<'_>, source: &TableSource<'_>, columns: Vec<Column>) -> Box<dyn ValueWriter> {
        let numbers = job.options.numbers;
        match self.format {
            Format::Csv => Box::new(Csv::new(columns.into_iter().map(|column| column.name).collect())),
            Format::Parquet => Box::new(Parquet::new(source.name(), &columns)),
            Format::JsonLines => Box::new(Json::new(source.name(), &columns, JsonLayout::Lines, numbers)),
            _ => Box::new(Json::new(source.name(), &columns, JsonLayout::Array, numbers)),
        }
    }
}

type ByName<'a> = HashMap<(&'a str, &'a str), &'a Table>;

fn by_name(columns: &Columns) -> ByName<'_> {
    columns.tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect()
}

fn key(source: &TableSource<'_>) -> (String, String, String) {
    (part(&source.table.schema), String::new(), source.table.name.clone())
}

/// The columns of a table with their types, where the snapshot knows them.
fn columns(
    source: &TableSource<'_>,
    types: Option<&Columns>,
    known: &ByName<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Column>, EngineError> {
    let names = source.columns()?;
    let Some(types) = types else { return Ok(Column::unknown(&names)) };
    let table = known.get(&(source.table.schema.as_str(), source.table.name.as_str()));
    match table.filter(|table| table.columns.iter().map(|column| &column.name).eq(&names)) {
        Some(table) => Ok(Column::of_table(types, table)),
        None => {
            warnings.push(format!(
                "the snapshot does not know the types of {}: its values are shown as texts",
                source.name()
            ));
            Ok(Column::unknown(&names))
        }
    }
}

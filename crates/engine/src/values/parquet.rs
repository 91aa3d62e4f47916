//! Parquet, for analysts: one file for each table, with the types that Parquet knows. Rows are gathered to row groups, so memory
//! does not depend on the table.

mod column;
mod moment;
mod schema;

use std::borrow::Cow;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use self::column::ColumnValues;
use super::{Column, ValueWriter, misfit};
use crate::EngineError;
use crate::snapshot_rows::fields::{fields, lines};

/// A row group holds so much COPY text, or so many rows. About twice as much memory is needed to write one.
const GROUP_BYTES: usize = 32 << 20;
const GROUP_ROWS: usize = 1 << 20;

/// Rows as a Parquet file.
pub(crate) struct Parquet {
    what: String,
    columns: Vec<ColumnValues>,
    writer: Option<SerializedFileWriter<Vec<u8>>>,
    rows: usize,
    bytes: usize,
    buffer: Vec<u8>,
    replaced: u64,
}

impl Parquet {
    /// For a table (as a person would name it) with these columns.
    pub(crate) fn new(what: String, columns: &[Column]) -> Self {
        let columns = columns.iter().map(ColumnValues::new).collect();
        Self { what, columns, writer: None, rows: 0, bytes: 0, buffer: Vec::new(), replaced: 0 }
    }

    fn open(&self) -> Result<SerializedFileWriter<Vec<u8>>, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_created_by("basekeep".to_owned())
            .set_max_row_group_row_count(None);
        let schema = schema::of(&self.columns)?;
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))
    }

    fn row(&mut self, line: &[u8]) -> Result<(), EngineError> {
        let mut found = 0;
        for field in fields(line) {
            let Some(column) = self.columns.get_mut(found) else {
                return Err(misfit(&format!("a row of {}", self.what)));
            };
            found += 1;
            if column.push(field.text(&mut self.buffer)).is_err() {
                return Err(misfit(&format!("a value of column {} of {}", column.name, self.what)));
            }
        }
        if found < self.columns.len() {
            return Err(misfit(&format!("a row of {}", self.what)));
        }
        self.rows += 1;
        self.bytes += line.len() + 1;
        Ok(())
    }

    /// Writes the rows that were gathered.
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), ParquetError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.rows > 0 {
            let mut group = writer.next_row_group()?;
            for column in &mut self.columns {
                let Some(mut writer) = group.next_column()? else {
                    return Err(ParquetError::General("there are more columns than the file has".into()));
                };
                column.write(writer.untyped())?;
                writer.close()?;
            }
            group.close()?;
        }
        (self.rows, self.bytes) = (0, 0);
        writer.flush()?;
        // What is written keeps its place in the file: the writer counts for itself.
        out.append(writer.inner_mut());
        Ok(())
    }

    fn cannot(&self, error: ParquetError) -> EngineError {
        EngineError::failed(format!("cannot write {} as Parquet: {error}", self.what)).caused_by(error)
    }
}

impl ValueWriter for Parquet {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.writer = Some(self.open().map_err(|error| self.cannot(error))?);
        self.flush(out).map_err(|error| self.cannot(error))
    }

    fn rows(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        let piece = match std::str::from_utf8(piece) {
            Ok(_) => Cow::Borrowed(piece),
            Err(_) => {
                self.replaced +=
                    lines(piece).filter(|line| std::str::from_utf8(line).is_err()).count() as u64;
                Cow::Owned(String::from_utf8_lossy(piece).into_owned().into_bytes())
            }
        };
        for line in lines(&piece) {
            self.row(line)?;
            if self.bytes >= GROUP_BYTES || self.rows >= GROUP_ROWS {
                self.flush(out).map_err(|error| self.cannot(error))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.flush(out).map_err(|error| self.cannot(error))?;
        if let Some(mut writer) = self.writer.take() {
            writer.finish().map_err(|error| self.cannot(error))?;
            out.append(writer.inner_mut());
        }
        Ok(())
    }

    fn impossible(&self) -> Option<String> {
        self.columns.is_empty().then(|| "Parquet has no tables without columns".into())
    }

    fn losses(&self) -> Vec<String> {
        let lost = self.columns.iter().filter(|column| column.lost > 0).map(|column| {
            format!(
                "{} values of column {} are none that its Parquet type holds (infinite, not a number, or too far away), and are null",
                column.lost, column.name
            )
        });
        let replaced = (self.replaced > 0).then(|| {
            format!(
                "{} rows have bytes that are not UTF-8; the replacement character stands for them",
                self.replaced
            )
        });
        lost.chain(replaced).collect()
    }
}

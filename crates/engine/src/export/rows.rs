//! A table's rows as SQL: COPY text as the snapshot has it, or `INSERT` statements.

use basekeep_archive::{Entry, quote_identifier};

use super::job::Job;
use super::{Counts, Sink, TableSource};
use crate::EngineError;
use crate::restore::CopyStatement;
use crate::snapshot_rows::fields::{fields, lines, unescape};

/// An `INSERT` statement holds so many rows, or bytes, or a single longer row.
const MOST_ROWS: usize = 200;
const MOST_BYTES: usize = 64 << 10;

/// Writes `COPY … FROM stdin`, the rows and the end mark.
pub(super) async fn copy(
    job: &Job<'_>,
    source: &TableSource<'_>,
    entry: &Entry,
    sink: &mut dyn Sink,
) -> Result<Counts, EngineError> {
    let statement = entry.copy_stmt.as_ref().map_or(&[][..], |statement| statement.as_slice());
    if statement.is_empty() {
        return Err(EngineError::failed(format!("the archive does not say how {} is loaded", source.name())));
    }
    sink.write(statement).await?;
    let counts = plain(job, source, sink).await?;
    sink.write(b"\\.\n\n").await?;
    Ok(counts)
}

/// Writes the rows as COPY text, nothing else.
pub(super) async fn plain(
    job: &Job<'_>,
    source: &TableSource<'_>,
    sink: &mut dyn Sink,
) -> Result<Counts, EngineError> {
    let mut rows = source.rows()?;
    let mut before = 0;
    while let Some(piece) = rows.next().await {
        let piece = piece?;
        let bytes = piece.len() as u64;
        sink.write_shared(piece).await?;
        let now = rows.digest().rows;
        job.passed(now - before, bytes);
        before = now;
    }
    let digest = rows.digest();
    Ok(Counts { rows: digest.rows, bytes: digest.bytes })
}

/// Writes the rows as `INSERT` statements.
///
/// `overriding`: identity columns may be ones that are always generated. `standard_strings`: a backslash in a string stands
/// for itself.
pub(super) async fn inserts(
    job: &Job<'_>,
    source: &TableSource<'_>,
    entry: &Entry,
    overriding: bool,
    standard_strings: bool,
    sink: &mut dyn Sink,
) -> Result<Counts, EngineError> {
    let copy = entry.copy_stmt.as_ref().and_then(|copy| CopyStatement::parse(&copy.to_string()));
    let copy = copy.ok_or_else(|| {
        EngineError::failed(format!("the archive does not say how {} is loaded", source.name()))
    })?;
    let mut form = Form::new(&copy, overriding, standard_strings);
    let mut rows = source.rows()?;
    let mut before = 0;
    while let Some(piece) = rows.next().await {
        let piece = piece?;
        for line in lines(&piece) {
            form.row(line);
            if form.is_full() {
                sink.write(form.end()).await?;
                form.clear();
            }
        }
        let now = rows.digest().rows;
        job.passed(now - before, piece.len() as u64);
        before = now;
    }
    sink.write(form.end()).await?;
    sink.write(b"\n").await?;
    let digest = rows.digest();
    Ok(Counts { rows: digest.rows, bytes: digest.bytes })
}

/// Rows on their way into statements.
struct Form {
    begin: Vec<u8>,
    no_columns: bool,
    standard_strings: bool,
    text: Vec<u8>,
    value: Vec<u8>,
    rows: usize,
}

impl Form {
    fn new(copy: &CopyStatement, overriding: bool, standard_strings: bool) -> Self {
        let mut begin = format!("INSERT INTO {} ", copy.relation).into_bytes();
        let no_columns = copy.columns.is_empty();
        if !no_columns {
            let names: Vec<_> = copy.columns.iter().map(quote_identifier).collect();
            begin.push(b'(');
            begin.extend_from_slice(&bstr::join(", ", names));
            begin.extend_from_slice(b") ");
            begin.extend_from_slice(if overriding {
                b"OVERRIDING SYSTEM VALUE VALUES\n"
            } else {
                b"VALUES\n".as_slice()
            });
        }
        Self { begin, no_columns, standard_strings, text: Vec::new(), value: Vec::new(), rows: 0 }
    }

    fn row(&mut self, line: &[u8]) {
        if self.no_columns {
            self.text.extend_from_slice(&self.begin);
            self.text.extend_from_slice(b"DEFAULT VALUES;\n");
            self.rows += 1;
            return;
        }
        let between: &[u8] = if self.rows == 0 { &self.begin } else { b",\n" };
        self.text.extend_from_slice(between);
        self.rows += 1;
        self.text.push(b'(');
        for (number, field) in fields(line).enumerate() {
            if number > 0 {
                self.text.extend_from_slice(b", ");
            }
            if field.is_null() {
                self.text.extend_from_slice(b"NULL");
                continue;
            }
            self.text.push(b'\'');
            let plain = memchr::memchr2(b'\\', b'\'', field.0).is_none();
            if plain {
                self.text.extend_from_slice(field.0);
            } else {
                self.value.clear();
                unescape(field.0, &mut self.value);
                for &byte in &self.value {
                    if byte == b'\'' || (byte == b'\\' && !self.standard_strings) {
                        self.text.push(byte);
                    }
                    self.text.push(byte);
                }
            }
            self.text.push(b'\'');
        }
        self.text.push(b')');
    }

    fn is_full(&self) -> bool {
        self.rows >= MOST_ROWS || self.text.len() >= MOST_BYTES
    }

    /// The statement with its end; empty without rows.
    fn end(&mut self) -> &[u8] {
        if self.rows > 0 && !self.no_columns {
            self.text.extend_from_slice(b";\n");
        }
        &self.text
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rows = 0;
        // A huge row must not stay.
        if self.text.capacity() > 4 * MOST_BYTES {
            self.text = Vec::new();
            self.value = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(columns: &[&str], rows: &[&[u8]], standard_strings: bool) -> String {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        let copy = CopyStatement { relation: "public.t".into(), columns };
        let mut form = Form::new(&copy, false, standard_strings);
        rows.iter().for_each(|row| form.row(row));
        String::from_utf8(form.end().to_vec()).unwrap()
    }

    #[test]
    fn values_are_literals_that_mean_what_the_copy_text_meant() {
        assert_eq!(
            statement(&["id", "Name"], &[b"1\tit's", b"\\N\ta\\tb\\\\c\\nd"], true),
            "INSERT INTO public.t (id, \"Name\") VALUES\n('1', 'it''s'),\n(NULL, 'a\tb\\c\nd');\n"
        );
        assert_eq!(statement(&["a"], &[b"\\\\N"], true), "INSERT INTO public.t (a) VALUES\n('\\N');\n");
        assert_eq!(
            statement(&["a"], &[b"\\\\x61"], false),
            "INSERT INTO public.t (a) VALUES\n('\\\\x61');\n"
        );
        assert_eq!(statement(&["a"], &[b""], true), "INSERT INTO public.t (a) VALUES\n('');\n");
    }

    #[test]
    fn rows_without_columns_are_rows_all_the_same() {
        let twice = "INSERT INTO public.t DEFAULT VALUES;\n".repeat(2);
        assert_eq!(statement(&[], &[b"", b""], true), twice);
        assert_eq!(statement(&["a"], &[], true), "");
    }
}

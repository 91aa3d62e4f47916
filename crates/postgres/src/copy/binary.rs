//! COPY text turned into the binary format of COPY: the server then reads numbers, times and ids without parsing them, which
//! is a third of its work. Only for types whose binary form is documented by their receive functions and has one meaning
//! (`src/backend/utils/adt`); a value that is not written as the server writes it is refused, and its rows go as text.

mod values;

use std::fmt;

use memchr::{memchr, memchr_iter};

/// `PGCOPY\n\377\r\n\0`, no flags, no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// A row that is longer goes as text, which need not be held.
const LONGEST_ROW: usize = 16 << 20;

/// A column's type, as far as its binary form is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryColumn {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`, `varchar`, `char(n)`, `json`, enums: the text itself
    Text,
    /// `jsonb`
    Jsonb,
    /// `bytea`, written as hexadecimal digits
    Bytea,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
}

impl BinaryColumn {
    /// The form of a built-in type by its oid, or of an enum; `None` for all others.
    pub fn of_type(oid: u32, is_enum: bool) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 | 114 | 1042 | 1043 => Self::Text,
            700 => Self::Float4,
            701 => Self::Float8,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ if is_enum => Self::Text,
            _ => return None,
        })
    }
}

/// The rows cannot be turned into the binary format. Says nothing of their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBinary;

impl fmt::Display for NotBinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row has no binary form that is known")
    }
}

impl std::error::Error for NotBinary {}

/// Turns rows as they come into the binary format. Holds at most one row and what one call gives.
#[derive(Debug)]
pub struct BinaryRows {
    columns: Vec<BinaryColumn>,
    /// The beginning of a row whose end has not come.
    begun: Vec<u8>,
    out: Vec<u8>,
    plain: Vec<u8>,
    sent: bool,
}

impl BinaryRows {
    /// For rows with these columns.
    pub fn new(columns: Vec<BinaryColumn>) -> Self {
        Self { columns, begun: Vec::new(), out: HEADER.to_vec(), plain: Vec::new(), sent: false }
    }

    /// Takes COPY text, cut anywhere, and gives what is to be sent for it.
    pub fn push(&mut self, mut text: &[u8]) -> Result<&[u8], NotBinary> {
        self.forget_what_was_sent();
        if !self.begun.is_empty() {
            let end = memchr(b'\n', text).map_or(text.len(), |at| at + 1);
            let (first, rest) = text.split_at(end);
            if self.begun.len() + first.len() > LONGEST_ROW {
                return Err(NotBinary);
            }
            self.begun.extend_from_slice(first);
            text = rest;
            if self.begun.last() == Some(&b'\n') {
                let mut row = std::mem::take(&mut self.begun);
                self.row(&row[..row.len() - 1])?;
                row.clear();
                self.begun = row;
            }
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', text) {
            self.row(&text[start..end])?;
            start = end + 1;
        }
        self.begun.extend_from_slice(&text[start..]);
        Ok(&self.out)
    }

    /// Gives the end of the stream.
    pub fn finish(&mut self) -> Result<&[u8], NotBinary> {
        self.forget_what_was_sent();
        if !self.begun.is_empty() {
            return Err(NotBinary);
        }
        self.out.extend_from_slice(&TRAILER);
        Ok(&self.out)
    }

    fn forget_what_was_sent(&mut self) {
        // The first call's output begins with the header.
        if std::mem::replace(&mut self.sent, true) {
            self.out.clear();
        }
    }

    fn row(&mut self, row: &[u8]) -> Result<(), NotBinary> {
        let count = i16::try_from(self.columns.len()).map_err(|_| NotBinary)?;
        self.out.extend_from_slice(&count.to_be_bytes());
        let escaped = memchr(b'\\', row).is_some();
        let mut rest = Some(row);
        for column in &self.columns {
            let text = rest.ok_or(NotBinary)?;
            let (field, others) = match memchr(b'\t', text) {
                Some(tab) => (&text[..tab], Some(&text[tab + 1..])),
                None => (text, None),
            };
            rest = others;
            if !escaped || memchr(b'\\', field).is_none() {
                values::append(*column, field, &mut self.out)?;
            } else if field == b"\\N" {
                self.out.extend_from_slice(&NULL);
            } else {
                unescape(field, &mut self.plain)?;
                values::append(*column, &self.plain, &mut self.out)?;
            }
        }
        if rest.is_some() { Err(NotBinary) } else { Ok(()) }
    }
}

/// Undoes what `CopyAttributeOutText` does.
fn unescape(field: &[u8], plain: &mut Vec<u8>) -> Result<(), NotBinary> {
    plain.clear();
    let mut rest = field;
    while let Some(at) = memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        plain.push(match rest.get(at + 1) {
            Some(b'\\') => b'\\',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'v') => 11,
            _ => return Err(NotBinary),
        });
        rest = &rest[at + 2..];
    }
    plain.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(columns: &[BinaryColumn], text: &[u8], cut: usize) -> Result<Vec<u8>, NotBinary> {
        let mut rows = BinaryRows::new(columns.to_vec());
        let mut out = Vec::new();
        for part in text.chunks(cut.max(1)) {
            out.extend_from_slice(rows.push(part)?);
        }
        out.extend_from_slice(rows.finish()?);
        Ok(out)
    }

    #[test]
    fn rows_are_the_same_wherever_the_text_is_cut() {
        let columns = [BinaryColumn::Int4, BinaryColumn::Text];
        let text = b"1\ta\\tb\n-7\t\\N\n2147483647\t\n";
        let mut expected = HEADER.to_vec();
        expected.extend(b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x03a\tb");
        expected.extend(b"\0\x02\0\0\0\x04\xff\xff\xff\xf9\xff\xff\xff\xff");
        expected.extend(b"\0\x02\0\0\0\x04\x7f\xff\xff\xff\0\0\0\0\xff\xff");
        for cut in 1..=text.len() {
            assert_eq!(all(&columns, text, cut).unwrap(), expected, "cut every {cut} bytes");
        }
    }

    #[test]
    fn what_is_not_written_as_the_server_writes_it_is_refused() {
        use BinaryColumn::*;
        let cases: [(BinaryColumn, &str); 26] = [
            (Float4, "1e-300"),
            (Float8, "1e400"),
            (Float8, "inf"),
            (Float8, "0x1p3"),
            (Int4, "2147483648"),
            (Int4, ""),
            (Int4, "+1"),
            (Int2, "1 "),
            (Bool, "true"),
            (Uuid, "5d41402a-bc4b-2a76-b971-9d911017c59"),
            (Uuid, "{5d41402abc4b2a76b9719d911017c592}xx"),
            (Timestamp, "2024-02-30 00:00:00"),
            (Timestamp, "0000-01-01 00:00:00"),
            (Timestamp, "2024-01-01"),
            (Timestamp, "2024-01-01 25:00:00"),
            (Timestamp, "2024-01-01 00:00:00.1234567"),
            (Timestamp, "2024-01-01 00:00:00+00"),
            (Timestamptz, "2024-01-01 00:00:00"),
            (Timestamptz, "2024-01-01 00:00:00 CET"),
            (Date, "01/02/2024"),
            (Bytea, "abc"),
            (Bytea, "\\\\x0"),
            (Numeric, "1e5"),
            (Numeric, "."),
            (Numeric, "--1"),
            (Text, "\\q"),
        ];
        for (column, text) in cases {
            assert!(all(&[column], format!("{text}\n").as_bytes(), 99).is_err(), "{column:?} {text}");
        }
        assert!(all(&[Int4], b"1\t2\n", 99).is_err(), "too many fields");
        assert!(all(&[Int4, Int4], b"1\n", 99).is_err(), "too few fields");
        assert!(all(&[Int4], b"1\n2", 99).is_err(), "a row without its end");
    }
}

//! CSV as `COPY … WITH (FORMAT csv, HEADER)` writes and reads it: null is nothing, the empty text is `""`.

use super::ValueWriter;
use crate::EngineError;
use crate::snapshot_rows::fields::{fields, lines};

/// Rows as CSV.
pub(crate) struct Csv {
    names: Vec<String>,
    buffer: Vec<u8>,
}

impl Csv {
    /// For a table with these columns.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, buffer: Vec::new() }
    }
}

impl ValueWriter for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        for (number, name) in self.names.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            value(name.as_bytes(), self.names.len() == 1, out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn rows(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.reserve(piece.len() + piece.len() / 8);
        let alone = self.names.len() == 1;
        for line in lines(piece) {
            if !self.names.is_empty() {
                for (number, field) in fields(line).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    if let Some(text) = field.text(&mut self.buffer) {
                        value(text, alone, out);
                    }
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A text that is not null. As the server does it (`CopyAttributeOutCSV`): in quotes where it would be read as something
/// else without; alone on its line, the old end marker would be.
fn value(text: &[u8], alone: bool, out: &mut Vec<u8>) {
    let plain = memchr::memchr3(b',', b'"', b'\n', text).is_none() && memchr::memchr(b'\r', text).is_none();
    if plain && !text.is_empty() && !(alone && text == b"\\.") {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(names: &[&str], text: &[u8]) -> String {
        let mut csv = Csv::new(names.iter().map(|name| (*name).to_owned()).collect());
        let mut out = Vec::new();
        csv.begin(&mut out).unwrap();
        csv.rows(text, &mut out).unwrap();
        csv.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn null_and_the_empty_text_are_told_apart_and_what_separates_is_quoted() {
        let found = csv(&["a", "b, \"c\""], b"\\N\t\nx\\ty\ta\"b\n1,2\tl\\nm\\\\\n");
        assert_eq!(found, "a,\"b, \"\"c\"\"\"\n,\"\"\nx\ty,\"a\"\"b\"\n\"1,2\",\"l\nm\\\"\n");
    }

    #[test]
    fn rows_of_no_columns_are_empty_lines() {
        assert_eq!(csv(&[], b"\n\n"), "\n\n\n");
        assert_eq!(csv(&["a"], b"\\\\.\n\\N\n"), "a\n\"\\.\"\n\n");
    }
}

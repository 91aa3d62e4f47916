//! JSON: the values that the server's `row_to_json` gives under the pinned session, from COPY text and types alone. How the
//! server decides stands in its `json.c` (`json_categorize_type`, `datum_to_json`).

mod number;

use std::borrow::Cow;

use super::nested::{self, Malformed, Part};
use super::{Column, JsonLayout, Numbers, Shape, ValueWriter, misfit};
use crate::EngineError;
use crate::snapshot_rows::fields::{Field, fields, lines};

/// Rows as JSON objects.
pub(crate) struct Json {
    columns: Vec<Key>,
    what: String,
    layout: JsonLayout,
    numbers: Numbers,
    buffer: Vec<u8>,
    first: bool,
    replaced: u64,
}

struct Key {
    /// What stands before the value: `{"id":` or `,"name":`.
    before: Vec<u8>,
    name: String,
    shape: Shape,
}

impl Json {
    /// For a table (as a person would name it) with these columns.
    pub(crate) fn new(what: String, columns: &[Column], layout: JsonLayout, numbers: Numbers) -> Self {
        let key = |(number, column): (usize, &Column)| {
            let mut before = vec![if number == 0 { b'{' } else { b',' }];
            string(column.name.as_bytes(), &mut before);
            before.push(b':');
            Key { before, name: column.name.clone(), shape: column.shape.clone() }
        };
        let columns = columns.iter().enumerate().map(key).collect();
        Self { columns, what, layout, numbers, buffer: Vec::new(), first: true, replaced: 0 }
    }

    fn row(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        let mut found = 0;
        for field in fields(line) {
            let Some(key) = self.columns.get(found) else {
                // A table without columns has empty lines.
                if found == 0 && line.is_empty() {
                    out.extend_from_slice(b"{}");
                    return Ok(());
                }
                return Err(misfit(&format!("a row of {}", self.what)));
            };
            found += 1;
            out.extend_from_slice(&key.before);
            copied(&key.shape, field, self.numbers, &mut self.buffer, out)
                .map_err(|Malformed| misfit(&format!("a value of column {} of {}", key.name, self.what)))?;
        }
        if found < self.columns.len() {
            return Err(misfit(&format!("a row of {}", self.what)));
        }
        out.push(b'}');
        Ok(())
    }
}

impl ValueWriter for Json {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        if self.layout == JsonLayout::Array {
            out.push(b'[');
        }
        Ok(())
    }

    fn rows(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.reserve(piece.len() * 2);
        let piece = self.utf8(piece);
        for line in lines(&piece) {
            if self.layout == JsonLayout::Array {
                out.extend_from_slice(if self.first { b"\n" } else { b",\n" });
                self.first = false;
            }
            self.row(line, out)?;
            if self.layout == JsonLayout::Lines {
                out.push(b'\n');
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        if self.layout == JsonLayout::Array {
            out.extend_from_slice(b"\n]\n");
        }
        Ok(())
    }

    fn losses(&self) -> Vec<String> {
        (self.replaced > 0)
            .then(|| {
                format!(
                    "{}: {} rows have bytes that are not UTF-8, which JSON cannot hold; the replacement character stands for them",
                    self.what, self.replaced
                )
            })
            .into_iter()
            .collect()
    }
}

impl Json {
    /// JSON is UTF-8. Databases in SQL_ASCII may hold anything.
    fn utf8<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        if std::str::from_utf8(piece).is_ok() {
            return Cow::Borrowed(piece);
        }
        self.replaced += lines(piece).filter(|line| std::str::from_utf8(line).is_err()).count() as u64;
        Cow::Owned(String::from_utf8_lossy(piece).into_owned().into_bytes())
    }
}

/// A field of a row. Most kinds need no copy without COPY's escapes.
fn copied(
    shape: &Shape,
    field: Field<'_>,
    numbers: Numbers,
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    if let Shape::Text | Shape::Uuid | Shape::Bytes = shape
        && !field.is_null()
    {
        copied_string(field.0, out);
        return Ok(());
    }
    match field.text(buffer) {
        None => out.extend_from_slice(b"null"),
        Some(text) => value(shape, text, numbers, out)?,
    }
    Ok(())
}

/// A value that is not null, from its text.
pub(crate) fn value(
    shape: &Shape,
    text: &[u8],
    numbers: Numbers,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match shape {
        Shape::Bool => out.extend_from_slice(match text {
            b"t" => b"true".as_slice(),
            b"f" => b"false",
            _ => return Err(Malformed),
        }),
        Shape::Int2 | Shape::Int4 | Shape::Int8 | Shape::Numeric(_) => number::exact(text, numbers, out),
        Shape::Float4 | Shape::Float8 => number::float(text, out),
        Shape::Date | Shape::Timestamp => moment(text, b"", out),
        Shape::TimestampTz => moment(text, b":00", out),
        Shape::Json => document(text, out),
        Shape::Text | Shape::Uuid | Shape::Bytes => string(text, out),
        Shape::Hstore => hstore(text, out)?,
        Shape::Vector(element) => vector(element, text, numbers, out)?,
        Shape::Array { element, delimiter } => array(element, *delimiter, text, numbers, out)?,
        Shape::Composite(attributes) => composite(attributes, text, numbers, out)?,
    }
    Ok(())
}

/// A date or timestamp as the server writes it into JSON: a `T` between date and time, minutes in the time zone.
fn moment(text: &[u8], minutes: &[u8], out: &mut Vec<u8>) {
    let (text, era) = match text.strip_suffix(b" BC") {
        Some(text) => (text, b" BC".as_slice()),
        None => (text, b"".as_slice()),
    };
    out.push(b'"');
    match memchr::memchr(b' ', text) {
        Some(space) => {
            out.extend_from_slice(&text[..space]);
            out.push(b'T');
            out.extend_from_slice(&text[space + 1..]);
            out.extend_from_slice(minutes);
        }
        // A date, or infinity.
        None => out.extend_from_slice(text),
    }
    out.extend_from_slice(era);
    out.push(b'"');
}

/// JSON as it is. Line ends between its tokens (inside strings there are none) would break lines apart.
fn document(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text);
    if memchr::memchr2(b'\n', b'\r', text).is_some() {
        out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
}

fn hstore(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'{');
    let mut first = true;
    nested::hstore(text, |key, value| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        match value {
            None => out.extend_from_slice(b"null"),
            Some(text) => string(text, out),
        }
        Ok::<_, Malformed>(())
    })?;
    out.push(b'}');
    Ok(())
}

fn vector(element: &Shape, text: &[u8], numbers: Numbers, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'[');
    let words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        value(element, word, numbers, out)?;
    }
    out.push(b']');
    Ok(())
}

fn array(
    element: &Shape,
    delimiter: u8,
    text: &[u8],
    numbers: Numbers,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut first = true;
    nested::array(text, delimiter, |part| {
        if !matches!(part, Part::Close) && !first {
            out.push(b',');
        }
        first = matches!(part, Part::Open);
        match part {
            Part::Open => out.push(b'['),
            Part::Close => out.push(b']'),
            Part::Element(None) => out.extend_from_slice(b"null"),
            Part::Element(Some(text)) => value(element, &text, numbers, out)?,
        }
        Ok(())
    })
}

fn composite(
    attributes: &[(String, Shape)],
    text: &[u8],
    numbers: Numbers,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let values = nested::composite(text)?;
    // Nothing between the brackets is one null, or no attribute at all.
    if values.len() != attributes.len() && !(attributes.is_empty() && values == [None]) {
        return Err(Malformed);
    }
    out.push(b'{');
    for (number, ((name, shape), text)) in attributes.iter().zip(&values).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        string(name.as_bytes(), out);
        out.push(b':');
        match text {
            None => out.extend_from_slice(b"null"),
            Some(text) => value(shape, text, numbers, out)?,
        }
    }
    out.push(b'}');
    Ok(())
}

/// Bytes that cannot stand in a JSON string as they are.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 32 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// A text as a JSON string.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if SPECIAL[usize::from(byte)] {
            out.extend_from_slice(&text[start..at]);
            special(byte, out);
            start = at + 1;
        }
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

/// A field of COPY text as a JSON string: the escapes of both are the same but for the vertical tab.
fn copied_string(field: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        if !SPECIAL[usize::from(byte)] {
            at += 1;
            continue;
        }
        out.extend_from_slice(&field[start..at]);
        let escaped = field.get(at + 1).copied().filter(|_| byte == b'\\');
        match escaped {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\') => out.extend_from_slice(&field[at..at + 2]),
            Some(b'v') => special(11, out),
            Some(other) => string_part(other, out),
            None => special(byte, out),
        }
        at += if escaped.is_some() { 2 } else { 1 };
        start = at;
    }
    out.extend_from_slice(&field[start..]);
    out.push(b'"');
}

fn string_part(byte: u8, out: &mut Vec<u8>) {
    if SPECIAL[usize::from(byte)] { special(byte, out) } else { out.push(byte) }
}

fn special(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let escaped = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', escaped]);
}

#[cfg(test)]
mod tests;

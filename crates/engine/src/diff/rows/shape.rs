//! The columns of a table on both sides: what is compared, what tells rows apart, what is hidden; and lines of COPY text seen so.

use crate::diff::items::{FieldChange, Value};
use crate::diff::secret::Secrets;
use crate::snapshot_rows::fields::{Field, fields};

/// A table's columns on one side, in the order of a row's fields, and its key by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) names: Vec<String>,
    pub(crate) key: Option<Vec<String>>,
}

/// Which side a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    A,
    B,
}

/// How rows of both sides are compared.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    names: [Vec<String>; 2],
    /// Both have the same columns in the same order: lines are compared as they are.
    pub(crate) same: bool,
    /// Positions of the columns that both have, by side.
    common: Vec<[usize; 2]>,
    /// Positions of the key's columns; empty without a key.
    key: Vec<[usize; 2]>,
    /// Names that are hidden.
    hidden: Vec<String>,
    /// Longer values are cut, in bytes.
    longest: usize,
}

impl Shape {
    pub(crate) fn new(
        (schema, table): (&str, &str),
        a: &Columns,
        b: &Columns,
        secrets: &Secrets,
        longest: usize,
    ) -> Self {
        let place = |names: &[String], name: &String| names.iter().position(|other| other == name);
        let both = |name: &String| Some([place(&a.names, name)?, place(&b.names, name)?]);
        let key = |columns: &Columns| {
            let key = columns.key.as_ref().filter(|key| !key.is_empty())?;
            key.iter().map(both).collect::<Option<Vec<_>>>()
        };
        let all = a.names.iter().chain(&b.names);
        Self {
            same: a.names == b.names,
            common: a.names.iter().filter_map(both).collect(),
            key: key(b).or_else(|| key(a)).unwrap_or_default(),
            hidden: all.filter(|name| secrets.column(schema, table, name)).cloned().collect(),
            names: [a.names.clone(), b.names.clone()],
            longest,
        }
    }

    /// Whether all columns of both sides are compared.
    pub(crate) fn is_complete(&self) -> bool {
        self.names.iter().all(|names| names.len() == self.common.len())
    }

    pub(crate) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The key's columns.
    pub(crate) fn key_names(&self) -> Vec<String> {
        self.key.iter().filter_map(|places| self.names[0].get(places[0]).cloned()).collect()
    }

    /// Columns that only this side has.
    pub(crate) fn only(&self, of: Of) -> Vec<String> {
        let other = &self.names[1 - of as usize];
        self.names[of as usize].iter().filter(|name| !other.contains(name)).cloned().collect()
    }

    /// What of a line is compared: the common columns, in the same order on both sides.
    pub(crate) fn compared<'a>(&self, of: Of, line: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
        if self.same {
            return line;
        }
        let all: Vec<Field<'_>> = fields(line).collect();
        buffer.clear();
        for places in &self.common {
            buffer.extend_from_slice(all.get(places[of as usize]).map_or(&[], |field| field.0));
            buffer.push(b'\t');
        }
        buffer
    }

    /// What sorts a line: its key, numbers by their value. Two lines have the same one only if their keys are the same text.
    pub(crate) fn sort_key(&self, of: Of, line: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if let [one] = self.key[..] {
            if let Some(field) = fields(line).nth(one[of as usize]) {
                push_sortable(field.0, out);
            }
            return;
        }
        let all: Vec<Field<'_>> = fields(line).collect();
        for places in &self.key {
            push_sortable(all.get(places[of as usize]).map_or(&[], |field| field.0), out);
        }
    }

    /// The key's values.
    pub(crate) fn key_values(&self, of: Of, line: &[u8]) -> Vec<(String, Value)> {
        let all: Vec<Field<'_>> = fields(line).collect();
        let one = |places: &[usize; 2]| {
            let name = self.names[of as usize].get(places[of as usize])?;
            Some((name.clone(), self.value(name, *all.get(places[of as usize])?)))
        };
        self.key.iter().filter_map(one).collect()
    }

    /// All columns of a row that only one side has.
    pub(crate) fn whole(&self, of: Of, line: &[u8]) -> Vec<FieldChange> {
        let names = self.names[of as usize].iter();
        let change = |(name, field): (&String, Field<'_>)| {
            let value = Some(self.value(name, field));
            let (old, new) = if of == Of::A { (value, None) } else { (None, value) };
            FieldChange { name: name.clone(), old, new }
        };
        names.zip(fields(line)).map(change).collect()
    }

    /// Names of the common columns whose values differ, by number.
    pub(crate) fn differing(&self, a: &[u8], b: &[u8]) -> Vec<FieldChange> {
        let (left, right): (Vec<Field<'_>>, Vec<Field<'_>>) = (fields(a).collect(), fields(b).collect());
        let change = |places: &[usize; 2]| {
            let (old, new) = (*left.get(places[0])?, *right.get(places[1])?);
            let name = self.names[0].get(places[0])?;
            (old != new).then(|| FieldChange {
                name: name.clone(),
                old: Some(self.value(name, old)),
                new: Some(self.value(name, new)),
            })
        };
        self.common.iter().filter_map(change).collect()
    }

    fn value(&self, name: &String, field: Field<'_>) -> Value {
        if self.hidden.contains(name) {
            return Value::Hidden;
        }
        let mut buffer = Vec::new();
        match field.text(&mut buffer) {
            None => Value::Null,
            Some(text) => Value::cut(text, self.longest),
        }
    }
}

/// Appends a field so that bytes sort as people do: whole numbers by value, then everything else as text. What is appended
/// ends itself.
fn push_sortable(field: &[u8], out: &mut Vec<u8>) {
    let (negative, digits) = match field.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, field),
    };
    let number = !digits.is_empty()
        && digits.len() < 200
        && digits.iter().all(u8::is_ascii_digit)
        && (digits[0] != b'0' || (digits == b"0" && !negative));
    match (number, negative) {
        (true, false) => {
            out.extend_from_slice(&[1, digits.len() as u8]);
            out.extend_from_slice(digits);
        }
        (true, true) => {
            out.extend_from_slice(&[0, 255 - digits.len() as u8]);
            out.extend(digits.iter().map(|digit| b'9' - (digit - b'0')));
        }
        (false, _) => {
            out.push(2);
            out.extend_from_slice(field);
            // No field of COPY text has one.
            out.push(b'\t');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(a: &[&str], b: &[&str], key: &[&str]) -> Shape {
        let columns = |names: &[&str]| Columns {
            names: names.iter().map(|&name| name.into()).collect(),
            key: Some(key.iter().map(|&name| name.into()).collect()),
        };
        Shape::new(("public", "t"), &columns(a), &columns(b), &Secrets::default(), 4)
    }

    #[test]
    fn numbers_sort_by_value_and_before_texts() {
        let mut last = Vec::new();
        for field in ["-100", "-20", "-3", "0", "7", "10", "123", "", "007", "1.5", "\\N", "a", "ab", "b"] {
            let mut key = Vec::new();
            push_sortable(field.as_bytes(), &mut key);
            assert!(last < key || last.is_empty(), "{field}");
            last = key;
        }
    }

    #[test]
    fn columns_are_matched_by_name() {
        let shape = shape(&["id", "gone", "x", "api_key"], &["api_key", "x", "id", "new"], &["id"]);
        assert!(!shape.same && shape.has_key());
        assert_eq!((shape.only(Of::A), shape.only(Of::B)), (vec!["gone".to_owned()], vec!["new".to_owned()]));
        let (a, b) = (b"1\tg\tlonger\tk1".as_slice(), b"k2\tlonger\t1\tn".as_slice());
        let (mut x, mut y) = (Vec::new(), Vec::new());
        assert_ne!(shape.compared(Of::A, a, &mut x), shape.compared(Of::B, b, &mut y));
        shape.sort_key(Of::A, a, &mut x);
        shape.sort_key(Of::B, b, &mut y);
        assert_eq!(x, y);
        let changes = shape.differing(a, b);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].name.as_str(), changes[0].new.clone()), ("api_key", Some(Value::Hidden)));
        let whole = shape.whole(Of::B, b);
        assert_eq!(whole[1].new, Some(Value::Long { start: "long".into(), bytes: 6 }));
    }
}

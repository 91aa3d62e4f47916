//! What only one side has, put together by key: rows that are new, gone, or have other values.

use std::collections::BTreeMap;

use super::shape::{Of, Shape};
use crate::EngineError;
use crate::diff::Change;
use crate::diff::items::{FieldChange, Value};

/// How the rows of a table differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowDifferences {
    /// The columns that tell rows apart; empty where there is no key, and rows are only new or gone.
    pub key: Vec<String>,
    /// Rows that only the second side has.
    pub added: u64,
    /// Rows that only the first side has.
    pub removed: u64,
    /// Rows that both have, with other values.
    pub changed: u64,
    /// In how many of these each column differs.
    pub changed_columns: BTreeMap<String, u64>,
    /// Columns that only the second side has; they are not compared.
    pub columns_added: Vec<String>,
    /// Columns that only the first side has; they are not compared.
    pub columns_removed: Vec<String>,
    /// The first of these rows, by key.
    pub shown: Vec<RowChange>,
    /// Bytes of COPY text that were read of both sides.
    pub read_bytes: u64,
}

/// One row, or several equal ones where there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// How it differs.
    pub change: Change,
    /// How many equal rows this is.
    pub count: u64,
    /// Its key.
    pub key: Vec<(String, Value)>,
    /// The columns that differ; of a row that is new or gone, all.
    pub fields: Vec<FieldChange>,
}

impl RowDifferences {
    /// How many rows differ.
    pub fn count(&self) -> u64 {
        self.added + self.removed + self.changed
    }
}

/// Takes what [`super::matching::Matching`] gives.
pub(super) struct Join<'a> {
    shape: &'a Shape,
    limit: usize,
    found: RowDifferences,
    /// The current key, and the one row of each side that has it.
    key: Option<Vec<u8>>,
    held: [Option<Box<[u8]>>; 2],
    /// The current key is that of several rows.
    several: bool,
}

impl<'a> Join<'a> {
    pub(super) fn new(shape: &'a Shape, limit: usize) -> Self {
        let found = RowDifferences {
            key: shape.key_names(),
            columns_added: shape.only(Of::B),
            columns_removed: shape.only(Of::A),
            ..RowDifferences::default()
        };
        Self { shape, limit, found, key: None, held: [None, None], several: false }
    }

    pub(super) fn take(&mut self, key: &[u8], of: Of, count: u64, line: &[u8]) -> Result<(), EngineError> {
        if !self.shape.has_key() {
            self.one_sided(of, count, line);
            return Ok(());
        }
        if self.key.as_deref() != Some(key) {
            self.end_of_key();
            self.key = Some(key.to_vec());
            self.several = false;
        }
        if count > 1 || self.held[of as usize].is_some() {
            self.several = true;
        }
        if self.several {
            self.give_held();
            self.one_sided(of, count, line);
        } else {
            self.held[of as usize] = Some(line.into());
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> RowDifferences {
        self.end_of_key();
        self.found
    }

    fn end_of_key(&mut self) {
        match std::mem::take(&mut self.held) {
            [Some(a), Some(b)] => self.changed(&a, &b),
            held => {
                self.held = held;
                self.give_held();
            }
        }
    }

    fn give_held(&mut self) {
        let [a, b] = std::mem::take(&mut self.held);
        if let Some(line) = a {
            self.one_sided(Of::A, 1, &line);
        }
        if let Some(line) = b {
            self.one_sided(Of::B, 1, &line);
        }
    }

    fn changed(&mut self, a: &[u8], b: &[u8]) {
        self.found.changed += 1;
        let fields = self.shape.differing(a, b);
        for field in &fields {
            match self.found.changed_columns.get_mut(&field.name) {
                Some(count) => *count += 1,
                None => drop(self.found.changed_columns.insert(field.name.clone(), 1)),
            }
        }
        if self.found.shown.len() < self.limit {
            let key = self.shape.key_values(Of::B, b);
            self.found.shown.push(RowChange { change: Change::Changed, count: 1, key, fields });
        }
    }

    fn one_sided(&mut self, of: Of, count: u64, line: &[u8]) {
        let (change, counter) = match of {
            Of::A => (Change::Removed, &mut self.found.removed),
            Of::B => (Change::Added, &mut self.found.added),
        };
        *counter += count;
        if self.found.shown.len() < self.limit {
            let key = self.shape.key_values(of, line);
            self.found.shown.push(RowChange { change, count, key, fields: self.shape.whole(of, line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::rows::shape::Columns;
    use crate::diff::secret::Secrets;

    #[test]
    fn a_key_with_one_row_on_each_side_is_changed_and_any_other_is_new_or_gone() {
        let columns = Columns { names: vec!["id".into(), "v".into()], key: Some(vec!["id".into()]) };
        let shape = Shape::new(("s", "t"), &columns, &columns, &Secrets::default(), 100);
        let mut join = Join::new(&shape, 3);
        for (key, of, line) in [
            ("1", Of::A, "1\told"),
            ("1", Of::B, "1\tnew"),
            ("2", Of::A, "2\tgone"),
            ("3", Of::B, "3\tnew"),
            ("4", Of::A, "4\ta"),
            ("4", Of::A, "4\tb"),
            ("4", Of::B, "4\tc"),
        ] {
            join.take(key.as_bytes(), of, 1, line.as_bytes()).unwrap();
        }
        let found = join.finish();
        assert_eq!((found.changed, found.removed, found.added), (1, 3, 2));
        assert_eq!(found.changed_columns, [("v".to_owned(), 1)].into());
        assert_eq!(found.shown.len(), 3);
        assert_eq!(found.shown[0].key, [("id".to_owned(), Value::Shown("1".into()))]);
        assert_eq!(found.shown[0].fields[0].old, Some(Value::Shown("old".into())));
        assert_eq!(found.shown[1].change, Change::Removed);
    }
}

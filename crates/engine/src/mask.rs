//! Masks: personal values replaced where rows pass, so that a copy can be given away. The same secret gives the same masks,
//! so that keys still match each other, within a copy and between copies.
//!
//! Which column gets which mask is a plan ([`MaskPlan`]), made of rules and of what the snapshot knows about types, keys and
//! references; it can be shown before anything is done. Definitions, large objects and files are never masked.

mod document;
mod key;
mod method;
mod names;
mod personal;
mod plan;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use basekeep_repository::{Repository, Snapshot};

use self::key::Key;
use self::method::{Kind, Masked, Method};
pub use self::plan::{MaskPlan, MaskedColumn, Uncovered};
pub use self::rules::{Rules, SECRET_VARIABLE};
use crate::restore::Contents;
use crate::snapshot_rows::fields::{escape, fields, lines};
use crate::{EngineError, listing};

/// The masks of a snapshot's tables.
#[derive(Debug, Clone)]
pub(crate) struct Masks {
    plan: MaskPlan,
    tables: HashMap<(String, String), Arc<TableMask>>,
    /// The same by the table's data file, which keeps its name where a table gets another one.
    files: HashMap<String, Arc<TableMask>>,
}

impl Masks {
    /// Puts rules and snapshot together. The index must have been loaded.
    ///
    /// Errors, as kind `Usage`: rules that would break types, keys or constraints, or that fit nothing; a snapshot that does
    /// not know its tables' columns.
    pub(crate) async fn prepare(
        rules: &Rules,
        repository: &Repository,
        snapshot: &Snapshot,
        contents: &Contents,
    ) -> Result<Self, EngineError> {
        let columns = listing::columns(repository, snapshot).await?.ok_or_else(|| {
            EngineError::usage(format!(
                "snapshot {} cannot be masked: it has no list of columns",
                snapshot.id.short()
            ))
            .hint("snapshots of this version have one; make a new backup")
        })?;
        let planned = plan::plan(rules, &columns, contents)?;
        let plan = plan::look_for_personal(planned.plan, &columns, repository, contents).await?;
        let key = Key::new(&rules.secret);
        let tables: HashMap<_, _> = planned
            .tables
            .into_iter()
            .map(|((schema, name), columns)| {
                let what = format!("{schema}.{name}");
                ((schema, name), Arc::new(TableMask { what, key: key.clone(), columns }))
            })
            .collect();
        let files = contents.manifest.tables.iter().filter_map(|table| {
            let mask: &Arc<TableMask> = tables.get(&(table.schema.clone(), table.name.clone()))?;
            Some((table.file.clone(), mask.clone()))
        });
        Ok(Self { plan, files: files.collect(), tables })
    }

    /// The mask of a table, by its names in the snapshot; `None` where its rows stay as they are.
    pub(crate) fn for_table(&self, schema: &str, name: &str) -> Option<Arc<TableMask>> {
        self.tables.get(&(schema.to_owned(), name.to_owned())).cloned()
    }

    /// The mask of the table whose rows are in this file.
    pub(crate) fn for_file(&self, file: &str) -> Option<Arc<TableMask>> {
        self.files.get(file).cloned()
    }

    /// What is masked, and what perhaps should be.
    pub(crate) fn plan(&self) -> &MaskPlan {
        &self.plan
    }
}

/// The mask of one table.
#[derive(Debug)]
pub(crate) struct TableMask {
    what: String,
    key: Key,
    /// For each field of a row.
    columns: Vec<Option<ColumnMask>>,
}

/// The mask of one column.
#[derive(Debug, Clone)]
struct ColumnMask {
    method: Method,
    kind: Kind,
    /// Different values stay different, for methods that do not do so anyway.
    unique: bool,
}

/// Two masks are equal where they are one.
impl PartialEq for TableMask {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for TableMask {}

impl TableMask {
    /// Appends masked rows. `piece` is whole lines of COPY text, as is what is appended.
    ///
    /// Errors: a row does not fit the table's columns.
    pub(crate) fn apply(&self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.reserve(piece.len());
        let (mut text, mut masked) = (Vec::new(), Vec::new());
        for line in lines(piece) {
            let mut found = 0;
            for (number, field) in fields(line).enumerate() {
                if number > 0 {
                    out.push(b'\t');
                }
                found = number + 1;
                let Some(mask) = self.columns.get(number).and_then(Option::as_ref) else {
                    out.extend_from_slice(field.0);
                    continue;
                };
                let Some(value) = field.text(&mut text) else {
                    out.extend_from_slice(field.0);
                    continue;
                };
                masked.clear();
                match mask.method.apply(&self.key, mask.kind, mask.unique, value, &mut masked) {
                    Masked::Kept => out.extend_from_slice(field.0),
                    Masked::Null => out.extend_from_slice(b"\\N"),
                    Masked::Written => escape(&masked, out),
                }
            }
            if found != self.columns.len() {
                return Err(EngineError::failed(format!(
                    "a row of {} does not fit the snapshot's list of columns, so it cannot be masked",
                    self.what
                )));
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

/// Masks rows that come in pieces of any size.
#[derive(Debug)]
pub(crate) struct MaskedRows<'a> {
    mask: &'a TableMask,
    held: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> MaskedRows<'a> {
    /// Nothing came yet.
    pub(crate) fn new(mask: &'a TableMask) -> Self {
        Self { mask, held: Vec::new(), out: Vec::new() }
    }

    /// The rows that are complete with this piece, masked.
    ///
    /// Errors: as [`TableMask::apply`].
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<&[u8], EngineError> {
        self.out.clear();
        let Some(last) = memchr::memrchr(b'\n', piece) else {
            self.held.extend_from_slice(piece);
            return Ok(&self.out);
        };
        let (complete, rest) = piece.split_at(last + 1);
        if self.held.is_empty() {
            self.mask.apply(complete, &mut self.out)?;
        } else {
            self.held.extend_from_slice(complete);
            self.mask.apply(&self.held, &mut self.out)?;
            self.held.clear();
        }
        self.held.extend_from_slice(rest);
        Ok(&self.out)
    }
}

#[cfg(test)]
mod tests;

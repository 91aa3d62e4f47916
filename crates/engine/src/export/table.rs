//! The rows of one table for an export, and what the forms of an export share about them.

use std::sync::Arc;

use basekeep_repository::Repository;

use crate::EngineError;
use crate::mask::TableMask;
use crate::restore::Contents;
use crate::snapshot_rows::{self, SnapshotRows};
use crate::stored::manifest::Table;

/// One table of a snapshot.
pub(crate) struct TableSource<'a> {
    /// Where the rows are.
    pub(crate) repository: &'a Repository,
    /// What the snapshot says about everything.
    pub(crate) contents: &'a Contents,
    /// What it says about the table.
    pub(crate) table: &'a Table,
    /// What its rows are changed by.
    pub(crate) mask: Option<Arc<TableMask>>,
}

/// What was written of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes of the rows as COPY text.
    pub(crate) bytes: u64,
}

impl TableSource<'_> {
    /// The table's rows, masked where that is wanted. What they say at the end must be heeded: rows that are not those of the backup must not be kept.
    pub(crate) fn rows(&self) -> Result<SnapshotRows, EngineError> {
        let rows = SnapshotRows::open(self.repository, self.contents, self.table)?;
        Ok(rows.masked(self.mask.clone()))
    }

    /// Its columns in the order of the rows.
    pub(crate) fn columns(&self) -> Result<Vec<String>, EngineError> {
        snapshot_rows::columns(self.contents, self.table).ok_or_else(|| {
            EngineError::failed(format!(
                "the snapshot's archive does not name the columns of {}",
                self.name()
            ))
        })
    }

    /// `schema.name`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.table.schema, self.table.name)
    }
}

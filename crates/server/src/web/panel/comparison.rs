//! What differs between two snapshots.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Notice;

/// Which snapshots to compare.
#[derive(Debug, Clone, Deserialize)]
pub struct DiffRequest {
    /// The older one.
    pub a: String,
    /// The newer one.
    pub b: String,
    /// Whether rows are read and compared, too.
    #[serde(default)]
    pub rows: bool,
}

/// What differs.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The first side.
    pub a: ComparedSide,
    /// The second side.
    pub b: ComparedSide,
    /// Whether nothing differs.
    pub equal: bool,
    /// Definitions.
    pub objects: Vec<ObjectChange>,
    /// Roles, settings, sequences, files and so on.
    pub items: Vec<ItemChange>,
    /// Tables whose rows differ.
    pub tables: Vec<TableChange>,
    /// Tables whose rows are equal.
    pub equal_tables: u64,
    /// What could not be compared.
    pub not_compared: Vec<Notice>,
    /// What to know about the comparison.
    pub notes: Vec<String>,
}

/// One of two snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedSide {
    /// Its id.
    pub id: String,
    /// Whose.
    pub source: String,
    /// When it was taken.
    pub time: Timestamp,
}

/// A definition that differs.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectChange {
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// As a person would name it.
    pub name: String,
    /// A unified diff.
    pub diff: String,
}

/// Something with properties that differs.
#[derive(Debug, Clone, Serialize)]
pub struct ItemChange {
    /// `role`, `sequence` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// What differs.
    pub fields: Vec<FieldChange>,
}

/// A value that differs; secrets are `(hidden)`.
#[derive(Debug, Clone, Serialize)]
pub struct FieldChange {
    /// The column's or property's name.
    pub name: String,
    /// Before; `null` where there was none.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

/// A table whose rows differ.
#[derive(Debug, Clone, Serialize)]
pub struct TableChange {
    /// `schema.name`.
    pub table: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// Rows before.
    pub rows_before: Option<u64>,
    /// Rows after.
    pub rows: Option<u64>,
    /// Rows that are new, gone and changed, where rows were read.
    pub counts: Option<RowCounts>,
    /// The first of these rows.
    pub shown: Vec<RowChange>,
}

/// How many rows differ.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RowCounts {
    /// New.
    pub added: u64,
    /// Gone.
    pub removed: u64,
    /// With other values.
    pub changed: u64,
}

/// A row that differs.
#[derive(Debug, Clone, Serialize)]
pub struct RowChange {
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// Its key.
    pub key: Vec<FieldChange>,
    /// Its values.
    pub fields: Vec<FieldChange>,
}

//! The rows of a snapshot as values, in forms for other programs: JSON, CSV, Parquet. Types come from the snapshot's own file
//! `columns`; no server is needed.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod nested;
pub(crate) mod parquet;
pub(crate) mod shape;

pub(crate) use self::csv::Csv;
pub(crate) use self::json::Json;
pub(crate) use self::parquet::Parquet;
pub(crate) use self::shape::{Column, Shape};
use crate::EngineError;

/// How JSON shows numbers that common readers, which take every number for a double, would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// As strings: integers beyond 2^53, and decimals with more than 15 digits.
    #[default]
    ExactStrings,
    /// As numbers, the way the server does it (`row_to_json`). NaN and the infinities are strings all the same.
    AsIs,
}

/// What JSON rows stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonLayout {
    /// One array.
    Array,
    /// A line for each row.
    Lines,
}

/// Writes the rows of one table in some form. Calls go in this order: `begin` once, `rows` for each piece, `end` once.
pub(crate) trait ValueWriter: Send {
    /// What stands before the first row.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError>;

    /// Rows, as whole lines of COPY text. May keep them back for later.
    ///
    /// Errors: a row that does not fit the columns.
    fn rows(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError>;

    /// What was kept back, and what stands after the last row.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError>;

    /// Why the table cannot be shown at all, if so.
    fn impossible(&self) -> Option<String> {
        None
    }

    /// What could not be shown as it is: a line for each kind, with how often.
    fn losses(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A row whose fields do not fit its table's columns.
fn misfit(what: &str) -> EngineError {
    EngineError::failed(format!("{what} does not fit the snapshot's list of columns")).hint(
        "`basekeep verify --read-data` says whether the snapshot is damaged; SQL and CSV need no list of columns",
    )
}

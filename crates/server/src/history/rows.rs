//! Rows of the history as values, and the other way round.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;

use super::{Run, Total};

/// The columns of a run, in the order that [`run`] reads them in.
pub(super) const COLUMNS: &str = "id, job, source, trigger, due, attempt, started, ended, outcome, exit_code, snapshot, rows, \
                                  bytes, added_bytes, summary, error, warnings";

/// The longest text of an error or of the warnings; what is longer is cut.
const LONGEST: usize = 16 * 1024;

pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(super) fn bounded(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `NULL` where there are none.
pub(super) fn lines(texts: &[String]) -> Option<String> {
    let text = texts.iter().map(|text| text.replace('\n', " ")).collect::<Vec<_>>().join("\n");
    (!text.is_empty()).then(|| bounded(&text).to_owned())
}

pub(super) fn run(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
    let unsigned = |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(i64::unsigned_abs));
    let warnings: Option<String> = row.get(16)?;
    Ok(Run {
        id: row.get(0)?,
        job: word(row, 1)?,
        source: row.get(2)?,
        trigger: word(row, 3)?,
        due: row.get::<_, Option<i64>>(4)?.map(|value| time(4, value)).transpose()?,
        attempt: row.get(5)?,
        started: time(6, row.get(6)?)?,
        ended: row.get::<_, Option<i64>>(7)?.map(|value| time(7, value)).transpose()?,
        outcome: match row.get::<_, Option<String>>(8)? {
            Some(_) => Some(word(row, 8)?),
            None => None,
        },
        exit_code: row.get(9)?,
        snapshot: row.get(10)?,
        rows: unsigned(11)?,
        bytes: unsigned(12)?,
        added_bytes: row.get(13)?,
        summary: row.get(14)?,
        error: row.get(15)?,
        warnings: warnings.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default(),
    })
}

pub(super) fn total(row: &Row<'_>) -> Result<Total, rusqlite::Error> {
    Ok(Total {
        job: word(row, 0)?,
        source: row.get(1)?,
        outcome: word(row, 2)?,
        runs: row.get::<_, i64>(3)?.unsigned_abs(),
    })
}

fn word<T: FromStr<Err = String>>(row: &Row<'_>, index: usize) -> Result<T, rusqlite::Error> {
    let text: String = row.get(index)?;
    text.parse().map_err(|why: String| strange(index, Type::Text, why))
}

fn time(index: usize, micros: i64) -> Result<Timestamp, rusqlite::Error> {
    Timestamp::from_microsecond(micros).map_err(|error| strange(index, Type::Integer, error.to_string()))
}

fn strange(index: usize, kind: Type, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, kind, why.into())
}

//! Change detection: whether the rows in a range of blocks are those that an earlier snapshot saw, without reading them.
//!
//! A row version never changes once written, and whoever wrote one that the earlier snapshot did not see has a transaction
//! id at or after that snapshot's `xmin`. So when no row that is visible in the range has such an id, what is visible is
//! a part of what was visible; and when there are as many rows, it is all of it. That holds while the server continues
//! the history that the earlier snapshot saw ([`continues`]) and the table kept its storage and its text
//! ([`comparable`]). Where any of this is not known, the answer is to read.

mod continuity;
mod survey;
mod token;

use crate::catalog::Table;
use crate::{Client, Error};
use std::ops::Range;

pub use continuity::{Continuity, Moment, continues};
pub use survey::{RangeBefore, Verdict, survey};
pub use token::{Tokens, renew};

/// The answer of [`continues`]: transactions from this 64-bit id on may have changed what the earlier snapshot saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub(crate) u64);

/// What is known of a table as the earlier snapshot saw it.
#[derive(Clone, Copy, Debug)]
pub struct TableBefore<'a> {
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relfilenode`.
    pub relfilenode: u32,
    /// Name of the access method.
    pub access_method: Option<&'a str>,
    /// [`Table::fingerprint`].
    pub fingerprint: &'a str,
    /// Why its ranges must never be taken over, if it was so.
    pub ineligible: Option<&'a str>,
}

/// Whether unchanged ranges of a table have the text that they had. The error is the reason, for people.
pub fn comparable(before: &TableBefore<'_>, now: &Table) -> Result<(), String> {
    if let Some(reason) = now.incremental_ineligible.as_deref().or(before.ineligible) {
        return Err(reason.to_owned());
    }
    if !now.divisible || now.access_method != "heap" || before.access_method != Some("heap") {
        return Err("ranges of its blocks cannot be read".into());
    }
    if now.extension_condition.is_some() {
        return Err("a condition of its extension chooses the rows".into());
    }
    if before.oid != now.oid {
        return Err("it was made anew".into());
    }
    if before.relfilenode != now.relfilenode || now.relfilenode == 0 {
        return Err("it was truncated or rewritten".into());
    }
    if before.fingerprint.is_empty() || before.fingerprint != now.fingerprint {
        return Err("its columns, their types or the server's version changed".into());
    }
    Ok(())
}

/// What one look at a range of blocks tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Rows that the present snapshot sees.
    pub rows: u64,
    /// Whether all of them were written before [`Since`].
    pub all_older: bool,
}

impl Seen {
    /// Whether the rows are exactly those of the earlier snapshot, which saw so many.
    pub fn unchanged(self, rows_before: u64) -> bool {
        self.all_older && self.rows == rows_before
    }
}

/// Looks at the rows in a range of blocks, in the transaction that holds the present snapshot. The table is
/// [`comparable`].
pub async fn probe(
    client: &mut Client,
    table: &Table,
    blocks: Range<u64>,
    since: Since,
) -> Result<Seen, Error> {
    let rows = client.query(&table.change_probe_sql(blocks, since.0)).await?;
    let row = rows.one()?;
    Ok(Seen { rows: row.parse(0)?, all_older: row.parse(1)? })
}

/// Looks at several ranges with one command, which begins with the statements in `before` (those give no rows); the answers
/// are in the order of the ranges.
pub async fn probe_many(
    client: &mut Client,
    before: &str,
    ranges: &[(&Table, Range<u64>)],
    since: Since,
) -> Result<Vec<Seen>, Error> {
    let mut sql = before.to_owned();
    for (table, blocks) in ranges {
        if !sql.is_empty() {
            sql.push_str("; ");
        }
        sql.push_str(&table.change_probe_sql(blocks.clone(), since.0));
    }
    let answers = client.query_all(&sql).await?;
    if answers.len() != ranges.len() {
        return Err(Error::Protocol(format!("{} answers for {} ranges", answers.len(), ranges.len())));
    }
    let seen = answers.iter().map(|rows| {
        let row = rows.one()?;
        Ok(Seen { rows: row.parse(0)?, all_older: row.parse(1)? })
    });
    seen.collect()
}

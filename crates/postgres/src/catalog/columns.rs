//! Columns, grouped by table.

use super::{Column, Generated, Identity};
use crate::rows::Row;
use crate::{Error, Rows};
use std::collections::HashMap;

/// Reads the result of [`super::queries::columns`].
pub(super) fn by_table(rows: &Rows) -> Result<HashMap<u32, Vec<Column>>, Error> {
    let mut tables: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in rows.iter() {
        tables.entry(row.parse(0)?).or_default().push(column(row)?);
    }
    Ok(tables)
}

fn column(row: Row<'_>) -> Result<Column, Error> {
    let unknown =
        |what: &str, found: &str| Err(Error::Protocol(format!("unknown {what} {found:?} of a column")));
    Ok(Column {
        attnum: row.parse(1)?,
        name: row.parse(2)?,
        type_oid: row.parse(3)?,
        type_name: row.parse(4)?,
        typmod: row.parse(5)?,
        collation: row.parse(6)?,
        generated: match row.get(7).unwrap_or_default() {
            "" => None,
            "s" => Some(Generated::Stored),
            "v" => Some(Generated::Virtual),
            other => return unknown("generation", other),
        },
        identity: match row.get(8).unwrap_or_default() {
            "" => None,
            "a" => Some(Identity::Always),
            "d" => Some(Identity::ByDefault),
            other => return unknown("identity", other),
        },
        not_null: row.parse(9)?,
        missing_value: row.parse(10)?,
    })
}

//! Primary, unique and foreign keys, grouped by table.

use std::collections::HashMap;

use super::{ForeignColumns, UniqueKey};
use crate::rows::Row;
use crate::{Error, Rows};

/// The keys of one table.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) primary: Option<Vec<String>>,
    pub(super) unique: Vec<UniqueKey>,
    pub(super) foreign: Vec<ForeignColumns>,
}

/// Reads the result of [`super::queries::keys`].
pub(super) fn by_table(rows: &Rows) -> Result<HashMap<u32, Keys>, Error> {
    let mut tables: HashMap<u32, Keys> = HashMap::new();
    for row in rows.iter() {
        tables.entry(row.parse(0)?).or_default().add(row)?;
    }
    Ok(tables)
}

impl Keys {
    fn add(&mut self, row: Row<'_>) -> Result<(), Error> {
        let columns: Vec<String> = row.parse(3)?;
        match row.get(1).unwrap_or_default() {
            "p" => self.primary = Some(columns),
            "u" => self.unique.push(UniqueKey { name: row.parse(2)?, columns, nulls_equal: row.parse(4)? }),
            _ => self.foreign.push(ForeignColumns {
                name: row.parse(2)?,
                columns,
                schema: row.parse(5)?,
                table: row.parse(6)?,
                referenced: row.parse(7)?,
            }),
        }
        Ok(())
    }
}

//! The statements that move a table's rows.

use super::{Column, Table};
use crate::quote::{quote_identifier, quote_qualified};
use std::ops::Range;

/// The largest block number that a tid can name; blocks end below it.
const LAST_BLOCK: u64 = u32::MAX as u64;

impl Table {
    /// The columns that COPY carries: all but generated ones.
    pub fn copied_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.generated.is_none())
    }

    /// `COPY … TO STDOUT` of the whole table, or of the rows in a range of blocks (an end beyond the last possible block
    /// means no end). A table that is not [divisible](Table::divisible) gives all rows for a range that starts at block 0
    /// and none for others.
    pub fn copy_out_sql(&self, blocks: Option<Range<u64>>) -> String {
        let name = quote_qualified(&self.schema, &self.name);
        let list = self.column_list();
        let condition = self.extension_condition.as_deref().unwrap_or_default();
        match blocks {
            Some(blocks) if self.divisible => {
                format!("COPY (SELECT {list} FROM ONLY {name} WHERE {}) TO STDOUT", in_blocks(&blocks))
            }
            Some(blocks) if blocks.start > 0 => {
                format!("COPY (SELECT {list} FROM ONLY {name} WHERE false) TO STDOUT")
            }
            _ if !condition.is_empty() => {
                format!("COPY (SELECT {list} FROM ONLY {name} {condition}) TO STDOUT")
            }
            _ if list.is_empty() => format!("COPY {name} TO STDOUT"),
            _ => format!("COPY {name} ({list}) TO STDOUT"),
        }
    }

    /// `COPY … FROM STDIN` for the text that [`Table::copy_out_sql`] gives, through the root where it must be.
    pub fn copy_in_sql(&self) -> String {
        let (schema, name) = match &self.load_via_root {
            Some((schema, name)) => (schema, name),
            None => (&self.schema, &self.name),
        };
        let name = quote_qualified(schema, name);
        match self.column_list() {
            list if list.is_empty() => format!("COPY {name} FROM STDIN"),
            list => format!("COPY {name} ({list}) FROM STDIN"),
        }
    }

    /// What change detection asks about a range of blocks, one row: how many rows the snapshot sees there, and whether
    /// all of them were written by transactions before `since` (the parent snapshot's 64-bit `xmin`). The caller has made
    /// sure that `since` is fewer than 2^31 transactions ago. A row whose age has wrapped around counts as written since.
    pub fn change_probe_sql(&self, blocks: Range<u64>, since: u64) -> String {
        let name = quote_qualified(&self.schema, &self.name);
        // Ids are compared by age within one statement: both ages count from the same moment there.
        let since = since & u64::from(u32::MAX);
        format!(
            "SELECT pg_catalog.count(*), \
             coalesce(pg_catalog.min(pg_catalog.age(xmin)) > pg_catalog.age('{since}'::pg_catalog.xid), true) \
             FROM ONLY {name} WHERE {}",
            in_blocks(&blocks)
        )
    }

    /// How many rows the snapshot sees in a range of blocks, one row.
    pub fn count_sql(&self, blocks: Range<u64>) -> String {
        let name = quote_qualified(&self.schema, &self.name);
        format!("SELECT pg_catalog.count(*) FROM ONLY {name} WHERE {}", in_blocks(&blocks))
    }

    fn column_list(&self) -> String {
        let names: Vec<String> = self.copied_columns().map(|column| quote_identifier(&column.name)).collect();
        names.join(", ")
    }
}

fn in_blocks(blocks: &Range<u64>) -> String {
    let from = blocks.start.min(LAST_BLOCK);
    if blocks.end >= LAST_BLOCK {
        return format!("ctid >= '({from},0)'::pg_catalog.tid");
    }
    format!("ctid >= '({from},0)'::pg_catalog.tid AND ctid < '({},0)'::pg_catalog.tid", blocks.end)
}

#[cfg(test)]
mod tests {
    use super::super::{Generated, Persistence, TableKind};
    use super::*;

    fn table(columns: &[(&str, bool)]) -> Table {
        Table {
            oid: 1,
            schema: "s".into(),
            name: "T".into(),
            owner: "o".into(),
            kind: TableKind::Ordinary,
            persistence: Persistence::Permanent,
            access_method: "heap".into(),
            relfilenode: 1,
            pages: 0,
            block_size: 8192,
            estimated_rows: -1.0,
            total_bytes: 0,
            columns: columns
                .iter()
                .enumerate()
                .map(|(index, (name, generated))| Column {
                    name: (*name).into(),
                    attnum: index as i16 + 1,
                    type_name: "integer".into(),
                    type_oid: 23,
                    typmod: -1,
                    collation: None,
                    generated: generated.then_some(Generated::Stored),
                    identity: None,
                    not_null: false,
                    missing_value: None,
                })
                .collect(),
            load_via_root: None,
            extension: None,
            extension_condition: None,
            primary_key: None,
            unique_keys: Vec::new(),
            foreign_columns: Vec::new(),
            fingerprint: String::new(),
            incremental_ineligible: None,
            divisible: true,
        }
    }

    #[test]
    fn generated_columns_are_left_out() {
        let table = table(&[("a", false), ("g", true), ("select", false)]);
        assert_eq!(table.copy_out_sql(None), r#"COPY "s"."T" ("a", "select") TO STDOUT"#);
        assert_eq!(table.copy_in_sql(), r#"COPY "s"."T" ("a", "select") FROM STDIN"#);
        assert_eq!(
            table.copy_out_sql(Some(2..5)),
            r#"COPY (SELECT "a", "select" FROM ONLY "s"."T" WHERE ctid >= '(2,0)'::pg_catalog.tid AND ctid < '(5,0)'::pg_catalog.tid) TO STDOUT"#
        );
        assert!(!table.copy_out_sql(Some(2..u64::MAX)).contains('<'));
    }

    #[test]
    fn tables_without_columns_have_no_list() {
        for table in [table(&[]), table(&[("g", true)])] {
            assert_eq!(table.copy_out_sql(None), r#"COPY "s"."T" TO STDOUT"#);
            assert_eq!(table.copy_in_sql(), r#"COPY "s"."T" FROM STDIN"#);
            assert!(table.copy_out_sql(Some(0..1)).starts_with(r#"COPY (SELECT  FROM ONLY "s"."T" WHERE"#));
        }
    }

    #[test]
    fn an_indivisible_table_gives_its_rows_once() {
        let mut table = table(&[("a", false)]);
        table.divisible = false;
        table.extension_condition = Some("WHERE a > 1".into());
        let whole = table.copy_out_sql(None);
        assert_eq!(whole, r#"COPY (SELECT "a" FROM ONLY "s"."T" WHERE a > 1) TO STDOUT"#);
        assert_eq!(table.copy_out_sql(Some(0..10)), whole);
        assert_eq!(
            table.copy_out_sql(Some(10..20)),
            r#"COPY (SELECT "a" FROM ONLY "s"."T" WHERE false) TO STDOUT"#
        );
    }

    #[test]
    fn rows_load_through_the_root_where_they_must() {
        let mut table = table(&[("a", false)]);
        table.load_via_root = Some(("r".into(), "root".into()));
        assert_eq!(table.copy_in_sql(), r#"COPY "r"."root" ("a") FROM STDIN"#);
    }
}

//! From the rows of the catalog queries to [`Catalog`].

use super::fingerprint::{self, Circumstances};
use super::keys::{self, Keys};
use super::types::Types;
use super::{
    Catalog, Column, Database, Extension, ForeignKey, HIDDEN_ROWS, MaterializedView, Persistence, Relation,
    Sequence, Table, TableKind, Unreadable, UnreadableKind, columns, queries,
};
use crate::rows::Row;
use crate::{Client, Error, Rows};
use std::collections::{HashMap, HashSet};

/// Oldest server whose heap can be read in ranges of blocks without reading all of it for each range.
const TID_RANGE_SCAN: u32 = 140_000;

/// Reads the catalog in few round trips, whatever the number of tables. Call it in the snapshot's transaction, on a
/// pinned session.
pub async fn read_catalog(client: &mut Client) -> Result<Catalog, Error> {
    let version = client.server_version();
    let sql = [
        queries::database(version),
        queries::relations(version),
        queries::columns(),
        queries::types(version),
        queries::keys(version),
        queries::FOREIGN_KEYS.to_owned(),
        queries::EXTENSIONS.to_owned(),
        queries::MATERIALIZED_VIEW_DEPENDENCIES.to_owned(),
        queries::HIDDEN.to_owned(),
    ]
    .concat();
    let results = client.query_all(&sql).await?;
    let [database, relations, columns, types, keys, foreign_keys, extensions, view_order, hidden]: [Rows; 9] =
        results.try_into().map_err(|all: Vec<Rows>| {
            Error::Protocol(format!("{} results for 9 catalog queries", all.len()))
        })?;

    let database_row = database.one()?;
    let superuser: bool = database_row.parse::<Option<bool>>(13)?.unwrap_or(false);
    let mut reader = Reader {
        circumstances: Circumstances {
            server_version: version,
            encoding: database_row.parse(3)?,
            lc_monetary: database_row.parse(11)?,
        },
        in_recovery: database_row.parse(14)?,
        block_size: database_row.parse(12)?,
        columns: columns::by_table(&columns)?,
        types: Types::read(&types)?,
        keys: keys::by_table(&keys)?,
        catalog: Catalog {
            database: read_database(database_row)?,
            tables: Vec::new(),
            sequences: Vec::new(),
            materialized_views: Vec::new(),
            foreign_keys: foreign_keys.iter().map(read_foreign_key).collect::<Result<_, _>>()?,
            foreign_tables: Vec::new(),
            partitioned_tables: Vec::new(),
            extensions: extensions.iter().map(read_extension).collect::<Result<_, _>>()?,
            unreadable: Vec::new(),
            hidden: Vec::new(),
            types: Vec::new(),
        },
    };
    for row in relations.iter() {
        reader.relation(row)?;
    }
    let mut catalog = reader.catalog;
    catalog.types = reader.types.list();
    order_views(&mut catalog.materialized_views, &view_order)?;
    if !superuser {
        catalog.hidden = read_hidden(client, hidden.one()?).await?;
    }
    Ok(catalog)
}

/// Builds the catalog from the relations, one at a time.
struct Reader {
    circumstances: Circumstances,
    in_recovery: bool,
    block_size: u32,
    columns: HashMap<u32, Vec<Column>>,
    types: Types,
    keys: HashMap<u32, Keys>,
    catalog: Catalog,
}

impl Reader {
    fn relation(&mut self, row: Row<'_>) -> Result<(), Error> {
        let relation = Relation { oid: row.parse(0)?, schema: row.parse(1)?, name: row.parse(2)? };
        match row.get(3).unwrap_or_default() {
            "r" => match self.obstacle(row, UnreadableKind::Table)? {
                Some(unreadable) => self.catalog.unreadable.push(unreadable),
                None => {
                    let table = self.table(relation, row)?;
                    self.catalog.tables.push(table);
                }
            },
            "p" => {
                self.catalog.unreadable.extend(self.obstacle(row, UnreadableKind::PartitionedTable)?);
                self.catalog.partitioned_tables.push(relation);
            }
            "S" => match self.obstacle(row, UnreadableKind::Sequence)? {
                Some(unreadable) => self.catalog.unreadable.push(unreadable),
                None => self.catalog.sequences.push(read_sequence(relation, row)?),
            },
            "m" => self.catalog.materialized_views.push(MaterializedView {
                oid: relation.oid,
                schema: relation.schema,
                name: relation.name,
                owner: row.parse(4)?,
                populated: row.parse(15)?,
                depends_on: Vec::new(),
            }),
            _ => self.catalog.foreign_tables.push(relation),
        }
        Ok(())
    }

    /// Why the data of a relation cannot be read, if it cannot.
    fn obstacle(&self, row: Row<'_>, kind: UnreadableKind) -> Result<Option<Unreadable>, Error> {
        let relation = Relation { oid: row.parse(0)?, schema: row.parse(1)?, name: row.parse(2)? };
        let usage = row.parse::<Option<bool>>(16)?.unwrap_or(false);
        let select = row.parse::<Option<bool>>(17)?;
        let lockable = row.parse::<Option<bool>>(18)?.unwrap_or(false);
        let unlogged = row.get(5) == Some("u");
        let member = row.get(13).is_some();
        let (reason, denied) = if !usage {
            (format!("no USAGE on schema {}", relation.schema), true)
        } else if select.is_none() {
            ("it was dropped meanwhile".to_owned(), true)
        } else if select == Some(false) {
            ("no SELECT on it".to_owned(), !lockable)
        } else if kind == UnreadableKind::Table && row.parse(12)? {
            // Asking for rows is an error then, since the session has `row_security = off`.
            (HIDDEN_ROWS.to_owned(), false)
        } else if unlogged && self.in_recovery && kind != UnreadableKind::PartitionedTable {
            ("unlogged relations cannot be read on a standby".to_owned(), false)
        } else {
            return Ok(None);
        };
        // pg_dump locks the tables that it describes; it describes no member of an extension, and locks no sequence.
        let fails_pg_dump = denied && kind != UnreadableKind::Sequence && !member;
        Ok(Some(Unreadable { relation, kind, reason, fails_pg_dump }))
    }

    fn table(&mut self, relation: Relation, row: Row<'_>) -> Result<Table, Error> {
        let columns = self.columns.remove(&relation.oid).unwrap_or_default();
        let keys = self.keys.remove(&relation.oid).unwrap_or_default();
        let (fingerprint, by_type) = fingerprint::of_table(&columns, &mut self.types, &self.circumstances);
        let access_method: String = row.parse::<Option<String>>(6)?.unwrap_or_default();
        let extension: Option<String> = row.parse(13)?;
        let extension_condition = row.parse::<Option<String>>(14)?.filter(|text| !text.trim().is_empty());
        let old = self.circumstances.server_version < TID_RANGE_SCAN;
        let incremental_ineligible = if access_method != "heap" {
            Some(format!("access method {access_method}"))
        } else if extension_condition.is_some() {
            Some("configuration table of an extension, with a condition".to_owned())
        } else if old {
            Some("the server is older than 14 and cannot scan ranges of blocks".to_owned())
        } else {
            by_type
        };
        let root = row.get(19).zip(row.get(20)).map(|(schema, name)| (schema.to_owned(), name.to_owned()));
        Ok(Table {
            owner: row.parse(4)?,
            kind: if row.parse(9)? { TableKind::Partition } else { TableKind::Ordinary },
            persistence: if row.get(5) == Some("u") { Persistence::Unlogged } else { Persistence::Permanent },
            divisible: access_method == "heap" && extension_condition.is_none() && !old,
            access_method,
            relfilenode: row.parse(7)?,
            pages: row.parse::<Option<u64>>(10)?.unwrap_or_default() / u64::from(self.block_size.max(1)),
            block_size: self.block_size,
            estimated_rows: row.parse(8)?,
            total_bytes: row.parse::<Option<u64>>(11)?.unwrap_or_default(),
            columns,
            load_via_root: root,
            extension,
            extension_condition,
            primary_key: keys.primary,
            unique_keys: keys.unique,
            foreign_columns: keys.foreign,
            fingerprint,
            incremental_ineligible,
            oid: relation.oid,
            schema: relation.schema,
            name: relation.name,
        })
    }
}

fn read_database(row: Row<'_>) -> Result<Database, Error> {
    Ok(Database {
        oid: row.parse(0)?,
        name: row.parse(1)?,
        owner: row.parse(2)?,
        encoding: row.parse(3)?,
        collate: row.parse(4)?,
        ctype: row.parse(5)?,
        locale_provider: row.parse(6)?,
        locale: row.parse(7)?,
        icu_rules: row.parse(8)?,
        collation_version: row.parse(9)?,
        tablespace: row.parse(10)?,
    })
}

fn read_sequence(relation: Relation, row: Row<'_>) -> Result<Sequence, Error> {
    let owner_table: Option<u32> = row.parse(21)?;
    Ok(Sequence {
        owner: row.parse(4)?,
        owned_by: owner_table.zip(row.parse(22)?),
        identity: row.get(23) == Some("i"),
        extension: row.parse(13)?,
        oid: relation.oid,
        schema: relation.schema,
        name: relation.name,
    })
}

fn read_foreign_key(row: Row<'_>) -> Result<ForeignKey, Error> {
    Ok(ForeignKey {
        oid: row.parse(0)?,
        name: row.parse(1)?,
        table: Relation { oid: row.parse(2)?, schema: row.parse(3)?, name: row.parse(4)? },
        references: Relation { oid: row.parse(5)?, schema: row.parse(6)?, name: row.parse(7)? },
        validated: row.parse(8)?,
        definition: row.parse(9)?,
    })
}

fn read_extension(row: Row<'_>) -> Result<Extension, Error> {
    Ok(Extension {
        oid: row.parse(0)?,
        name: row.parse(1)?,
        version: row.parse(2)?,
        schema: row.parse(3)?,
        configuration: row.parse::<Option<Vec<u32>>>(4)?.unwrap_or_default(),
    })
}

/// Adds the order between materialized views; one above an unpopulated one cannot be refreshed either.
fn order_views(views: &mut [MaterializedView], pairs: &Rows) -> Result<(), Error> {
    let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in pairs.iter() {
        below.entry(row.parse(0)?).or_default().push(row.parse(1)?);
    }
    for view in views.iter_mut() {
        view.depends_on = below.remove(&view.oid).unwrap_or_default();
    }
    let mut unpopulated: HashSet<u32> =
        views.iter().filter(|view| !view.populated).map(|view| view.oid).collect();
    loop {
        let before = unpopulated.len();
        for view in views.iter_mut() {
            if view.populated && view.depends_on.iter().any(|oid| unpopulated.contains(oid)) {
                view.populated = false;
                unpopulated.insert(view.oid);
            }
        }
        if unpopulated.len() == before {
            return Ok(());
        }
    }
}

/// What pg_dump leaves out for a role that is no superuser.
async fn read_hidden(client: &mut Client, row: Row<'_>) -> Result<Vec<String>, Error> {
    let mut hidden = Vec::new();
    let mappings: u64 = row.parse(0)?;
    if mappings > 0 {
        hidden.push(format!("the options of {mappings} user mappings are not shown to this role"));
    }
    if row.get(1) == Some("1") {
        let subscriptions: u64 = client.query(queries::SUBSCRIPTIONS).await?.one()?.parse(0)?;
        if subscriptions > 0 {
            hidden.push(format!("{subscriptions} subscriptions: pg_dump describes them for superusers only"));
        }
    }
    Ok(hidden)
}

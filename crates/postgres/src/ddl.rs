//! What DDL has done since a snapshot was taken.
//!
//! A snapshot does not cover names: `COPY`, `LOCK TABLE` and the functions that pg_dump calls (`pg_get_indexdef`,
//! `format_type`, …) look relations, columns, types and functions up as they are now, while pg_dump's own queries see them as
//! they were. A backup is consistent only if both are the same, so this compares them: once when the tables are locked, once
//! when pg_dump has ended, once when all rows are read (no lock keeps somebody from renaming an enum's label).
//!
//! First a few sums over the catalog are compared; only if they differ, object by object. What came into being since
//! the snapshot is none of its business. Grants, comments and the like are read in the snapshot alone and are not looked at.

use std::collections::HashMap;

use crate::{Client, Error, session};

/// Sums over everything in the catalog that is looked up by its present name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums(Vec<Option<String>>);

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A schema.
    Schema,
    /// A table, view, index, sequence, composite type, or the columns of one.
    Relation,
    /// The storage of a table: it was truncated or rewritten.
    Storage,
    /// A type.
    Type,
    /// A label of an enum; the name is that of the enum.
    Label,
    /// A function, procedure or aggregate.
    Function,
}

/// An object that the snapshot sees, and that is another one now or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What it is.
    pub kind: ObjectKind,
    /// Its oid.
    pub oid: u32,
    /// The relation that it belongs to: for an index its table, for another relation itself.
    pub relation: Option<u32>,
    /// Its name in the snapshot, with its schema.
    pub name: String,
}

/// Sums of the catalog as it is now, or, in a transaction that has joined a snapshot, as that sees it.
pub async fn sums(client: &mut Client) -> Result<Sums, Error> {
    let list: Vec<String> = CATALOGS.iter().map(|catalog| format!("({})", catalog.sum())).collect();
    let rows = client.query(&format!("SELECT {}", list.join(", "))).await?;
    let row = rows.one()?;
    Ok(Sums((0..CATALOGS.len()).map(|column| row.get(column).map(str::to_owned)).collect()))
}

/// The sums that a snapshot sees. The session is outside of a transaction before and after; it is pinned.
pub async fn sums_in(client: &mut Client, snapshot_id: &str) -> Result<Sums, Error> {
    session::join(client, snapshot_id).await?;
    let sums = sums(client).await?;
    client.execute("COMMIT").await?;
    Ok(sums)
}

/// The objects that a snapshot sees, and that are others now. The session is outside of a transaction before and after.
pub async fn changed_since(client: &mut Client, snapshot_id: &str) -> Result<Vec<Changed>, Error> {
    session::join(client, snapshot_id).await?;
    let then = objects(client).await?;
    client.execute("COMMIT").await?;
    let now = objects(client).await?;
    let mut changed: Vec<Changed> = then
        .into_iter()
        .filter(|(key, object)| now.get(key).is_none_or(|other| other.state != object.state))
        .map(|((catalog, oid), object)| Changed {
            kind: CATALOGS[catalog].kind,
            oid,
            relation: object.relation,
            name: object.name,
        })
        .collect();
    changed.sort_by(|a, b| (a.kind as u8, &a.name, a.oid).cmp(&(b.kind as u8, &b.name, b.oid)));
    changed.dedup_by(|a, b| (a.kind, a.oid) == (b.kind, b.oid));
    Ok(changed)
}

struct Object {
    relation: Option<u32>,
    name: String,
    state: Option<String>,
}

async fn objects(client: &mut Client) -> Result<HashMap<(usize, u32), Object>, Error> {
    let sql: Vec<String> = CATALOGS.iter().map(Catalog::each).collect();
    let mut objects = HashMap::new();
    for (catalog, rows) in client.query_all(&sql.join("; ")).await?.iter().enumerate() {
        for row in rows.iter() {
            let object = Object {
                relation: row.parse(1)?,
                name: row.get(2).unwrap_or_default().to_owned(),
                state: row.get(3).map(str::to_owned),
            };
            objects.insert((catalog, row.parse(0)?), object);
        }
    }
    Ok(objects)
}

/// One catalog: rows whose hash is `hash(text, seed)`.
struct Catalog {
    kind: ObjectKind,
    /// The object that a row belongs to.
    oid: &'static str,
    relation: &'static str,
    name: &'static str,
    text: &'static str,
    seed: &'static str,
    from: &'static str,
    /// Joined only when objects are listed.
    beside: &'static str,
    condition: &'static str,
    /// Whether several rows make one object.
    grouped: bool,
}

impl Catalog {
    fn hash(&self) -> String {
        format!("pg_catalog.hashtextextended({}, {})", self.text, self.seed)
    }

    fn sum(&self) -> String {
        let Self { from, condition, .. } = self;
        format!(
            "SELECT pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum({}), 0) FROM {from} WHERE {condition}",
            self.hash()
        )
    }

    fn each(&self) -> String {
        let Self { oid, relation, name, from, beside, condition, .. } = self;
        let (state, group) = match self.grouped {
            true => (format!("pg_catalog.sum({})", self.hash()), " GROUP BY 1, 2, 3"),
            false => (self.hash(), ""),
        };
        format!("SELECT {oid}, {relation}, {name}, {state} FROM {from} {beside} WHERE {condition}{group}")
    }
}

/// `schema.relation`, where `n` and `c` are their rows.
const RELATION_NAME: &str = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)";

/// Only what is looked up by its present state is in the text: names, and what types and functions are made of; and
/// the storage of tables, since a snapshot sees one that was truncated or rewritten as empty. Array types and the row types of
/// relations follow from others.
const CATALOGS: [Catalog; 7] = [
    Catalog {
        kind: ObjectKind::Schema,
        oid: "s.oid",
        relation: "NULL::pg_catalog.oid",
        name: "pg_catalog.quote_ident(s.nspname)",
        text: "s.nspname::text",
        seed: "s.oid::bigint",
        from: "pg_catalog.pg_namespace s",
        beside: "",
        condition: "s.nspname !~ '^pg_(toast_)?temp_'",
        grouped: false,
    },
    Catalog {
        kind: ObjectKind::Relation,
        oid: "c.oid",
        relation: "coalesce(i.indrelid, c.oid)",
        name: RELATION_NAME,
        text: "c.relname || '/' || c.relkind::text",
        seed: "c.oid::bigint + 4294967296 * c.relnamespace::bigint",
        from: "pg_catalog.pg_class c",
        beside: "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid",
        // 99 is pg_toast.
        condition: "c.oid >= 16384 AND c.relkind <> 't' AND c.relpersistence <> 't' AND c.relnamespace <> 99",
        grouped: false,
    },
    Catalog {
        kind: ObjectKind::Storage,
        oid: "c.oid",
        relation: "c.oid",
        name: RELATION_NAME,
        text: "c.relfilenode::text",
        seed: "c.oid::bigint",
        from: "pg_catalog.pg_class c",
        beside: "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        condition: "c.oid >= 16384 AND c.relkind = 'r' AND c.relpersistence <> 't'",
        grouped: false,
    },
    Catalog {
        kind: ObjectKind::Relation,
        oid: "c.oid",
        relation: "coalesce(i.indrelid, c.oid)",
        name: RELATION_NAME,
        text: "a.attname || '/' || a.atttypmod",
        seed: "a.attnum * 4294967296 + a.atttypid::bigint",
        from: "pg_catalog.pg_attribute a",
        beside: "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind <> 't' AND c.relpersistence <> 't' \
            AND c.relnamespace <> 99 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid",
        condition: "a.attrelid >= 16384 AND a.attnum > 0",
        grouped: true,
    },
    Catalog {
        kind: ObjectKind::Type,
        oid: "t.oid",
        relation: "NULL::pg_catalog.oid",
        name: "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname)",
        text: "t.typname || '/' || t.typbasetype || '/' || t.typtypmod",
        seed: "t.oid::bigint + 4294967296 * t.typnamespace::bigint",
        from: "pg_catalog.pg_type t",
        beside: "JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace",
        condition: "t.oid >= 16384 AND t.typrelid = 0 AND t.typelem = 0",
        grouped: false,
    },
    Catalog {
        kind: ObjectKind::Label,
        oid: "l.oid",
        relation: "NULL::pg_catalog.oid",
        name: "(SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname) \
            FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = l.enumtypid)",
        text: "l.enumlabel::text",
        seed: "l.oid::bigint",
        from: "pg_catalog.pg_enum l",
        beside: "",
        condition: "true",
        grouped: false,
    },
    Catalog {
        kind: ObjectKind::Function,
        oid: "p.oid",
        relation: "NULL::pg_catalog.oid",
        name: "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)",
        text: "p.proname || '/' || p.prosrc || '/' || p.proargtypes::text || coalesce(p.proargnames::text, '') \
            || coalesce(p.proargdefaults::text, '') || coalesce(p.proconfig::text, '') || p.prokind::text || p.provolatile::text",
        seed: "p.oid::bigint + 4294967296 * p.pronamespace::bigint",
        from: "pg_catalog.pg_proc p",
        beside: "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace",
        condition: "p.oid >= 16384 AND p.pronamespace NOT IN \
            (SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname ~ '^pg_temp_')",
        grouped: false,
    },
];

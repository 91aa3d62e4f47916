//! The catalog of a database as a backup needs it: exactly the tables whose rows pg_dump would dump, how to read them,
//! and a fingerprint of everything that decides how their rows look as text.
//!
//! The rules follow `selectDumpableTable`, `processExtensionTables` and `makeTableDataInfo` of pg_dump. Everything is read with
//! the rights of an ordinary role; what the role may not read is listed in [`Catalog::unreadable`].

mod columns;
mod copy_sql;
mod fingerprint;
mod keys;
mod queries;
mod read;
mod types;

pub use read::read_catalog;

/// Everything that [`read_catalog`] reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// The database itself.
    pub database: Database,
    /// The tables whose rows are dumped and may be read, by schema and name. No partitioned parents, no foreign tables,
    /// no temporary tables; members of extensions only when they are configuration tables.
    pub tables: Vec<Table>,
    /// The sequences whose values are dumped and may be read, by schema and name.
    pub sequences: Vec<Sequence>,
    /// The materialized views that are refreshed on restore (or would be, were they populated).
    pub materialized_views: Vec<MaterializedView>,
    /// Foreign keys that are not inherited from a partitioned parent.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign tables: their rows are elsewhere.
    pub foreign_tables: Vec<Relation>,
    /// Partitioned tables: their rows are in their partitions.
    pub partitioned_tables: Vec<Relation>,
    /// Installed extensions.
    pub extensions: Vec<Extension>,
    /// Relations that hold data which this role may not read.
    pub unreadable: Vec<Unreadable>,
    /// What else this role cannot see, one sentence each (options of user mappings, subscriptions).
    pub hidden: Vec<String>,
    /// Every type that the tables' columns are made of, down to the last element and attribute, by oid.
    pub types: Vec<ColumnType>,
}

/// The database connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Name of the encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// Locale of the provider, when it is not libc.
    pub locale: Option<String>,
    /// ICU rules (16 and newer).
    pub icu_rules: Option<String>,
    /// Version of the collation as recorded (15 and newer).
    pub collation_version: Option<String>,
    /// Name of its tablespace.
    pub tablespace: String,
}

/// A relation by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A table whose rows are dumped.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Name of the owner.
    pub owner: String,
    /// Whether it is a partition.
    pub kind: TableKind,
    /// Logged or not.
    pub persistence: Persistence,
    /// Name of the access method, `heap` nearly always.
    pub access_method: String,
    /// `pg_class.relfilenode` as the snapshot sees it.
    pub relfilenode: u32,
    /// Size of the main fork now, in blocks. Read after the snapshot: rows that it sees are in blocks below.
    pub pages: u64,
    /// Bytes per block.
    pub block_size: u32,
    /// The planner's estimate; negative when never analysed.
    pub estimated_rows: f64,
    /// With TOAST (whose size may be that of the last vacuum), without indexes.
    pub total_bytes: u64,
    /// Live columns in order of `attnum`, generated ones included.
    pub columns: Vec<Column>,
    /// The root table through which rows must be loaded: the partition is chosen by the hash of an enum, whose value
    /// (an oid) differs after a restore. As pg_dump forces.
    pub load_via_root: Option<(String, String)>,
    /// The extension it belongs to: then it is a configuration table.
    pub extension: Option<String>,
    /// `WHERE …` of a configuration table.
    pub extension_condition: Option<String>,
    /// Columns of the primary key in key order.
    pub primary_key: Option<Vec<String>>,
    /// Other keys that tell every two rows apart; no partial, deferrable or invalid indexes, none over expressions.
    pub unique_keys: Vec<UniqueKey>,
    /// The table's foreign keys by column, those that it has from a partitioned parent too.
    pub foreign_columns: Vec<ForeignColumns>,
    /// SHA-256 in hex over everything that decides how a row looks as COPY text.
    pub fingerprint: String,
    /// Why unchanged ranges cannot be recognised, when they cannot.
    pub incremental_ineligible: Option<String>,
    /// Whether [`Table::copy_out_sql`] can read it in ranges of blocks: heap, no condition, server 14 or newer.
    pub divisible: bool,
}

/// What kind of table holds the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// An ordinary table (also one that inherits).
    Ordinary,
    /// A leaf partition.
    Partition,
}

/// Whether changes reach the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Persistence {
    /// Logged.
    Permanent,
    /// `UNLOGGED`.
    Unlogged,
}

/// A live column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its number.
    pub attnum: i16,
    /// `format_type` with an empty search path.
    pub type_name: String,
    /// Oid of the type.
    pub type_oid: u32,
    /// Type modifier, -1 for none.
    pub typmod: i32,
    /// `schema.name` of the collation, quoted; absent for types without one.
    pub collation: Option<String>,
    /// Generated columns are not copied.
    pub generated: Option<Generated>,
    /// Identity columns are copied like others.
    pub identity: Option<Identity>,
    /// `NOT NULL`.
    pub not_null: bool,
    /// Value that rows older than the column have, as the text of an array with one element.
    pub missing_value: Option<String>,
}

/// A type, as far as it decides what a value's text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_type.typtype`: `b` base, `c` composite, `d` domain, `e` enum, `m` multirange, `r` range.
    pub kind: char,
    /// Of arrays, the oid of their elements' type.
    pub element: Option<u32>,
    /// Of domains, the oid of the type below.
    pub base: Option<u32>,
    /// Of domains, the type modifier of the type below; -1 for none.
    pub base_typmod: i32,
    /// Of ranges and multiranges, the oid of the bounds' type (of a multirange: of its range).
    pub subtype: Option<u32>,
    /// The extension it belongs to.
    pub extension: Option<String>,
    /// Of composite types, name, oid of the type and type modifier of each attribute.
    pub attributes: Vec<(String, u32, i32)>,
}

/// A unique key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Name of the index.
    pub name: String,
    /// Its columns in key order.
    pub columns: Vec<String>,
    /// `NULLS NOT DISTINCT`: two rows with nulls are equal too.
    pub nulls_equal: bool,
}

/// A foreign key by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignColumns {
    /// Name of the constraint.
    pub name: String,
    /// The table's columns.
    pub columns: Vec<String>,
    /// Schema of the referenced table.
    pub schema: String,
    /// Name of the referenced table.
    pub table: String,
    /// Its columns, in the same order.
    pub referenced: Vec<String>,
}

/// How a generated column is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generated {
    /// Computed on write.
    Stored,
    /// Computed on read (18 and newer).
    Virtual,
}

/// How an identity column takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// `GENERATED ALWAYS AS IDENTITY`.
    Always,
    /// `GENERATED BY DEFAULT AS IDENTITY`.
    ByDefault,
}

/// A sequence whose value is dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Name of the owner.
    pub owner: String,
    /// Oid of the table and name of the column that own it.
    pub owned_by: Option<(u32, String)>,
    /// Whether it serves an identity column.
    pub identity: bool,
    /// The extension it belongs to: then it is a configuration sequence.
    pub extension: Option<String>,
}

/// A materialized view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterializedView {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Name of the owner.
    pub owner: String,
    /// Whether it is refreshed on restore: it is populated, and so is every materialized view below it.
    pub populated: bool,
    /// Oids of the materialized views that must be refreshed before it, directly or through views.
    pub depends_on: Vec<u32>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Oid of the constraint.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The referencing table.
    pub table: Relation,
    /// The referenced table.
    pub references: Relation,
    /// `NOT VALID` is false here.
    pub validated: bool,
    /// `pg_get_constraintdef`.
    pub definition: String,
}

/// An installed extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its schema.
    pub schema: String,
    /// Oids of its configuration relations.
    pub configuration: Vec<u32>,
}

/// A relation with data that this role may not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The relation.
    pub relation: Relation,
    /// What it is.
    pub kind: UnreadableKind,
    /// Why, for people.
    pub reason: String,
    /// Whether `pg_dump --schema-only` fails as a whole unless `--exclude-table` names it (it locks what it describes).
    pub fails_pg_dump: bool,
}

/// The reason of tables that row level security would filter for this role.
pub const HIDDEN_ROWS: &str = "row level security hides rows of it from the role";

/// What cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnreadableKind {
    /// A table or leaf partition.
    Table,
    /// A partitioned table: it has no rows of its own, but pg_dump locks it.
    PartitionedTable,
    /// A sequence.
    Sequence,
}

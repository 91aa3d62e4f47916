//! `manifest.json`: everything `list`, `show`, `diff` and `monitor` need without reading the rows.

mod supabase;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use supabase::{SchemaVersion, Supabase};

/// The version this program writes.
pub const VERSION: u32 = 1;

/// What a snapshot holds, and what it does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The basekeep that wrote it, for example `0.1.0`.
    pub basekeep: String,
    /// The source's name.
    pub source: String,
    /// When the database snapshot was taken.
    pub time: Timestamp,
    /// Wall time from the start until the manifest was written, in seconds.
    pub duration_seconds: f64,
    /// The server and database.
    pub server: Server,
    /// The pg_dump that wrote the definitions, for example `15.18`.
    pub pg_dump: String,
    /// Sums over everything.
    pub totals: Totals,
    /// How many objects of each kind: the archive's entry kinds in lower case (`table`, `policy`, `rls enabled`…).
    pub components: BTreeMap<String, u64>,
    /// Every table whose rows are in the snapshot.
    pub tables: Vec<Table>,
    /// Every sequence with its value.
    pub sequences: Vec<Sequence>,
    /// Large objects in all.
    pub large_objects: LargeObjects,
    /// Installed extensions.
    pub extensions: Vec<Extension>,
    /// Names of the cluster's roles that `globals.sql` creates.
    pub roles: Vec<String>,
    /// Groups of tables whose foreign keys form a circle, each group sorted.
    pub circular_foreign_keys: Vec<Vec<String>>,
    /// What could not be captured. Not empty means exit code 3.
    pub not_captured: Vec<Missing>,
    /// What a reader should know.
    pub warnings: Vec<Warning>,
    /// What was read of the rows and what was taken over from an earlier snapshot; absent in snapshots that always read
    /// everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// The Supabase project, where the database is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supabase: Option<Supabase>,
}

/// Where the rows came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The full version text, for example `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// `server_version_num`.
    pub version_num: u32,
    /// The database's name.
    pub database: String,
    /// The database's encoding.
    pub encoding: String,
    /// `lc_collate`.
    pub collate: String,
    /// `lc_ctype`.
    pub ctype: String,
    /// `pg_control_system().system_identifier`, where the role may read it.
    pub system_identifier: Option<String>,
    /// Whether the source was a hot standby.
    pub in_recovery: bool,
    /// `pg_current_snapshot()` of the exported snapshot.
    pub snapshot: String,
    /// Write-ahead log position when the snapshot was taken.
    pub lsn: Option<String>,
}

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Tables with rows in the snapshot (empty ones too).
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Of these bytes, taken over from the parent without reading them.
    pub taken_over_bytes: u64,
    /// Bytes that this backup added to the repository, after compression.
    pub added_bytes: u64,
}

/// What was read of the rows. Ranges are ranges of a table's blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// `changed`, `full` or `paranoid`.
    pub mode: String,
    /// The snapshot that ranges were taken over from (or compared with).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Why everything was read, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many backups in a row, up to this one, took something over.
    pub incrementals: u32,
    /// Ranges of all tables.
    pub ranges: u64,
    /// Of these, taken over without reading them.
    pub taken_over: u64,
    /// Found unchanged, and read and compared all the same.
    pub compared: u64,
    /// Ranges that were found unchanged and were not: the earlier snapshots since the last full read may hold old rows of
    /// them. Not empty means exit code 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<String>,
}

/// One table's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The data entry's id in the archive.
    pub dump_id: i32,
    /// The data file, below the source's folder.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Row digest (docs/FORMAT.md), 32 hexadecimal digits.
    pub digest: String,
    /// Bytes of this table taken over from the parent.
    #[serde(default)]
    pub taken_over_bytes: u64,
    /// Why all of its rows were read, if they were, although an earlier snapshot has the table's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_whole: Option<String>,
    /// The partitioned table through which the rows must be loaded, if so (`[schema, name]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_via_root: Option<(String, String)>,
    /// The extension whose configuration table this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The condition that selects the rows of an extension's configuration table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Size on the server, all forks and indexes, in bytes.
    #[serde(default)]
    pub server_bytes: u64,
}

/// One sequence's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Last value.
    pub last_value: i64,
    /// Whether that value has been handed out.
    pub is_called: bool,
}

/// All large objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digest over all of them (docs/FORMAT.md).
    pub digest: String,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Schema.
    pub schema: String,
}

/// Something that is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// What, as a person would name it: `rows of auth.schema_migrations`.
    pub what: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Something to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word.
    pub code: String,
    /// What.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

//! `ranges`: the range index, as JSON lines. The first line is a [`Header`], each further line one [`Table`].
//!
//! It lets a restore load one table on several connections, and lets the next backup take unchanged ranges over.
//! Losing it costs one full read, nothing else.

use serde::{Deserialize, Serialize};

/// The version this program writes.
pub const VERSION: u32 = 1;
/// Version of the row format: COPY text under the session pinning of `docs/FORMAT.md`.
pub const ROW_FORMAT: u32 = 1;

/// Facts about the snapshot that change detection needs (`docs/FORMAT.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format.
    pub version: u32,
    /// Version of the row format and the session pinning; ranges of another one are never taken over.
    pub row_format: u32,
    /// `pg_control_system().system_identifier`.
    pub system_identifier: Option<String>,
    /// Timeline of the write-ahead log.
    pub timeline: Option<u32>,
    /// The database's oid.
    pub database_oid: u32,
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// `pg_snapshot_xmin(pg_current_snapshot())`, 64 bits.
    pub xmin: Option<u64>,
    /// Next transaction id as the snapshot knows it (`pg_snapshot_xmax`), 64 bits.
    pub next_xid: Option<u64>,
    /// Write-ahead log position.
    pub lsn: Option<String>,
    /// `pg_postmaster_start_time()`.
    pub postmaster_start: Option<String>,
    /// Changes when the server restarts its processes after a crash, which `postmaster_start` does not tell.
    pub crash_marker: Option<String>,
    /// Whether everything that the snapshot saw was on the source's disk before this was written. Unless it is `true`, a
    /// crash may have undone it, and no range may be taken over.
    pub durable: Option<bool>,
    /// Whether the source was a hot standby.
    pub in_recovery: bool,
    /// The continuity token that was written to the source after the snapshot was taken, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How many backups in a row, up to this one, took ranges over; 0 when everything was read.
    #[serde(default)]
    pub incrementals: u32,
}

/// The ranges of one table's data file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The data file below the source's folder.
    pub file: String,
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relfilenode`.
    pub relfilenode: u32,
    /// Access method, `heap` for ordinary tables.
    pub access_method: Option<String>,
    /// Hash of everything that decides how a row is rendered.
    pub fingerprint: String,
    /// Why ranges of this table must never be taken over, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ineligible: Option<String>,
    /// Average chunk size of the file, in bytes.
    pub chunk_average: u32,
    /// The ranges in the order in which the file holds them. The blobs after the last range hold the end marker.
    pub ranges: Vec<Range>,
}

/// One range of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RangeTuple", into = "RangeTuple")]
pub struct Range {
    /// First block.
    pub first_block: u64,
    /// Block after the last; `None` for "to the end of the table".
    pub end_block: Option<u64>,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Sum of the row digests.
    pub digest: u128,
    /// Index of the range's first blob in the file's list of blobs.
    pub first_blob: u64,
    /// How many blobs.
    pub blobs: u64,
}

type RangeTuple = (u64, Option<u64>, u64, u64, String, u64, u64);

impl From<Range> for RangeTuple {
    fn from(r: Range) -> Self {
        (r.first_block, r.end_block, r.rows, r.bytes, format!("{:032x}", r.digest), r.first_blob, r.blobs)
    }
}

impl From<RangeTuple> for Range {
    fn from(t: RangeTuple) -> Self {
        Self {
            first_block: t.0,
            end_block: t.1,
            rows: t.2,
            bytes: t.3,
            // A digest that cannot be read matches nothing, so the range is read again.
            digest: u128::from_str_radix(&t.4, 16).unwrap_or_default(),
            first_blob: t.5,
            blobs: t.6,
        }
    }
}

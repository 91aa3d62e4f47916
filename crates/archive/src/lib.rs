//! The archive that `pg_dump` writes, as a model: its table of contents, what each entry needs, how to put data
//! entries into a schema-only archive, what to run to restore it, and how two archives differ.
//!
//! Everything works on bytes in memory. The crate opens no file and no connection, and knows nothing of async.
//!
//! The facts about the format come from PostgreSQL's `src/bin/pg_dump`: `pg_backup_archiver.c` (header, table of
//! contents, restore order), `pg_backup_custom.c`, `pg_backup_directory.c` (what each format adds) and `pg_dump.c`
//! (what each kind of entry holds).

mod acl;
mod compare;
mod data;
mod display;
mod error;
mod grants;
mod identity;
mod inventory;
mod keywords;
mod large_objects;
mod materialized_views;
mod model;
mod normalize;
mod owner;
mod plan;
mod quote;
mod read;
mod rename;
mod sql;
mod tokens;
mod write;

pub use compare::{CompareOptions, Difference, DifferenceKind, compare};
pub use data::{SequenceSet, TABLE_DATA_END, TableData};
pub use error::ArchiveError;
pub use grants::{Grant, grants_sql};
pub use identity::ObjectIdentity;
pub use inventory::inventory;
pub use large_objects::{BlobsFile, LargeObject, LargeObjectEntries};
pub use materialized_views::MaterializedViewData;
pub use model::{Archive, CatalogId, Created, Entry, Format, Header, OffsetState, Section, Storage, Version};
pub use plan::{Pass, Phase, RestorePlan, Step, StepKind, plan};
pub use quote::{quote_identifier, quote_literal, quote_qualified};
pub use rename::{Renames, Rewritten, Wording};
pub use sql::{RestoreOptions, Sql, session_setup};

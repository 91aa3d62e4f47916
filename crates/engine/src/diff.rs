//! What differs between two snapshots, or between a snapshot and a live database: definitions by object, roles and settings,
//! sequences, files, and rows by primary key.
//!
//! Nothing is changed anywhere. Of the rows only what can differ is read ([`rows`]); everything that is kept in memory is bounded.

mod definitions;
mod facts;
mod files;
mod globals;
mod items;
mod objects;
mod secret;
mod supabase;
mod tables;

use std::sync::Arc;

use basekeep_archive::Archive;
use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

pub use self::items::{FieldChange, ItemDifference, Items, Value};
pub use self::objects::ObjectDifference;
pub use self::secret::Secrets;
pub use self::tables::{TableDifference, TableFigures};
use crate::event::begin;
use crate::restore::{self, Contents};
use crate::stored::globals::Globals;
use crate::stored::manifest::{Extension, LargeObjects, Manifest, Missing, Sequence, Table};
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer, ResultExt};

/// How one thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Both have it, otherwise.
    Changed,
}

impl Change {
    /// `added`, `removed` or `changed`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// What to compare, and how much of it to tell.
#[derive(Debug, Clone)]
pub struct Options {
    /// Compare definitions, roles, settings, sequences and files.
    pub definitions: bool,
    /// Compare the tables' counts and sizes.
    pub tables: bool,
    /// The most files of a kind that are named; the others are counted.
    pub limit: usize,
    /// What is hidden.
    pub secrets: Secrets,
}

impl Default for Options {
    fn default() -> Self {
        Self { definitions: true, tables: true, limit: 20, secrets: Secrets::default() }
    }
}

/// One of the two things that were compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The snapshot's id; `None` for a live database.
    pub snapshot: Option<String>,
    /// The source's name, or where the live database is.
    pub source: String,
    /// When the snapshot was taken.
    pub time: Timestamp,
}

/// What differs.
#[derive(Debug, Clone)]
pub struct Diff {
    /// The first side, `old` in what follows.
    pub a: Side,
    /// The second side, `new`.
    pub b: Side,
    /// Objects, by the object that they belong to.
    pub objects: Vec<ObjectDifference>,
    /// Everything else that has a name and properties, by kind; only kinds with differences.
    pub items: Vec<Items>,
    /// Tables with rows that differ, or that only one side has.
    pub tables: Vec<TableDifference>,
    /// Tables whose rows are equal.
    pub equal_tables: u64,
    /// What could not be compared.
    pub not_compared: Vec<Missing>,
}

impl Diff {
    /// Whether nothing differs, of what was compared.
    pub fn is_equal(&self) -> bool {
        self.objects.is_empty() && self.items.is_empty() && self.tables.is_empty()
    }
}

/// One side, read.
struct Described {
    side: Side,
    archive: Archive,
    globals: Result<Globals, String>,
    sequences: Vec<Sequence>,
    extensions: Vec<Extension>,
    large_objects: LargeObjects,
    tables: Vec<Table>,
    /// What is not in the snapshot.
    missing: Vec<Missing>,
}

impl Described {
    fn of(snapshot: &Snapshot, contents: Contents) -> Self {
        let Contents { archive, manifest, globals, .. } = contents;
        let Manifest { sequences, extensions, large_objects, tables, not_captured, .. } = manifest;
        let side = Side {
            snapshot: Some(snapshot.id.to_string()),
            source: snapshot.hostname.clone(),
            time: snapshot.time,
        };
        Self { side, archive, globals, sequences, extensions, large_objects, tables, missing: not_captured }
    }
}

/// Compares two snapshots; `a` is the older one in what is told.
///
/// # Errors
/// When one of them cannot be read.
pub async fn snapshots(
    repository: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    options: &Options,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<Diff, EngineError> {
    let lock = restore::lock(repository).await?;
    let work = async {
        let began = begin(observer, "definitions");
        repository.load_index().await.doing(|| "read the repository's index")?;
        let left = Described::of(a, Contents::read(repository, a).await?);
        let right = Described::of(b, Contents::read(repository, b).await?);
        let mut diff = definitions::compare(&left, &right, options);
        if options.definitions {
            diff.items.extend(supabase::compare(repository, a, b, options).await?);
            diff.items.extend(files::compare(repository, a, b, options).await?);
        }
        began.end(counted(diff.objects.len() as u64, "difference", "differences"));
        Ok(diff)
    };
    let result = interrupt.guard(work).await;
    let released = lock.release().await;
    let diff = result?;
    released.doing(|| "remove the repository's lock")?;
    Ok(diff)
}

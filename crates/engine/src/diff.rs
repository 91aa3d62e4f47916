//! What differs between two snapshots, or between a snapshot and a live database: definitions by object, roles and settings,
//! sequences, files, and rows by primary key.
//!
//! Nothing is changed anywhere. Of the rows only what can differ is read ([`rows`]); everything that is kept in memory is bounded.

mod definitions;
mod facts;
mod files;
mod globals;
mod items;
mod live;
mod objects;
mod rows;
mod secret;
mod selected;
mod supabase;
mod tables;

use std::sync::Arc;

use basekeep_archive::Archive;
use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

pub use self::items::{FieldChange, ItemDifference, Items, Value};
pub use self::live::live;
pub use self::objects::ObjectDifference;
pub(crate) use self::rows::shape::{Columns, Of, Shape};
pub use self::rows::{RowChange, RowDifferences};
pub use self::secret::Secrets;
use self::selected::Chosen;
pub use self::tables::{TableDifference, TableFigures};
use crate::event::begin;
use crate::restore::{self, Contents};
use crate::selection::Selection;
use crate::stored::columns;
use crate::stored::globals::Globals;
use crate::stored::manifest::{Extension, LargeObjects, Missing, Sequence, Table};
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer, listing};

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
    /// What to compare of tables.
    pub tables: Tables,
    /// Which parts, schemas, tables and objects. It is applied to both sides; what only one of them has is found, too.
    pub selection: Selection,
    /// The most files of a kind and rows of a table that are told; the others are counted.
    pub limit: usize,
    /// Values longer than this are cut, in bytes.
    pub longest: usize,
    /// The most bytes of rows of one table in memory; more go to temporary files.
    pub memory: usize,
    /// What is hidden.
    pub secrets: Secrets,
}

/// What is compared of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// Nothing.
    Nothing,
    /// Counts, sizes and digests, as they stand in the manifests.
    Figures,
    /// Their rows, too.
    Rows,
}

impl Options {
    fn bounds(&self) -> rows::Bounds {
        rows::Bounds { limit: self.limit, memory: self.memory }
    }

    fn shape(
        &self,
        table: (&str, &str),
        a: &rows::shape::Columns,
        b: &rows::shape::Columns,
    ) -> rows::shape::Shape {
        rows::shape::Shape::new(table, a, b, &self.secrets, self.longest)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            definitions: true,
            tables: Tables::Rows,
            selection: Selection::default(),
            limit: 20,
            longest: 64 << 10,
            memory: 256 << 20,
            secrets: Secrets::default(),
        }
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
    /// What to know about the comparison.
    pub notes: Vec<String>,
}

impl Diff {
    /// Whether nothing differs, of what was compared.
    pub fn is_equal(&self) -> bool {
        self.objects.is_empty() && self.items.is_empty() && self.tables.is_empty()
    }
}

/// One side, without its rows.
struct Described<'a> {
    side: Side,
    archive: &'a Archive,
    globals: Result<&'a Globals, &'a str>,
    sequences: &'a [Sequence],
    extensions: &'a [Extension],
    large_objects: &'a LargeObjects,
    /// What is not in the snapshot.
    missing: &'a [Missing],
}

impl<'a> Described<'a> {
    fn of(snapshot: &Snapshot, contents: &'a Contents) -> Self {
        let manifest = &contents.manifest;
        Self {
            side: side(snapshot),
            archive: &contents.archive,
            globals: contents.globals.as_ref().map_err(String::as_str),
            sequences: &manifest.sequences,
            extensions: &manifest.extensions,
            large_objects: &manifest.large_objects,
            missing: &manifest.not_captured,
        }
    }
}

fn side(snapshot: &Snapshot) -> Side {
    Side { snapshot: Some(snapshot.id.to_string()), source: snapshot.hostname.clone(), time: snapshot.time }
}

/// A table's columns, and the key that tells its rows apart.
pub(crate) fn columns_of(contents: &Contents, stored: Option<&columns::Columns>, table: &Table) -> Columns {
    tables::Described::new(contents, stored).of(table)
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
        let (left, right) = (Contents::read(repository, a).await?, Contents::read(repository, b).await?);
        let chosen = Chosen::of(&options.selection, &left.archive, &right.archive)?;
        let sides = (Described::of(a, &left), Described::of(b, &right));
        let mut diff = definitions::compare(&sides.0, &sides.1, &chosen, options);
        if options.definitions {
            diff.items.extend(supabase::compare(repository, a, b, options).await?);
            diff.items.extend(files::compare(repository, a, b, options).await?);
            diff.items.retain(|items| chosen.wants_items(items.kind));
        }
        began.end(counted(diff.objects.len() as u64, "difference", "differences"));
        if options.tables != Tables::Nothing {
            let both = Both { repository, a: &left, b: &right, chosen: &chosen, options, observer };
            both.tables(&mut diff, a, b).await?;
        }
        Ok(diff)
    };
    let result = interrupt.guard(work).await;
    restore::release(lock, observer).await;
    result
}

/// Two snapshots, whose tables are compared.
struct Both<'a> {
    repository: &'a Repository,
    a: &'a Contents,
    b: &'a Contents,
    chosen: &'a Chosen,
    options: &'a Options,
    observer: &'a Arc<dyn Observer>,
}

impl Both<'_> {
    async fn tables(&self, diff: &mut Diff, a: &Snapshot, b: &Snapshot) -> Result<(), EngineError> {
        let began = begin(self.observer, "tables");
        let (columns_a, columns_b) =
            (listing::columns(self.repository, a).await?, listing::columns(self.repository, b).await?);
        let (known_a, known_b) = (
            tables::Described::new(self.a, columns_a.as_ref()),
            tables::Described::new(self.b, columns_b.as_ref()),
        );
        let mut read = 0;
        for ((schema, name), pair) in tables::pairs(&self.a.manifest.tables, &self.b.manifest.tables) {
            if !self.chosen.wants_table(schema, name) {
                continue;
            }
            let mut difference = TableDifference {
                schema: schema.to_owned(),
                name: name.to_owned(),
                change: Change::Changed,
                a: pair.a.map(TableFigures::of),
                b: pair.b.map(TableFigures::of),
                rows: None,
            };
            match (pair.a, pair.b) {
                (Some(a), Some(b)) => {
                    let (of_a, of_b) = (known_a.of(a), known_b.of(b));
                    if of_a.names == of_b.names && tables::same_rows(a, b) {
                        diff.equal_tables += 1;
                        continue;
                    }
                    if self.options.tables == Tables::Rows {
                        let shape = self.options.shape((schema, name), &of_a, &of_b);
                        let sides = (
                            rows::StoredTable { contents: self.a, table: a },
                            rows::StoredTable { contents: self.b, table: b },
                        );
                        let bounds = self.options.bounds();
                        let found = rows::compare(self.repository, sides.0, sides.1, &shape, bounds).await?;
                        read += found.read_bytes;
                        if found.count() == 0 && of_a.names.len() == of_b.names.len() && shape.is_complete() {
                            // The same columns in another order.
                            diff.equal_tables += 1;
                            continue;
                        }
                        difference.rows = Some(found);
                    }
                }
                (Some(_), None) => difference.change = Change::Removed,
                (None, _) => difference.change = Change::Added,
            }
            diff.tables.push(difference);
        }
        let read_some = diff.tables.iter().any(|table| table.rows.is_some());
        if read_some && !known_a.knows_keys() && !known_b.knows_keys() {
            let note = "the snapshots do not say which keys tables have (they are older): rows are compared as a whole";
            diff.notes.push(note.to_owned());
        }
        began.end(format!(
            "different: {}, {} read",
            counted(diff.tables.len() as u64, "table", "tables"),
            crate::words::bytes(read)
        ));
        Ok(())
    }
}

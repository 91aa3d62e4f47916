//! What all forms of one export work from: the snapshot, the selection, and a place to count progress.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use basekeep_archive::Entry;
use basekeep_repository::{Repository, Snapshot};

use super::table::{Counts, TableSource};
use super::{ExportOptions, Halves};
use crate::mask::Masks;
use crate::restore::Contents;
use crate::selection::{Part, Selected};
use crate::stored::manifest::Table;
use crate::words::counted;
use crate::{EngineError, Event, Observer, Progress};

/// Names in a warning.
const MOST_NAMES: usize = 10;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// One export.
pub(crate) struct Job<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) contents: &'a Contents,
    pub(crate) options: &'a ExportOptions,
    pub(super) observer: &'a Arc<dyn Observer>,
    /// What rows are changed by.
    masks: Option<&'a Masks>,
    /// What of the archive is wanted.
    selected: Selected,
    /// Tables with rows, by the dump id of their data.
    tables: HashMap<i32, &'a Table>,
    progress: Mutex<(Progress, Instant)>,
}

/// Sums over tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) tables: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Sums {
    /// `2 tables, 5,002 rows`.
    pub(super) fn words(&self) -> String {
        format!("{}, {}", counted(self.tables, "table", "tables"), counted(self.rows, "row", "rows"))
    }

    /// Takes one table into account.
    pub(super) fn add(&mut self, counts: Counts) {
        self.tables += 1;
        self.rows += counts.rows;
        self.bytes += counts.bytes;
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.tables += other.tables;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl<'a> Job<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        snapshot: &'a Snapshot,
        contents: &'a Contents,
        options: &'a ExportOptions,
        observer: &'a Arc<dyn Observer>,
        masks: Option<&'a Masks>,
    ) -> Result<Self, EngineError> {
        let selected = options.selection.apply(&contents.archive)?;
        let tables: HashMap<i32, &Table> =
            contents.manifest.tables.iter().map(|table| (table.dump_id, table)).collect();
        let job = Self {
            repository,
            snapshot,
            contents,
            options,
            observer,
            masks,
            selected,
            tables,
            progress: Mutex::new((Progress::default(), Instant::now())),
        };
        let (mut bytes, mut items) = (0, 0);
        for table in job.tables() {
            bytes += table.table.bytes;
            items += 1;
        }
        if let Ok(mut progress) = job.progress.lock() {
            progress.0.bytes_expected = bytes;
            progress.0.items_expected = items;
        }
        Ok(job)
    }

    /// Whether an entry of the archive is to be exported.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        self.selected.contains(entry)
    }

    /// Whether a part is meant that is not, or not only, in the archive.
    pub(super) fn has(&self, part: Part) -> bool {
        self.selected.has(part)
    }

    /// Whether nothing was left out by a selection.
    pub(super) fn is_everything(&self) -> bool {
        self.options.selection.is_everything()
    }

    /// What to know about the selection: what it needs and does not have.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.selected.needed.iter().map(|needed| self.name(needed.dump_id)).collect();
        names.sort();
        names.dedup();
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        if names.is_empty() || self.options.halves == Halves::Data {
            return Vec::new();
        }
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        vec![format!(
            "what is exported needs {}{more}, which are not exported (--with-dependencies)",
            names.join(", ")
        )]
    }

    fn name(&self, dump_id: i32) -> String {
        let entry = self.contents.archive.entries.iter().find(|entry| entry.dump_id == dump_id);
        entry.map(Entry::display).unwrap_or_default()
    }

    /// The tables whose rows are wanted, in the archive's order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableSource<'a>> + '_ {
        let entries = self.contents.archive.entries.iter();
        entries.filter(|entry| self.wants(entry)).filter_map(|entry| self.table(entry.dump_id))
    }

    /// The table of a data entry.
    pub(super) fn table(&self, dump_id: i32) -> Option<TableSource<'a>> {
        let table = self.tables.get(&dump_id)?;
        let mask = self.masks.and_then(|masks| masks.for_table(&table.schema, &table.name));
        Some(TableSource { repository: self.repository, contents: self.contents, table, mask })
    }

    /// Begins to count anew, for another form.
    pub(super) fn restart(&self) {
        if let Ok(mut progress) = self.progress.lock() {
            progress.0 = Progress { bytes: 0, rows: 0, items: 0, ..progress.0 };
        }
    }

    /// Counts rows that were written, and tells of it now and then.
    pub(crate) fn passed(&self, rows: u64, bytes: u64) {
        self.count(|progress| {
            progress.rows += rows;
            progress.bytes += bytes;
        });
    }

    /// Counts a table that is done.
    pub(super) fn table_done(&self) {
        self.count(|progress| progress.items += 1);
    }

    fn count(&self, change: impl FnOnce(&mut Progress)) {
        let Ok(mut progress) = self.progress.lock() else { return };
        change(&mut progress.0);
        if progress.1.elapsed() >= TICK {
            progress.1 = Instant::now();
            self.observer.event(Event::Progressed(progress.0));
        }
    }
}

//! A snapshot, or a part of it, as files that other programs understand: SQL, schema text, archives, values. No server is
//! needed: definitions come from the snapshot's archive, rows from its COPY text.
//!
//! Each form is a module that writes to a [`Sink`]; where the bytes go and what the files are called is this module's and
//! [`place`]'s business. Memory is bounded: rows are streamed, a file is written by one thread with a bounded queue.

mod archive;
mod beside;
mod components;
mod files;
mod job;
mod large_objects;
mod named;
mod order;
mod place;
mod rows;
mod schema;
mod script;
mod sets;
mod sink;
mod split;
mod table;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use basekeep_repository::{Repository, Snapshot};

use self::job::{Job, Sums};
use self::place::Place;
pub use self::place::{LIST, Target, WrittenFile};
use self::script::ScriptOptions;
pub use self::sets::{SetOptions, SetReport, keep_set};
pub(crate) use self::sink::Sink;
pub(crate) use self::table::{Counts, TableSource};
use crate::event::begin;
use crate::mask::{MaskPlan, Masks, Rules};
use crate::restore::{self, Contents};
use crate::selection::Selection;
use crate::values::Numbers;
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer};

/// One form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One SQL script for psql.
    Sql,
    /// Definitions as text that stays the same while they do.
    Schema,
    /// Rows as one JSON array for each table.
    Json,
    /// Rows as JSON, one on each line, a file for each table.
    JsonLines,
    /// Rows as CSV with a header, a file for each table.
    Csv,
    /// Rows as Parquet, a file for each table.
    Parquet,
    /// One script for each component.
    Components,
    /// An archive for pg_restore: a folder, or in a stream one file.
    Archive,
    /// An archive for pg_restore in one file.
    Dump,
    /// What is beside the database: storage, edge functions, migrations, the project's folder.
    Files,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstd,
}

impl Compression {
    /// What the names of compressed files end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Which halves of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Halves {
    /// Definitions and data.
    #[default]
    Both,
    /// Definitions alone.
    Definitions,
    /// Data alone.
    Data,
}

/// What to export, and how.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// What of the snapshot.
    pub selection: Selection,
    /// The forms.
    pub formats: BTreeSet<Format>,
    /// Definitions, data or both, where a form can have both.
    pub halves: Halves,
    /// Definitions as one file for each object, in [`Format::Schema`].
    pub split: bool,
    /// Rows as `INSERT` statements rather than COPY, in SQL.
    pub inserts: bool,
    /// Owners as they were.
    pub owner: bool,
    /// Grants as they were.
    pub privileges: bool,
    /// How JSON shows numbers that common readers would change.
    pub numbers: Numbers,
    /// What personal values are replaced by.
    pub mask: Option<Rules>,
    /// How files are compressed.
    pub compression: Compression,
    /// Replace files that no export is known to have written.
    pub overwrite: bool,
}

impl ExportOptions {
    /// Everything in these forms.
    pub fn new(formats: impl IntoIterator<Item = Format>) -> Self {
        Self {
            selection: Selection::default(),
            formats: formats.into_iter().collect(),
            halves: Halves::Both,
            split: false,
            inserts: false,
            owner: true,
            privileges: true,
            numbers: Numbers::default(),
            mask: None,
            compression: Compression::None,
            overwrite: false,
        }
    }
}

/// What an export wrote.
#[derive(Debug, Clone, Default)]
pub struct ExportReport {
    /// Files in the order in which they were written; empty for a stream.
    pub files: Vec<WrittenFile>,
    /// Tables whose rows were written, counted once for each form.
    pub tables: u64,
    /// Rows of these.
    pub rows: u64,
    /// Bytes of these as COPY text.
    pub bytes: u64,
    /// What was masked, and what perhaps should be; `None` without masks.
    pub masks: Option<MaskPlan>,
    /// Files of earlier exports that were removed.
    pub removed: u64,
    /// What to know.
    pub warnings: Vec<String>,
    /// What could not be exported, and why. Not empty means exit code 3.
    pub failed: Vec<(String, String)>,
}

/// Exports a snapshot.
///
/// Errors: kind `Usage` where the target cannot take what is asked for; `Difference` where rows are not those that were
/// backed up. The file that was being written is not left behind then.
pub async fn export(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &ExportOptions,
    target: Target,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<ExportReport, EngineError> {
    let lock = interrupt.guard(restore::lock(repository)).await?;
    let work = export_locked(repository, snapshot, options, target, observer);
    let result = interrupt.guard(work).await;
    restore::release(lock, observer).await;
    result
}

/// The same; the caller holds the lock and has loaded the index.
async fn export_locked(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &ExportOptions,
    target: Target,
    observer: &Arc<dyn Observer>,
) -> Result<ExportReport, EngineError> {
    let contents = Contents::read(repository, snapshot).await?;
    let masks = match &options.mask {
        Some(rules) => Some(Masks::prepare(rules, repository, snapshot, &contents).await?),
        None => None,
    };
    let job = Job::new(repository, snapshot, &contents, options, observer, masks.as_ref())?;
    let mut place = Place::open(target, options.overwrite)?;
    let mut report = ExportReport {
        warnings: job.warnings(),
        masks: masks.as_ref().map(|masks| masks.plan().clone()),
        ..ExportReport::default()
    };
    for format in &options.formats {
        write(&job, *format, &mut place, &mut report).await?;
    }
    if let Some(folder) = place.folder() {
        // What goes into version control has no dates.
        if options.formats.iter().any(|format| *format != Format::Schema) {
            beside::write(&job, folder).await?;
        }
        folder.finish().await?;
        report.files = folder.written().to_vec();
    }
    Ok(report)
}

async fn write(
    job: &Job<'_>,
    format: Format,
    place: &mut Place,
    report: &mut ExportReport,
) -> Result<(), EngineError> {
    let began = begin(job.observer, format.doing());
    job.restart();
    let compression = job.options.compression;
    let options = ScriptOptions::of(job.options);
    match format {
        Format::Sql => {
            let name = format!("database.sql{}", compression.suffix());
            let mut sink = place.begin(&name, compression)?;
            let sums = script::whole(job, &options, &mut sink).await?;
            place.end(&name, sink).await?;
            report.add(sums);
            began.end(sums.words());
        }
        Format::Schema if job.options.split => {
            let Some(folder) = place.folder() else {
                return Err(EngineError::usage("one file for each object needs a folder")
                    .hint("write to a folder with -o DIR, or leave --split out"));
            };
            report.removed += split::write(job, &options, folder, job.is_everything())?;
            began.end(String::new());
        }
        Format::Schema => {
            let name = format!("schema.sql{}", compression.suffix());
            let mut sink = place.begin(&name, compression)?;
            let objects = schema::whole(job, &options, &mut sink).await?;
            place.end(&name, sink).await?;
            began.end(counted(objects as u64, "object", "objects"));
        }
        Format::Json | Format::JsonLines | Format::Csv | Format::Parquet => {
            let sums = values::write(job, format, place, report).await?;
            report.add(sums);
            began.end(sums.words());
        }
        Format::Components => {
            if place.folder().is_none() {
                return Err(EngineError::usage("components are several files and need a folder")
                    .hint("write to a folder with -o DIR"));
            }
            let sums = components::write(job, place).await?;
            report.add(sums);
            began.end(sums.words());
        }
        Format::Archive if place.folder().is_some() => {
            if compression == Compression::Zstd {
                let needs = "pg_restore reads zstd from release 16 on, and only where it was built with it; gzip is read by all";
                report.warnings.push(needs.to_owned());
            }
            let sums = archive::directory(job, place).await?;
            report.add(sums);
            began.end(sums.words());
        }
        Format::Archive | Format::Dump => {
            let name = "database.dump";
            let mut sink = place.begin(name, Compression::None)?;
            let sums = archive::custom(job, &mut sink).await?;
            place.end(name, sink).await?;
            report.add(sums);
            began.end(sums.words());
        }
        Format::Files => {
            let files = files::write(job, place).await?;
            began.end(format!("{files} files"));
        }
    }
    Ok(())
}

impl ExportReport {
    /// Tells something once.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn add(&mut self, sums: Sums) {
        self.tables += sums.tables;
        self.rows += sums.rows;
        self.bytes += sums.bytes;
    }
}

impl Format {
    fn doing(self) -> &'static str {
        match self {
            Self::Sql => "write SQL",
            Self::Schema => "write definitions",
            Self::Json | Self::JsonLines => "write JSON",
            Self::Csv => "write CSV",
            Self::Parquet => "write Parquet",
            Self::Components => "write components",
            Self::Archive | Self::Dump => "write an archive",
            Self::Files => "write files",
        }
    }
}

//! `basekeep export`: a snapshot, or a part of it, in forms that other programs understand.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use basekeep_engine::export::{self, Compression, ExportOptions, ExportReport, Format, Halves, Target};
use basekeep_engine::values::Numbers;
use basekeep_engine::{EngineError, listing};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::arguments::mask::{self, MaskArguments, MaskDocument};
use crate::arguments::selection::SelectionArguments;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;
use crate::progress;

/// Write a snapshot as SQL, JSON, CSV or Parquet, without a server
#[derive(Debug, Args)]
#[command(
    after_long_help = "The snapshot's definitions and rows are written as files below a folder, or one of them to standard output \
(-o -). What an interrupted export leaves behind ends with `.partial`; files have their names once they are complete. Files that no \
export wrote are not replaced unless --overwrite is given.\n\n\
Exports hold everything that the database holds, password hashes too: files are readable for their owner alone."
)]
pub(crate) struct Export {
    /// An id, its beginning, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// The folder to write to, or - for standard output
    #[arg(long, short, value_name = "DIR|-")]
    output: PathBuf,
    /// The forms; several are separated by commas
    #[arg(long, value_name = "FORMAT", value_enum, value_delimiter = ',', default_value = "sql")]
    format: Vec<FormatName>,
    /// The source that `latest` means
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Definitions alone
    #[arg(long, conflicts_with = "data_only")]
    schema_only: bool,
    /// Rows, sequences' positions and large objects alone
    #[arg(long)]
    data_only: bool,
    /// With --format schema, a file for each object
    #[arg(long)]
    split: bool,
    /// In SQL, rows as INSERT statements rather than COPY
    #[arg(long)]
    inserts: bool,
    /// In SQL, everything belongs to the role that loads it
    #[arg(long)]
    no_owner: bool,
    /// In SQL, leave out grants
    #[arg(long)]
    no_privileges: bool,
    /// In JSON, numbers that common readers would change
    #[arg(long, value_name = "HOW", value_enum, default_value = "exact-strings")]
    numbers: NumbersName,
    #[command(flatten)]
    mask: MaskArguments,
    /// Compress files
    #[arg(long, value_name = "HOW", value_enum)]
    compress: Option<Compress>,
    /// Replace files that no export is known to have written
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    selection: SelectionArguments,
}

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One script for psql
    Sql,
    /// Definitions as text that is the same byte for byte while they are
    Schema,
    /// Rows as a JSON array for each table
    Json,
    /// Rows as lines of JSON, a file for each table
    Jsonl,
    /// Rows as CSV with a header, a file for each table
    Csv,
    /// Rows as Parquet, a file for each table
    Parquet,
    /// One script for each component: roles, users, functions, policies and so on
    Components,
    /// A pg_dump archive for pg_restore, as a folder (to standard output: as one file)
    Archive,
    /// A pg_dump archive in one file
    Dump,
    /// Storage files, edge functions, migrations and the project's folder
    Files,
    /// All of them but jsonl, parquet and dump
    All,
}

impl FormatName {
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Sql => &[Format::Sql],
            Self::Schema => &[Format::Schema],
            Self::Json => &[Format::Json],
            Self::Jsonl => &[Format::JsonLines],
            Self::Csv => &[Format::Csv],
            Self::Parquet => &[Format::Parquet],
            Self::Components => &[Format::Components],
            Self::Archive => &[Format::Archive],
            Self::Dump => &[Format::Dump],
            Self::Files => &[Format::Files],
            Self::All => &[
                Format::Sql,
                Format::Schema,
                Format::Json,
                Format::Csv,
                Format::Components,
                Format::Archive,
                Format::Files,
            ],
        }
    }
}

/// How numbers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NumbersName {
    /// Strings
    ExactStrings,
    /// Numbers all the same
    AsIs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    /// .gz
    Gzip,
    /// .zst
    Zstd,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    files: Vec<FileDocument<'a>>,
    tables: u64,
    rows: u64,
    bytes: u64,
    removed: u64,
    masks: Option<MaskDocument<'a>>,
    warnings: &'a [String],
    failed: Vec<FailedDocument<'a>>,
}

#[derive(Serialize)]
struct FileDocument<'a> {
    name: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct FailedDocument<'a> {
    what: &'a str,
    reason: &'a str,
}

pub(crate) async fn run(command: &Export, context: &Context) -> Result<Exit, EngineError> {
    let to_stream = command.output.as_os_str() == "-";
    if to_stream && context.output.json {
        return Err(EngineError::usage("--json and -o - both want standard output")
            .hint("write to a folder with -o DIR"));
    }
    let options = ExportOptions { mask: command.mask.rules(context)?, ..options(command) };
    // Before anything of the first one is on its way.
    if to_stream && options.formats.len() > 1 {
        return Err(EngineError::usage("standard output takes one file, and these are several forms")
            .hint("choose one with --format, or write to a folder with -o DIR"));
    }
    let repository = context.open_repository().await?;
    let find = listing::find(&repository, &command.snapshot, command.source.as_deref());
    let snapshot = context.interrupt.guard(find).await?;
    let gone = Arc::new(AtomicBool::new(false));
    let target = match to_stream {
        true => Target::Stream(Box::new(Stdout { gone: gone.clone() })),
        false => Target::Folder(command.output.clone()),
    };
    let observer = context.observer();
    let result =
        export::export(&repository, &snapshot, &options, target, &observer, &context.interrupt).await;
    let report = match result {
        Err(_) if gone.load(Relaxed) => return Ok(Exit::Done),
        result => result?,
    };
    let exit = if report.failed.is_empty() { Exit::Done } else { Exit::Incomplete };
    if context.output.json {
        progress::emit(&context.output, &document(&snapshot.id.to_string(), &report))?;
        return Ok(exit);
    }
    for warning in &report.warnings {
        context.output.warning(warning, None);
    }
    if let Some(plan) = &report.masks {
        mask::warn(plan, context);
    }
    for (what, reason) in &report.failed {
        context.output.warning(&format!("{what} was not exported: {reason}"), None);
    }
    if !to_stream && !context.output.quiet {
        context.output.data(&summary(command, &report))?;
    }
    Ok(exit)
}

fn options(command: &Export) -> ExportOptions {
    let formats = command.format.iter().flat_map(|format| format.formats()).copied();
    ExportOptions {
        halves: match (command.schema_only, command.data_only) {
            (true, _) => Halves::Definitions,
            (_, true) => Halves::Data,
            _ => Halves::Both,
        },
        selection: command.selection.selection(),
        split: command.split,
        inserts: command.inserts,
        owner: !command.no_owner,
        privileges: !command.no_privileges,
        numbers: match command.numbers {
            NumbersName::ExactStrings => Numbers::ExactStrings,
            NumbersName::AsIs => Numbers::AsIs,
        },
        compression: match command.compress {
            None => Compression::None,
            Some(Compress::Gzip) => Compression::Gzip,
            Some(Compress::Zstd) => Compression::Zstd,
        },
        overwrite: command.overwrite,
        ..ExportOptions::new(formats)
    }
}

fn summary(command: &Export, report: &ExportReport) -> String {
    let files = units::counted(report.files.len() as u64, "file", "files");
    let size = units::bytes(report.files.iter().map(|file| file.bytes).sum());
    let mut text = format!("{files}, {size}, in {}", command.output.display());
    if report.tables > 0 {
        let tables = units::counted(report.tables, "table", "tables");
        let rows = units::counted(report.rows, "row", "rows");
        text += &format!("; {tables} with {rows}");
    }
    if let Some(plan) = &report.masks {
        text += &format!("; {} masked", units::counted(plan.columns.len() as u64, "column", "columns"));
    }
    if report.removed > 0 {
        text += &format!("; {} of earlier exports removed", units::count(report.removed));
    }
    text += "\n";
    text + &report.masks.as_ref().map(mask::text).unwrap_or_default()
}

fn document<'a>(snapshot: &str, report: &'a ExportReport) -> Document<'a> {
    let files = report.files.iter().map(|file| FileDocument { name: &file.name, bytes: file.bytes });
    let failed = report.failed.iter().map(|(what, reason)| FailedDocument { what, reason });
    Document {
        snapshot: snapshot.to_owned(),
        files: files.collect(),
        tables: report.tables,
        rows: report.rows,
        bytes: report.bytes,
        removed: report.removed,
        masks: report.masks.as_ref().map(MaskDocument::of),
        warnings: &report.warnings,
        failed: failed.collect(),
    }
}

/// Standard output; a reader that has gone away (`| head`) is no error.
struct Stdout {
    gone: Arc<AtomicBool>,
}

impl Write for Stdout {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.noted(io::stdout().lock().write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.noted(io::stdout().lock().flush())
    }
}

impl Stdout {
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.gone.store(true, Relaxed);
        }
        result
    }
}

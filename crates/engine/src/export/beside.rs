//! What goes beside an export: roles, a script that loads it, and an inventory.

use super::job::Job;
use super::place::Folder;
use super::sink::FILE_MODE;
use crate::selection::Part;
use crate::stored::{markdown, path};
use crate::{EngineError, listing};

const GLOBALS: &str = "globals.sql";
const SCRIPT: &str = "restore.sh";
const MANIFEST: &str = "BACKUP_MANIFEST.md";
const SCRIPT_MODE: u32 = 0o700;
const LARGEST_GLOBALS: usize = 256 << 20;
const RESTORE: &str = include_str!("restore.sh");

/// Writes them.
pub(super) async fn write(job: &Job<'_>, folder: &mut Folder) -> Result<(), EngineError> {
    if job.has(Part::Roles) {
        let globals =
            listing::read_file(job.repository, job.snapshot, path::GLOBALS_SQL, LARGEST_GLOBALS).await?;
        if let Some(globals) = globals {
            folder.keep(GLOBALS, &globals, FILE_MODE)?;
        }
    }
    folder.keep(SCRIPT, RESTORE.as_bytes(), SCRIPT_MODE)?;
    let text = inventory(job, folder);
    folder.keep(MANIFEST, text.as_bytes(), FILE_MODE)
}

/// What the files are, and then what the snapshot's own manifest says.
fn inventory(job: &Job<'_>, folder: &Folder) -> String {
    let mut text = format!(
        "# Export of snapshot {}\n\nWritten by `basekeep export`; it holds whatever the database holds, password hashes too. \
         `sh restore.sh postgresql://…/empty_database` loads it with stock tools.\n",
        job.snapshot.id.short()
    );
    if !job.is_everything() {
        let arguments = job.options.selection.arguments().join(" ");
        text.push_str(&format!("\nOnly a part of the snapshot is here: `{}`\n", arguments.replace('`', "'")));
    }
    text.push_str("\n| file | bytes |\n| --- | ---: |\n");
    let (files, more) = folder.written().split_at(folder.written().len().min(MOST_FILES));
    for file in files {
        text.push_str(&format!("| {} | {} |\n", file.name.replace('|', "\\|"), file.bytes));
    }
    if !more.is_empty() {
        text.push_str(&format!(
            "| {} more | {} |\n",
            more.len(),
            more.iter().map(|file| file.bytes).sum::<u64>()
        ));
    }
    text.push('\n');
    text.push_str(&markdown::render(&job.contents.manifest));
    text
}

/// Files in the inventory's list; the list of an export of a large storage would be long.
const MOST_FILES: usize = 2000;

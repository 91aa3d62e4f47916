//! Content that is the same in every backup and known to this program: when it is damaged, it is stored again.
//!
//! The end marker of a table's rows is one blob that every table of every snapshot ends with. Without this, one rotten
//! blob would cost the rows of all of them.

use basekeep_archive::TABLE_DATA_END;
use basekeep_repository::{BlobId, Lock, Repository, WriterOptions};

use super::snapshots::Damaged;
use crate::backup::RESTORE_SCRIPT;
use crate::stored::path;
use crate::{EngineError, ResultExt};

/// One of them, as one blob.
struct Constant {
    name: &'static str,
    content: &'static [u8],
    /// Whether a file of this path in a snapshot holds it.
    is_in: fn(&str) -> bool,
}

const CONSTANTS: [Constant; 2] = [
    Constant {
        name: "the end marker of tables",
        content: TABLE_DATA_END,
        is_in: |path| path.contains("/database/"),
    },
    Constant {
        name: path::RESTORE_SH,
        content: RESTORE_SCRIPT.as_bytes(),
        is_in: |path| path.ends_with(path::RESTORE_SH),
    },
];

/// Stores those again that cannot be read and that one of the damaged files holds; their names. A dry run only looks.
pub(super) async fn store(
    repository: &Repository,
    lock: &Lock,
    damaged: &Damaged,
    dry_run: bool,
) -> Result<Vec<&'static str>, EngineError> {
    let mut missing = Vec::new();
    for constant in CONSTANTS {
        if !damaged.values().flat_map(|paths| paths.keys()).any(|path| (constant.is_in)(path)) {
            continue;
        }
        let content = constant.content;
        let read = repository.read_blobs(vec![BlobId::of(content)], content.len()).next().await;
        if !matches!(read, Some(Ok(_))) {
            missing.push((constant.name, content));
        }
    }
    let names = missing.iter().map(|(name, _)| *name).collect();
    if dry_run || missing.is_empty() {
        return Ok(names);
    }
    let doing = || "store content again that never changes";
    let writer = repository.writer(lock, WriterOptions::default());
    for (_, content) in missing {
        if let Err(error) = writer.put_file(content).await {
            writer.abort().await;
            return Err(error).doing(doing);
        }
    }
    writer.finish_without_snapshot().await.doing(doing)?;
    Ok(names)
}

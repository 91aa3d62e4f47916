//! The project's folder: each file streamed into the snapshot. A file that changes while it is read is read once more, and
//! otherwise named as missing.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use basekeep_repository::{FileContent, Writer};
use basekeep_supabase::project::{self, Found};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::parts::{PartFile, Parts};
use super::{Source, Stopped};
use crate::stored::manifest::{Supabase, Warning};
use crate::words::counted;
use crate::{EngineError, Observer, ResultExt, event};

/// Average chunk size of a file, in bytes.
const CHUNK_AVERAGE: usize = 256 << 10;
/// How much is read at once, in bytes.
const PIECE: usize = 256 << 10;
/// How often a file that changes meanwhile is read.
const ATTEMPTS: usize = 2;

/// Captures it. `recognised` says whether the database is that of a Supabase project: of other databases the folder is kept
/// too, but nobody misses it.
pub(super) async fn capture(
    writer: &Writer,
    source: &Source,
    recognised: bool,
    observer: &Arc<dyn Observer>,
) -> Result<Parts, Stopped> {
    let mut parts = Parts::default();
    let Some(folder) = source.project.clone() else { return Ok(parts) };
    let shown = folder.display().to_string();
    let scanned = tokio::task::spawn_blocking(move || project::scan(&folder)).await;
    let scanned = scanned.map_err(|error| EngineError::failed(format!("look through {shown}: {error}")))?;
    let Some(found) = scanned else {
        if recognised {
            parts.warnings.push(Warning {
                code: "no-project-folder".into(),
                message: format!(
                    "{shown} has no folder supabase, so no functions and migrations were taken from it"
                ),
                hint: Some("set `project` of the source to the folder that holds supabase/".into()),
            });
        }
        return Ok(parts);
    };
    let began = event::begin(observer, "project");
    let mut described = Supabase::default();
    count(&found, &mut described);
    for problem in &found.problems {
        parts.miss(problem.what.clone(), problem.reason.clone(), None);
    }
    for file in &found.files {
        match store(writer, &file.file).await.doing(|| format!("store {}", file.path))? {
            Ok(content) => parts.files.push(PartFile { path: file.path.clone(), content }),
            Err(reason) => parts.miss(file.file.display().to_string(), reason, None),
        }
    }
    described.supply_again = found.supply_again;
    if recognised {
        parts.supabase = Some(described);
    }
    began.end(counted(parts.files.len() as u64, "file", "files"));
    Ok(parts)
}

fn count(found: &Found, described: &mut Supabase) {
    described.count("edge_functions", found.functions.len() as u64);
    for file in &found.files {
        let name = match file.path.split('/').next() {
            Some("functions") => "edge_function_files",
            Some("migrations") => "migration_files",
            _ => "project_files",
        };
        described.count(name, 1);
    }
}

/// Streams a file. The inner error is why the file could not be taken; the outer one is the repository's.
async fn store(
    writer: &Writer,
    path: &Path,
) -> Result<Result<FileContent, String>, basekeep_repository::RepositoryError> {
    for _ in 0..ATTEMPTS {
        let (before, mut file) = match open(path).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut stored = writer.file(CHUNK_AVERAGE);
        let mut piece = vec![0; PIECE];
        let mut failed = None;
        loop {
            match file.read(&mut piece).await {
                Ok(0) => break,
                Ok(length) => stored.write(&piece[..length]).await?,
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            }
        }
        // Also of a file that is not kept: one that is not finished would forbid the snapshot.
        let content = stored.finish().await?;
        if let Some(failed) = failed {
            return Ok(Err(failed));
        }
        let after = tokio::fs::metadata(path).await.ok().map(|metadata| state(&metadata));
        if after == Some(before) && content.size == before.0 {
            return Ok(Ok(content));
        }
    }
    Ok(Err("it changed while it was read".into()))
}

async fn open(path: &Path) -> std::io::Result<((u64, Option<SystemTime>), File)> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    Ok((state(&metadata), file))
}

fn state(metadata: &std::fs::Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

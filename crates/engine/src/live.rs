//! Whether a database works as the project in a snapshot should: the checklist of [`basekeep_supabase::live`], with what the
//! snapshot expects.

use std::sync::Arc;

use basekeep_archive::Archive;
use basekeep_postgres::{Client, ConnectOptions};
use basekeep_repository::{Repository, Snapshot};
use basekeep_supabase::live::{self, Expected, ExpectedTable};

pub use basekeep_supabase::live::{Check, Options, Outcome};

use crate::event::begin;
use crate::restore::{self, LARGEST_TOC};
use crate::stored::path;
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer, ResultExt, listing};

/// The checklist, gone through. A failed line is not an error here; the caller turns it into exit code 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveReport {
    /// Its lines, in the order in which people go through them.
    pub checks: Vec<Check>,
}

impl LiveReport {
    /// Whether no line failed.
    pub fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Failed)
    }
}

/// Goes through the checklist on `target`. Nothing in it stays changed, but for numbers that triggers take from sequences where
/// the options let them fire.
///
/// # Errors
/// When the snapshot cannot be read, or the target cannot be reached.
pub async fn check(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &ConnectOptions,
    options: Options,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<LiveReport, EngineError> {
    let work = async {
        let lock = restore::lock(repository).await?;
        let expected = expected(repository, snapshot).await;
        lock.release().await.doing(|| "remove the repository's lock")?;
        let expected = expected?;
        let began = begin(observer, "checklist");
        let mut client =
            Client::connect(target, "basekeep live check").await.doing(|| "connect to the target")?;
        let checks = live::check(&mut client, &expected, options).await.doing(|| "check the target")?;
        client.close().await;
        let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed).count() as u64;
        began.end(format!("{}, {failed} failed", counted(checks.len() as u64, "line", "lines")));
        Ok(LiveReport { checks })
    };
    interrupt.guard(work).await
}

/// What the snapshot says that its database has.
async fn expected(repository: &Repository, snapshot: &Snapshot) -> Result<Expected, EngineError> {
    let toc = listing::read_file(repository, snapshot, path::TOC, LARGEST_TOC).await?.ok_or_else(|| {
        EngineError::failed(format!("snapshot {} holds no {}", snapshot.id.short(), path::TOC))
    })?;
    let archive = Archive::parse(&toc)
        .map_err(|error| EngineError::failed(error.to_string()))
        .doing(|| format!("read {} of snapshot {}", path::TOC, snapshot.id.short()))?;
    drop(toc);
    let mut expected = Expected::from_archive(&archive);
    let manifest = listing::manifest(repository, snapshot).await?;
    let own = manifest.tables.into_iter().filter(|table| table.extension.is_none());
    expected.tables =
        own.map(|table| ExpectedTable { schema: table.schema, name: table.name, rows: table.rows }).collect();
    Ok(expected)
}

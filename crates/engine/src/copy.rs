//! Copying snapshots to another repository, the drills' proofs of them included.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use basekeep_repository::{CopyProgress, Lock, LockMode, Repository, Snapshot, WriterOptions};

use crate::stored::proof;
use crate::words::{bytes, counted};
use crate::{EngineError, ErrorKind, Event, Interrupt, Observer, Progress, ResultExt, Step, listing};

/// Which snapshots to copy.
#[derive(Debug, Clone, Default)]
pub struct CopySelection {
    /// Ids, their beginnings, or `latest`; all snapshots if empty.
    pub snapshots: Vec<String>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
}

/// A snapshot in both repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Full id in the source.
    pub snapshot: String,
    /// Full id in the target.
    pub copy: String,
}

/// A snapshot that was not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCopied {
    /// Full id in the source, or the name of a snapshot file that cannot be read.
    pub snapshot: String,
    /// What of it is damaged.
    pub reason: String,
}

/// What a copy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Copied snapshots, in the order in which they were taken; proofs are among them.
    pub copied: Vec<Copied>,
    /// Those that the target had already.
    pub present: Vec<Copied>,
    /// Those that are damaged in the source.
    pub not_copied: Vec<NotCopied>,
    /// Blobs that travelled.
    pub blobs: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
}

/// The snapshots that are meant, oldest first, each with its proofs; and snapshot files that cannot be read, where all
/// snapshots are meant.
///
/// Errors: kind `Usage` for an id that fits none or several.
pub async fn select(
    repository: &Repository,
    selection: &CopySelection,
) -> Result<(Vec<Snapshot>, Vec<NotCopied>), EngineError> {
    let (all, unreadable) = repository.snapshots().await.doing(|| "list the snapshots")?;
    let narrowed = selection.source.is_some() || !selection.tags.is_empty();
    let mut named = HashSet::new();
    for wanted in &selection.snapshots {
        named.insert(listing::find(repository, wanted, selection.source.as_deref()).await?.id);
    }
    if named.is_empty() && !narrowed {
        let unreadable =
            unreadable.into_iter().map(|(snapshot, reason)| NotCopied { snapshot, reason }).collect();
        return Ok((all, unreadable));
    }
    let meant = |snapshot: &Snapshot| {
        !listing::is_proof(snapshot)
            && (named.is_empty() || named.contains(&snapshot.id))
            && selection.source.as_ref().is_none_or(|source| snapshot.hostname == *source)
            && selection.tags.iter().all(|tag| snapshot.tags.contains(tag))
    };
    let trees: HashSet<String> =
        all.iter().filter(|snapshot| meant(snapshot)).map(|snapshot| snapshot.tree.to_string()).collect();
    let proves = |snapshot: &Snapshot| {
        let tree = |tag: &String| tag.strip_prefix(proof::TREE_TAG_PREFIX).map(str::to_owned);
        listing::is_proof(snapshot) && snapshot.tags.iter().filter_map(tree).any(|tree| trees.contains(&tree))
    };
    let chosen = all.iter().filter(|snapshot| meant(snapshot) || proves(snapshot)).cloned().collect();
    Ok((chosen, Vec::new()))
}

/// Copies what is selected. Warns once where the two repositories cut chunks differently.
///
/// Damage in the source is in the report; an error means that the copy could not go on. Repeating it goes on where it
/// ended.
pub async fn copy(
    from: &Repository,
    to: &Repository,
    selection: &CopySelection,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<CopyReport, EngineError> {
    let from_lock = from.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    let to_lock = match to.lock(LockMode::Shared).await.doing(|| "lock the target") {
        Ok(lock) => lock,
        Err(error) => {
            let _ = from_lock.release().await;
            return Err(error);
        }
    };
    let result = selected(from, to, (&from_lock, &to_lock), selection, observer, interrupt).await;
    let released = (from_lock.release().await, to_lock.release().await);
    let report = result?;
    released.0.doing(|| "remove the repository's lock")?;
    released.1.doing(|| "remove the target's lock")?;
    Ok(report)
}

async fn selected(
    from: &Repository,
    to: &Repository,
    locks: (&Lock, &Lock),
    selection: &CopySelection,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<CopyReport, EngineError> {
    let (snapshots, unreadable) = interrupt.guard(select(from, selection)).await?;
    if !from.chunks_like(to) {
        observer.event(chunks_differ());
    }
    let mut report = copy_locked(from, to, locks, &snapshots, observer, interrupt).await?;
    report.not_copied.extend(unreadable);
    Ok(report)
}

fn chunks_differ() -> Event {
    Event::Warning {
        code: "chunks-differ".to_owned(),
        message: "the two repositories cut data at different places: a backup to one shares nothing with the other's"
            .to_owned(),
        hint: Some("make the target with `basekeep init --from-repo … --copy-chunker-params`".to_owned()),
    }
}

/// Like [`copy`], of these snapshots and under locks that the caller holds.
pub async fn copy_locked(
    from: &Repository,
    to: &Repository,
    locks: (&Lock, &Lock),
    snapshots: &[Snapshot],
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<CopyReport, EngineError> {
    let (step, began) = (Step("copy"), Instant::now());
    observer.event(Event::Began { step: step.clone() });
    let interrupted = AtomicBool::new(false);
    let stop = async {
        interrupt.requested().await;
        interrupted.store(true, SeqCst);
    };
    let options = WriterOptions::default();
    let result = from.copy_to(to, locks, snapshots, options, &teller(observer), stop).await;
    if result.is_err() && interrupted.load(SeqCst) {
        return Err(EngineError::new(ErrorKind::Interrupted, "interrupted")
            .hint("what was copied is found again when the copy is repeated"));
    }
    let done = result.doing(|| format!("copy to {}", to.location()))?;
    observer.event(Event::Ended {
        step,
        elapsed: began.elapsed(),
        detail: format!(
            "{}, {} in {}",
            counted(done.copied.len() as u64, "snapshot", "snapshots"),
            bytes(done.bytes),
            counted(done.blobs, "blob", "blobs"),
        ),
    });
    let both = |ids: Vec<(_, _)>| {
        let one = |(snapshot, copy): (basekeep_repository::SnapshotId, basekeep_repository::SnapshotId)| {
            Copied { snapshot: snapshot.to_string(), copy: copy.to_string() }
        };
        ids.into_iter().map(one).collect()
    };
    let not_copied = done
        .not_copied
        .into_iter()
        .map(|failed| NotCopied { snapshot: failed.snapshot.to_string(), reason: failed.error.to_string() });
    Ok(CopyReport {
        copied: both(done.copied),
        present: both(done.present),
        not_copied: not_copied.collect(),
        blobs: done.blobs,
        bytes: done.bytes,
    })
}

/// Passes the copy's progress on, at most ten times a second.
fn teller(observer: &Arc<dyn Observer>) -> impl Fn(CopyProgress) + Send + Sync + use<> {
    let observer = observer.clone();
    let last = Mutex::new(None::<Instant>);
    move |progress: CopyProgress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < Duration::from_millis(100)) {
            return;
        }
        *last = Some(Instant::now());
        observer.event(Event::Progressed(Progress {
            bytes: progress.bytes,
            bytes_expected: progress.bytes_found,
            items: progress.snapshots_done,
            items_expected: progress.snapshots_total,
            stored: progress.bytes,
            ..Progress::default()
        }));
    }
}

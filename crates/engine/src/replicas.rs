//! The repositories that one backup goes to: each is opened, locked and read for itself, and what becomes of one is no
//! reason for the others to stop.

mod catch_up;

use std::sync::Arc;

use basekeep_repository::{Ended, Lock, LockMode, Repository};

use crate::repositories::{self, RepositorySpec};
use crate::words::counted;
use crate::{EngineError, Event, Observer, ResultExt, restore};

pub(crate) use catch_up::catch_up;

/// One repository that a backup is to be written to.
#[derive(Debug, Clone)]
pub struct BackupTarget {
    /// Its name in reports.
    pub name: String,
    /// Where it is, for people.
    pub place: String,
    /// The repository, or why it cannot be used: then the backup goes to the others.
    pub opened: Result<Repository, Arc<EngineError>>,
}

impl BackupTarget {
    /// One that is open.
    pub fn new(name: impl Into<String>, repository: &Repository) -> Self {
        Self { name: name.into(), place: repository.location(), opened: Ok(repository.clone()) }
    }

    /// One that cannot be used.
    pub fn failed(name: impl Into<String>, place: impl Into<String>, error: EngineError) -> Self {
        Self { name: name.into(), place: place.into(), opened: Err(Arc::new(error)) }
    }

    /// Opens it; an error is kept.
    pub async fn open(name: impl Into<String>, spec: &RepositorySpec) -> Self {
        let (name, place) = (name.into(), spec.place());
        match repositories::open(spec).await {
            Ok(repository) => Self { name, place, opened: Ok(repository) },
            Err(error) => Self::failed(name, place, error),
        }
    }
}

/// What has become of a backup in one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaState {
    /// It was written there as it was read.
    Written,
    /// The repository could not keep up, or lacked something; then the snapshot was copied from another one.
    CaughtUp,
    /// The repository could not keep up, and the snapshot is not there yet. The next backup copies it.
    Behind,
    /// The repository failed. The next backup copies what it has missed.
    Failed,
}

/// How a backup ended in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReport {
    /// The target's name.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// Whether the new snapshot is there.
    pub state: ReplicaState,
    /// The new snapshot's id there; ids differ, since each repository has a key of its own.
    pub snapshot: Option<String>,
    /// Earlier snapshots that it had missed and has now.
    pub healed: u64,
    /// Why the new snapshot, or an earlier one, is not there.
    pub reason: Option<String>,
}

impl ReplicaReport {
    /// Of a target where nothing was done yet.
    pub(crate) fn of(target: &BackupTarget) -> Self {
        Self {
            name: target.name.clone(),
            place: target.place.clone(),
            state: ReplicaState::Failed,
            snapshot: None,
            healed: 0,
            reason: None,
        }
    }

    /// Notes why it has failed, and tells it.
    pub(crate) fn fail(&mut self, error: &EngineError, observer: &Arc<dyn Observer>) {
        self.state = ReplicaState::Failed;
        self.reason = Some(error.message().to_owned());
        tell(self, observer);
    }

    /// Notes how the writer ended.
    pub(crate) fn end(&mut self, end: &Ended, observer: &Arc<dyn Observer>) {
        match end {
            Ended::Written(snapshot) => {
                (self.state, self.snapshot) = (ReplicaState::Written, Some(snapshot.id.to_string()));
            }
            Ended::Behind { blobs } => {
                self.state = ReplicaState::Behind;
                self.reason = Some(format!(
                    "it could not keep up, {} left out",
                    counted(*blobs, "blob was", "blobs were")
                ));
            }
            Ended::Failed(error) => self.fail(&error.clone().into(), observer),
        }
    }

    /// Whether the new snapshot is there.
    pub fn has_it(&self) -> bool {
        matches!(self.state, ReplicaState::Written | ReplicaState::CaughtUp)
    }
}

/// A target that can be written to, with its place among all targets. Its index is loaded.
pub(crate) struct Ready {
    pub(crate) number: usize,
    pub(crate) repository: Repository,
    pub(crate) lock: Lock,
}

/// Locks all targets and reads their indexes, at the same time. The errors are those of the others.
pub(crate) async fn prepare(
    targets: &[BackupTarget],
    observer: &Arc<dyn Observer>,
) -> (Vec<Ready>, Vec<(usize, EngineError)>) {
    let several = targets.len() > 1;
    let each =
        targets.iter().enumerate().map(|(number, target)| prepare_one(number, target, several, observer));
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for (number, result) in futures::future::join_all(each).await.into_iter().enumerate() {
        match result {
            Ok(one) => ready.push(one),
            Err(error) => failed.push((number, error)),
        }
    }
    (ready, failed)
}

async fn prepare_one(
    number: usize,
    target: &BackupTarget,
    several: bool,
    observer: &Arc<dyn Observer>,
) -> Result<Ready, EngineError> {
    let repository = target.opened.clone().map_err(|error| again(&error))?;
    repository.may_write().doing(|| format!("back up to {}", repository.location()))?;
    let lock = repository.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    match read(&repository).await {
        Ok(lost) => {
            if let Some(first) = lost.first() {
                observer.event(packs_missing(several.then_some(&target.name), lost.len(), first));
            }
            Ok(Ready { number, repository, lock })
        }
        Err(error) => {
            if let Err(left) = lock.release().await {
                tracing::warn!(error = %left, "a lock could not be removed");
            }
            Err(error)
        }
    }
}

/// The index; and the packs that it names and that are gone.
async fn read(repository: &Repository) -> Result<Vec<String>, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    // Blobs of packs that are gone are stored again instead of being referred to.
    repository.forget_missing_packs().await.doing(|| "look at the repository's packs")
}

fn packs_missing(name: Option<&String>, count: usize, first: &str) -> Event {
    let of = name.map_or_else(|| "the repository's".to_owned(), |name| format!("{name}'s"));
    Event::Warning {
        code: "packs-missing".into(),
        message: format!("{count} of {of} packs are missing or cut off, {first} among them"),
        hint: Some("`basekeep verify` names the snapshots that they belong to; this backup is whole".into()),
    }
}

/// Releases the locks. One that stays is told: it is in the way of `prune`.
pub(crate) async fn release(ready: Vec<Ready>, observer: &Arc<dyn Observer>) {
    let released = ready.into_iter().map(|one| restore::release(one.lock, observer));
    futures::future::join_all(released).await;
}

/// The same error once more, for every source that it concerns.
pub(crate) fn again(error: &Arc<EngineError>) -> EngineError {
    let hints = error.hints().to_vec();
    EngineError::new(error.kind(), error.message()).hints_from(hints).caused_by(error.clone())
}

/// Tells that one repository does not have the new snapshot.
pub(crate) fn tell(report: &ReplicaReport, observer: &Arc<dyn Observer>) {
    let reason = report.reason.as_deref().unwrap_or("unknown");
    let (code, what) = match report.state {
        ReplicaState::Failed => ("replica-failed", "failed and does not have this backup"),
        ReplicaState::Behind => ("replica-behind", "is behind: it does not have this backup yet"),
        ReplicaState::Written | ReplicaState::CaughtUp => return,
    };
    observer.event(Event::Warning {
        code: code.into(),
        message: format!("{} ({}) {what}: {reason}", report.name, report.place),
        hint: Some(format!(
            "the next backup copies what it has missed; `basekeep copy --to {}` does it now",
            report.name
        )),
    });
}

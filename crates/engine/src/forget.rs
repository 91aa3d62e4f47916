//! Forgetting: which snapshots stay under a policy, which go, and removing those.
//!
//! Only the files that name snapshots are removed; `prune` frees the space. Whatever the rules say, the newest good snapshot of a
//! source stays, and so does the newest that a drill has proven, unless somebody names them by id.

mod plan;
mod protect;

use std::collections::{BTreeMap, HashSet};

use basekeep_repository::{Lock, LockMode, Repository, RepositoryError, SnapshotId};
use futures::FutureExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::retention::{Policy, Reason};
use crate::{EngineError, Interrupt, ResultExt};

/// Files that are deleted before an interrupt is looked for.
const BETWEEN_INTERRUPTS: usize = 32;

/// What to forget.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Exactly these: ids, their beginnings, or `latest`. Empty: what the policies do not keep.
    pub snapshots: Vec<String>,
    /// What is kept.
    pub policies: Policies,
    /// Only snapshots of this source.
    pub source: Option<String>,
    /// Only snapshots with all of these tags.
    pub tags: Vec<String>,
    /// Snapshots of a source with different tags are different groups.
    pub group_by_tags: bool,
    /// Say what would be done; remove nothing.
    pub dry_run: bool,
    /// Find out how much space a prune would free afterwards. Costs reading the trees of all snapshots.
    pub space: bool,
    /// The present, for snapshots that claim to be later.
    pub now: Timestamp,
    /// Whose calendar decides where hours, days, weeks, months and years begin.
    pub zone: TimeZone,
}

/// Which policy applies to which snapshots.
#[derive(Debug, Clone)]
pub enum Policies {
    /// One for all.
    Same(Policy),
    /// By the name of the source. Snapshots of others stay, and so do those that another program made under the same host name.
    BySource(BTreeMap<String, Policy>),
}

/// What was (or would be) done.
#[derive(Debug, Clone, Default)]
pub struct ForgetReport {
    /// The snapshots that were looked at, by group.
    pub groups: Vec<Group>,
    /// Ids of snapshots that are gone now.
    pub removed: Vec<String>,
    /// Drills' results that went with them.
    pub proofs_removed: u64,
    /// Files that could not be removed, with the reason.
    pub failed: Vec<(String, String)>,
    /// The user stopped it; what was not tried is in `failed`.
    pub interrupted: bool,
    /// What to know.
    pub warnings: Vec<Warning>,
    /// Bytes in packs that nothing else needs; `None` where that was not asked, or cannot be told.
    pub frees_bytes: Option<u64>,
    /// Snapshots that no policy applies to, by source. They stay.
    pub without_policy: BTreeMap<String, u64>,
}

/// Something to know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What was found.
    pub message: String,
    /// What to do, if anything.
    pub hint: Option<String>,
}

/// Snapshots that one policy is applied to.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The source's name.
    pub source: String,
    /// What was backed up.
    pub paths: Vec<String>,
    /// Their tags, where they decide about groups.
    pub tags: Option<Vec<String>>,
    /// The policy in words; `None` where ids were given.
    pub policy: Option<String>,
    /// What stays, newest first.
    pub keep: Vec<Entry>,
    /// What goes, newest first.
    pub remove: Vec<Entry>,
}

/// A snapshot in a report.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its full id.
    pub id: SnapshotId,
    /// When it was taken.
    pub time: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
    /// The newest drill's result, if there was one.
    pub proven: Option<bool>,
    /// Why it stays.
    pub reasons: Vec<Reason>,
}

/// Forgets. What could not be removed is in the report; an error means that nothing was removed.
pub async fn forget(
    repository: &Repository,
    options: &ForgetOptions,
    interrupt: &Interrupt,
) -> Result<ForgetReport, EngineError> {
    let lock = repository.lock(LockMode::Shared).await.doing(|| "lock the repository")?;
    let result = locked(repository, &lock, options, interrupt).await;
    let released = lock.release().await;
    let mut report = result?;
    if let Err(error) = released {
        report.warnings.push(Warning {
            message: format!("the repository's lock could not be removed: {error}"),
            hint: Some("it becomes stale after 30 minutes; `basekeep unlock` removes it then".to_owned()),
        });
    }
    Ok(report)
}

async fn locked(
    repository: &Repository,
    lock: &Lock,
    options: &ForgetOptions,
    interrupt: &Interrupt,
) -> Result<ForgetReport, EngineError> {
    let plan = interrupt.guard(plan::plan(repository, options)).await?;
    let mut report = plan.report;
    let going: Vec<SnapshotId> =
        report.groups.iter().flat_map(|group| &group.remove).map(|entry| entry.id).collect();
    if options.space && !going.is_empty() {
        let gone: Vec<SnapshotId> = going.iter().copied().chain(plan.proofs.iter().map(|p| p.id)).collect();
        interrupt.guard(space(repository, &gone, &mut report)).await?;
    }
    if options.dry_run {
        return Ok(report);
    }
    remove(repository, lock, &going, interrupt, &mut report).await;
    let kept: HashSet<&str> = report.failed.iter().map(|(id, _)| id.as_str()).collect();
    let proofs: Vec<SnapshotId> = plan
        .proofs
        .iter()
        .filter(|proof| proof.proves.iter().all(|id| !kept.contains(id.to_string().as_str())))
        .map(|proof| proof.id)
        .collect();
    let before = report.removed.len();
    remove(repository, lock, &proofs, interrupt, &mut report).await;
    report.proofs_removed = report.removed.split_off(before).len() as u64;
    Ok(report)
}

/// What is not known because of damage is a warning: forgetting does not depend on it.
async fn space(
    repository: &Repository,
    gone: &[SnapshotId],
    report: &mut ForgetReport,
) -> Result<(), EngineError> {
    match repository.only_used_by(gone).await {
        Ok((_, bytes)) => report.frees_bytes = Some(bytes),
        Err(RepositoryError::CannotPrune { reason, hint }) => report.warnings.push(Warning {
            message: format!("how much space this frees cannot be told: {reason}"),
            hint: Some(hint.to_owned()),
        }),
        Err(error) => return Err(error).doing(|| "look for the space that this frees"),
    }
    Ok(())
}

async fn remove(
    repository: &Repository,
    lock: &Lock,
    ids: &[SnapshotId],
    interrupt: &Interrupt,
    report: &mut ForgetReport,
) {
    for some in ids.chunks(BETWEEN_INTERRUPTS) {
        report.interrupted = report.interrupted || interrupt.requested().now_or_never().is_some();
        if report.interrupted {
            let left = some.iter().map(|id| (id.to_string(), "interrupted before it".to_owned()));
            report.failed.extend(left);
            continue;
        }
        for (id, result) in repository.remove_snapshots(lock, some).await {
            match result {
                Ok(()) => report.removed.push(id.to_string()),
                Err(error) => report.failed.push((id.to_string(), error.to_string())),
            }
        }
    }
}

//! From a damaged repository back to a good one, and exactly what was lost on the way.
//!
//! In this order: packs that hold damaged blobs (the good ones are copied out), the index, then the snapshots that need
//! what is lost. Each stage leaves the repository no worse than it was wherever it stops, and the next run goes on.

mod advice;
mod constants;
mod contents;
mod losses;
mod snapshots;

use std::sync::Arc;

use basekeep_repository::{
    CheckOptions, CheckReport, Damage, IndexRepairPlan, Lock, LockMode, RepairedPack, Repository,
};

pub use self::advice::advice;
pub use self::losses::Loss;
use self::snapshots::Damaged;
pub use self::snapshots::{Fate, SnapshotRepair};
use crate::event::begin;
use crate::verify::teller;
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer, ResultExt};

/// The tag of a repaired snapshot, and the code of the warning in its manifest.
pub const REPAIRED: &str = "repaired";

/// What to repair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// The index, then the snapshots.
    #[default]
    All,
    /// Packs and index: what can be read is found again, and what cannot is named no more.
    Index,
    /// Snapshots that need what is lost.
    Snapshots,
}

/// How to repair.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairOptions {
    /// What to repair.
    pub part: Part,
    /// Read every pack, to find blobs that rotted.
    pub read_data: bool,
    /// Remove damaged snapshots and make no new ones of what is left.
    pub forget_only: bool,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// A damaged pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRepair {
    /// Its key, `data/3f/3fa9…`.
    pub file: String,
    /// What is wrong with it; empty where only its size told.
    pub problem: String,
    /// Blobs that were copied into a new pack, and blobs that are lost; `None` in a dry run.
    pub blobs: Option<(u64, u64)>,
    /// Whether the storage refused to remove it.
    pub still_there: bool,
}

/// A damaged file that this cannot repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Its key.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a repair did, or in a dry run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Whether a check found damage before anything was done.
    pub damaged: bool,
    /// Damaged packs.
    pub packs: Vec<PackRepair>,
    /// What was wrong with the index, one line each.
    pub index: Vec<String>,
    /// Content that never changes, stored again.
    pub restored: Vec<&'static str>,
    /// Damaged snapshots.
    pub snapshots: Vec<SnapshotRepair>,
    /// What is still damaged.
    pub remaining: Vec<Remaining>,
    /// Harmless findings.
    pub notes: Vec<String>,
}

impl RepairReport {
    /// Whether nothing was damaged.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
            && self.index.is_empty()
            && self.snapshots.is_empty()
            && self.remaining.is_empty()
    }

    /// Whether a snapshot, or something in one, is gone.
    pub fn lost_something(&self) -> bool {
        let lost =
            |repair: &SnapshotRepair| !repair.lost.is_empty() || matches!(repair.fate, Fate::Removed { .. });
        self.snapshots.iter().any(lost)
    }
}

/// Repairs, and reports. An error means that the repair could not go on; what it did until then stays.
///
/// Errors: kind `Failed` where only snapshots are to be repaired and the index has to be repaired first.
pub async fn repair(
    repository: &Repository,
    options: &RepairOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<RepairReport, EngineError> {
    let lock = repository.lock(LockMode::Exclusive).await.doing(|| "lock the repository")?;
    let result = interrupt.guard(locked(repository, &lock, options, &observer)).await;
    let released = lock.release().await;
    let report = result?;
    released.doing(|| "remove the repository's lock")?;
    Ok(report)
}

async fn locked(
    repository: &Repository,
    lock: &Lock,
    options: &RepairOptions,
    observer: &Arc<dyn Observer>,
) -> Result<RepairReport, EngineError> {
    let mut report = RepairReport::default();
    let run = Run { repository, lock, options, observer };
    let mut checked = run.check(options.read_data).await?;
    report.damaged = !checked.damage.is_empty();
    let first = damaged(&checked, &Damaged::new());
    let mut index_comes_first = false;
    if options.part == Part::Snapshots {
        run.refuse_unless_indexed(&checked).await?;
    } else {
        run.packs(&checked, &mut report).await?;
        index_comes_first = run.index(&mut report).await?;
        if index_comes_first && !options.dry_run {
            // Packs may be known now that were not read yet.
            checked = run.check(options.read_data).await?;
            run.packs(&checked, &mut report).await?;
        }
    }
    let lost = damaged(&checked, &first);
    if !lost.is_empty() {
        let stored = constants::store(repository, lock, &lost, options.dry_run).await?;
        if !stored.is_empty() && options.dry_run {
            report
                .notes
                .push(format!("{} would be stored again first, so less may be lost", stored.join(" and ")));
        } else if !stored.is_empty() {
            report.restored.extend(stored);
            checked = run.check(false).await?;
        }
    }
    report.notes.extend(checked.notes.iter().cloned());
    if options.part != Part::Index {
        let mut damaged = damaged(&checked, &first);
        if options.dry_run && index_comes_first {
            let all = damaged.len();
            damaged = without_index(damaged);
            if damaged.len() < all {
                let unknown = counted((all - damaged.len()) as u64, "snapshot", "snapshots");
                report
                    .notes
                    .push(format!("whether {unknown} lost anything shows once the index is repaired"));
            }
        }
        run.snapshots(&damaged, &mut report).await?;
    }
    if !options.dry_run && !report.is_empty() {
        checked = run.check(false).await?;
    }
    report.remaining = remaining(&checked, options.dry_run);
    Ok(report)
}

struct Run<'a> {
    repository: &'a Repository,
    lock: &'a Lock,
    options: &'a RepairOptions,
    observer: &'a Arc<dyn Observer>,
}

impl Run<'_> {
    /// Runs a check as a step of its own.
    async fn check(&self, read_data: bool) -> Result<CheckReport, EngineError> {
        let began = begin(self.observer, "check");
        let repository = self.repository;
        repository.load_index().await.doing(|| "read the repository's index")?;
        let options = CheckOptions { read_data, snapshots: None };
        let checked =
            repository.check(&options, &teller(self.observer)).await.doing(|| "check the repository")?;
        began.end(format!(
            "{}, {}, {} damaged",
            counted(checked.snapshots, "snapshot", "snapshots"),
            counted(checked.packs, "pack", "packs"),
            counted(checked.damage.len() as u64, "file", "files"),
        ));
        Ok(checked)
    }

    /// Copies what is good out of damaged packs.
    async fn packs(&self, checked: &CheckReport, report: &mut RepairReport) -> Result<(), EngineError> {
        let damaged: Vec<&Damage> = checked.damage.iter().filter(|damage| is_pack(&damage.file)).collect();
        if damaged.is_empty() {
            return Ok(());
        }
        let mut repaired = Vec::new();
        if !self.options.dry_run {
            let began = begin(self.observer, "packs");
            let files: Vec<String> = damaged.iter().map(|damage| damage.file.clone()).collect();
            repaired =
                self.repository.repair_packs(self.lock, &files).await.doing(|| "repair damaged packs")?;
            let sum = |count: fn(&RepairedPack) -> u64| repaired.iter().map(count).sum::<u64>();
            began.end(format!(
                "{} of {} kept, {} lost",
                counted(sum(|pack| pack.kept), "blob", "blobs"),
                counted(damaged.len() as u64, "damaged pack", "damaged packs"),
                counted(sum(|pack| pack.lost), "blob", "blobs"),
            ));
        }
        report.packs.extend(damaged.into_iter().map(|damage| {
            let done = repaired.iter().find(|pack| pack.file == damage.file);
            PackRepair {
                file: damage.file.clone(),
                problem: damage.reason.clone(),
                blobs: done.map(|pack| (pack.kept, pack.lost)),
                still_there: done.is_some_and(|pack| pack.still_there),
            }
        }));
        Ok(())
    }

    /// Rebuilds what is wrong with the index; whether there is, or was, anything to do.
    async fn index(&self, report: &mut RepairReport) -> Result<bool, EngineError> {
        let plan = self.plan_index().await?;
        let damaged = plan.damaged.iter().map(|(file, reason)| format!("{file}: {reason}"));
        report.index.extend(damaged);
        let sized = |count: usize| counted(count as u64, "pack", "packs");
        if !plan.added.is_empty() {
            report.index.push(format!("{} in no index file, listed again", sized(plan.added.len())));
        }
        if !plan.corrected.is_empty() {
            report.index.push(format!("{} listed with another size, corrected", sized(plan.corrected.len())));
        }
        let unreadable = plan.unreadable.iter();
        let notes = unreadable.map(|(file, reason)| format!("{file}: {reason}; no index file can list it"));
        report.notes.extend(notes);
        let needed = !plan.is_empty();
        if needed && !self.options.dry_run {
            let began = begin(self.observer, "index");
            let doing = || "repair the index";
            let outcome = self.repository.execute_index_repair(plan, self.lock).await.doing(doing)?;
            began.end(format!(
                "{} written, {} removed",
                counted(outcome.written, "index file", "index files"),
                outcome.deleted
            ));
        }
        Ok(needed)
    }

    async fn plan_index(&self) -> Result<IndexRepairPlan, EngineError> {
        self.repository.plan_index_repair(self.lock, &|_, _| {}).await.doing(|| "look at the index")
    }

    /// Snapshots are judged by a whole index: what it does not name may be there nevertheless.
    async fn refuse_unless_indexed(&self, checked: &CheckReport) -> Result<(), EngineError> {
        let plan = self.plan_index().await?;
        let lost = checked.damage.iter().any(|damage| is_index(&damage.file));
        let reason = match checked.damage.iter().find(|damage| is_pack(&damage.file)) {
            Some(pack) => format!("{} is damaged", pack.file),
            None => match plan.damaged.first() {
                Some((file, _)) => format!("{file} is damaged"),
                None if lost && !plan.is_empty() => "packs are in no index file".to_owned(),
                None => return Ok(()),
            },
        };
        Err(EngineError::failed(format!("the index has to be repaired first: {reason}"))
            .hint("`basekeep repair index` does that, and `basekeep repair` does both"))
    }

    async fn snapshots(&self, damaged: &Damaged, report: &mut RepairReport) -> Result<(), EngineError> {
        if damaged.is_empty() {
            return Ok(());
        }
        let planned = snapshots::plan(self.repository, damaged, self.options.forget_only).await?;
        if self.options.dry_run {
            report.snapshots = planned.into_iter().map(|planned| planned.repair).collect();
            return Ok(());
        }
        let began = begin(self.observer, "snapshots");
        for planned in planned {
            report.snapshots.push(planned.execute(self.repository, self.lock).await?);
        }
        began.end(format!("{} repaired", counted(report.snapshots.len() as u64, "snapshot", "snapshots")));
        Ok(())
    }
}

fn is_pack(file: &str) -> bool {
    file.starts_with("data/")
}

fn is_index(file: &str) -> bool {
    file.starts_with("index/")
}

/// What cannot be read, by snapshot and path. Damage that an earlier check could name better is named as there.
fn damaged(checked: &CheckReport, earlier: &Damaged) -> Damaged {
    let mut damaged = Damaged::new();
    for damage in &checked.damage {
        for touched in &damage.touches {
            let known = earlier.get(&touched.snapshot).and_then(|paths| paths.get(&touched.path));
            let files = damaged.entry(touched.snapshot).or_default().entry(touched.path.clone()).or_default();
            match known {
                Some(known) if is_index(&damage.file) => files.extend(known.iter().cloned()),
                _ => files.push(damage.file.clone()),
            }
            files.sort();
            files.dedup();
        }
    }
    damaged
}

/// Without what may be found again when the index is repaired.
fn without_index(mut damaged: Damaged) -> Damaged {
    for paths in damaged.values_mut() {
        paths.retain(|_, files| !files.iter().all(|file| is_index(file)));
    }
    damaged.retain(|_, paths| !paths.is_empty());
    damaged
}

/// What stays damaged; in a dry run only what no repair can mend.
fn remaining(checked: &CheckReport, dry_run: bool) -> Vec<Remaining> {
    let beyond = |file: &str| file.starts_with("keys/") || file == "config";
    let damage = checked.damage.iter().filter(|damage| !dry_run || beyond(&damage.file));
    damage
        .map(|damage| Remaining {
            file: damage.file.clone(),
            problem: damage.reason.clone(),
            hint: hint(&damage.file).map(str::to_owned),
        })
        .collect()
}

fn hint(file: &str) -> Option<&'static str> {
    if file.starts_with("keys/") {
        return Some(
            "its password may not open the repository any more; \
             remove it with `basekeep key remove` and add the password again with `basekeep key add`",
        );
    }
    if is_index(file) {
        return Some(
            "`basekeep backup` stores again what is still in the database; \
             `basekeep repair snapshots` then drops what is lost for good",
        );
    }
    (is_pack(file) || file.starts_with("snapshots/"))
        .then_some("the storage refuses to delete; repair with credentials that may")
}

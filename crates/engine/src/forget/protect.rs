//! What stays whatever the rules say: the newest good snapshot of a source, and the newest proven one.
//!
//! Good means that its trees and its manifest can be read and that the repository knows every blob in them.

use std::collections::{BTreeMap, HashMap};

use basekeep_repository::{Repository, Snapshot, SnapshotId, StoredPacks};

use super::plan::Contents;
use super::{Entry, ForgetOptions, ForgetReport, Warning};
use crate::retention::{self, Reason};
use crate::stored::path;
use crate::{EngineError, ResultExt, listing};

/// The largest manifest that is read.
const LARGEST_MANIFEST: usize = 512 << 20;

/// Moves what must stay from what goes to what stays; where ids were given, warns instead.
pub(super) async fn protect(
    repository: &Repository,
    contents: &Contents,
    options: &ForgetOptions,
    report: &mut ForgetReport,
) -> Result<(), EngineError> {
    let mut sources: BTreeMap<(&str, &[String]), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in &contents.backups {
        sources.entry((&snapshot.hostname, &snapshot.paths)).or_default().push(snapshot);
    }
    let mut looked = Looked { repository, known: HashMap::new(), packs: None };
    for ((source, _), mut snapshots) in sources {
        if !snapshots.iter().any(|snapshot| goes(report, snapshot.id)) {
            continue;
        }
        // Newest first; those from the future last, since somebody else's clock must not decide.
        snapshots
            .sort_by_key(|s| (retention::is_future(s.time, options.now), std::cmp::Reverse((s.time, s.id))));
        let good = looked.first_good(snapshots.iter().copied()).await?;
        let by_id = !options.snapshots.is_empty();
        let Some(good) = good else {
            if !by_id {
                keep_all(report, &snapshots);
            }
            report.warnings.push(none_good(source, by_id));
            continue;
        };
        let proven = snapshots.iter().copied().filter(|s| contents.proven(s) == Some(true));
        let proven = looked.first_good(proven).await?;
        for (snapshot, reason) in [(Some(good), Reason::LastGood), (proven, Reason::LastProven)] {
            let Some(snapshot) = snapshot.filter(|snapshot| goes(report, snapshot.id)) else { continue };
            if by_id {
                report.warnings.push(last_one(snapshot, &reason, options.dry_run));
            } else {
                keep(report, snapshot.id, reason);
            }
        }
    }
    Ok(())
}

fn none_good(source: &str, by_id: bool) -> Warning {
    let then = if by_id { "" } else { "; nothing of it is removed" };
    Warning {
        message: format!("no snapshot of {source} is whole{then}"),
        hint: Some("`basekeep verify` says what is damaged".to_owned()),
    }
}

fn last_one(snapshot: &Snapshot, reason: &Reason, dry_run: bool) -> Warning {
    let what = match reason {
        Reason::LastProven => "the last proven snapshot",
        _ => "the last good snapshot",
    };
    let verb = if dry_run { "is" } else { "was" };
    Warning {
        message: format!("{} {verb} {what} of {}", snapshot.id.short(), snapshot.hostname),
        hint: Some("a policy would have kept it".to_owned()),
    }
}

fn goes(report: &ForgetReport, id: SnapshotId) -> bool {
    report.groups.iter().any(|group| group.remove.iter().any(|entry| entry.id == id))
}

/// Adds the reason where the snapshot goes so far.
fn keep(report: &mut ForgetReport, id: SnapshotId, reason: Reason) {
    for group in &mut report.groups {
        if let Some(at) = group.remove.iter().position(|entry| entry.id == id) {
            let entry = group.remove.remove(at);
            group.keep.push(Entry { reasons: vec![reason.clone()], ..entry });
            group.keep.sort_by_key(|entry| std::cmp::Reverse((entry.time, entry.id)));
        }
    }
}

fn keep_all(report: &mut ForgetReport, snapshots: &[&Snapshot]) {
    for snapshot in snapshots {
        keep(report, snapshot.id, Reason::NoneGood);
    }
}

/// What was found out about snapshots so far.
struct Looked<'r> {
    repository: &'r Repository,
    known: HashMap<SnapshotId, bool>,
    /// Listed once, when the first snapshot is looked at.
    packs: Option<StoredPacks>,
}

impl Looked<'_> {
    async fn first_good<'s>(
        &mut self,
        snapshots: impl Iterator<Item = &'s Snapshot>,
    ) -> Result<Option<&'s Snapshot>, EngineError> {
        for snapshot in snapshots {
            if self.is_good(snapshot).await? {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    async fn is_good(&mut self, snapshot: &Snapshot) -> Result<bool, EngineError> {
        if let Some(known) = self.known.get(&snapshot.id) {
            return Ok(*known);
        }
        let packs = match self.packs.take() {
            Some(packs) => packs,
            None => {
                self.repository.load_index().await.doing(|| "read the repository's index")?;
                self.repository.stored_packs().await.doing(|| "list the packs")?
            }
        };
        let packs = self.packs.insert(packs);
        let doing = || format!("look at snapshot {}", snapshot.id.short());
        let good = match self.repository.lacks(snapshot, packs).await.doing(doing)? {
            Some(reason) => {
                tracing::warn!(snapshot = %snapshot.id.short(), %reason, "not whole");
                false
            }
            None => self.manifest_is_read(snapshot).await,
        };
        self.known.insert(snapshot.id, good);
        Ok(good)
    }

    /// Whether its manifest is there in full, or it has none because another program made it.
    async fn manifest_is_read(&self, snapshot: &Snapshot) -> bool {
        let read = listing::read_file(self.repository, snapshot, path::MANIFEST_JSON, LARGEST_MANIFEST).await;
        match read {
            Ok(Some(bytes)) => serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok(),
            Ok(None) => true,
            Err(_) => false,
        }
    }
}

//! What stays and what goes, before anything is removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use basekeep_repository::{Repository, Snapshot, SnapshotId};

use super::{Entry, ForgetOptions, ForgetReport, Group, Policies, Warning, protect};
use crate::retention::{self, Candidate, Decision, Policy, Reason};
use crate::stored::proof;
use crate::words::counted;
use crate::{EngineError, ResultExt, listing};

/// The report so far, and the proofs that become meaningless.
pub(super) struct Plan {
    pub(super) report: ForgetReport,
    pub(super) proofs: Vec<Orphan>,
}

/// A proof that proves nothing once these snapshots are gone.
pub(super) struct Orphan {
    pub(super) id: SnapshotId,
    pub(super) proves: Vec<SnapshotId>,
}

/// All that the repository holds.
pub(super) struct Contents {
    /// Backups, oldest first.
    pub(super) backups: Vec<Snapshot>,
    proofs: Vec<Snapshot>,
    /// The newest result for each tree.
    results: HashMap<String, bool>,
    unreadable: Vec<(String, String)>,
}

pub(super) async fn plan(repository: &Repository, options: &ForgetOptions) -> Result<Plan, EngineError> {
    let contents = Contents::read(repository).await?;
    let mut report = ForgetReport::default();
    contents.warn(options, &mut report);
    if options.snapshots.is_empty() {
        by_policy(&contents, options, &mut report)?;
    } else {
        by_id(repository, &contents, options, &mut report).await?;
    }
    protect::protect(repository, &contents, options, &mut report).await?;
    report.groups.retain(|group| !group.keep.is_empty() || !group.remove.is_empty());
    let proofs = contents.orphans(options, &report);
    Ok(Plan { report, proofs })
}

impl Contents {
    async fn read(repository: &Repository) -> Result<Self, EngineError> {
        let (all, unreadable) = repository.snapshots().await.doing(|| "list the snapshots")?;
        let (proofs, backups): (Vec<_>, Vec<_>) = all.into_iter().partition(listing::is_proof);
        let results = proofs.iter().filter_map(|proof| {
            let result = tag(proof, proof::RESULT_TAG_PREFIX)?;
            Some((tag(proof, proof::TREE_TAG_PREFIX)?.to_owned(), result == proof::EQUAL))
        });
        let results = results.collect();
        Ok(Self { backups, proofs, results, unreadable })
    }

    pub(super) fn proven(&self, snapshot: &Snapshot) -> Option<bool> {
        self.results.get(&snapshot.tree.to_string()).copied()
    }

    fn warn(&self, options: &ForgetOptions, report: &mut ForgetReport) {
        for (file, reason) in &self.unreadable {
            report.warnings.push(Warning {
                message: format!("{file} cannot be read and stays: {reason}"),
                hint: Some("`basekeep verify` says what is damaged".to_owned()),
            });
        }
        for snapshot in &self.backups {
            if retention::is_future(snapshot.time, options.now) {
                report.warnings.push(Warning {
                    message: format!(
                        "snapshot {} of {} claims to be from the future ({}); it stays and counts for no rule",
                        snapshot.id.short(),
                        snapshot.hostname,
                        snapshot.time
                    ),
                    hint: Some(format!(
                        "check the clocks; `basekeep forget {}` removes it",
                        snapshot.id.short()
                    )),
                });
            }
        }
    }

    /// Proofs of nothing that stays. While a snapshot file cannot be read, only those of what goes now are surely of nothing.
    fn orphans(&self, options: &ForgetOptions, report: &ForgetReport) -> Vec<Orphan> {
        let going: BTreeSet<SnapshotId> =
            report.groups.iter().flat_map(|group| &group.remove).map(|entry| entry.id).collect();
        let mut trees: HashMap<String, Vec<SnapshotId>> = HashMap::new();
        for snapshot in &self.backups {
            trees.entry(snapshot.tree.to_string()).or_default().push(snapshot.id);
        }
        let sure = self.unreadable.is_empty() && options.snapshots.is_empty();
        let orphan = |proof: &Snapshot| {
            let proves = match trees.get(tag(proof, proof::TREE_TAG_PREFIX)?) {
                Some(proven) => proven.clone(),
                None if sure => Vec::new(),
                None => return None,
            };
            let lost = proves.iter().all(|id| going.contains(id));
            lost.then_some(Orphan { id: proof.id, proves })
        };
        self.proofs.iter().filter_map(orphan).collect()
    }

    fn entry(&self, snapshot: &Snapshot, reasons: Vec<Reason>) -> Entry {
        Entry {
            id: snapshot.id,
            time: snapshot.time,
            tags: snapshot.tags.clone(),
            proven: self.proven(snapshot),
            reasons,
        }
    }
}

fn tag<'s>(snapshot: &'s Snapshot, prefix: &str) -> Option<&'s str> {
    snapshot.tags.iter().find_map(|tag| tag.strip_prefix(prefix))
}

/// Source, what was backed up, and the tags where they count.
type GroupKey = (String, Vec<String>, Option<Vec<String>>);

fn by_policy(
    contents: &Contents,
    options: &ForgetOptions,
    report: &mut ForgetReport,
) -> Result<(), EngineError> {
    let wanted = |snapshot: &&Snapshot| {
        options.source.as_deref().is_none_or(|source| snapshot.hostname == source)
            && options.tags.iter().all(|tag| snapshot.tags.contains(tag))
    };
    let mut groups: BTreeMap<GroupKey, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in contents.backups.iter().filter(wanted) {
        let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let tags = options.group_by_tags.then(|| sorted(&snapshot.tags));
        let key = (snapshot.hostname.clone(), sorted(&snapshot.paths), tags);
        groups.entry(key).or_default().push(snapshot);
    }
    for ((source, paths, tags), snapshots) in groups {
        let Some(policy) = options.policies.of(&source, &paths) else {
            *report.without_policy.entry(source).or_default() += snapshots.len() as u64;
            continue;
        };
        policy.check().map_err(|why| EngineError::usage(format!("the policy {why}")))?;
        let candidates: Vec<Candidate> = snapshots
            .iter()
            .map(|snapshot| Candidate {
                id: snapshot.id.to_string(),
                time: snapshot.time,
                tags: snapshot.tags.clone(),
            })
            .collect();
        let decisions = retention::apply(policy, &candidates, options.now, &options.zone);
        let known: HashMap<String, &Snapshot> =
            snapshots.iter().map(|snapshot| (snapshot.id.to_string(), *snapshot)).collect();
        let mut group = Group { source, paths, tags, policy: Some(policy.to_string()), ..Group::default() };
        for Decision { id, reasons } in decisions {
            let Some(snapshot) = known.get(&id) else { continue };
            let list = if reasons.is_empty() { &mut group.remove } else { &mut group.keep };
            list.push(contents.entry(snapshot, reasons));
        }
        report.groups.push(group);
    }
    Ok(())
}

async fn by_id(
    repository: &Repository,
    contents: &Contents,
    options: &ForgetOptions,
    report: &mut ForgetReport,
) -> Result<(), EngineError> {
    let mut chosen: BTreeMap<SnapshotId, Snapshot> = BTreeMap::new();
    for wanted in &options.snapshots {
        let snapshot = listing::find(repository, wanted, options.source.as_deref()).await?;
        chosen.insert(snapshot.id, snapshot);
    }
    let mut groups: BTreeMap<(String, Vec<String>), Group> = BTreeMap::new();
    let mut snapshots: Vec<&Snapshot> = chosen.values().collect();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.time, snapshot.id)));
    for snapshot in snapshots {
        let key = (snapshot.hostname.clone(), snapshot.paths.clone());
        let group = groups.entry(key).or_insert_with(|| Group {
            source: snapshot.hostname.clone(),
            paths: snapshot.paths.clone(),
            ..Group::default()
        });
        group.remove.push(contents.entry(snapshot, Vec::new()));
    }
    report.groups = groups.into_values().collect();
    let left = contents.backups.len().saturating_sub(chosen.len()) as u64;
    if left == 0 {
        report.warnings.push(Warning {
            message: format!(
                "no snapshot is left after {}",
                counted(chosen.len() as u64, "removal", "removals")
            ),
            hint: None,
        });
    }
    Ok(())
}

impl Policies {
    fn of(&self, source: &str, paths: &[String]) -> Option<&Policy> {
        match self {
            Self::Same(policy) => Some(policy),
            Self::BySource(policies) => {
                let own = matches!(paths, [path] if path.strip_prefix('/') == Some(source));
                policies.get(source).filter(|_| own)
            }
        }
    }
}

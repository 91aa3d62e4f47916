//! Definitions as text for version control: nothing in it but what the database says, in an order that follows from names
//! and dependencies alone. The same definitions give the same bytes, whatever the server's oids and the day.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use basekeep_archive::{self as archive, Archive, Entry, ObjectIdentity, Pass, Phase, Step, StepKind};

use super::Sink;
use super::job::Job;
use super::script::{Script, ScriptOptions};
use crate::EngineError;

/// Writes all definitions as one script.
pub(super) async fn whole(
    job: &Job<'_>,
    options: &ScriptOptions,
    sink: &mut dyn Sink,
) -> Result<u64, EngineError> {
    let order = definitions(job, options);
    let mut script = Script::new(job, *options, sink);
    script.begin(&["Definitions of a database. Load them into an empty one with psql.".to_owned()]).await?;
    for &index in &order {
        script.entry(&job.contents.archive.entries[index]).await?;
    }
    Ok(order.len() as u64)
}

/// The entries of definitions that the export wants, in the stable order.
pub(super) fn definitions(job: &Job<'_>, options: &ScriptOptions) -> Vec<usize> {
    let archive = &job.contents.archive;
    let wanted = |entry: &Entry| job.wants(entry) && !entry.is_data();
    let steps = archive::plan(archive, &options.restore(), &wanted).steps;
    let steps: Vec<Step> = steps.into_iter().filter(|step| step.kind == StepKind::Sql).collect();
    stable(archive, &steps)
}

/// What decides between entries that could both come next.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pass: Pass,
    phase: Phase,
    rank: usize,
    identity: ObjectIdentity,
    /// Unique, where two entries have one name.
    position: usize,
}

/// Kinds in the order in which pg_dump sorts them; others come after the tables.
const KINDS: [&str; 22] = [
    "SCHEMA",
    "PROCEDURAL LANGUAGE",
    "COLLATION",
    "EXTENSION",
    "SHELL TYPE",
    "TYPE",
    "DOMAIN",
    "CAST",
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "ACCESS METHOD",
    "OPERATOR",
    "OPERATOR FAMILY",
    "OPERATOR CLASS",
    "CONVERSION",
    "FOREIGN DATA WRAPPER",
    "SERVER",
    "TABLE",
    "SEQUENCE",
    "CONSTRAINT",
    "INDEX",
];

/// Sorts the steps' entries: what an entry needs comes before it, otherwise kind and name decide. Comments and labels follow
/// their object.
fn stable(archive: &Archive, steps: &[Step]) -> Vec<usize> {
    let entries = &archive.entries;
    let step_of: HashMap<usize, &Step> = steps.iter().map(|step| (step.entry, step)).collect();
    let needs = Needs::new(archive, step_of.keys().copied().collect());
    let is_remark = |index: usize| matches!(entries[index].desc.as_slice(), b"COMMENT" | b"SECURITY LABEL");
    let mut remarks: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    let mut waiting: HashMap<usize, usize> = HashMap::new();
    let mut needed_by: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready: BinaryHeap<Reverse<Key>> = BinaryHeap::new();
    let key = |index: usize, step: &Step| {
        let entry = &entries[index];
        let rank = KINDS.iter().position(|kind| entry.desc == *kind).unwrap_or(KINDS.len());
        Key { pass: step.pass, phase: step.phase, rank, identity: entry.identity(), position: index }
    };
    for (&index, step) in &step_of {
        let before = needs.of(index);
        if is_remark(index) {
            remarks.entry(before.iter().find(|n| !is_remark(**n)).copied()).or_default().push(index);
            continue;
        }
        let before: Vec<usize> = before.into_iter().filter(|n| !is_remark(*n)).collect();
        waiting.insert(index, before.len());
        if before.is_empty() {
            ready.push(Reverse(key(index, step)));
        }
        before.into_iter().for_each(|n| needed_by.entry(n).or_default().push(index));
    }
    for list in remarks.values_mut() {
        list.sort_by_key(|&n| (entries[n].identity(), n));
    }
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse(Key { position, .. })) = ready.pop() {
        order.push(position);
        order.extend(remarks.remove(&Some(position)).into_iter().flatten());
        for &next in needed_by.get(&position).into_iter().flatten() {
            if let (Some(left), Some(step)) = (waiting.get_mut(&next), step_of.get(&next)) {
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(key(next, step)));
                }
            }
        }
    }
    // Comments on what is not exported, such as the schema that is always there.
    let mut rest: Vec<usize> = remarks.into_values().flatten().collect();
    rest.sort_by_key(|&n| (entries[n].identity(), n));
    order.extend(rest);
    order
}

/// Which of some entries an entry needs, also through others.
struct Needs<'a> {
    archive: &'a Archive,
    by_id: HashMap<i32, usize>,
    among: HashSet<usize>,
}

impl<'a> Needs<'a> {
    fn new(archive: &'a Archive, among: HashSet<usize>) -> Self {
        let by_id = archive.entries.iter().enumerate().map(|(n, entry)| (entry.dump_id, n)).collect();
        Self { archive, by_id, among }
    }

    /// In the order in which the entry names them. What comes later in the archive cannot be needed.
    fn of(&self, index: usize) -> Vec<usize> {
        let before = |n: usize| {
            let ids = self.archive.entries[n].dependencies.iter();
            ids.filter_map(|id| self.by_id.get(id).copied()).rev().collect::<Vec<_>>()
        };
        let mut open = before(index);
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(other) = open.pop() {
            if other == index || !seen.insert(other) {
                continue;
            }
            if !self.among.contains(&other) {
                open.extend(before(other));
            } else if other < index {
                found.push(other);
            }
        }
        found
    }
}

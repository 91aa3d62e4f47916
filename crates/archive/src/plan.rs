//! In which order entries are restored, and which of them can run at the same time.
//!
//! The rules are pg_restore's (`restore_toc_entries_*`, `fix_dependencies`, `_tocEntryRestorePass` in
//! `pg_backup_archiver.c`):
//!
//! - Three passes: everything, then privileges, then what must come after privileges. A pass begins when the pass
//!   before it has ended.
//! - Within the main pass all pre-data comes first. pg_restore runs it on one connection in the archive's order, as
//!   entries may rely on that order without declaring it. Here **each pre-data step depends on the one before it**, and
//!   all other steps of the main pass depend on the last of them. They may be sent without waiting for each answer, but
//!   not in another order.
//! - What comes after data and depends on a table depends on the table's data.
//! - Entries that are not restored pass their own dependencies on.
//!
//! Three additions make a parallel run safer than pg_restore's:
//!
//! - What depends on a partitioned table depends on the data of all its partitions.
//! - What depends on a table whose rows go through a partition root depends on all data that goes through that root.
//! - A step that locks a partitioned table locks its partitions.
//!
//! Dependencies only ever point to earlier steps, so there are no cycles, and running the steps one after the other
//! is always right.

use std::collections::{BTreeSet, HashMap, HashSet};

use bstr::BString;

use crate::model::{Archive, Entry, Section};
use crate::sql::{RestoreOptions, effective_sections};

/// What to do, in an order in which it can be done one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestorePlan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One entry's part in a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The entry's index in the archive.
    pub entry: usize,
    /// The entry's dump id.
    pub dump_id: i32,
    /// The pass the step belongs to. All steps of a pass come before those of the next.
    pub pass: Pass,
    /// The part of the restore.
    pub phase: Phase,
    /// The steps that must have ended before, as indexes into [`RestorePlan::steps`], ascending; all of them smaller
    /// than this step's own index.
    pub depends_on: Vec<usize>,
    /// The dump ids of tables that the step locks so that nothing else can use them.
    pub exclusive: Vec<i32>,
    /// The dump ids of tables that the step uses, the exclusive ones among them.
    pub uses: Vec<i32>,
    /// What is to be done.
    pub kind: StepKind,
}

/// When a step runs, on the largest scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Definitions and data.
    Main,
    /// Privileges.
    Acl,
    /// What would act on, or needs, all of the above: event triggers and refreshes of materialized views.
    PostAcl,
}

/// The part of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before data.
    PreData,
    /// Data.
    Data,
    /// After data.
    PostData,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Run [`Entry::create_sql`].
    Sql,
    /// Load rows with the entry's COPY statement.
    TableData,
    /// Write the contents of large objects.
    LargeObjects,
    /// Run [`Entry::create_sql`], which sets a sequence's position.
    SequenceSet,
}

impl Step {
    /// Whether the two steps would wait for each other's locks, so that they should not run at the same time.
    pub fn conflicts_with(&self, other: &Step) -> bool {
        let locked = |a: &Step, b: &Step| a.exclusive.iter().any(|table| b.uses.contains(table));
        locked(self, other) || locked(other, self)
    }
}

/// Plans the restore of the entries that are selected and wanted.
pub fn plan(archive: &Archive, opts: &RestoreOptions, select: &dyn Fn(&Entry) -> bool) -> RestorePlan {
    let graph = Graph::new(archive);
    let sections = effective_sections(archive);
    let mut order: Vec<(Pass, Phase, usize, StepKind)> = archive
        .entries
        .iter()
        .zip(&sections)
        .enumerate()
        .filter(|(_, (entry, _))| select(entry))
        .filter_map(|(index, (entry, section))| {
            Some((pass(entry), phase(*section), index, step_kind(entry, archive, opts)?))
        })
        .collect();
    order.sort_by_key(|(pass, phase, index, _)| (*pass, *phase, *index));

    let step_of_entry: HashMap<usize, usize> =
        order.iter().enumerate().map(|(step, (_, _, entry, _))| (*entry, step)).collect();
    let last_pre_data =
        order.iter().rposition(|(pass, phase, _, _)| *pass == Pass::Main && *phase == Phase::PreData);

    let mut steps: Vec<Step> = Vec::with_capacity(order.len());
    for (position, (pass, phase, index, kind)) in order.into_iter().enumerate() {
        let Some(entry) = archive.entries.get(index) else { continue };
        let mut depends_on: BTreeSet<usize> =
            graph.steps_before(index, &step_of_entry).into_iter().filter(|s| *s < position).collect();
        match (pass, phase) {
            (Pass::Main, Phase::PreData) => depends_on.extend(position.checked_sub(1)),
            (Pass::Main, _) => depends_on.extend(last_pre_data),
            _ => {}
        }
        let (exclusive, uses) = graph.locks(entry, index);
        steps.push(Step {
            entry: index,
            dump_id: entry.dump_id,
            pass,
            phase,
            depends_on: depends_on.into_iter().collect(),
            exclusive,
            uses,
            kind,
        });
    }
    RestorePlan { steps }
}

/// The pass an entry runs in (`_tocEntryRestorePass`).
fn pass(entry: &Entry) -> Pass {
    match entry.desc.as_slice() {
        b"ACL" | b"ACL LANGUAGE" | b"DEFAULT ACL" => Pass::Acl,
        b"EVENT TRIGGER" | b"MATERIALIZED VIEW DATA" => Pass::PostAcl,
        b"COMMENT" | b"SECURITY LABEL" if entry.tag_bytes().starts_with(b"EVENT TRIGGER ") => Pass::PostAcl,
        b"STATISTICS DATA" if entry.section == Section::PostData => Pass::PostAcl,
        _ => Pass::Main,
    }
}

fn phase(section: Section) -> Phase {
    match section {
        Section::None | Section::PreData => Phase::PreData,
        Section::Data => Phase::Data,
        Section::PostData => Phase::PostData,
    }
}

fn step_kind(entry: &Entry, archive: &Archive, opts: &RestoreOptions) -> Option<StepKind> {
    match entry.desc.as_slice() {
        b"TABLE DATA" => entry.had_dumper.then_some(StepKind::TableData),
        b"BLOBS" => entry.had_dumper.then_some(StepKind::LargeObjects),
        _ if !entry.runs_sql(archive, opts) => None,
        b"SEQUENCE SET" => Some(StepKind::SequenceSet),
        _ => Some(StepKind::Sql),
    }
}

/// The entries with the dependencies that a restore heeds, as indexes.
struct Graph {
    before: Vec<Vec<usize>>,
    /// For each partitioned table the tables attached to it.
    partitions: HashMap<usize, Vec<usize>>,
    /// For each table data entry the table.
    table_of_data: HashMap<usize, usize>,
    is_table: Vec<bool>,
    dump_ids: Vec<i32>,
}

impl Graph {
    fn new(archive: &Archive) -> Self {
        let entries = &archive.entries;
        let by_id: HashMap<i32, usize> = entries.iter().enumerate().map(|(i, e)| (e.dump_id, i)).collect();
        let declared: Vec<Vec<usize>> = entries
            .iter()
            .map(|e| e.dependencies.iter().filter_map(|id| by_id.get(id).copied()).collect())
            .collect();
        let mut graph = Self {
            before: Vec::new(),
            partitions: partitions(entries, &declared),
            table_of_data: HashMap::new(),
            is_table: entries.iter().map(|e| e.desc == "TABLE").collect(),
            dump_ids: entries.iter().map(|e| e.dump_id).collect(),
        };
        let mut data_of: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut through_root: HashMap<BString, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate().filter(|(_, e)| e.desc == "TABLE DATA") {
            if let Some(target) = declared.get(index).and_then(|d| d.first()) {
                data_of.entry(*target).or_default().push(index);
                graph.table_of_data.insert(index, *target);
            }
            if let Some(root) = root_of(entry) {
                through_root.entry(root).or_default().push(index);
            }
        }
        graph.before = entries
            .iter()
            .zip(declared)
            .map(|(entry, before)| {
                if entry.section != Section::PostData {
                    return before;
                }
                let mut all = Vec::with_capacity(before.len());
                for target in before {
                    all.push(target);
                    for table in graph.with_partitions(target) {
                        for data in data_of.get(&table).into_iter().flatten() {
                            let root = entries.get(*data).and_then(root_of);
                            let siblings = root.and_then(|root| through_root.get(&root));
                            all.push(*data);
                            all.extend(siblings.into_iter().flatten());
                        }
                    }
                }
                all.sort_unstable();
                all.dedup();
                all
            })
            .collect();
        graph
    }

    /// The steps that an entry waits for. Where it depends on an entry that is no step, it waits for what that waits.
    fn steps_before(&self, index: usize, step_of_entry: &HashMap<usize, usize>) -> Vec<usize> {
        let mut steps = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<usize> = self.before.get(index).cloned().unwrap_or_default();
        while let Some(other) = open.pop() {
            if other == index || !seen.insert(other) {
                continue;
            }
            match step_of_entry.get(&other) {
                Some(step) => steps.push(*step),
                None => open.extend(self.before.get(other).into_iter().flatten()),
            }
        }
        steps
    }

    /// The tables an entry locks, and the tables it uses (`identify_locking_dependencies`).
    fn locks(&self, entry: &Entry, index: usize) -> (Vec<i32>, Vec<i32>) {
        let mut tables = BTreeSet::new();
        for other in self.before.get(index).into_iter().flatten() {
            let table = self.table_of_data.get(other).unwrap_or(other);
            if self.is_table.get(*table) == Some(&true) {
                tables.insert(*table);
            }
        }
        let ids = |tables: &mut dyn Iterator<Item = usize>| -> Vec<i32> {
            tables.filter_map(|t| self.dump_ids.get(t).copied()).collect()
        };
        if entry.section != Section::PostData || entry.desc == "INDEX" {
            return (Vec::new(), ids(&mut tables.into_iter()));
        }
        let all: BTreeSet<usize> = tables.iter().flat_map(|table| self.with_partitions(*table)).collect();
        let exclusive = ids(&mut all.into_iter());
        (exclusive.clone(), exclusive)
    }

    /// A table and all tables attached to it, directly or further down.
    fn with_partitions(&self, table: usize) -> Vec<usize> {
        let mut found = vec![table];
        let mut next = 0;
        if !self.partitions.contains_key(&table) {
            return found;
        }
        let mut seen: HashSet<usize> = HashSet::from([table]);
        while let Some(table) = found.get(next).copied() {
            next += 1;
            let children = self.partitions.get(&table).into_iter().flatten();
            found.extend(children.copied().filter(|child| seen.insert(*child)));
        }
        found
    }
}

/// A `TABLE ATTACH` depends on the partition, whose name it has, and on the partitioned table.
fn partitions(entries: &[Entry], declared: &[Vec<usize>]) -> HashMap<usize, Vec<usize>> {
    let mut partitions: HashMap<usize, Vec<usize>> = HashMap::new();
    for (entry, before) in entries.iter().zip(declared).filter(|(e, _)| e.desc == "TABLE ATTACH") {
        let is_child = |i: &&usize| {
            entries.get(**i).is_some_and(|e| e.tag == entry.tag && e.namespace == entry.namespace)
        };
        let Some(child) = before.iter().find(is_child) else { continue };
        for parent in before.iter().filter(|i| *i != child) {
            partitions.entry(*parent).or_default().push(*child);
        }
    }
    partitions
}

/// The partitioned table that rows go through, as the COPY statement names it.
fn root_of(entry: &Entry) -> Option<BString> {
    if !entry.is_load_via_partition_root() {
        return None;
    }
    let copy = entry.copy_stmt.as_ref()?.strip_prefix(b"COPY ")?;
    let end = copy.windows(2).position(|w| w == b" (" || w == b"  ")?;
    copy.get(..end).map(BString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pg_dump 18's directory archive of `tests/fixtures/small.sql`.
    fn small() -> Archive {
        Archive::parse(include_bytes!("../tests/fixtures/small-18.toc.dat")).unwrap()
    }

    fn names(archive: &Archive, plan: &RestorePlan, steps: &[usize]) -> Vec<String> {
        steps.iter().map(|s| archive.entries[plan.steps[*s].entry].display()).collect()
    }

    fn step<'a>(archive: &Archive, plan: &'a RestorePlan, name: &str) -> &'a Step {
        let found = plan.steps.iter().find(|s| archive.entries[s.entry].display() == name);
        found.unwrap_or_else(|| panic!("no step {name}"))
    }

    #[test]
    fn passes_and_phases_come_one_after_the_other() {
        let archive = small();
        let plan = plan(&archive, &RestoreOptions::default(), &|_| true);
        assert!(plan.steps.is_sorted_by_key(|s| (s.pass, s.phase)));
        let pass = |name| step(&archive, &plan, name).pass;
        assert_eq!(pass("table shop.users"), Pass::Main);
        assert_eq!(pass("privileges on table shop.aa_totals"), Pass::Acl);
        assert_eq!(pass("refresh of shop.aa_totals"), Pass::PostAcl);
        assert_eq!(pass("event trigger watch"), Pass::PostAcl);
        assert_eq!(pass("comment on event trigger watch"), Pass::PostAcl);
    }

    #[test]
    fn pre_data_is_a_chain_and_all_else_follows_it() {
        let archive = small();
        let plan = plan(&archive, &RestoreOptions::default(), &|_| true);
        let pre: Vec<_> =
            plan.steps.iter().filter(|s| s.pass == Pass::Main && s.phase == Phase::PreData).collect();
        for (position, step) in pre.iter().enumerate().skip(1) {
            assert!(step.depends_on.contains(&(position - 1)));
        }
        for step in plan.steps.iter().filter(|s| s.pass == Pass::Main && s.phase != Phase::PreData) {
            assert!(step.depends_on.contains(&(pre.len() - 1)));
        }
    }

    #[test]
    fn what_follows_data_waits_for_the_data_of_all_partitions() {
        let archive = small();
        let plan = plan(&archive, &RestoreOptions::default(), &|_| true);
        let before = |name: &str| names(&archive, &plan, &step(&archive, &plan, name).depends_on);
        let key = before("fk constraint events_who_fkey on shop.events");
        for rows in ["events_old", "events_new_0", "events_new_1", "users"] {
            assert!(key.contains(&format!("rows of shop.{rows}")), "{rows}: {key:?}");
        }
        let index = before("index shop.sized_0_n_idx");
        for rows in ["sized_0", "sized_1", "sized_2"] {
            assert!(index.contains(&format!("rows of shop.{rows}")), "{rows}: {index:?}");
        }
        assert!(!before("index shop.messages_body").contains(&"rows of shop.users".to_owned()));
    }

    #[test]
    fn an_attached_index_conflicts_with_a_foreign_key_of_the_partitioned_table() {
        let archive = small();
        let plan = plan(&archive, &RestoreOptions::default(), &|_| true);
        let step = |name: &str| step(&archive, &plan, name);
        let key = step("fk constraint events_who_fkey on shop.events");
        assert!(key.conflicts_with(step("index attach shop.events_new_0_pkey")));
        assert!(key.conflicts_with(step("index shop.events_old_day_idx")));
        assert!(!key.conflicts_with(step("index shop.messages_body")));
        assert!(
            !step("index shop.events_old_day_idx").conflicts_with(step("index shop.events_new_0_day_idx"))
        );
    }

    #[test]
    fn entries_that_are_left_out_pass_their_dependencies_on() {
        let archive = small();
        let select = |e: &Entry| e.desc != "MATERIALIZED VIEW" && e.desc != "TABLE DATA";
        let plan = plan(&archive, &RestoreOptions::default(), &select);
        let refresh = step(&archive, &plan, "refresh of shop.zz_counts");
        assert!(names(&archive, &plan, &refresh.depends_on).contains(&"table shop.messages".to_owned()));
    }

    #[test]
    fn unwanted_classes_have_no_steps() {
        let archive = small();
        let opts = RestoreOptions { privileges: false, comments: false, ..RestoreOptions::default() };
        let plan = plan(&archive, &opts, &|_| true);
        let descs: HashSet<_> =
            plan.steps.iter().map(|s| archive.entries[s.entry].desc.to_string()).collect();
        for desc in ["ACL", "DEFAULT ACL", "COMMENT", "DATABASE", "ENCODING", "SEARCHPATH"] {
            assert!(!descs.contains(desc), "{desc}");
        }
        assert!(descs.contains("BLOBS") && descs.contains("SEQUENCE SET") && descs.contains("TABLE DATA"));
    }
}

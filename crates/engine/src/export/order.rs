//! In which order rows can be loaded where foreign keys hold already: what is referred to first. Keys that no order satisfies
//! (tables that refer to each other) are taken away while the rows are loaded.

use std::collections::{BTreeSet, HashMap, HashSet};

use basekeep_archive::{Archive, Entry};
use bstr::ByteSlice;

/// An order for rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RowOrder {
    /// Indices of data entries.
    pub(super) data: Vec<usize>,
    /// Indices of the entries of foreign keys that this order violates for a while, and of constraints that rows may violate
    /// for good (`NOT VALID`).
    pub(super) violated: BTreeSet<usize>,
}

/// A foreign key: its entry, and the data entries on both of its sides.
struct Key {
    entry: usize,
    from: Vec<usize>,
    to: Vec<usize>,
}

/// Orders the data entries. `statements`: the rows of one table come in several statements, so that a row may refer to one
/// of its own table that comes later.
pub(super) fn rows(archive: &Archive, data: &[usize], statements: bool) -> RowOrder {
    let keys = keys(archive, data);
    let mut waits_for: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    for key in &keys {
        for from in &key.from {
            let others = key.to.iter().copied().filter(|to| to != from && !key.from.contains(to));
            waits_for.entry(*from).or_default().extend(others);
        }
    }
    let mut left: Vec<usize> = data.to_vec();
    let mut done: HashSet<usize> = HashSet::new();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = |index: &usize| {
            waits_for.get(index).is_none_or(|others| others.iter().all(|other| done.contains(other)))
        };
        // In a circle the one that waits for the fewest goes first.
        let waiting = |index: &usize| {
            waits_for.get(index).map_or(0, |others| others.iter().filter(|o| !done.contains(o)).count())
        };
        let next = left.iter().position(free).or_else(|| {
            let fewest = left.iter().map(waiting).min()?;
            left.iter().position(|index| waiting(index) == fewest)
        });
        let next = left.remove(next.unwrap_or(0));
        done.insert(next);
        order.push(next);
    }
    let place: HashMap<usize, usize> = order.iter().enumerate().map(|(n, index)| (*index, n)).collect();
    let place = |index: &usize| place.get(index).copied().unwrap_or(usize::MAX);
    let never_checked = archive.entries.iter().enumerate().filter(|(_, entry)| {
        let unchecked = entry.defn.as_ref().is_some_and(|defn| defn.trim_end().ends_with(b" NOT VALID;"));
        unchecked
            && entry.desc.ends_with(b"CONSTRAINT")
            && data.iter().any(|&n| is_of(&archive.entries[n], entry))
    });
    let mut violated: BTreeSet<usize> = keys
        .iter()
        .filter(|key| {
            key.from
                .iter()
                .any(|from| key.to.iter().any(|to| place(to) > place(from) || (statements && to == from)))
        })
        .map(|key| key.entry)
        .collect();
    violated.extend(never_checked.map(|(index, _)| index));
    RowOrder { data: order, violated }
}

/// Data entries whose rows these refer to.
pub(super) fn referred_to(archive: &Archive, data: &[usize]) -> BTreeSet<usize> {
    let all: Vec<usize> = archive
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.desc == "TABLE DATA")
        .map(|(index, _)| index)
        .collect();
    let keys = keys(archive, &all).into_iter().filter(|key| key.from.iter().any(|n| data.contains(n)));
    keys.flat_map(|key| key.to).collect()
}

fn keys(archive: &Archive, data: &[usize]) -> Vec<Key> {
    let entries = &archive.entries;
    let by_id: HashMap<i32, usize> =
        entries.iter().enumerate().map(|(n, entry)| (entry.dump_id, n)).collect();
    let below = |entry: &Entry| -> Vec<usize> {
        entry.dependencies.iter().filter_map(|id| by_id.get(id).copied()).collect()
    };
    // Partitions by partitioned table.
    let mut partitions: HashMap<usize, Vec<usize>> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.desc == "TABLE ATTACH") {
        let tables = below(entry);
        let Some(child) = tables.iter().copied().find(|&n| same_name(&entries[n], entry)) else { continue };
        for parent in tables.into_iter().filter(|&n| n != child) {
            partitions.entry(parent).or_default().push(child);
        }
    }
    let mut data_of: HashMap<usize, Vec<usize>> = HashMap::new();
    for &index in data {
        if let Some(table) = below(&entries[index]).first() {
            data_of.entry(*table).or_default().push(index);
        }
    }
    let rows_of = |table: usize| -> Vec<usize> {
        let mut open = vec![table];
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(table) = open.pop() {
            if seen.insert(table) {
                found.extend(data_of.get(&table).into_iter().flatten());
                open.extend(partitions.get(&table).into_iter().flatten());
            }
        }
        found
    };
    let foreign = entries.iter().enumerate().filter(|(_, entry)| entry.desc == "FK CONSTRAINT");
    foreign
        .filter_map(|(number, entry)| {
            let relations = related_tables(entries, &by_id, entry);
            let own = *relations.iter().find(|&&n| is_of(&entries[n], entry))?;
            let mut others: Vec<usize> = relations.into_iter().filter(|&n| n != own).collect();
            if others.is_empty() {
                others.push(own);
            }
            let to = others.into_iter().flat_map(&rows_of).collect();
            Some(Key { entry: number, from: rows_of(own), to })
        })
        .collect()
}

/// Tables that a key names, also through the index or constraint that it refers to.
fn related_tables(entries: &[Entry], by_id: &HashMap<i32, usize>, key: &Entry) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for id in &key.dependencies {
        let Some(&n) = by_id.get(id) else { continue };
        if entries[n].desc == "TABLE" {
            found.insert(n);
        } else if entries[n].desc == "CONSTRAINT" || entries[n].desc == "INDEX" {
            let tables = entries[n].dependencies.iter().filter_map(|id| by_id.get(id));
            found.extend(tables.copied().filter(|&n| entries[n].desc == "TABLE"));
        }
    }
    found
}

/// Whether a constraint, whose tag is the table's name and its own, is one of this table.
fn is_of(table: &Entry, constraint: &Entry) -> bool {
    let (Some(table_tag), Some(tag)) = (&table.tag, &constraint.tag) else { return false };
    table.namespace == constraint.namespace
        && tag.strip_prefix(table_tag.as_slice()).is_some_and(|rest| rest.starts_with(b" "))
}

fn same_name(table: &Entry, attach: &Entry) -> bool {
    table.tag == attach.tag && table.namespace == attach.namespace
}

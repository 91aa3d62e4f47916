//! What each entry of an archive is a part of: an index of its table, a grant of its function, rows of their table.

use std::collections::HashMap;

use basekeep_archive::{Archive, Entry};

/// The entries as trees: an object with everything that is about it.
pub(crate) struct Tree {
    index: HashMap<i32, usize>,
    /// By index of the entry.
    parents: Vec<Option<usize>>,
}

impl Tree {
    /// Finds the parents.
    pub(crate) fn new(archive: &Archive) -> Self {
        let index: HashMap<i32, usize> =
            archive.entries.iter().enumerate().map(|(n, entry)| (entry.dump_id, n)).collect();
        // Partitions are a part of their table; what is attached says of what.
        let mut attached: HashMap<usize, usize> = HashMap::new();
        for entry in archive.entries.iter().filter(|entry| entry.desc == "TABLE ATTACH") {
            let tables: Vec<usize> =
                entry.dependencies.iter().filter_map(|id| index.get(id).copied()).collect();
            let partition = tables.iter().copied().find(|&n| is_named(&archive.entries[n], entry));
            let parent = tables.iter().copied().find(|&n| Some(n) != partition);
            if let (Some(partition), Some(parent)) = (partition, parent) {
                attached.insert(partition, parent);
            }
        }
        let parents = archive
            .entries
            .iter()
            .enumerate()
            .map(|(n, entry)| attached.get(&n).copied().or_else(|| parent(archive, &index, entry)))
            .collect();
        Self { index, parents }
    }

    /// The place of an entry in the archive.
    pub(crate) fn index(&self, dump_id: i32) -> Option<usize> {
        self.index.get(&dump_id).copied()
    }

    /// What the entry at this place is directly a part of.
    pub(crate) fn parent(&self, entry: usize) -> Option<usize> {
        self.parents.get(entry).copied().flatten()
    }

    /// The entry itself, what it is a part of, and so on up.
    pub(crate) fn chain(&self, entry: usize) -> impl Iterator<Item = usize> + '_ {
        // The limit keeps a damaged archive's circle from going on for ever.
        std::iter::successors(Some(entry), |&n| self.parent(n)).take(64)
    }

    /// What the entry is in the end a part of; itself, when of nothing.
    pub(crate) fn root(&self, entry: usize) -> usize {
        self.chain(entry).last().unwrap_or(entry)
    }
}

/// Whether two entries have the same name in the same schema.
fn is_named(a: &Entry, b: &Entry) -> bool {
    a.namespace == b.namespace && a.tag == b.tag
}

fn parent(archive: &Archive, index: &HashMap<i32, usize>, entry: &Entry) -> Option<usize> {
    let needs = || entry.dependencies.iter().filter_map(|id| index.get(id).copied());
    let is_kind = |n: usize, kinds: &[&[u8]]| {
        archive.entries.get(n).is_some_and(|other| kinds.contains(&other.desc.as_slice()))
    };
    let of_kind = |kinds: &[&[u8]]| needs().find(|&n| is_kind(n, kinds));
    let named = |kinds: &[&[u8]]| {
        needs().find(|&n| {
            is_kind(n, kinds) && archive.entries.get(n).is_some_and(|other| is_named(other, entry))
        })
    };
    match entry.desc.as_slice() {
        // pg_dump names the object first.
        b"ACL" | b"COMMENT" | b"SECURITY LABEL" => needs().next(),
        b"TABLE DATA" | b"MATERIALIZED VIEW DATA" | b"TABLE ATTACH" => named(RELATIONS),
        b"SEQUENCE SET" | b"SEQUENCE OWNED BY" => named(&[b"SEQUENCE"]),
        // The sequence of a column needs its table; one that stands alone needs none.
        b"SEQUENCE" => of_kind(RELATIONS),
        b"INDEX ATTACH" => named(&[b"INDEX", b"CONSTRAINT"]).or_else(|| needs().next()),
        b"INDEX" | b"STATISTICS" => {
            needs().find(|&n| is_kind(n, RELATIONS) && archive.entries[n].namespace == entry.namespace)
        }
        b"CONSTRAINT" | b"FK CONSTRAINT" | b"CHECK CONSTRAINT" | b"TRIGGER" | b"POLICY" | b"RULE"
        | b"DEFAULT" | b"ROW SECURITY" => {
            needs().find(|&n| is_kind(n, PARENTS) && is_of(&archive.entries[n], entry))
        }
        b"PUBLICATION TABLE" | b"PUBLICATION TABLES IN SCHEMA" => of_kind(&[b"PUBLICATION"]),
        b"SUBSCRIPTION TABLE" => of_kind(&[b"SUBSCRIPTION"]),
        _ => None,
    }
}

const RELATIONS: &[&[u8]] = &[b"TABLE", b"FOREIGN TABLE", b"VIEW", b"MATERIALIZED VIEW"];
/// A domain may have constraints of its own.
const PARENTS: &[&[u8]] = &[b"TABLE", b"FOREIGN TABLE", b"VIEW", b"MATERIALIZED VIEW", b"DOMAIN"];

/// Whether the entry's tag begins with the other's name: `orders orders_pkey` is about `orders`.
fn is_of(table: &Entry, entry: &Entry) -> bool {
    let (Some(name), Some(tag)) = (&table.tag, &entry.tag) else { return false };
    table.namespace == entry.namespace
        && tag.strip_prefix(name.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
}

//! Definitions by object: what belongs to a table (its keys, policies, triggers, privileges, comments) stands under it.

use std::collections::HashMap;

use basekeep_archive::{
    Archive, CompareOptions, DifferenceKind, Entry, ObjectIdentity, RestoreOptions, compare,
};
use similar::TextDiff;

use super::{Change, Chosen};

/// Kinds whose literals are passwords and the like.
const WITH_SECRETS: [&str; 3] = ["USER MAPPING", "SUBSCRIPTION", "SERVER"];
/// What stands instead of a secret.
const HIDDEN: &str = "'•••'";

/// One object whose definition differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDifference {
    /// The archive's kind in lower case: `table`, `fk constraint`, `acl`.
    pub kind: String,
    /// As a person would name it: `table public.orders`, `policy own_files on storage.objects`.
    pub name: String,
    /// The object that it belongs to, by the same kind of name; its own name where it belongs to none.
    pub of: String,
    /// How.
    pub change: Change,
    /// A unified diff of the definitions, owner included; of what is new or gone, all lines.
    pub diff: String,
}

/// All that differ, by the object that they belong to; that object itself is first.
pub(super) fn differences(
    a: &Archive,
    b: &Archive,
    chosen: &Chosen,
    show_secrets: bool,
) -> Vec<ObjectDifference> {
    let options = CompareOptions::default();
    let (left, right) = (Known::of(a), Known::of(b));
    let found = compare(a, b, &options);
    let mut objects: Vec<ObjectDifference> = found
        .into_iter()
        .filter_map(|difference| {
            let identity = &difference.identity;
            let known = if difference.kind == DifferenceKind::OnlyInA { &left } else { &right };
            let entry = known.entries.get(identity)?;
            let sides = [&left, &right].map(|side| side.entries.get(identity).copied());
            if !chosen.wants_object(sides[0], sides[1]) {
                return None;
            }
            let hide = !show_secrets && WITH_SECRETS.iter().any(|kind| identity.desc == *kind);
            let (change, old, new) = match difference.kind {
                DifferenceKind::OnlyInA => (Change::Removed, known.sql(entry), String::new()),
                DifferenceKind::OnlyInB => (Change::Added, String::new(), known.sql(entry)),
                DifferenceKind::Changed { a, b } => (Change::Changed, a, b),
            };
            Some(ObjectDifference {
                kind: identity.desc.to_string().to_lowercase(),
                name: entry.display(),
                of: known.owner(entry).unwrap_or(entry).display(),
                change,
                diff: unified(&old, &new, hide),
            })
        })
        .collect();
    objects.sort_by(|x, y| {
        let key =
            |object: &ObjectDifference| (object.of.clone(), object.name != object.of, object.name.clone());
        key(x).cmp(&key(y))
    });
    objects
}

fn unified(old: &str, new: &str, hide: bool) -> String {
    let ready = |text: &str| {
        let text = if hide { without_literals(text) } else { text.to_owned() };
        if text.is_empty() { text } else { format!("{}\n", text.trim_end()) }
    };
    let (old, new) = (ready(old), ready(new));
    if old == new {
        return " (what differs is hidden)\n".to_owned();
    }
    TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).to_string()
}

/// Literals without what is in them.
fn without_literals(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('\'').enumerate() {
        out.push_str(if i % 2 == 0 { part } else { HIDDEN });
    }
    out
}

/// An archive's entries by what they are, and by dump id.
struct Known<'a> {
    archive: &'a Archive,
    entries: HashMap<ObjectIdentity, &'a Entry>,
    by_id: HashMap<i32, &'a Entry>,
}

impl<'a> Known<'a> {
    fn of(archive: &'a Archive) -> Self {
        let mut entries = HashMap::new();
        for entry in &archive.entries {
            entries.entry(entry.identity()).or_insert(entry);
        }
        Self { archive, entries, by_id: archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect() }
    }

    fn sql(&self, entry: &Entry) -> String {
        let sql = entry.create_sql(self.archive, &RestoreOptions::default());
        sql.map(|sql| sql.joined().to_string()).unwrap_or_default()
    }

    /// The object that an entry belongs to: a table's policy to the table, a comment on that policy to the table too.
    fn owner(&self, entry: &'a Entry) -> Option<&'a Entry> {
        let mut entry = entry;
        for _ in 0..4 {
            match self.next(entry) {
                Some(next) => entry = next,
                None => return Some(entry),
            }
        }
        Some(entry)
    }

    fn next(&self, entry: &Entry) -> Option<&'a Entry> {
        let tag = entry.tag.as_ref().map_or(&[][..], |tag| tag.as_slice());
        let mut needed = entry.dependencies.iter().filter_map(|id| self.by_id.get(id).copied());
        let relation = |other: &Entry| {
            let kinds = ["TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"];
            kinds.iter().any(|kind| other.desc == *kind) && other.namespace == entry.namespace
        };
        let named = |other: &Entry| {
            let name = other.tag.as_ref().map_or(&[][..], |name| name.as_slice());
            tag.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
        };
        match entry.desc.to_string().as_str() {
            "ACL" | "COMMENT" | "SECURITY LABEL" => needed.find(|other| other.dump_id != entry.dump_id),
            "TRIGGER" | "POLICY" | "RULE" | "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT"
            | "DEFAULT" | "ROW SECURITY" | "TABLE ATTACH" => {
                let all: Vec<&Entry> = needed.filter(|other| relation(other) && named(other)).collect();
                all.into_iter().max_by_key(|other| other.tag.as_ref().map_or(0, |tag| tag.len()))
            }
            "INDEX" | "STATISTICS" => needed.find(|other| relation(other)),
            "SEQUENCE OWNED BY" => needed.find(|other| other.desc == "SEQUENCE" && other.tag == entry.tag),
            "INDEX ATTACH" => needed.find(|other| other.desc == "INDEX" && other.tag == entry.tag),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_servers_and_mappings_are_hidden() {
        let (old, new) = ("OPTIONS (\n    password 'one'\n);\n", "OPTIONS (\n    password 'two'\n);\n");
        assert!(unified(old, new, false).contains("+    password 'two'"));
        assert_eq!(unified(old, new, true), " (what differs is hidden)\n");
        assert!(unified("", new, true).contains("+    password '•••'"));
    }

    #[test]
    fn what_belongs_to_a_table_stands_under_it() {
        let archive =
            Archive::parse(include_bytes!("../../../archive/tests/fixtures/small-18.toc.dat")).unwrap();
        let known = Known::of(&archive);
        let of = |name: &str| {
            let entry = archive.entries.iter().find(|entry| entry.display() == name).unwrap();
            known.owner(entry).unwrap().display()
        };
        for name in [
            "policy own on shop.users",
            "row security on shop.users",
            "constraint users_pkey on shop.users",
            "fk constraint users_best on shop.users",
            "comment on constraint users_best on shop.users",
            "privileges on column shop.users.id",
            "table shop.users",
        ] {
            assert_eq!(of(name), "table shop.users", "{name}");
        }
        assert_eq!(of("trigger messages_touch on shop.messages"), "table shop.messages");
        assert_eq!(of("default of shop.messages.id"), "table shop.messages");
        let all = Chosen::of(&crate::selection::Selection::default(), &archive, &archive).unwrap();
        assert!(differences(&archive, &archive, &all, false).is_empty());
    }
}

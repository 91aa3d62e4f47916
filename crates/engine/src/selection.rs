//! Which part of a snapshot is meant: parts, schemas, tables and single objects, with or without what they need. A selection is
//! words; applied to an archive it is a set of entries.

mod apply;
mod part;
pub(crate) mod pattern;
mod tree;

use std::collections::{BTreeSet, HashSet};

use basekeep_archive::{Archive, Entry};

pub use self::part::Part;
pub(crate) use self::tree::Tree;
use crate::EngineError;
use crate::stored::manifest::{Manifest, Table};

/// What is asked for. The default is everything.
///
/// `parts` say what kind of thing is meant, `schemas` and `tables` where it is: with both, what is of these kinds in these
/// places. `objects` are meant in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Kinds; all of them when empty.
    pub parts: BTreeSet<Part>,
    /// Names of schemas; `*` stands for any characters.
    pub schemas: Vec<String>,
    /// Tables (also views, materialized views, foreign tables and sequences) as `schema.table`, each part with `*` or in double
    /// quotes. A table comes with its indexes, constraints, triggers, policies, grants, comments, owned sequences and partitions.
    pub tables: Vec<String>,
    /// `kind:name`, such as `policy:storage.objects/own files`, `function:public.total(integer)`, `extension:hstore`.
    pub objects: Vec<String>,
    /// Whether what the selected objects need comes along: types, functions of triggers, tables of foreign keys, schemas, extensions.
    pub with_dependencies: bool,
}

/// A selection applied to an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// Dump ids of what is meant, what was pulled in among them.
    pub entries: HashSet<i32>,
    /// Of these, what came along since others need it.
    pub pulled_in: BTreeSet<i32>,
    /// What the selected entries need and what is not among them, each with one entry that needs it.
    pub needed: Vec<Needed>,
    /// The parts that are meant as a whole, for what is not in the archive (roles, files, cron jobs). `None`: all.
    parts: Option<BTreeSet<Part>>,
}

/// An object that a selection needs and does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Its dump id.
    pub dump_id: i32,
    /// The dump id of a selected entry that needs it.
    pub by: i32,
}

impl Selection {
    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.parts.is_empty() && !self.names_objects()
    }

    /// Whether places or objects are named.
    fn names_objects(&self) -> bool {
        !(self.schemas.is_empty() && self.tables.is_empty() && self.objects.is_empty())
    }

    /// Finds what is meant.
    ///
    /// Errors, as kind `Usage`: a name that the archive does not have, with the nearest one that it has; a pattern that cannot be
    /// read.
    pub fn apply(&self, archive: &Archive) -> Result<Selected, EngineError> {
        apply::apply(self, archive)
    }

    /// The options that say the same on a command line, one text for each argument.
    pub fn arguments(&self) -> Vec<String> {
        let parts: Vec<&str> = self.parts.iter().map(|part| part.name()).collect();
        let mut arguments = Vec::new();
        if !parts.is_empty() {
            arguments.extend(["--only".to_owned(), parts.join(",")]);
        }
        for (option, values) in
            [("--schema", &self.schemas), ("--table", &self.tables), ("--object", &self.objects)]
        {
            arguments.extend(values.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        if self.with_dependencies {
            arguments.push("--with-dependencies".into());
        }
        arguments
    }
}

impl Selected {
    /// Whether the entry is meant.
    pub fn contains(&self, entry: &Entry) -> bool {
        self.entries.contains(&entry.dump_id)
    }

    /// Whether a part is meant as a whole that is not, or not only, in the archive: roles, files, cron jobs, vault secrets.
    pub fn has(&self, part: Part) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.contains(&part))
    }

    /// The tables whose rows are meant, in the manifest's order.
    pub fn tables<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = &'a Table> {
        manifest.tables.iter().filter(|table| self.entries.contains(&table.dump_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        Archive::parse(include_bytes!("../../archive/tests/fixtures/small-18.toc.dat")).unwrap()
    }

    fn names(archive: &Archive, selected: &Selected) -> BTreeSet<String> {
        archive.entries.iter().filter(|entry| selected.contains(entry)).map(Entry::display).collect()
    }

    fn needed(archive: &Archive, selected: &Selected) -> BTreeSet<String> {
        let ids: HashSet<i32> = selected.needed.iter().map(|needed| needed.dump_id).collect();
        archive.entries.iter().filter(|entry| ids.contains(&entry.dump_id)).map(Entry::display).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn tables(tables: &[&str]) -> Selection {
        Selection { tables: tables.iter().map(|name| (*name).to_owned()).collect(), ..Selection::default() }
    }

    #[test]
    fn a_table_comes_with_all_that_is_about_it_and_what_it_needs_is_named() {
        let archive = archive();
        let selected = tables(&["shop.users"]).apply(&archive).unwrap();
        let found = names(&archive, &selected);
        for name in [
            "table shop.users",
            "rows of shop.users",
            "sequence shop.users_id_seq",
            "position of shop.users_id_seq",
            "constraint users_pkey on shop.users",
            "fk constraint users_best on shop.users",
            "comment on constraint users_best on shop.users",
            "policy own on shop.users",
            "row security on shop.users",
            "privileges on column shop.users.id",
        ] {
            assert!(found.contains(name), "{name} is not among {found:#?}");
        }
        assert!(found.iter().all(|name| !name.contains("messages")), "{found:#?}");
        let others = ["constraint messages_pkey on shop.messages", "schema shop", "table shop.messages"];
        assert_eq!(needed(&archive, &selected), set(&others));
        assert!(!selected.has(Part::Roles));
    }

    #[test]
    fn with_dependencies_tables_of_foreign_keys_come_whole_and_nothing_is_needed_any_more() {
        let archive = archive();
        let selection = Selection { with_dependencies: true, ..tables(&["shop.users"]) };
        let selected = selection.apply(&archive).unwrap();
        let found = names(&archive, &selected);
        for name in
            ["rows of shop.messages", "trigger messages_touch on shop.messages", "function shop.touch()"]
        {
            assert!(found.contains(name), "{name} is not among {found:#?}");
        }
        assert_eq!(selected.needed, []);
        assert!(
            selected.pulled_in.len() > 5 && selected.pulled_in.iter().all(|id| selected.entries.contains(id))
        );
        assert!(!found.contains("table shop.event_notes"), "{found:#?}");
    }

    #[test]
    fn a_partitioned_table_comes_with_its_partitions() {
        let archive = archive();
        let found = names(&archive, &tables(&["shop.events"]).apply(&archive).unwrap());
        for name in ["rows of shop.events_old", "table attach shop.events_new_0", "rows of shop.events_new_1"]
        {
            assert!(found.contains(name), "{name} is not among {found:#?}");
        }
    }

    #[test]
    fn parts_and_places_together_mean_both() {
        let archive = archive();
        let selection = Selection { parts: [Part::Data].into(), ..tables(&["shop.users", "shop.mess*"]) };
        let found = names(&archive, &selection.apply(&archive).unwrap());
        let rows = ["rows of shop.users", "rows of shop.messages"];
        let positions = ["position of shop.users_id_seq", "position of shop.messages_id_seq"];
        assert_eq!(found, set(&[rows, positions].concat()));
        let selection = Selection { parts: [Part::Policies].into(), ..Selection::default() };
        let found = names(&archive, &selection.apply(&archive).unwrap());
        assert_eq!(found, set(&["policy own on shop.users", "row security on shop.users"]));
    }

    #[test]
    fn objects_are_named_by_kind_schema_table_and_name() {
        let archive = archive();
        for (name, meant) in [
            ("policy:shop.users/own", "policy own on shop.users"),
            ("policy:shop.*/*", "policy own on shop.users"),
            ("function:shop.touch()", "function shop.touch()"),
            ("function:shop.touch", "function shop.touch()"),
            ("trigger:shop.messages/messages_touch", "trigger messages_touch on shop.messages"),
            ("foreign-key:shop.users/users_best", "fk constraint users_best on shop.users"),
            ("schema:shop", "schema shop"),
            ("index:shop.messages_body", "index shop.messages_body"),
        ] {
            let selection = Selection { objects: vec![name.to_owned()], ..Selection::default() };
            let found = names(&archive, &selection.apply(&archive).unwrap());
            assert!(found.contains(meant) && found.len() < 5, "{name}: {found:#?}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_nearest_name() {
        let archive = archive();
        for (selection, message, hint) in [
            (tables(&["shop.user"]), "no table 'shop.user'", "'shop.users'"),
            (Selection { schemas: vec!["shp".into()], ..Selection::default() }, "no schema 'shp'", "'shop'"),
            (
                Selection { objects: vec!["policy:shop.users/owm".into()], ..Selection::default() },
                "no policy 'shop.users/owm'",
                "'policy:shop.users/own'",
            ),
            (
                Selection { objects: vec!["polcy:x".into()], ..Selection::default() },
                "kind 'polcy'",
                "'policy'",
            ),
            (
                Selection { objects: vec!["users".into()], ..Selection::default() },
                "kind and the name",
                "kind:name",
            ),
            (Selection { parts: [Part::Users].into(), ..Selection::default() }, "no users", "show"),
        ] {
            let error = selection.apply(&archive).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Usage);
            assert!(error.message().contains(message), "{error}");
            assert!(error.hints().iter().any(|line| line.contains(hint)), "{:?}", error.hints());
        }
    }

    #[test]
    fn without_words_everything_is_meant_and_the_words_can_be_written_down() {
        let archive = archive();
        let selected = Selection::default().apply(&archive).unwrap();
        assert_eq!(selected.entries.len() + 3, archive.entries.len());
        assert!(selected.has(Part::Roles) && selected.needed.is_empty());
        let selection = Selection {
            parts: [Part::Data, Part::EdgeFunctions].into(),
            objects: vec!["type:a.b".into()],
            with_dependencies: true,
            ..tables(&["a.*"])
        };
        let line = "--only data,edge-functions --table a.* --object type:a.b --with-dependencies";
        assert_eq!(selection.arguments().join(" "), line);
        assert_eq!("edge-functions".parse(), Ok(Part::EdgeFunctions));
        assert!("data,users".parse::<Part>().is_err());
    }
}

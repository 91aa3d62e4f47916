//! A snapshot against what the target holds already: each definition is created, skipped because it is there, brought in line
//! (grants, comments), or left alone and told.

mod grants;
mod replace;
mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use basekeep_archive::{
    Archive, CompareOptions, DifferenceKind, Entry, ObjectIdentity, RestoreOptions as What, compare,
};
use basekeep_supabase::objects::{self, Belongs};
use basekeep_supabase::platform::{is_platform_role, is_platform_schema};

pub(super) use self::replace::Drop;
pub(super) use self::rows::{Load, rows};
use super::project::Held;
use super::target::Target;
use super::{FailedObject, Mode, RestoreOptions};
use crate::EngineError;
use crate::words::counted;

/// What is to be done, and what is not.
#[derive(Default)]
pub(super) struct Reconciled {
    /// Dump ids of the entries to run; the definitions of some were changed for this target.
    pub(super) keep: HashSet<i32>,
    /// Rows that go into tables which are there already, by the dump id of their entry.
    pub(super) loads: HashMap<i32, Load>,
    /// Definitions that are there.
    pub(super) equal: u64,
    /// Dump ids of what is there, the same or another.
    pub(super) present: HashSet<i32>,
    /// What is dropped first, in this order.
    pub(super) drops: Vec<Drop>,
    /// Dump ids of what the target has otherwise.
    changed: HashSet<i32>,
    /// Of these, those whose counterpart is to be dropped.
    going: HashSet<i32>,
    /// Dump ids of what is there and goes, as the snapshot has another one.
    pub(super) replaced: HashSet<i32>,
    /// Left alone: the target's is another.
    pub(super) differs: Vec<(String, String)>,
    /// Pieces of the platform that the target lacks.
    pub(super) platform: Vec<(String, String)>,
    /// The user's, and known not to come back.
    pub(super) lost: Vec<FailedObject>,
    /// Dump ids of what gets another owner than it had.
    pub(super) adopted: HashSet<i32>,
    /// Dump ids of what the target's platform lacks.
    absent: HashSet<i32>,
    pub(super) warnings: Vec<String>,
    /// Tables with rows that stay behind since they are of the moment, and how many.
    of_the_moment: Vec<(String, u64)>,
    /// What the user's definitions should be afterwards.
    pub(super) expected: Option<Archive>,
}

/// Decides about definitions, and changes those that must be said otherwise on this target. `archive` is the snapshot's.
pub(super) fn definitions(
    archive: &mut Archive,
    held: &Held,
    target: &Target,
    options: &RestoreOptions,
    what: &What,
) -> Result<Reconciled, EngineError> {
    let whose = whose(archive, held);
    let mut result = Reconciled::default();
    adopt(archive, &whose, held, target, &mut result);
    let compared = compare(archive, &held.archive, &CompareOptions { restore: *what, large_objects: false });
    let mut states: HashMap<ObjectIdentity, DifferenceKind> =
        compared.into_iter().map(|difference| (difference.identity, difference.kind)).collect();
    result.expected = Some(archive.clone());

    let plan = Decisions { held, target, options, whose: &whose };
    let runs: Vec<bool> =
        archive.entries.iter().map(|entry| entry.create_sql(archive, what).is_some()).collect();
    for (index, entry) in archive.entries.iter_mut().enumerate() {
        if is_data(entry) || runs.get(index) != Some(&true) {
            continue;
        }
        let state = states.get(&entry.identity());
        if entry.desc != "ACL" && entry.desc != "DEFAULT ACL" {
            plan.object(index, entry, state, &mut result);
        }
    }
    if options.mode == Mode::Clear {
        let going = std::mem::take(&mut result.going);
        replace::decide(archive, held, &going, &mut result)?;
    }
    let parents: HashMap<i32, usize> =
        archive.entries.iter().enumerate().map(|(index, entry)| (entry.dump_id, index)).collect();
    let created = result.keep.clone();
    for index in 0..archive.entries.len() {
        let Some(entry) = archive.entries.get_mut(index) else { continue };
        if !matches!(entry.desc.as_slice(), b"ACL" | b"DEFAULT ACL")
            || runs.get(index) != Some(&true)
            || entry.tag.as_ref().is_some_and(|t| t.starts_with(b"LARGE OBJECT"))
        {
            continue;
        }
        if entry.dependencies.iter().any(|id| result.absent.contains(id)) {
            continue;
        }
        let with_object = entry.dependencies.iter().any(|id| created.contains(id));
        let state = states.get(&entry.identity()).cloned();
        let known = entry.dependencies.iter().any(|id| parents.contains_key(id));
        plan.grants(index, entry, state, with_object, known, &mut result);
    }
    if options.privileges {
        grants::take_back(archive, &mut states, &plan, &mut result);
        for entry in archive.entries.iter_mut().filter(|entry| created.contains(&entry.dump_id)) {
            grants::neutral(entry, &held.defaults, &target.user);
        }
    }
    Ok(result)
}

/// Whose each entry is; on a target that is no project everything is the user's.
fn whose(archive: &Archive, held: &Held) -> Vec<Belongs> {
    if held.is_project { objects::belonging(archive) } else { vec![Belongs::User; archive.entries.len()] }
}

/// The user's objects that belong to roles of the platform become the restoring role's: it cannot give them away.
fn adopt(archive: &mut Archive, whose: &[Belongs], held: &Held, target: &Target, result: &mut Reconciled) {
    if !held.is_project || target.superuser {
        return;
    }
    let mut adopted: BTreeMap<String, u64> = BTreeMap::new();
    for (entry, whose) in archive.entries.iter_mut().zip(whose) {
        let Some(owner) = entry.owner.as_ref().map(ToString::to_string) else { continue };
        if *whose == Belongs::Platform || owner == target.user || owner.is_empty() {
            continue;
        }
        let in_platform =
            entry.namespace.as_ref().is_some_and(|schema| is_platform_schema(&schema.to_string()));
        if is_platform_role(&owner) && !in_platform && !target.may_give_to(&owner) {
            entry.owner = Some(target.user.as_str().into());
            result.adopted.insert(entry.dump_id);
            if entry.grant_target().is_some() {
                *adopted.entry(owner).or_default() += 1;
            }
        }
    }
    for (owner, count) in adopted {
        result.warnings.push(format!(
            "{} belonged to the platform's role {owner} and become those of '{}'",
            counted(count, "object", "objects"),
            target.user
        ));
    }
}

fn is_data(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_slice(),
        b"TABLE DATA"
            | b"SEQUENCE SET"
            | b"BLOB"
            | b"BLOB METADATA"
            | b"BLOBS"
            | b"MATERIALIZED VIEW DATA"
            | b"STATISTICS DATA"
            | b"ENCODING"
            | b"STDSTRINGS"
            | b"SEARCHPATH"
            | b"DATABASE"
            | b"DATABASE PROPERTIES"
    ) || entry.tag.as_ref().is_some_and(|tag| {
        tag.starts_with(b"LARGE OBJECT") && matches!(entry.desc.as_slice(), b"COMMENT" | b"SECURITY LABEL")
    })
}

/// What each decision looks at.
struct Decisions<'a> {
    held: &'a Held,
    target: &'a Target,
    options: &'a RestoreOptions,
    whose: &'a [Belongs],
}

impl Decisions<'_> {
    fn is_users(&self, index: usize) -> bool {
        self.whose.get(index) == Some(&Belongs::User)
    }

    /// Whether what the target has of the user's may be changed: not when it has data of its own.
    fn may_change(&self) -> bool {
        !matches!(self.options.mode, Mode::Merge(_)) || self.options.replace
    }

    fn object(
        &self,
        index: usize,
        entry: &mut Entry,
        state: Option<&DifferenceKind>,
        result: &mut Reconciled,
    ) {
        let about_extension = entry.tag.as_ref().is_some_and(|tag| tag.starts_with(b"EXTENSION "));
        match state {
            None | Some(DifferenceKind::OnlyInB) => {
                result.equal += 1;
                result.present.insert(entry.dump_id);
            }
            // An extension brings its comment along, and its owner is the platform.
            Some(_) if self.held.is_project && entry.desc == "COMMENT" && about_extension => {}
            Some(DifferenceKind::OnlyInA) if self.is_users(index) => self.create(entry, result),
            Some(DifferenceKind::OnlyInA) => {
                let about_missing = entry.dependencies.iter().any(|id| result.absent.contains(id));
                result.absent.insert(entry.dump_id);
                // What is about a missing table goes without saying.
                if !self.is_hidden(entry) && !about_missing {
                    result.platform.push((entry.display(), "the target's platform has none".into()));
                }
            }
            Some(DifferenceKind::Changed { .. })
                if entry.desc == "COMMENT" && self.is_users(index) && self.may_change() =>
            {
                result.keep.insert(entry.dump_id);
                result.present.insert(entry.dump_id);
                result.replaced.insert(entry.dump_id);
            }
            Some(DifferenceKind::Changed { b, .. }) => {
                result.present.insert(entry.dump_id);
                result.changed.insert(entry.dump_id);
                let owner_alone = state.is_some_and(replace::is_owner_alone);
                self.changed(index, entry, b, owner_alone, result);
            }
        }
    }

    fn create(&self, entry: &mut Entry, result: &mut Reconciled) {
        if self.held.is_project && objects::is_webhook(entry) {
            if !self.has_webhooks() {
                result.lost.push(FailedObject {
                    object: entry.display(),
                    reason: "webhooks are not enabled on the target: enable them, then restore once more with --resume"
                        .into(),
                    skipped: true,
                });
                return;
            }
            if !self.options.enable_webhooks {
                switch(entry, "DISABLE", true);
                result.warnings.push(format!(
                    "{} is made disabled: --enable-webhooks makes it work at once",
                    entry.display()
                ));
            }
        }
        result.keep.insert(entry.dump_id);
    }

    fn changed(
        &self,
        index: usize,
        entry: &mut Entry,
        held: &str,
        owner_alone: bool,
        result: &mut Reconciled,
    ) {
        let users = self.is_users(index);
        if users && objects::is_webhook(entry) && held.contains(" DISABLE TRIGGER ") {
            if self.options.enable_webhooks {
                switch(entry, "ENABLE", false);
                result.keep.insert(entry.dump_id);
            } else {
                result.equal += 1;
            }
            return;
        }
        if users && self.options.mode == Mode::Clear {
            if owner_alone {
                // The statement that gives it to its owner is all that is left.
                entry.defn = None;
            } else if replace::can_go(entry) {
                result.going.insert(entry.dump_id);
                return;
            } else if !replacing(entry) {
                let reason = "the target has another one, which cannot be dropped to make it anew";
                return result.differs.push((entry.display(), reason.into()));
            }
            result.replaced.insert(entry.dump_id);
            result.keep.insert(entry.dump_id);
            return;
        }
        if users && self.options.replace && replacing(entry) {
            result.replaced.insert(entry.dump_id);
            result.keep.insert(entry.dump_id);
            return;
        }
        let reason = match (users, self.options.replace) {
            (false, _) => "the target's platform has another one",
            (true, false) => {
                "the target has another one: --replace would replace functions, views, triggers and policies"
            }
            (true, true) => "the target has another one, and what may depend on it is not put at risk",
        };
        result.differs.push((entry.display(), reason.into()));
    }

    fn has_webhooks(&self) -> bool {
        self.held.archive.entries.iter().any(|entry| {
            entry.desc == "FUNCTION"
                && entry.namespace.as_ref().is_some_and(|schema| schema == "supabase_functions")
        })
    }

    /// Whether the target has it, and does not show its definition to the role.
    fn is_hidden(&self, entry: &Entry) -> bool {
        let schema = entry.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
        let tag = entry.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        let hidden = |name: &str| self.held.hidden.contains(&(schema.clone(), name.to_owned()));
        // What is about a table is tagged with the table's name first: `users users_pkey`, `TABLE users`.
        hidden(&tag) || tag.split(' ').any(hidden)
    }
}

/// Adds a trigger's `ENABLE` or `DISABLE` to its definition, or puts it in its place.
fn switch(entry: &mut Entry, how: &str, add: bool) {
    let dropped = entry.drop_stmt.as_ref().map(ToString::to_string).unwrap_or_default();
    let parts =
        dropped.trim_end().trim_end_matches(';').strip_prefix("DROP TRIGGER ").and_then(|rest| {
            rest.split_once(" ON ").map(|(name, table)| (name.to_owned(), table.to_owned()))
        });
    let Some((name, table)) = parts else { return };
    let sql = format!("ALTER TABLE {table} {how} TRIGGER {name};\n");
    let before = entry.defn.take().filter(|_| add).map(|text| text.to_string()).unwrap_or_default();
    entry.defn = Some(format!("{before}{sql}").into());
}

/// Makes the definition one that takes the place of another, where nothing can be lost by it.
fn replacing(entry: &mut Entry) -> bool {
    let definition = entry.defn.as_ref().map(ToString::to_string).unwrap_or_default();
    let sql = match entry.desc.as_slice() {
        b"FUNCTION" | b"PROCEDURE" | b"VIEW" => {
            definition.strip_prefix("CREATE ").map(|rest| format!("CREATE OR REPLACE {rest}"))
        }
        b"TRIGGER" | b"POLICY" | b"RULE" | b"EVENT TRIGGER" => {
            entry.drop_stmt.as_ref().map(|dropped| format!("{dropped}{definition}"))
        }
        _ => None,
    };
    match sql {
        Some(sql) => {
            entry.defn = Some(sql.into());
            true
        }
        None => false,
    }
}

/// Refuses a project that has tables of the user's, or users, already.
pub(super) async fn refuse_used(
    client: &mut basekeep_postgres::Client,
    held: &Held,
    database: &str,
) -> Result<(), EngineError> {
    let whose = objects::belonging(&held.archive);
    let mut found: Vec<String> = held
        .archive
        .entries
        .iter()
        .zip(whose)
        .filter(|(entry, whose)| {
            let schema = entry.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
            *whose == Belongs::User
                && matches!(entry.desc.as_slice(), b"TABLE" | b"FOREIGN TABLE" | b"MATERIALIZED VIEW")
                && !is_platform_schema(&schema)
        })
        .map(|(entry, _)| entry.display())
        .collect();
    for (schema, table) in [("auth", "users"), ("storage", "buckets"), ("storage", "objects")] {
        let relation = held.relations.get(&(schema.to_owned(), table.to_owned()));
        if relation.is_some_and(|relation| relation.may_select)
            && super::project::has_rows(client, schema, table).await?
        {
            found.push(format!("rows of {schema}.{table}"));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(EngineError::usage(format!(
        "the project in '{database}' is in use: it has {}{}",
        found.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
        if found.len() > 3 { " and more" } else { "" }
    ))
    .hint("restore to a fresh project, or add to this one with --mode merge")
    .hint("a restore that ended early is continued with --resume"))
}

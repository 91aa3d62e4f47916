//! A restore of a part: what the part needs beside itself, whether the target has it, and whether something is in the way.

use std::collections::{BTreeSet, HashSet};

use basekeep_archive::{Archive, Entry, ObjectIdentity};
use basekeep_postgres::Client;

use super::RestoreOptions;
use super::project::Held;
use super::reconcile::Reconciled;
use crate::selection::{Part, Selected};
use crate::stored::globals::Globals;
use crate::{EngineError, ResultExt};

/// How many names an error shows.
const SHOWN: usize = 5;

/// What a selection needs and does not have.
pub(super) struct Needs(Vec<Need>);

struct Need {
    identity: ObjectIdentity,
    name: String,
    by: String,
}

impl Needs {
    /// Looks the entries up; the archive is still whole.
    pub(super) fn of(archive: &Archive, selected: &Selected) -> Self {
        let entry = |id: i32| archive.entries.iter().find(|entry| entry.dump_id == id);
        let need = |needed: &crate::selection::Needed| {
            let (what, by) = (entry(needed.dump_id)?, entry(needed.by)?);
            Some(Need { identity: what.identity(), name: what.display(), by: by.display() })
        };
        Self(selected.needed.iter().filter_map(need).collect())
    }

    /// Schemas that get other names are not needed under the old ones.
    pub(super) fn without_schemas(&mut self, renamed: &dyn Fn(&str) -> bool) {
        self.0.retain(|need| need.identity.desc != "SCHEMA" || !renamed(&need.identity.tag.to_string()));
    }

    /// Refuses, as kind `Usage`, when the target lacks some of it.
    pub(super) async fn check(
        &self,
        client: &mut Client,
        held: Option<&Held>,
        roles: &[&str],
    ) -> Result<(), EngineError> {
        let schemas = match held {
            Some(_) => schemas(client).await?,
            None => ["public".to_owned()].into(),
        };
        let there: HashSet<ObjectIdentity> =
            held.iter().flat_map(|held| &held.archive.entries).map(Entry::identity).collect();
        let is_there = |need: &&Need| {
            let name = need.identity.tag.to_string();
            let schema = need.identity.namespace.to_string();
            match need.identity.desc.as_slice() {
                b"SCHEMA" => schemas.contains(&name),
                b"EXTENSION" => held.is_some_and(|held| held.extensions.contains_key(&name)),
                _ => {
                    there.contains(&need.identity)
                        || held.is_some_and(|held| held.relations.contains_key(&(schema, name)))
                }
            }
        };
        let mut lacking: Vec<String> = self
            .0
            .iter()
            .filter(|need| !is_there(need))
            .map(|need| format!("{} (for {})", need.name, need.by))
            .collect();
        lacking.extend(roles.iter().map(|role| format!("role {role}")));
        if lacking.is_empty() {
            return Ok(());
        }
        let mut error = EngineError::usage(format!(
            "the selection needs what the target does not have: {}",
            shown(&lacking)
        ))
        .hint("--with-dependencies restores what is needed along with it");
        if !roles.is_empty() {
            error =
                error.hint("--no-owner and --no-privileges do without roles; policies may name them, too");
        }
        Err(error)
    }
}

/// The first few, and how many more there are.
fn shown(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

pub(super) async fn schemas(client: &mut Client) -> Result<BTreeSet<String>, EngineError> {
    let rows = client
        .query("SELECT nspname FROM pg_catalog.pg_namespace")
        .await
        .doing(|| "list the target's schemas")?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// Refuses, as kind `Usage`, what was selected itself and is in the target already.
pub(super) fn refuse_present(
    archive: &Archive,
    selected: &Selected,
    found: &Reconciled,
    database: &str,
) -> Result<(), EngineError> {
    // These are places and settings rather than what a restore of a part is about.
    let is_place = |entry: &Entry| {
        matches!(
            entry.desc.as_slice(),
            b"SCHEMA"
                | b"EXTENSION"
                | b"COMMENT"
                | b"SECURITY LABEL"
                | b"ACL"
                | b"DEFAULT ACL"
                | b"ROW SECURITY"
        )
    };
    let names: Vec<String> = archive
        .entries
        .iter()
        .filter(|entry| found.present.contains(&entry.dump_id) && !is_place(entry))
        .filter(|entry| !selected.pulled_in.contains(&entry.dump_id))
        .map(Entry::display)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(EngineError::usage(format!("'{database}' has what was selected already: {}", shown(&names)))
        .hint("--mode clear puts the snapshot's in its place, --mode merge adds rows to it")
        .hint("a restore that ended early is continued with --resume"))
}

/// Refuses, as kind `Usage`, to make a table anew whose rows, or some of them, do not come back with it. `some` are the entries
/// of rows that a condition chooses from.
pub(super) fn refuse_lost_rows(
    archive: &Archive,
    found: &Reconciled,
    some: &dyn Fn(i32) -> bool,
) -> Result<(), EngineError> {
    let name = |entry: &Entry| (entry.namespace.clone(), entry.tag.clone());
    let whole: HashSet<_> = archive
        .entries
        .iter()
        .filter(|entry| entry.desc == "TABLE DATA" && !some(entry.dump_id))
        .map(name)
        .collect();
    // A partitioned table has none itself.
    let has_rows = |entry: &&Entry| {
        entry.desc == "TABLE"
            && !entry.defn.as_ref().is_some_and(|text| text.to_string().contains("\nPARTITION BY "))
    };
    let lost: Vec<String> = archive
        .entries
        .iter()
        .filter(|entry| found.replaced.contains(&entry.dump_id))
        .filter(has_rows)
        .filter(|entry| !whole.contains(&name(entry)))
        .map(Entry::display)
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(EngineError::usage(format!(
        "the target has other definitions of {}, which would be dropped with rows that were not selected",
        shown(&lost)
    ))
    .hint("select the rows, too (--only schema,data, no --where), or change the definitions by hand"))
}

/// Of the globals what a selection means: settings of the database with `config`, roles' settings with `roles`; what
/// new roles have comes with them.
pub(super) fn globals(globals: &mut Globals, selected: &Selected, new: &dyn Fn(&str) -> bool) {
    let (config, roles) = (selected.has(Part::Config), selected.has(Part::Roles));
    globals.settings.retain(|setting| match &setting.role {
        Some(role) => roles || new(role),
        None => config,
    });
    if !roles {
        globals.parameter_privileges.clear();
    }
    if !config {
        let database = &mut globals.database;
        (database.acl, database.comment, database.connection_limit) = (None, None, -1);
        database.security_labels.clear();
    }
}

/// Whether less than everything is asked for.
pub(super) fn is_partial(options: &RestoreOptions) -> bool {
    !options.selection.is_everything()
}

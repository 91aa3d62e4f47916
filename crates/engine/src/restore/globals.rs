//! What of a snapshot's roles and settings a restore makes and sets.

use std::collections::BTreeSet;

use super::contents::Contents;
use super::project::Held;
use super::roles::{self, There, keep_databases_own};
use super::target::Target;
use super::work::Step;
use super::{Mode, RestoreOptions, narrow};
use crate::selection::{Part, Selected};

/// What is known when it is decided.
pub(super) struct Around<'a> {
    pub(super) contents: &'a Contents,
    pub(super) selected: &'a Selected,
    pub(super) options: &'a RestoreOptions,
    pub(super) target: &'a Target,
    pub(super) held: Option<&'a Held>,
    /// Roles to make.
    pub(super) missing: &'a BTreeSet<String>,
    /// Roles that are there, and that objects go to.
    pub(super) taken: &'a BTreeSet<String>,
    /// Whether the database is made.
    pub(super) creates: bool,
    /// Whether a project goes to a server that is none.
    pub(super) is_plain: bool,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Globals {
    pub(super) roles: Vec<Step>,
    pub(super) database: Vec<Step>,
    /// What the target has otherwise and keeps.
    pub(super) differs: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Around<'_> {
    pub(super) fn decide(&self) -> Globals {
        let Ok(globals) = &self.contents.globals else { return Globals::default() };
        let partial = narrow::is_partial(self.options);
        let is_project = self.held.is_some_and(|held| held.is_project);
        let mut globals = match self.held {
            Some(held) => roles::beyond(globals, &held.globals, is_project),
            None => globals.clone(),
        };
        if self.is_plain {
            globals = roles::without_logins(&globals);
        }
        if partial {
            narrow::globals(&mut globals, self.selected, &|role| self.missing.contains(role));
        }
        let mut result = Globals::default();
        let replaces = self.options.mode == Mode::Clear || self.options.replace;
        if let Some(held) = self.held.filter(|_| partial && !replaces) {
            result.differs = keep_databases_own(&mut globals, &held.globals);
        }
        let target = self.target;
        let there = |name: &str| target.roles.contains(name) || self.missing.contains(name);
        let name = self.options.target.database();
        // A database that was there keeps its owner.
        let owner = self.options.owner && self.creates;
        result.database = roles::database_steps(&globals, name, owner, self.options.privileges, &there);
        if !self.creates && !target.owns_database {
            let left = std::mem::take(&mut result.database);
            if partial && self.selected.has(Part::Config) && !left.is_empty() {
                let names: Vec<&str> = left.iter().map(|step| step.name.as_str()).collect();
                result.warnings.push(format!(
                    "'{}' does not own the database '{name}', so these stay as they are: {}",
                    target.user,
                    names.join(", ")
                ));
            }
        }
        result.roles = roles::steps(&globals, self.missing, target);
        let asked = partial && self.options.roles && self.selected.has(Part::Roles);
        if let Some(held) = self.held.filter(|_| asked) {
            let (missing, held) = (self.missing, &held.globals);
            let there = There { globals: &globals, held, missing, target, is_project, replaces };
            let mut found = there.look();
            result.roles.append(&mut found.steps);
            result.differs.append(&mut found.differs);
        }
        result.roles.extend(self.taken.iter().map(|role| roles::take(role, target)));
        result
    }
}

//! Roles and settings that the target has already, where a restore is asked for them: what they lack is added, and what they have
//! otherwise is changed or, unless that was asked for, told and left alone.

use std::collections::BTreeSet;

use basekeep_postgres::{quote_identifier, quote_literal};
use basekeep_supabase::platform::is_platform_role;

use super::{grant, grant_on_parameter, is_by_creation, parameter_privileges, set, step};
use crate::restore::target::Target;
use crate::restore::work::{Action, Statement, Step};
use crate::stored::globals::{Globals, Privilege, Role, Setting};

/// What the snapshot and the target have, and what may change.
pub(in crate::restore) struct There<'a> {
    /// The snapshot's, without what the target has in the same way.
    pub(in crate::restore) globals: &'a Globals,
    pub(in crate::restore) held: &'a Globals,
    /// Roles that this restore makes.
    pub(in crate::restore) missing: &'a BTreeSet<String>,
    pub(in crate::restore) target: &'a Target,
    pub(in crate::restore) is_project: bool,
    /// Whether what is there otherwise is changed.
    pub(in crate::restore) replaces: bool,
}

/// What is to be done, and what differs and stays, each with the reason.
#[derive(Default)]
pub(in crate::restore) struct Found {
    pub(in crate::restore) steps: Vec<Step>,
    pub(in crate::restore) differs: Vec<(String, String)>,
}

impl There<'_> {
    /// Attributes, memberships and settings of roles that are there.
    pub(in crate::restore) fn look(&self) -> Found {
        let mut found = Found::default();
        self.attributes(&mut found);
        self.memberships(&mut found);
        self.settings(&mut found);
        self.parameters(&mut found);
        found
    }

    /// Whether the role is on the target and the user's.
    fn is_there(&self, role: &str) -> bool {
        self.target.roles.contains(role) && !self.missing.contains(role)
    }

    fn is_platforms(&self, role: &str) -> bool {
        role.starts_with("pg_") || self.is_project && is_platform_role(role)
    }

    fn attributes(&self, found: &mut Found) {
        let passwords = self.globals.missing.is_empty() && self.held.missing.is_empty();
        for ours in
            self.globals.roles.iter().filter(|r| self.is_there(&r.name) && !self.is_platforms(&r.name))
        {
            let Some(theirs) = self.held.roles.iter().find(|role| role.name == ours.name) else { continue };
            let statements = differing(ours, theirs, passwords);
            if statements.is_empty() {
                continue;
            }
            let names: Vec<&str> = statements.iter().filter_map(|statement| statement.part).collect();
            let names = names.join(", ");
            let name = format!("role {}", ours.name);
            if ours.name == self.target.user || ours.bootstrap || theirs.bootstrap {
                let who = if ours.name == self.target.user { "restores" } else { "is the server's first" };
                found
                    .differs
                    .push((name, format!("it has another {names}; a role that {who} stays as it is")));
            } else if self.replaces {
                found.steps.push(Step {
                    name: format!("{name}: {names}"),
                    action: Action::Sql(statements),
                    ..Step::default()
                });
            } else {
                found.differs.push((name, format!("it has another {names}")));
            }
        }
    }

    fn memberships(&self, found: &mut Found) {
        for ours in &self.globals.memberships {
            let (role, member) = (&ours.role, &ours.member);
            // Those of new roles come with them; predefined roles are on every server.
            let there = |name: &String| self.is_there(name) || name.starts_with("pg_");
            let both = there(role) && self.is_there(member);
            if !both || self.is_platforms(member) || is_by_creation(ours, self.target) {
                continue;
            }
            let same = |a: Option<bool>, b: Option<bool>| a.is_none() || b.is_none() || a == b;
            let mut theirs =
                self.held.memberships.iter().filter(|m| m.role == *role && m.member == *member).peekable();
            let is_member = theirs.peek().is_some();
            if theirs.any(|m| m.admin == ours.admin && same(m.inherit, ours.inherit) && same(m.set, ours.set))
            {
                continue;
            }
            if is_member && !self.replaces {
                found
                    .differs
                    .push((format!("membership of {member} in {role}"), "it has other options".into()));
            } else {
                found.steps.push(grant(ours, self.target));
            }
        }
    }

    fn settings(&self, found: &mut Found) {
        for setting in self.globals.settings.iter().filter(|setting| setting.database.is_none()) {
            let Some(role) = setting.role.as_deref().filter(|role| self.is_there(role)) else { continue };
            let name = format!("setting {} of role {role}", setting.name);
            if !self.replaces && has_another(self.globals, self.held, setting) {
                found.differs.push((name, "it has another value".into()));
            } else if !self.is_platforms(role) {
                let sql = format!("ALTER ROLE {} {}", quote_identifier(role), set(setting));
                found.steps.push(step(name, vec![Statement { sql, part: None }]));
            }
        }
    }

    fn parameters(&self, found: &mut Found) {
        for (parameter, ours) in parameter_privileges(self.globals, self.target) {
            let Some(role) = ours.grantee.as_deref().filter(|role| self.is_there(role)) else { continue };
            let mut theirs = self.held.parameter_privileges.iter().filter(|of| of.parameter == parameter);
            let same = |p: &Privilege| (&p.grantee, &p.privilege) == (&ours.grantee, &ours.privilege);
            let has = theirs.any(|of| of.privileges.iter().any(|p| same(p) && p.grantable >= ours.grantable));
            // A superuser has them all, and is only named where it granted some to others.
            let needs = self.globals.roles.iter().any(|r| r.name == role && !r.superuser);
            if !has && needs && !self.is_platforms(role) {
                found.steps.push(grant_on_parameter(parameter, ours, role));
            }
        }
    }
}

/// Whether the target sets the same parameter for the same role and database.
fn has_another(globals: &Globals, held: &Globals, setting: &Setting) -> bool {
    held.settings.iter().any(|other| {
        let database = match (&setting.database, &other.database) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => *ours == globals.database.name && *theirs == held.database.name,
            _ => false,
        };
        database && setting.role == other.role && setting.name == other.name
    })
}

/// Forgets what the database itself has otherwise, and gives its names with the reason.
pub(in crate::restore) fn keep_databases_own(globals: &mut Globals, held: &Globals) -> Vec<(String, String)> {
    let mut differs = Vec::new();
    let all = std::mem::take(&mut globals.settings);
    for setting in all {
        if setting.database.is_some() && has_another(globals, held, &setting) {
            let of = setting.role.as_ref().map(|role| format!(" of role {role} in")).unwrap_or(" of".into());
            differs
                .push((format!("setting {}{of} the database", setting.name), "it has another value".into()));
        } else {
            globals.settings.push(setting);
        }
    }
    let (ours, theirs) = (&mut globals.database, &held.database);
    let mut told = |what: &str| differs.push((what.to_owned(), "the target has others".into()));
    if theirs.comment.is_some() && ours.comment.take().is_some() {
        told("comment of the database");
    }
    if theirs.connection_limit >= 0 && ours.connection_limit >= 0 {
        ours.connection_limit = -1;
        told("connection limit of the database");
    }
    if theirs.acl.is_some() && ours.acl.take().is_some() {
        told("grants on the database");
    }
    differs
}

/// Statements that make the target's role like the snapshot's, each named after what it sets.
fn differing(ours: &Role, theirs: &Role, passwords: bool) -> Vec<Statement> {
    let name = quote_identifier(&ours.name);
    let mut statements = Vec::new();
    let mut alter = |part: &'static str, rest: String| {
        statements.push(Statement { sql: format!("ALTER ROLE {name} {rest}"), part: Some(part) });
    };
    for (part, yes, no, a, b) in [
        ("superuser", "SUPERUSER", "NOSUPERUSER", ours.superuser, theirs.superuser),
        ("inherit", "INHERIT", "NOINHERIT", ours.inherit, theirs.inherit),
        ("createrole", "CREATEROLE", "NOCREATEROLE", ours.create_role, theirs.create_role),
        ("createdb", "CREATEDB", "NOCREATEDB", ours.create_db, theirs.create_db),
        ("login", "LOGIN", "NOLOGIN", ours.login, theirs.login),
        ("replication", "REPLICATION", "NOREPLICATION", ours.replication, theirs.replication),
        ("bypassrls", "BYPASSRLS", "NOBYPASSRLS", ours.bypass_rls, theirs.bypass_rls),
    ] {
        if a != b {
            alter(part, if a { yes } else { no }.to_owned());
        }
    }
    if ours.connection_limit != theirs.connection_limit {
        alter("connection limit", format!("CONNECTION LIMIT {}", ours.connection_limit));
    }
    if ours.valid_until != theirs.valid_until {
        let until = ours.valid_until.as_deref().unwrap_or("infinity");
        alter("end of validity", format!("VALID UNTIL {}", quote_literal(until)));
    }
    let known = passwords || ours.verifier.is_some() && theirs.verifier.is_some();
    if known && ours.verifier != theirs.verifier {
        let verifier = ours.verifier().map_or_else(|| "NULL".to_owned(), |v| quote_literal(v.expose()));
        alter("password", format!("PASSWORD {verifier}"));
    }
    if ours.comment != theirs.comment {
        let comment = ours.comment.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal);
        let sql = format!("COMMENT ON ROLE {name} IS {comment}");
        statements.push(Statement { sql, part: Some("comment") });
    }
    statements
}

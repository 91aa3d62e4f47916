//! Roles: which ones the archive's definitions refer to, which of them the target lacks, and how to make them.

mod there;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::there::{There, keep_databases_own};
use crate::stored::globals::{Globals, Membership, Privilege, Role, Setting};
use basekeep_archive::{Archive, Entry};
use basekeep_postgres::{quote_identifier, quote_literal};
use basekeep_supabase::platform::is_platform_role;

use super::names::mentioned;
use super::target::Target;
use super::work::{Action, Statement, Step};

/// Since this version a role that creates another one is a member of it only as administrator.
const MEMBERSHIP_OPTIONS: u32 = 160_000;
/// Since this version there are privileges on parameters.
const PARAMETER_PRIVILEGES: u32 = 150_000;
/// Kinds of entries whose definitions name roles.
const NAMING: [&str; 4] = ["ACL", "DEFAULT ACL", "POLICY", "USER MAPPING"];

/// Roles of the globals that the archive's entries refer to.
pub(super) fn needed(
    archive: &Archive,
    globals: &Globals,
    owner: bool,
    privileges: bool,
) -> BTreeSet<String> {
    let known: BTreeSet<String> = globals.roles.iter().map(|role| role.name.clone()).collect();
    let mut needed = BTreeSet::new();
    for entry in &archive.entries {
        // Rows belong to their table's owner, and need no role to be put in.
        let rows = matches!(kind(entry), "TABLE DATA" | "SEQUENCE SET" | "MATERIALIZED VIEW DATA");
        if owner
            && !rows
            && let Some(name) = entry.owner.as_ref().and_then(|name| known.get(&*name.to_string()))
        {
            needed.insert(name.clone());
        }
        let names_roles = NAMING.iter().any(|kind| entry.desc == *kind)
            && (privileges || !matches!(kind(entry), "ACL" | "DEFAULT ACL"));
        if names_roles && let Some(text) = &entry.defn {
            needed.extend(mentioned(&text.to_string(), &known).into_iter().map(str::to_owned));
        }
    }
    needed
}

/// Settings that the platform gives each project its own values of.
const PROJECT_SETTINGS: [&str; 2] = ["app.settings.jwt_secret", "app.settings.jwt_exp"];

/// What of the globals a target does not have already. The platform's roles and settings are left out on a project.
pub(super) fn beyond(globals: &Globals, held: &Globals, is_project: bool) -> Globals {
    let mut beyond = globals.clone();
    let there = |setting: &Setting| is_set(setting, globals, held);
    let platforms = |setting: &Setting| {
        is_project
            && (setting.role.as_deref().is_some_and(is_platform_role)
                || PROJECT_SETTINGS.contains(&setting.name.as_str()))
    };
    beyond.settings.retain(|setting| !there(setting) && !platforms(setting));
    let database = &mut beyond.database;
    if database.acl == held.database.acl || is_project {
        // A project's database belongs to the platform as much as to the user.
        database.acl = None;
    }
    if database.comment == held.database.comment {
        database.comment = None;
    }
    if database.connection_limit == held.database.connection_limit {
        database.connection_limit = -1;
    }
    database.security_labels.retain(|label| !held.database.security_labels.contains(label));
    beyond
}

/// Whether the target has the setting, with the same value.
fn is_set(setting: &Setting, globals: &Globals, held: &Globals) -> bool {
    held.settings.iter().any(|other| {
        let same_database = match (&setting.database, &other.database) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => *ours == globals.database.name && *theirs == held.database.name,
            _ => false,
        };
        same_database
            && (&setting.role, &setting.name, &setting.value) == (&other.role, &other.name, &other.value)
    })
}

/// Settings that the platform's roles had and do not have on the target, which a restore leaves alone: `anon (statement_timeout)`.
pub(super) fn settings_of_the_platforms_roles(globals: &Globals, held: &Globals) -> Vec<String> {
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for setting in &globals.settings {
        if let Some(role) = setting.role.as_deref().filter(|role| is_platform_role(role))
            && !PROJECT_SETTINGS.contains(&setting.name.as_str())
            && !is_set(setting, globals, held)
        {
            lacking.entry(role).or_default().push(&setting.name);
        }
    }
    lacking.into_iter().map(|(role, names)| format!("{role} ({})", names.join(", "))).collect()
}

/// Globals for a server that is no project: the platform's roles are there for grants and policies, and nobody logs in as one.
pub(super) fn without_logins(globals: &Globals) -> Globals {
    let mut plain = globals.clone();
    for role in plain.roles.iter_mut().filter(|role| is_platform_role(&role.name)) {
        (role.login, role.superuser, role.create_role) = (false, false, false);
        (role.create_db, role.replication, role.verifier) = (false, false, None);
    }
    plain.settings.retain(|setting| {
        !setting.role.as_deref().is_some_and(is_platform_role)
            && !PROJECT_SETTINGS.contains(&setting.name.as_str())
    });
    plain
}

fn kind(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.desc).unwrap_or_default()
}

/// Whether the restoring role was a member of this one, and not just by having made it.
pub(super) fn is_member(globals: &Globals, role: &str, target: &Target) -> bool {
    globals.memberships.iter().any(|membership| {
        let by_creation = membership.admin && membership.set == Some(false);
        membership.role == role && membership.member == target.user && !by_creation
    })
}

/// Steps that make `missing` roles: attributes, memberships among them, settings. An attribute that the restoring role may
/// not give fails on its own.
pub(super) fn steps(globals: &Globals, missing: &BTreeSet<String>, target: &Target) -> Vec<Step> {
    let mut steps: Vec<Step> = globals
        .roles
        .iter()
        .filter(|role| missing.contains(&role.name))
        .map(|role| create(role, target))
        .collect();
    for membership in &globals.memberships {
        let both = missing.contains(&membership.role) || missing.contains(&membership.member);
        let there = |name: &String| missing.contains(name) || target.roles.contains(name);
        let by_creation = missing.contains(&membership.role) && is_by_creation(membership, target);
        if both && there(&membership.role) && there(&membership.member) && !by_creation {
            steps.push(grant(membership, target));
        }
    }
    for setting in globals.settings.iter().filter(|setting| setting.database.is_none()) {
        if let Some(role) = setting.role.as_ref().filter(|role| missing.contains(*role)) {
            let name = format!("setting {} of role {role}", setting.name);
            let sql = format!("ALTER ROLE {} {}", quote_identifier(role), set(setting));
            steps.push(step(name, vec![Statement { sql, part: None }]));
        }
    }
    for (parameter, privilege) in parameter_privileges(globals, target) {
        if let Some(role) = privilege.grantee.as_ref().filter(|role| missing.contains(*role)) {
            steps.push(grant_on_parameter(parameter, privilege, role));
        }
    }
    steps
}

/// Privileges on configuration parameters, for a server that has such.
fn parameter_privileges<'a>(
    globals: &'a Globals,
    target: &Target,
) -> impl Iterator<Item = (&'a str, &'a Privilege)> {
    let all = globals.parameter_privileges.iter().filter(|_| target.version >= PARAMETER_PRIVILEGES);
    all.flat_map(|of| of.privileges.iter().map(|privilege| (of.parameter.as_str(), privilege)))
}

fn grant_on_parameter(parameter: &str, privilege: &Privilege, role: &str) -> Step {
    let option = if privilege.grantable { " WITH GRANT OPTION" } else { "" };
    let quoted: Vec<String> = parameter.split('.').map(quote_identifier).collect();
    let sql = format!(
        "GRANT {} ON PARAMETER {} TO {}{option}",
        privilege.privilege,
        quoted.join("."),
        quote_identifier(role)
    );
    step(format!("privilege of {role} on parameter {parameter}"), vec![Statement { sql, part: None }])
}

/// Whether the restoring role is a member only by having made the role: it administers it by that, since version 16.
fn is_by_creation(membership: &Membership, target: &Target) -> bool {
    membership.member == target.user && membership.admin && target.version >= MEMBERSHIP_OPTIONS
}

fn create(role: &Role, target: &Target) -> Step {
    let name = quote_identifier(&role.name);
    let flag = |yes: bool, word: &str| format!("{}{word}", if yes { "" } else { "NO" });
    let mut sql =
        format!("CREATE ROLE {name} WITH {} {}", flag(role.login, "LOGIN"), flag(role.inherit, "INHERIT"));
    if role.connection_limit >= 0 {
        sql.push_str(&format!(" CONNECTION LIMIT {}", role.connection_limit));
    }
    if let Some(until) = &role.valid_until {
        sql.push_str(&format!(" VALID UNTIL {}", quote_literal(until)));
    }
    let mut statements = vec![Statement { sql, part: None }];
    let mut alter = |yes: bool, part: &'static str, rest: &str| {
        if yes {
            statements.push(Statement { sql: format!("ALTER ROLE {name} {rest}"), part: Some(part) });
        }
    };
    alter(role.superuser, "attribute superuser", "SUPERUSER");
    alter(role.create_role, "attribute createrole", "CREATEROLE");
    alter(role.create_db, "attribute createdb", "CREATEDB");
    alter(role.replication, "attribute replication", "REPLICATION");
    alter(role.bypass_rls, "attribute bypassrls", "BYPASSRLS");
    if let Some(verifier) = role.verifier() {
        alter(true, "password", &format!("PASSWORD {}", quote_literal(verifier.expose())));
    }
    if let Some(comment) = &role.comment {
        let sql = format!("COMMENT ON ROLE {name} IS {}", quote_literal(comment));
        statements.push(Statement { sql, part: Some("comment") });
    }
    for (provider, label) in &role.security_labels {
        let sql = format!(
            "SECURITY LABEL FOR {} ON ROLE {name} IS {}",
            quote_identifier(provider),
            quote_literal(label)
        );
        statements.push(Statement { sql, part: Some("security label") });
    }
    if !target.superuser {
        statements.push(Statement {
            sql: borrow_sql(&role.name, target),
            part: Some("membership of the restoring role"),
        });
    }
    step(format!("role {}", role.name), statements)
}

/// The step that makes the restoring role a member of a role that is there.
pub(super) fn take(role: &str, target: &Target) -> Step {
    let sql = borrow_sql(role, target);
    step(format!("membership of the restoring role in {role}"), vec![Statement { sql, part: None }])
}

/// Makes the restoring role a member, so that it can give objects to the role.
pub(super) fn borrow_sql(role: &str, target: &Target) -> String {
    let options = if target.version >= MEMBERSHIP_OPTIONS { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    format!("GRANT {} TO CURRENT_USER{options}", quote_identifier(role))
}

fn grant(membership: &Membership, target: &Target) -> Step {
    let (role, member) = (&membership.role, &membership.member);
    let mut sql = format!("GRANT {} TO {}", quote_identifier(role), quote_identifier(member));
    let mut options: Vec<String> = Vec::new();
    if target.version >= MEMBERSHIP_OPTIONS {
        if membership.admin {
            options.push("ADMIN TRUE".into());
        }
        options
            .extend(membership.inherit.map(|yes| format!("INHERIT {}", if yes { "TRUE" } else { "FALSE" })));
        options.extend(membership.set.map(|yes| format!("SET {}", if yes { "TRUE" } else { "FALSE" })));
    } else if membership.admin {
        options.push("ADMIN OPTION".into());
    }
    if !options.is_empty() {
        sql.push_str(&format!(" WITH {}", options.join(", ")));
    }
    // A grantor is only kept where it can be: it needs the admin option itself, which circles of grants make hard.
    step(format!("membership of {member} in {role}"), vec![Statement { sql, part: None }])
}

/// The database's own owner, grants, comment and settings, for a database that may have another name.
pub(super) fn database_steps(
    globals: &Globals,
    name: &str,
    owner: bool,
    privileges: bool,
    roles: &dyn Fn(&str) -> bool,
) -> Vec<Step> {
    let database = &globals.database;
    let quoted = quote_identifier(name);
    let mut steps = Vec::new();
    let mut add = |what: String, sql: String| steps.push(step(what, vec![Statement { sql, part: None }]));
    for setting in globals.settings.iter().filter(|s| s.database.as_deref() == Some(&database.name)) {
        match &setting.role {
            Some(role) if roles(role) => add(
                format!("setting {} of role {role} in the database", setting.name),
                format!("ALTER ROLE {} IN DATABASE {quoted} {}", quote_identifier(role), set(setting)),
            ),
            Some(_) => {}
            None => {
                add(
                    format!("setting {} of the database", setting.name),
                    format!("ALTER DATABASE {quoted} {}", set(setting)),
                );
            }
        }
    }
    if let Some(comment) = &database.comment {
        add(
            "comment of the database".into(),
            format!("COMMENT ON DATABASE {quoted} IS {}", quote_literal(comment)),
        );
    }
    for (provider, label) in &database.security_labels {
        let provider = quote_identifier(provider);
        let label = quote_literal(label);
        add(
            "security label of the database".into(),
            format!("SECURITY LABEL FOR {provider} ON DATABASE {quoted} IS {label}"),
        );
    }
    if database.connection_limit >= 0 {
        let sql = format!("ALTER DATABASE {quoted} CONNECTION LIMIT {}", database.connection_limit);
        add("connection limit of the database".into(), sql);
    }
    if owner && roles(&database.owner) {
        let sql = format!("ALTER DATABASE {quoted} OWNER TO {}", quote_identifier(&database.owner));
        add("owner of the database".into(), sql);
    }
    if let Some(acl) = database.acl.as_ref().filter(|_| privileges) {
        // Grants are taken from nothing, so that PUBLIC has no more than it had.
        let owner = quote_identifier(&database.owner);
        let mut sql = format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC;\n");
        if roles(&database.owner) {
            sql.push_str(&format!("REVOKE ALL ON DATABASE {quoted} FROM {owner};\n"));
        }
        for privilege in acl.iter().filter(|p| p.grantee.as_deref().is_none_or(roles)) {
            sql.push_str(&grant_on_database(privilege, &quoted));
        }
        add("grants on the database".into(), sql);
    }
    steps
}

fn grant_on_database(privilege: &Privilege, database: &str) -> String {
    let grantee = privilege.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), quote_identifier);
    let option = if privilege.grantable { " WITH GRANT OPTION" } else { "" };
    format!("GRANT {} ON DATABASE {database} TO {grantee}{option};\n", privilege.privilege)
}

/// `SET name TO value` for a setting as the catalog stores it. Settings that are lists are stored ready to use.
fn set(setting: &Setting) -> String {
    let name: Vec<String> = setting.name.split('.').map(quote_identifier).collect();
    let value = if LISTS.contains(&setting.name.to_lowercase().as_str()) {
        list(&setting.value)
    } else {
        quote_literal(&setting.value)
    };
    format!("SET {} TO {value}", name.join("."))
}

/// Settings whose values are lists of identifiers (GUC_LIST_QUOTE in `guc_tables.c`): one literal would be one element.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

fn list(value: &str) -> String {
    use super::names::{Token, tokens};
    let mut elements: Vec<String> = vec![String::new()];
    let mut last = String::new();
    for token in tokens(value) {
        match token {
            Token::Mark(',') => {
                elements.push(String::new());
                continue;
            }
            Token::Word(text) | Token::Quoted(text) | Token::Text(text) => last.push_str(&text),
            Token::Mark(c) => last.push(c),
        }
        if let Some(element) = elements.last_mut() {
            element.push_str(&std::mem::take(&mut last));
        }
    }
    elements.iter().map(|element| quote_literal(element)).collect::<Vec<_>>().join(", ")
}

fn step(name: String, statements: Vec<Statement>) -> Step {
    Step { name, action: Action::Sql(statements), ..Step::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_set_element_by_element() {
        let setting = |name: &str, value: &str| Setting {
            role: None,
            database: None,
            name: name.into(),
            value: value.into(),
        };
        assert_eq!(
            set(&setting("search_path", "\"$user\", public, \"Odd, one\"")),
            "SET \"search_path\" TO '$user', 'public', 'Odd, one'"
        );
        assert_eq!(set(&setting("search_path", "\"\"")), "SET \"search_path\" TO ''");
        assert_eq!(set(&setting("my.Setting", "a, b")), "SET \"my\".\"Setting\" TO 'a, b'");
    }
}

//! The globals as a script for stock psql.
//!
//! It must load under `ON_ERROR_STOP` into a cluster where some of the roles exist already, so creation is conditional, in
//! `DO` blocks rather than psql commands: then any client can run it. Settings and labels that the server refuses (a
//! parameter that a newer version dropped, a provider that is not loaded) become warnings.

use super::{Globals, Membership, Privilege, Role, SecurityLabel, Setting, Tablespace};
use crate::quote::{quote_identifier, quote_literal};
use std::fmt::Write as _;

/// Parameters whose value is a list of names, stored with each name quoted (`GUC_LIST_QUOTE` in the server's source).
const QUOTED_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

impl Globals {
    /// A script that stock psql loads with `ON_ERROR_STOP` into a server of the same or a newer version, as superuser, as
    /// often as one likes. Roles that exist are adjusted, never dropped; the loading role and the bootstrap superuser keep
    /// their attributes. What concerns the database applies when it exists under its name.
    pub fn to_sql(&self) -> String {
        format!("{}{}", self.cluster_sql(), self.database_sql(&self.database.name))
    }

    /// The first part of [`Globals::to_sql`]: roles, memberships, settings of roles, parameters, tablespaces.
    pub fn cluster_sql(&self) -> String {
        let mut script = Script::default();
        script.text.push_str(
            "-- Roles, memberships, settings, tablespaces and properties of the database.\n\
             -- Load as superuser: psql -X -v ON_ERROR_STOP=1 -d postgres -f globals.sql\n",
        );
        for line in &self.missing {
            let _ = writeln!(script.text, "-- Not included: {}", one_line(line));
        }
        script.text.push_str(
            "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET default_transaction_read_only = off;\n",
        );
        script.heading("Roles");
        for role in &self.roles {
            script.role(role);
        }
        script.heading("Memberships");
        for membership in &self.memberships {
            script.membership(membership);
        }
        script.heading("Settings of roles");
        for setting in self.settings.iter().filter(|setting| setting.database.is_none()) {
            script.setting(setting, None);
        }
        script.heading("Privileges on parameters");
        let bootstrap = self.roles.iter().find(|role| role.bootstrap).map_or("", |role| role.name.as_str());
        for entry in &self.parameter_privileges {
            let object = format!("PARAMETER {}", quote_identifier(&entry.parameter));
            for statement in grants(&object, bootstrap, &entry.privileges) {
                script.tolerant(&statement);
            }
        }
        script.heading("Tablespaces");
        for tablespace in &self.tablespaces {
            script.tablespace(tablespace);
        }
        script.text
    }

    /// The second part of [`Globals::to_sql`], for a database that may have another name there.
    pub fn database_sql(&self, database: &str) -> String {
        let mut script = Script::default();
        script.heading("Database");
        let properties = &self.database;
        let name = quote_identifier(database);
        let mut statements =
            vec![format!("ALTER DATABASE {name} OWNER TO {}", quote_identifier(&properties.owner))];
        if properties.connection_limit >= -1 {
            statements
                .push(format!("ALTER DATABASE {name} CONNECTION LIMIT {}", properties.connection_limit));
        }
        if properties.is_template {
            statements.push(format!("ALTER DATABASE {name} IS_TEMPLATE true"));
        }
        if let Some(acl) = &properties.acl {
            statements.extend(acl_statements(&format!("DATABASE {name}"), &properties.owner, acl));
        }
        if let Some(comment) = &properties.comment {
            statements.push(format!("COMMENT ON DATABASE {name} IS {}", quote_literal(comment)));
        }
        script.when_present("pg_database", "datname", database, &statements);
        for label in &properties.security_labels {
            script.tolerant(&label_statement(&format!("DATABASE {name}"), label));
        }
        for setting in self.settings.iter().filter(|setting| setting.database.is_some()) {
            script.setting(setting, Some(database));
        }
        script.text
    }
}

#[derive(Default)]
struct Script {
    text: String,
}

impl Script {
    fn heading(&mut self, heading: &str) {
        let _ = write!(self.text, "\n-- {heading}\n");
    }

    /// One PL/pgSQL block, between dollar quotes that do not occur in it.
    fn block(&mut self, body: &str) {
        let tag = (0..)
            .map(|number: u32| if number == 0 { "$do$".to_owned() } else { format!("$do{number}$") })
            .find(|tag| !body.contains(tag.as_str()))
            .unwrap_or_default();
        let _ = writeln!(self.text, "DO {tag}\n{body}\n{tag};");
    }

    /// A statement whose refusal is a warning.
    fn tolerant(&mut self, statement: &str) {
        self.block(&format!(
            "BEGIN\n  {statement};\nEXCEPTION WHEN OTHERS THEN\n  RAISE WARNING 'left out, % (%)', {}, SQLERRM;\nEND",
            quote_literal(statement)
        ));
    }

    /// Statements that apply when a shared object exists.
    fn when_present(&mut self, catalog: &str, column: &str, name: &str, statements: &[String]) {
        if !statements.is_empty() {
            self.block(&format!(
                "BEGIN\n  IF EXISTS (SELECT FROM pg_catalog.{catalog} WHERE {column} = {}) THEN\n    {};\n  END IF;\nEND",
                quote_literal(name),
                statements.join(";\n    ")
            ));
        }
    }

    fn role(&mut self, role: &Role) {
        let name = quote_identifier(&role.name);
        let literal = quote_literal(&role.name);
        let valid_until = role.valid_until.as_deref().map(quote_literal);
        // The role that loads the script and the one that initdb made must stay what they are, or the load would lock itself out.
        self.block(&format!(
            "BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
    CREATE ROLE {name}{};
  ELSIF EXISTS (SELECT FROM pg_catalog.pg_roles
      WHERE rolname = {literal} AND oid <> 10 AND rolname NOT IN (current_user, session_user)
        AND (rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil)
          IS DISTINCT FROM ({}, {}, {}, {}, {}, {}, {}, {}, {}::timestamptz)) THEN
    ALTER ROLE {name} WITH {};
  END IF;
END",
            created_with(role),
            role.superuser,
            role.inherit,
            role.create_role,
            role.create_db,
            role.login,
            role.replication,
            role.bypass_rls,
            role.connection_limit,
            valid_until.as_deref().unwrap_or("NULL"),
            all_attributes(role),
        ));
        if let Some(verifier) = &role.verifier {
            let statement = format!("ALTER ROLE {name} PASSWORD {}", quote_literal(verifier.expose()));
            if role.superuser {
                let _ = writeln!(self.text, "{statement};");
            } else {
                // A superuser here that was none there keeps its own password.
                self.block(&format!(
                    "BEGIN\n  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal} AND NOT rolsuper) THEN\n    {statement};\n  END IF;\nEND"
                ));
            }
        }
        if let Some(comment) = &role.comment {
            let _ = writeln!(self.text, "COMMENT ON ROLE {name} IS {};", quote_literal(comment));
        }
        for label in &role.security_labels {
            self.tolerant(&label_statement(&format!("ROLE {name}"), label));
        }
    }

    fn membership(&mut self, membership: &Membership) {
        let grant = format!(
            "GRANT {} TO {}",
            quote_identifier(&membership.role),
            quote_identifier(&membership.member)
        );
        let without_admin = options(membership, false);
        let with_admin = options(membership, membership.admin);
        let plain = format!("{grant}{without_admin}");
        let mut body = format!("{grant}{with_admin}");
        if !membership.admin && membership.grantor.is_none() {
            let _ = writeln!(self.text, "{body};");
            return;
        }
        if let Some(grantor) = &membership.grantor {
            // The grantor may be unable to grant it here; the membership matters more than who gave it.
            body = format!(
                "BEGIN\n    {body} GRANTED BY {};\n    EXCEPTION WHEN OTHERS THEN\n      {body};\n    END",
                quote_identifier(grantor)
            );
        }
        // ADMIN cannot be given to the bootstrap superuser, who has it anyway.
        self.block(&format!(
            "BEGIN\n  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {} AND oid = 10) THEN\n    {plain};\n  ELSE\n    {body};\n  END IF;\nEND",
            quote_literal(&membership.member)
        ));
    }

    fn setting(&mut self, setting: &Setting, database: Option<&str>) {
        let database = database.map(quote_identifier);
        let target = match (&setting.role, &database) {
            (Some(role), None) => format!("ROLE {}", quote_identifier(role)),
            (Some(role), Some(database)) => format!("ROLE {} IN DATABASE {database}", quote_identifier(role)),
            (None, Some(database)) => format!("DATABASE {database}"),
            (None, None) => "ROLE ALL".to_owned(),
        };
        let name = quote_identifier(&setting.name);
        self.tolerant(&format!(
            "ALTER {target} SET {name} TO {}",
            setting_value(&setting.name, &setting.value)
        ));
    }

    /// Its directory must exist and be empty, and `CREATE TABLESPACE` cannot be conditional: it stays a comment.
    fn tablespace(&mut self, tablespace: &Tablespace) {
        let name = quote_identifier(&tablespace.name);
        let create = format!(
            "CREATE TABLESPACE {name} OWNER {} LOCATION {};",
            quote_identifier(&tablespace.owner),
            quote_literal(&tablespace.location)
        );
        let _ = writeln!(
            self.text,
            "-- Create it first where tables shall be in it again:\n-- {}",
            one_line(&create)
        );
        let mut statements =
            vec![format!("ALTER TABLESPACE {name} OWNER TO {}", quote_identifier(&tablespace.owner))];
        let options: Vec<String> = tablespace
            .options
            .iter()
            .filter_map(|option| option.split_once('='))
            .map(|(option, value)| format!("{} = {}", quote_identifier(option), quote_literal(value)))
            .collect();
        if !options.is_empty() {
            statements.push(format!("ALTER TABLESPACE {name} SET ({})", options.join(", ")));
        }
        if let Some(acl) = &tablespace.acl {
            statements.extend(acl_statements(&format!("TABLESPACE {name}"), &tablespace.owner, acl));
        }
        if let Some(comment) = &tablespace.comment {
            statements.push(format!("COMMENT ON TABLESPACE {name} IS {}", quote_literal(comment)));
        }
        self.when_present("pg_tablespace", "spcname", &tablespace.name, &statements);
    }
}

/// A comment must stay on its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn label_statement(object: &str, label: &SecurityLabel) -> String {
    let provider = quote_identifier(&label.provider);
    format!("SECURITY LABEL FOR {provider} ON {object} IS {}", quote_literal(&label.label))
}

/// What differs from the defaults of `CREATE ROLE`.
fn created_with(role: &Role) -> String {
    let mut attributes = String::new();
    for (given, word) in [
        (role.superuser, " SUPERUSER"),
        (!role.inherit, " NOINHERIT"),
        (role.create_role, " CREATEROLE"),
        (role.create_db, " CREATEDB"),
        (role.login, " LOGIN"),
        (role.replication, " REPLICATION"),
        (role.bypass_rls, " BYPASSRLS"),
    ] {
        if given {
            attributes.push_str(word);
        }
    }
    if role.connection_limit != -1 {
        let _ = write!(attributes, " CONNECTION LIMIT {}", role.connection_limit);
    }
    if let Some(moment) = &role.valid_until {
        let _ = write!(attributes, " VALID UNTIL {}", quote_literal(moment));
    }
    attributes
}

fn all_attributes(role: &Role) -> String {
    let word = |given: bool, word: &str| if given { word.to_owned() } else { format!("NO{word}") };
    [
        word(role.superuser, "SUPERUSER"),
        word(role.inherit, "INHERIT"),
        word(role.create_role, "CREATEROLE"),
        word(role.create_db, "CREATEDB"),
        word(role.login, "LOGIN"),
        word(role.replication, "REPLICATION"),
        word(role.bypass_rls, "BYPASSRLS"),
        format!("CONNECTION LIMIT {}", role.connection_limit),
        format!("VALID UNTIL {}", quote_literal(role.valid_until.as_deref().unwrap_or("infinity"))),
    ]
    .join(" ")
}

fn options(membership: &Membership, admin: bool) -> String {
    let word = |given: bool| if given { "TRUE" } else { "FALSE" };
    match (membership.inherit, membership.set) {
        (Some(inherit), Some(set)) => {
            format!(" WITH ADMIN {}, INHERIT {}, SET {}", word(admin), word(inherit), word(set))
        }
        _ if admin => " WITH ADMIN OPTION".to_owned(),
        _ => String::new(),
    }
}

/// The ACL from scratch: what is there by default is revoked first.
fn acl_statements(object: &str, owner: &str, acl: &[Privilege]) -> Vec<String> {
    let mut statements = vec![
        format!("REVOKE ALL ON {object} FROM PUBLIC"),
        format!("REVOKE ALL ON {object} FROM {}", quote_identifier(owner)),
    ];
    statements.extend(grants(object, owner, acl));
    statements
}

/// GRANT statements such that who grants can do so by then.
fn grants(object: &str, owner: &str, acl: &[Privilege]) -> Vec<String> {
    let mut waiting: Vec<&Privilege> = acl.iter().collect();
    let mut done: Vec<&Privilege> = Vec::new();
    while !waiting.is_empty() {
        let (now, later): (Vec<&Privilege>, Vec<&Privilege>) = waiting.iter().partition(|item| {
            item.grantor == owner
                || done.iter().any(|given| {
                    given.grantable
                        && given.privilege == item.privilege
                        && given.grantee.as_ref() == Some(&item.grantor)
                })
        });
        if now.is_empty() {
            done.extend(later);
            break;
        }
        done.extend(now);
        waiting = later;
    }
    let grant = |item: &&Privilege| {
        let grantee = item.grantee.as_deref().map_or("PUBLIC".to_owned(), quote_identifier);
        let option = if item.grantable { " WITH GRANT OPTION" } else { "" };
        let statement = format!("GRANT {} ON {object} TO {grantee}{option}", item.privilege);
        if item.grantor == owner {
            return statement;
        }
        format!("SET LOCAL ROLE {}; {statement}; RESET ROLE", quote_identifier(&item.grantor))
    };
    done.iter().map(grant).collect()
}

/// The value as `ALTER … SET name TO` takes it.
fn setting_value(name: &str, value: &str) -> String {
    if !QUOTED_LISTS.contains(&name) {
        return quote_literal(value);
    }
    let items: Vec<String> = split_list(value).iter().map(|item| quote_literal(item)).collect();
    if items.is_empty() { "''".to_owned() } else { items.join(", ") }
}

/// Splits `"$user", public` into its names; a name in double quotes may hold commas and doubled quotes.
fn split_list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let mut item = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some(end) = rest.find('"') {
                item.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                match rest.strip_prefix('"') {
                    Some(after) => {
                        item.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
        }
        let end = rest.find(',').unwrap_or(rest.len());
        item.push_str(rest[..end].trim());
        items.push(item);
        rest = rest.get(end + 1..).unwrap_or_default().trim_start();
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_quoted_one_by_one() {
        let check = |value: &str, expected: &str| assert_eq!(setting_value("search_path", value), expected);
        check(r#""$user", public"#, "'$user', 'public'");
        check(r#""a, ""b""",c"#, r#"'a, "b"', 'c'"#);
        check(r#""""#, "''");
        check("", "''");
        assert_eq!(setting_value("work_mem", "8MB"), "'8MB'");
        assert_eq!(setting_value("app.list", "a, b"), "'a, b'");
    }

    #[test]
    fn quotes_that_occur_in_a_block_are_not_used_around_it() {
        let mut script = Script::default();
        script.block("BEGIN PERFORM '$do$'; END");
        assert_eq!(script.text, "DO $do1$\nBEGIN PERFORM '$do$'; END\n$do1$;\n");
    }

    #[test]
    fn privileges_are_granted_after_the_right_to_grant_them() {
        let privilege = |grantor: &str, grantee: Option<&str>, grantable| Privilege {
            grantor: grantor.into(),
            grantee: grantee.map(Into::into),
            privilege: "CONNECT".into(),
            grantable,
        };
        let acl = [privilege("a", None, false), privilege("o", Some("a"), true)];
        assert_eq!(
            grants("DATABASE d", "o", &acl),
            [
                r#"GRANT CONNECT ON DATABASE d TO "a" WITH GRANT OPTION"#,
                r#"SET LOCAL ROLE "a"; GRANT CONNECT ON DATABASE d TO PUBLIC; RESET ROLE"#,
            ]
        );
    }
}

//! GRANT and REVOKE as pg_dump writes them, taken apart: to take back what a target has too much, and to say by whom a
//! privilege was granted without being that role's session (`SET SESSION AUTHORIZATION` is for superusers).

use std::fmt;

use crate::model::Entry;
use crate::owner::dropped_object;
use crate::quote::{quote_identifier, quote_qualified};

/// One statement of an `ACL` or `DEFAULT ACL` entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The role that granted it, where that is not the object's owner.
    pub grantor: Option<String>,
    /// `ALTER DEFAULT PRIVILEGES FOR ROLE … [IN SCHEMA …]`, else empty.
    prefix: String,
    /// Whether it grants; else it revokes.
    pub grants: bool,
    /// `SELECT,INSERT`, `ALL`, `SELECT(column)`.
    privileges: String,
    /// `TABLE public.orders`, `TABLES`.
    object: String,
    /// The role as written, or `PUBLIC`.
    grantee: String,
    with_grant_option: bool,
}

impl Grant {
    /// The statements of an entry, in order. `None` when one of them is no such statement.
    pub fn parse(text: &str) -> Option<Vec<Self>> {
        let mut grants = Vec::new();
        let mut grantor: Option<String> = None;
        for statement in statements(text) {
            if let Some(role) = statement.strip_prefix("SET SESSION AUTHORIZATION ") {
                grantor = Some(unquoted(role));
            } else if statement == "RESET SESSION AUTHORIZATION" {
                grantor = None;
            } else {
                grants.push(Self { grantor: grantor.clone(), ..Self::statement(statement)? });
            }
        }
        Some(grants)
    }

    fn statement(text: &str) -> Option<Self> {
        let (prefix, rest) = if text.starts_with("GRANT ") || text.starts_with("REVOKE ") {
            ("", text)
        } else {
            let at = find(text, " GRANT ").or_else(|| find(text, " REVOKE "))?;
            if !text.starts_with("ALTER DEFAULT PRIVILEGES ") {
                return None;
            }
            (text.get(..at)?, text.get(at + 1..)?)
        };
        let (grants, rest, toward) = match rest.strip_prefix("GRANT ") {
            Some(rest) => (true, rest, " TO "),
            None => (false, rest.strip_prefix("REVOKE ")?, " FROM "),
        };
        let on = find(rest, " ON ")?;
        let (privileges, rest) = (rest.get(..on)?, rest.get(on + 4..)?);
        let to = find(rest, toward)?;
        let (object, grantee) = (rest.get(..to)?, rest.get(to + toward.len()..)?);
        let with_grant_option = grants && grantee.ends_with(" WITH GRANT OPTION");
        Some(Self {
            grantor: None,
            prefix: prefix.trim_end().to_owned(),
            grants,
            privileges: privileges.to_owned(),
            object: object.trim().to_owned(),
            grantee: grantee.strip_suffix(" WITH GRANT OPTION").unwrap_or(grantee).to_owned(),
            with_grant_option,
        })
    }

    /// The statement that undoes this one.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { grants: !self.grants, with_grant_option: false, ..self.clone() }
    }

    /// The role that gets or loses the privilege; `None` is PUBLIC.
    pub fn grantee(&self) -> Option<String> {
        (self.grantee != "PUBLIC").then(|| unquoted(&self.grantee))
    }
}

impl fmt::Display for Grant {
    /// The statement, without a semicolon and without its grantor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prefix.is_empty() {
            write!(f, "{} ", self.prefix)?;
        }
        let (verb, toward) = if self.grants { ("GRANT", "TO") } else { ("REVOKE", "FROM") };
        write!(f, "{verb} {} ON {} {toward} {}", self.privileges, self.object, self.grantee)?;
        if self.with_grant_option { f.write_str(" WITH GRANT OPTION") } else { Ok(()) }
    }
}

/// Statements as one text for a role that is no superuser: `ours` needs no change of role, and others are taken on with
/// `SET ROLE`.
pub fn grants_sql(grants: &[Grant], ours: &str) -> String {
    let mut sql = String::new();
    for grant in grants {
        match grant.grantor.as_deref().filter(|role| *role != ours) {
            Some(role) => {
                let role = quote_identifier(role);
                sql.push_str(&format!("SET ROLE {role};\n{grant};\nRESET ROLE;\n"));
            }
            None => sql.push_str(&format!("{grant};\n")),
        }
    }
    sql
}

impl Entry {
    /// What GRANT calls the entry's object, and the letter that `pg_default_acl` has for its kind (`r` for `TABLE
    /// public.orders`). `None` for what default privileges do not concern.
    pub fn grant_target(&self) -> Option<(char, String)> {
        let schema = self.namespace.as_ref().map_or(&[][..], |name| name.as_slice());
        let named = |kind: &str, letter| {
            Some((letter, format!("{kind} {}", quote_qualified(schema, self.tag_bytes()))))
        };
        match self.desc.as_slice() {
            b"TABLE" | b"VIEW" | b"MATERIALIZED VIEW" | b"FOREIGN TABLE" => named("TABLE", 'r'),
            b"SEQUENCE" => named("SEQUENCE", 'S'),
            b"TYPE" => named("TYPE", 'T'),
            b"DOMAIN" => named("DOMAIN", 'T'),
            b"SCHEMA" => named("SCHEMA", 'n'),
            b"FUNCTION" | b"PROCEDURE" | b"AGGREGATE" => {
                let dropped = dropped_object(self.drop_stmt.as_ref()?)?;
                let dropped = String::from_utf8(dropped.to_vec()).ok()?;
                let target = match dropped.strip_prefix("AGGREGATE ") {
                    Some(aggregate) => format!("FUNCTION {}", aggregate.replace("(*)", "()")),
                    None => dropped,
                };
                Some(('f', target))
            }
            _ => None,
        }
    }
}

/// Where `wanted` begins outside of double quotes.
fn find(text: &str, wanted: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        if !quoted && text.as_bytes().get(at..)?.starts_with(wanted.as_bytes()) {
            return Some(at);
        }
        if byte == b'"' {
            quoted = !quoted;
        }
    }
    None
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.trim().is_empty() {
            return None;
        }
        let end = find(rest, ";").unwrap_or(rest.len());
        let statement = rest.get(..end)?.trim();
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(statement)
    })
    .filter(|statement| !statement.is_empty())
}

fn unquoted(role: &str) -> String {
    match role.strip_prefix('"').and_then(|role| role.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => role.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACL: &str = "REVOKE ALL ON FUNCTION public.\"f ON ;\"(integer) FROM PUBLIC;\n\
        GRANT ALL ON FUNCTION public.\"f ON ;\"(integer) TO \"odd TO \"\"role\";\n\
        SET SESSION AUTHORIZATION \"odd TO \"\"role\";\n\
        GRANT SELECT(a),UPDATE(a) ON TABLE public.t TO bob WITH GRANT OPTION;\nRESET SESSION AUTHORIZATION;\n";

    #[test]
    fn statements_are_taken_apart_and_put_together_again() {
        let grants = Grant::parse(ACL).unwrap();
        assert_eq!(grants.len(), 3);
        assert_eq!(grants[1].grantee().as_deref(), Some("odd TO \"role"));
        assert_eq!(grants[2].grantor.as_deref(), Some("odd TO \"role"));
        let text = ACL.replace("SESSION AUTHORIZATION ", "ROLE ").replace("SESSION AUTHORIZATION", "ROLE");
        assert_eq!(grants_sql(&grants, "postgres"), text);
        assert!(!grants_sql(&grants, "odd TO \"role").contains("ROLE"));
    }

    #[test]
    fn what_was_given_is_taken_back() {
        let grants = Grant::parse(ACL).unwrap();
        let back: Vec<String> = grants.iter().rev().map(|grant| grant.reversed().to_string()).collect();
        assert_eq!(
            back,
            [
                "REVOKE SELECT(a),UPDATE(a) ON TABLE public.t FROM bob",
                "REVOKE ALL ON FUNCTION public.\"f ON ;\"(integer) FROM \"odd TO \"\"role\"",
                "GRANT ALL ON FUNCTION public.\"f ON ;\"(integer) TO PUBLIC",
            ]
        );
        let default = Grant::parse(
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT,INSERT ON TABLES  TO anon;\n",
        )
        .unwrap();
        assert_eq!(
            default[0].reversed().to_string(),
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE SELECT,INSERT ON TABLES FROM anon"
        );
    }

    #[test]
    fn other_statements_are_refused() {
        assert_eq!(Grant::parse("SELECT 1;"), None);
        assert_eq!(Grant::parse("ALTER TABLE x GRANT y ON z TO w;"), None);
        assert_eq!(Grant::parse(""), Some(vec![]));
    }
}

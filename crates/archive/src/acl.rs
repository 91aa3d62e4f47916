//! GRANT and REVOKE for large objects, from the server's access control items (`buildACLCommands` in pg_dump).

use bstr::BString;

use crate::error::ArchiveError;
use crate::quote::quote_identifier;

/// The statements that give a large object these privileges.
pub(crate) struct AclCommands {
    /// The statements, each ended by a newline. Empty when the privileges are the default.
    pub(crate) sql: BString,
    /// Whether some were granted by another role than the owner. Such statements switch the session's user.
    pub(crate) foreign_grantor: bool,
}

/// Turns access control items (`grantee=privileges/grantor`) into statements.
pub(crate) fn large_object_acl(oid: u32, owner: &str, items: &[String]) -> Result<AclCommands, ArchiveError> {
    let items = items.iter().map(|text| Item::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let default = Item { grantee: owner.to_owned(), privileges: "rw".to_owned(), grantor: owner.to_owned() };
    let mut first = String::new();
    let mut second = String::new();
    let mut foreign_grantor = false;
    if !items.contains(&default) {
        first.push_str(&format!("REVOKE ALL ON LARGE OBJECT {oid} FROM {};\n", quote_identifier(owner)));
    }
    for item in items.iter().filter(|item| **item != default) {
        let (plain, grantable) = item.keywords();
        if plain.is_empty() && grantable.is_empty() {
            continue;
        }
        let own = item.grantee == owner && item.grantor == owner;
        let sql = if own { &mut first } else { &mut second };
        let grantee = if item.grantee.is_empty() {
            "PUBLIC".to_owned()
        } else {
            quote_identifier(&item.grantee).to_string()
        };
        let foreign = item.grantor != owner;
        foreign_grantor |= foreign;
        if foreign {
            sql.push_str(&format!("SET SESSION AUTHORIZATION {};\n", quote_identifier(&item.grantor)));
        }
        if !plain.is_empty() {
            sql.push_str(&format!("GRANT {plain} ON LARGE OBJECT {oid} TO {grantee};\n"));
        }
        if !grantable.is_empty() {
            sql.push_str(&format!(
                "GRANT {grantable} ON LARGE OBJECT {oid} TO {grantee} WITH GRANT OPTION;\n"
            ));
        }
        if foreign {
            sql.push_str("RESET SESSION AUTHORIZATION;\n");
        }
    }
    Ok(AclCommands { sql: BString::from(first + &second), foreign_grantor })
}

#[derive(PartialEq, Eq)]
struct Item {
    grantee: String,
    privileges: String,
    grantor: String,
}

impl Item {
    fn parse(text: &str) -> Result<Self, ArchiveError> {
        let invalid = || ArchiveError::InvalidAcl(text.to_owned());
        let (grantee, rest) = role(text).ok_or_else(invalid)?;
        let (privileges, rest) =
            rest.strip_prefix('=').and_then(|r| r.split_once('/')).ok_or_else(invalid)?;
        let (grantor, rest) = role(rest).ok_or_else(invalid)?;
        if !rest.is_empty() {
            return Err(invalid());
        }
        Ok(Self { grantee, privileges: privileges.to_owned(), grantor })
    }

    /// The privileges without and with the right to grant them on.
    fn keywords(&self) -> (String, String) {
        let (mut plain, mut grantable) = (Vec::new(), Vec::new());
        for (code, keyword) in [('r', "SELECT"), ('w', "UPDATE")] {
            if let Some((_, after)) = self.privileges.split_once(code) {
                let list = if after.starts_with('*') { &mut grantable } else { &mut plain };
                list.push(keyword);
            }
        }
        let keywords = |list: Vec<&str>| if list.len() == 2 { "ALL".to_owned() } else { list.join(",") };
        (keywords(plain), keywords(grantable))
    }
}

/// A role name up to an unquoted `=` or the end, and what follows it. A quote within quotes is doubled.
fn role(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                name.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            '=' if !quoted => return Some((name, text.get(at..)?)),
            other => name.push(other),
        }
    }
    (!quoted).then_some((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(owner: &str, items: &[&str]) -> String {
        let items: Vec<_> = items.iter().map(ToString::to_string).collect();
        large_object_acl(7, owner, &items).unwrap().sql.to_string()
    }

    #[test]
    fn grants_what_differs_from_the_default() {
        assert_eq!(sql("alice", &["alice=rw/alice"]), "");
        assert_eq!(
            sql("alice", &["alice=rw/alice", "=r/alice", "\"o\"\"b\"=rw*/alice", "c=r*w*/bob"]),
            "GRANT SELECT ON LARGE OBJECT 7 TO PUBLIC;\n\
             GRANT SELECT ON LARGE OBJECT 7 TO \"o\"\"b\";\n\
             GRANT UPDATE ON LARGE OBJECT 7 TO \"o\"\"b\" WITH GRANT OPTION;\n\
             SET SESSION AUTHORIZATION bob;\n\
             GRANT ALL ON LARGE OBJECT 7 TO c WITH GRANT OPTION;\n\
             RESET SESSION AUTHORIZATION;\n"
        );
    }

    #[test]
    fn revokes_the_default_when_it_is_gone() {
        assert_eq!(sql("alice", &[]), "REVOKE ALL ON LARGE OBJECT 7 FROM alice;\n");
        assert_eq!(
            sql("alice", &["bob=r/alice", "alice=r/alice"]),
            "REVOKE ALL ON LARGE OBJECT 7 FROM alice;\n\
             GRANT SELECT ON LARGE OBJECT 7 TO alice;\n\
             GRANT SELECT ON LARGE OBJECT 7 TO bob;\n"
        );
    }

    #[test]
    fn refuses_what_is_no_access_control_item() {
        for text in ["", "alice", "alice=rw", "\"alice=rw/bob", "a=r/b=c"] {
            assert!(large_object_acl(1, "x", &[text.to_owned()]).is_err(), "{text}");
        }
    }
}

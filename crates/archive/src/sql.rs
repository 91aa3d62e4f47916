//! What to run for an entry: the statements that pg_restore (without `--clean`) sends.

use bstr::{BStr, BString};
use serde::{Deserialize, Serialize};

use crate::data::LOAD_VIA_ROOT;
use crate::model::{Archive, Entry, Section};
use crate::owner::alter_owner;
use crate::quote::{quote_identifier, quote_literal, quote_qualified};

/// How many statements for single large objects go into one message: each holds a lock until it ends.
const LARGE_OBJECTS_AT_ONCE: usize = 200;

/// `pg_class.relkind` of a partitioned table.
const PARTITIONED_TABLE: i32 = b'p' as i32;

/// What to restore. The default is everything but the database itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreOptions {
    /// Give objects to their owners.
    pub owner: bool,
    /// Privileges, also default privileges.
    pub privileges: bool,
    /// Comments.
    pub comments: bool,
    /// Security labels.
    pub security_labels: bool,
    /// Publications.
    pub publications: bool,
    /// Subscriptions.
    pub subscriptions: bool,
    /// Put objects into their tablespaces.
    pub tablespaces: bool,
    /// Create the database and set its properties, comment, privileges and label.
    pub database: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            owner: true,
            privileges: true,
            comments: true,
            security_labels: true,
            publications: true,
            subscriptions: true,
            tablespaces: true,
            database: false,
        }
    }
}

/// What to send for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// Each is one simple query, to be sent in this order on one connection. One query can hold several statements;
    /// PostgreSQL runs them as one transaction.
    pub queries: Vec<BString>,
    /// Whether the queries may run inside a transaction block.
    pub transactional: bool,
}

impl Sql {
    /// All queries as one. Send it so only when [`Sql::transactional`].
    pub fn joined(&self) -> BString {
        let mut text = BString::default();
        for query in &self.queries {
            text.extend_from_slice(query);
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
        text
    }
}

/// The settings under which an archive's statements mean what they meant, to be sent first on each connection.
///
/// `transaction_timeout` exists from PostgreSQL 17 on and is reset where it does.
pub fn session_setup(archive: &Archive) -> String {
    let mut sql = String::from(
        "SET statement_timeout = 0;\n\
         SET lock_timeout = 0;\n\
         SET idle_in_transaction_session_timeout = 0;\n\
         SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) 'transaction_timeout';\n",
    );
    if let Some(encoding) = archive.encoding() {
        sql.push_str(&format!("SET client_encoding = {};\n", quote_literal(encoding, true)));
    }
    let standard_strings = archive.standard_strings();
    sql.push_str(if standard_strings {
        "SET standard_conforming_strings = on;\n"
    } else {
        "SET standard_conforming_strings = off;\n"
    });
    if let Some(search_path) = archive.special("SEARCHPATH") {
        sql.push_str(&search_path.to_string());
    }
    sql.push_str(
        "SET check_function_bodies = false;\n\
         SET xmloption = content;\n\
         SET client_min_messages = warning;\n",
    );
    if !standard_strings {
        sql.push_str("SET escape_string_warning = off;\n");
    }
    sql.push_str("SET row_security = off;\n");
    sql
}

impl RestoreOptions {
    /// Whether an entry is wanted at all (`_tocEntryRequired` without the selection by name).
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        let tag = entry.tag_bytes();
        let about = |kind: &str| tag.starts_with(kind.as_bytes());
        match entry.desc.as_slice() {
            b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"STATISTICS DATA" | b"WARNING" | b"<Init>" => {
                false
            }
            b"DATABASE" | b"DATABASE PROPERTIES" => self.database,
            b"PUBLICATION" | b"PUBLICATION TABLE" | b"PUBLICATION TABLES IN SCHEMA" => self.publications,
            b"SUBSCRIPTION" | b"SUBSCRIPTION TABLE" => self.subscriptions,
            b"DEFAULT ACL" | b"ACL LANGUAGE" => self.privileges,
            b"ACL" | b"COMMENT" | b"SECURITY LABEL" => {
                let kind = match entry.desc.as_slice() {
                    b"ACL" => self.privileges,
                    b"COMMENT" => self.comments,
                    _ => self.security_labels,
                };
                kind && (self.publications || !about("PUBLICATION"))
                    && (self.subscriptions || !about("SUBSCRIPTION"))
                    && (self.database || !about("DATABASE "))
            }
            _ => true,
        }
    }
}

impl Entry {
    /// The statements that create the entry's object and give it to its owner, or set what the entry sets. `None`
    /// when there is nothing to run: the entry is not wanted, or it only carries rows or large objects' contents.
    ///
    /// Each answer stands alone: the settings an entry needs (tablespace, table access method) come with it.
    pub fn create_sql(&self, archive: &Archive, opts: &RestoreOptions) -> Option<Sql> {
        if !opts.wants(self) || self.had_dumper {
            return None;
        }
        let mut queries = Vec::new();
        if opts.owner && self.desc == "SCHEMA" && !self.is_comment_only() {
            // Old archives create a schema with AUTHORIZATION; without owners they must not, and otherwise ALTER does.
            queries.push(self.defn.clone()?);
        } else if self.desc == "SCHEMA" && !self.is_comment_only() {
            queries.push(
                bstr::concat([b"CREATE SCHEMA ", quote_identifier(self.tag_bytes()).as_slice(), b";\n"])
                    .into(),
            );
        } else if self.desc == "BLOB METADATA" {
            queries.extend(per_large_object(self.defn_bytes(), b"SELECT pg_catalog.lo_create('", b"')"));
        } else if let Some(metadata) = self.large_objects_of_acl(archive) {
            queries.extend(self.acl_per_large_object(metadata));
        } else if !self.is_comment_only() && !self.defn_bytes().is_empty() {
            queries.push(self.defn.clone()?);
        }
        if opts.owner && self.desc == "BLOB METADATA" {
            if let Some(owner) = self.owner.as_ref().filter(|o| !o.is_empty()) {
                let end = bstr::concat([b" OWNER TO ", quote_identifier(owner).as_slice()]);
                queries.extend(per_large_object(self.defn_bytes(), b"ALTER LARGE OBJECT ", &end));
            }
        } else if opts.owner {
            queries.extend(alter_owner(self));
        }
        if queries.is_empty() {
            return None;
        }
        let mut all = self.settings(archive, opts);
        all.append(&mut queries);
        all.extend(self.partitioned_access_method());
        let transactional = !matches!(self.desc.as_slice(), b"DATABASE" | b"DATABASE PROPERTIES");
        Some(Sql { queries: all, transactional })
    }

    /// Whether [`Entry::create_sql`] gives something, without making it.
    pub(crate) fn runs_sql(&self, archive: &Archive, opts: &RestoreOptions) -> bool {
        if !opts.wants(self) || self.had_dumper {
            return false;
        }
        let defines = !self.defn_bytes().is_empty() && !self.is_comment_only();
        defines && self.desc != "ACL" || self.create_sql(archive, opts).is_some()
    }

    /// Whether the rows go back through a partitioned table rather than into the table they came from.
    pub fn is_load_via_partition_root(&self) -> bool {
        if self.defn_bytes().starts_with(LOAD_VIA_ROOT) {
            return true;
        }
        let Some(copy) = self.copy_stmt.as_ref().filter(|c| !c.is_empty()) else { return false };
        let schema = self.namespace.as_ref().map_or(&[][..], |n| n.as_slice());
        let own = bstr::concat([b"COPY ", quote_qualified(schema, self.tag_bytes()).as_slice(), b" "]);
        // pg_dump releases differ in what they quote, so compare without quotes.
        let bare = |text: &[u8]| text.iter().copied().filter(|b| *b != b'"').collect::<Vec<u8>>();
        self.desc == "TABLE DATA" && !bare(copy).starts_with(&bare(&own))
    }

    /// What must be set before the definition runs.
    fn settings(&self, archive: &Archive, opts: &RestoreOptions) -> Vec<BString> {
        let mut settings: Vec<BString> = Vec::new();
        let schema = self.namespace.as_ref().filter(|n| !n.is_empty());
        if let (Some(schema), None) = (schema, archive.special("SEARCHPATH")) {
            let and_catalog: &[u8] = if *schema == "pg_catalog" { b"" } else { b", pg_catalog" };
            let schema = quote_identifier(schema);
            settings
                .push(bstr::concat([b"SET search_path = ", schema.as_slice(), and_catalog, b";\n"]).into());
        }
        if let Some(tablespace) = self.tablespace.as_ref().filter(|_| opts.tablespaces) {
            let value =
                if tablespace.is_empty() { BString::from("''") } else { quote_identifier(tablespace) };
            settings.push(bstr::concat([b"SET default_tablespace = ", value.as_slice(), b";\n"]).into());
        }
        if let Some(method) = self.table_access_method.as_ref().filter(|_| !self.is_partitioned()) {
            let method = quote_identifier(method);
            settings.push(
                bstr::concat([b"SET default_table_access_method = ", method.as_slice(), b";\n"]).into(),
            );
        }
        settings
    }

    /// A partitioned table has no storage; its partitions' access method is altered after it is created.
    fn partitioned_access_method(&self) -> Option<BString> {
        let method = self.table_access_method.as_ref().filter(|_| self.is_partitioned())?;
        let schema = self.namespace.as_ref().map_or(&[][..], |n| n.as_slice());
        let table = quote_qualified(schema, self.tag_bytes());
        let method = quote_identifier(method);
        Some(
            bstr::concat([b"ALTER TABLE ", table.as_slice(), b" SET ACCESS METHOD ", &method, b";\n"]).into(),
        )
    }

    fn is_partitioned(&self) -> bool {
        self.relkind == Some(PARTITIONED_TABLE)
    }

    /// Whether the definition only says something to a reader, like the one of a schema that is always there.
    pub(crate) fn is_comment_only(&self) -> bool {
        let defn = self.defn_bytes();
        !defn.is_empty() && defn.split(|b| *b == b'\n').all(|line| line.is_empty() || line.starts_with(b"--"))
    }

    /// For an ACL that holds for a group of large objects: the oids, one on each line.
    pub(crate) fn large_objects_of_acl<'a>(&self, archive: &'a Archive) -> Option<&'a BStr> {
        if self.desc != "ACL" || !self.tag_bytes().starts_with(b"LARGE OBJECTS") {
            return None;
        }
        let id = self.dependencies.first()?;
        let metadata = archive.entries.iter().find(|e| e.dump_id == *id && e.desc == "BLOB METADATA")?;
        Some(BStr::new(metadata.defn_bytes()))
    }

    /// The ACL names the group's first object only; each statement is repeated for all of them.
    pub(crate) fn acl_per_large_object(&self, oids: &[u8]) -> Vec<BString> {
        let mut queries = Vec::new();
        for statement in statements(self.defn_bytes()) {
            match split_at_oid(statement) {
                Some((begin, end)) => queries.extend(per_large_object(oids, begin, end)),
                None => queries.push(bstr::concat([statement, b";\n"]).into()),
            }
        }
        queries
    }
}

/// One statement for each oid, several to a query.
fn per_large_object(oids: &[u8], begin: &[u8], end: &[u8]) -> Vec<BString> {
    let oids: Vec<_> = oids.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    oids.chunks(LARGE_OBJECTS_AT_ONCE)
        .map(|chunk| {
            let statements = chunk.iter().flat_map(|oid| [begin, oid, end, b";\n"]);
            BString::from(statements.collect::<Vec<_>>().concat())
        })
        .collect()
}

/// Splits GRANT and REVOKE statements at the semicolons outside of quoted role names.
fn statements(sql: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, byte) in sql.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                found.extend(sql.get(start..at).map(<[u8]>::trim_ascii));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// What stands before and after the oid in `… ON LARGE OBJECT 123 …`.
fn split_at_oid(statement: &[u8]) -> Option<(&[u8], &[u8])> {
    const MARK: &[u8] = b" ON LARGE OBJECT ";
    let at = statement.windows(MARK.len()).position(|w| w == MARK)? + MARK.len();
    let digits = statement.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    Some((statement.get(..at)?, statement.get(at + digits..)?))
}

/// The section an entry counts for in a restore: its own, or for comments and the like that of the entries before.
pub(crate) fn effective_sections(archive: &Archive) -> Vec<Section> {
    let mut current = Section::PreData;
    let step = |entry: &Entry| {
        if entry.section != Section::None {
            current = entry.section;
        }
        current
    };
    archive.entries.iter().map(step).collect()
}

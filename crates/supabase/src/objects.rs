//! Whose each entry of an archive is: the platform's, which a restore leaves alone, or the user's.
//!
//! Objects with an owner belong to the owner: `postgres` and roles of the user's are the user. A user's object in a schema
//! of the user's own is the user's even when a platform role owns it (the dashboard once made such tables). Triggers and
//! policies have no owner. On a platform's table every policy is the user's, as the platform makes none, and so are
//! triggers whose function is not in a schema of the platform's. What a fresh project has, the platform made: a restore
//! compares with the target first, and asks here only about what differs.

use std::collections::HashMap;

use basekeep_archive::{Archive, Entry};

use crate::platform::{is_platform_role, is_platform_schema};

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// The platform's: never created, altered or dropped.
    Platform,
    /// The user's.
    User,
}

/// Functions in these platform schemas are meant to be called by triggers of users.
const TRIGGER_SCHEMAS: [&str; 2] = ["extensions", "supabase_functions"];
/// The function behind a webhook's trigger.
const WEBHOOK_FUNCTION: &str = "supabase_functions.http_request(";

/// Whose each entry is, in the archive's order.
pub fn belonging(archive: &Archive) -> Vec<Belongs> {
    let index: HashMap<i32, usize> =
        archive.entries.iter().enumerate().map(|(n, entry)| (entry.dump_id, n)).collect();
    let mut known: Vec<Belongs> = Vec::with_capacity(archive.entries.len());
    for entry in &archive.entries {
        // A comment, a grant or rows follow what they are about. pg_dump writes that first, so it is known already.
        let parent = follows(entry)
            .then(|| entry.dependencies.iter().filter_map(|id| index.get(id)).find_map(|n| known.get(*n)))
            .flatten();
        known.push(parent.copied().unwrap_or_else(|| by_itself(entry)));
    }
    known
}

/// Whether an entry's belonging is that of the entry it is about.
fn follows(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_slice(),
        b"ACL" | b"COMMENT" | b"SECURITY LABEL" | b"TABLE DATA" | b"SEQUENCE SET" | b"MATERIALIZED VIEW DATA"
    )
}

fn by_itself(entry: &Entry) -> Belongs {
    let owner = text(&entry.owner);
    let by_platform = !owner.is_empty() && owner != "postgres" && is_platform_role(&owner);
    let in_platform = schema(entry).is_none_or(|name| is_platform_schema(&name));
    let platform = match entry.desc.as_slice() {
        b"SCHEMA" => by_platform || text(&entry.tag) == "public",
        // Enabled by the user; there already where the platform did it.
        b"EXTENSION" => false,
        b"PUBLICATION TABLE" | b"PUBLICATION TABLES IN SCHEMA" => by_platform && in_platform,
        b"DEFAULT ACL" => by_platform,
        b"POLICY" => false,
        b"TRIGGER" if by_platform && in_platform => trigger_function_schema(entry)
            .is_none_or(|schema| is_platform_schema(&schema) && !TRIGGER_SCHEMAS.contains(&schema.as_str())),
        _ => by_platform && in_platform,
    };
    if platform { Belongs::Platform } else { Belongs::User }
}

fn schema(entry: &Entry) -> Option<String> {
    Some(text(&entry.namespace)).filter(|name| !name.is_empty())
}

/// The schema of the function that a trigger calls.
fn trigger_function_schema(entry: &Entry) -> Option<String> {
    let definition = text(&entry.defn);
    let (_, call) = definition.rsplit_once(" EXECUTE FUNCTION ")?;
    let (schema, _) = call.split_once('.')?;
    Some(schema.trim_matches('"').to_owned())
}

/// Whether the entry is the trigger of a webhook.
pub fn is_webhook(entry: &Entry) -> bool {
    entry.desc == "TRIGGER" && text(&entry.defn).contains(&format!(" EXECUTE FUNCTION {WEBHOOK_FUNCTION}"))
}

/// Extensions that hardly any server but the platform's has, and that its own schemas are made of.
const EXTENSIONS: [&str; 12] = [
    "pg_cron",
    "pg_graphql",
    "pg_net",
    "pg_stat_statements",
    "pg_tle",
    "pgaudit",
    "pgjwt",
    "pgmq",
    "pgsodium",
    "supabase-dbdev",
    "supabase_vault",
    "wrappers",
];

/// Whether a database that is no project can do without the entry: the platform made it, and no rows of the user's are
/// in it.
pub fn is_dispensable(entry: &Entry, belongs: Belongs) -> bool {
    let name = text(&entry.tag);
    match entry.desc.as_slice() {
        b"EXTENSION" => EXTENSIONS.contains(&name.as_str()),
        b"COMMENT" if name.starts_with("EXTENSION ") => true,
        b"TABLE DATA" => schema(entry).is_some_and(|schema| rows_are_platforms(&schema, &name)),
        _ => belongs == Belongs::Platform,
    }
}

/// Whether the archive is that of a project.
pub fn is_of_project(archive: &Archive) -> bool {
    let has = |desc: &str, schema: &str, tag: &str| {
        archive
            .entries
            .iter()
            .any(|entry| entry.desc == desc && text(&entry.namespace) == schema && text(&entry.tag) == tag)
    };
    has("SCHEMA", "", "auth") && has("TABLE", "auth", "users")
}

/// Tables whose rows are the platform's bookkeeping, or come back in another way (cron jobs, secrets, queues): their rows
/// are never loaded into a project.
pub fn rows_are_platforms(schema: &str, table: &str) -> bool {
    match schema {
        "_analytics" | "_realtime" | "_supavisor" | "cron" | "etl" | "graphql" | "net" | "pgbouncer"
        | "pgmq" | "pgsodium" | "pgtle" | "supabase_functions" | "vault" => true,
        "auth" => table == "schema_migrations",
        "storage" => table == "migrations",
        // Connections of the moment, and messages whose partitions the platform makes and drops each day.
        "realtime" => true,
        _ => false,
    }
}

/// Of the schemas of which no rows are loaded: whether they hold what passes (messages of the day, connections, requests on their
/// way), rather than what comes back in another way.
pub fn rows_are_of_the_moment(schema: &str, table: &str) -> bool {
    matches!(schema, "_realtime" | "net" | "realtime" | "supabase_functions")
        && !table.ends_with("migrations")
}

fn text(bytes: &Option<bstr::BString>) -> String {
    bytes.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(desc: &str, namespace: &str, tag: &str, owner: &str) -> Entry {
        Entry {
            dump_id: 1,
            had_dumper: false,
            catalog: basekeep_archive::CatalogId::default(),
            tag: Some(tag.into()),
            desc: desc.into(),
            section: basekeep_archive::Section::PreData,
            defn: None,
            drop_stmt: None,
            copy_stmt: None,
            namespace: Some(namespace.into()),
            tablespace: None,
            table_access_method: None,
            relkind: None,
            owner: Some(owner.into()),
            with_oids: false,
            dependencies: Vec::new(),
            storage: basekeep_archive::Storage::Directory { file_name: "".into() },
        }
    }

    #[test]
    fn owners_tell_the_users_from_the_platforms() {
        let of = |desc: &str, namespace: &str, tag: &str, owner: &str| {
            by_itself(&entry(desc, namespace, tag, owner)) == Belongs::User
        };
        assert!(of("TABLE", "public", "orders", "postgres"));
        assert!(of("TABLE", "public", "old", "supabase_admin"));
        assert!(of("TABLE", "supabase_migrations", "schema_migrations", "postgres"));
        assert!(of("FUNCTION", "extensions", "mine()", "app"));
        assert!(of("SCHEMA", "", "app", "postgres"));
        assert!(of("POLICY", "storage", "objects own_files", "supabase_storage_admin"));
        assert!(!of("TABLE", "auth", "users", "supabase_auth_admin"));
        assert!(!of("SCHEMA", "", "auth", "supabase_admin"));
        assert!(!of("SCHEMA", "", "public", "pg_database_owner"));
        assert!(!of("EVENT TRIGGER", "", "pgrst_ddl_watch", "supabase_admin"));
        assert!(!of("DEFAULT ACL", "public", "DEFAULT PRIVILEGES FOR TABLES", "supabase_admin"));
        assert!(!of("INDEX", "auth", "users_email_idx", "supabase_auth_admin"));
    }

    #[test]
    fn a_trigger_on_a_platforms_table_is_the_users_when_its_function_is() {
        let of = |function: &str| {
            let mut entry = entry("TRIGGER", "auth", "users t", "supabase_auth_admin");
            entry.defn = Some(
                format!(
                    "CREATE TRIGGER t AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION {function}();\n"
                )
                .into(),
            );
            (by_itself(&entry) == Belongs::User, is_webhook(&entry))
        };
        assert_eq!(of("public.handle_new_user"), (true, false));
        assert_eq!(of("\"Odd\".handle"), (true, false));
        assert_eq!(of("extensions.moddatetime"), (true, false));
        assert_eq!(of("supabase_functions.http_request"), (true, true));
        assert_eq!(of("storage.update_updated_at_column"), (false, false));
    }

    #[test]
    fn comments_grants_and_rows_follow_their_object() {
        let mut table = entry("TABLE", "auth", "users", "supabase_auth_admin");
        table.dump_id = 7;
        let mut trigger = entry("POLICY", "storage", "objects p", "supabase_storage_admin");
        trigger.dump_id = 8;
        let mut comment = entry("COMMENT", "storage", "POLICY p ON objects", "supabase_storage_admin");
        (comment.dump_id, comment.dependencies) = (9, vec![8]);
        let mut rows = entry("TABLE DATA", "auth", "users", "postgres");
        (rows.dump_id, rows.dependencies) = (10, vec![7]);
        let mut archive =
            Archive::parse(include_bytes!("../../archive/tests/fixtures/small-18.toc.dat")).unwrap();
        archive.entries = vec![table, trigger, comment, rows];
        assert_eq!(belonging(&archive), [Belongs::Platform, Belongs::User, Belongs::User, Belongs::Platform]);
    }
}

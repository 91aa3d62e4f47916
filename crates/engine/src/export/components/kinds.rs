//! Which component an entry of the archive belongs to: exactly one, so that nothing is lost and nothing comes twice.

use std::collections::{HashMap, HashSet};

use basekeep_archive::Entry;
use bstr::ByteSlice;

use crate::export::job::Job;

/// The components in the order in which they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Roles,
    Extensions,
    Schema,
    Functions,
    Users,
    Identities,
    Accounts,
    Storage,
    Migrations,
    Cron,
    Encryption,
    Data,
    LargeObjects,
    Triggers,
    RowSecurity,
    Policies,
    Grants,
    Publications,
    EventTriggers,
    UserRoles,
}

impl Kind {
    pub(super) const ALL: [Self; 20] = [
        Self::Roles,
        Self::Extensions,
        Self::Schema,
        Self::Functions,
        Self::Users,
        Self::Identities,
        Self::Accounts,
        Self::Storage,
        Self::Migrations,
        Self::Cron,
        Self::Encryption,
        Self::Data,
        Self::LargeObjects,
        Self::Triggers,
        Self::RowSecurity,
        Self::Policies,
        Self::Grants,
        Self::Publications,
        Self::EventTriggers,
        Self::UserRoles,
    ];

    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Roles => "01-roles.sql",
            Self::Extensions => "02-extensions.sql",
            Self::Schema => "03-schema.sql",
            Self::Functions => "04-functions.sql",
            Self::Users => "05-users.sql",
            Self::Identities => "06-identities.sql",
            Self::Accounts => "07-accounts.sql",
            Self::Storage => "08-storage.sql",
            Self::Migrations => "09-migrations.sql",
            Self::Cron => "10-cron.sql",
            Self::Encryption => "11-encryption.sql",
            Self::Data => "12-data.sql",
            Self::LargeObjects => "13-large-objects.sql",
            Self::Triggers => "14-triggers.sql",
            Self::RowSecurity => "15-row-security.sql",
            Self::Policies => "16-policies.sql",
            Self::Grants => "17-grants.sql",
            Self::Publications => "18-publications.sql",
            Self::EventTriggers => "19-event-triggers.sql",
            Self::UserRoles => "copy-user-roles.sql",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Roles => "Roles, memberships and their settings, with password hashes.",
            Self::Extensions => "Extensions.",
            Self::Schema => {
                "Schemas, types, tables, sequences, views, constraints, indexes, and the functions that these call."
            }
            Self::Functions => "Functions, procedures and aggregates. Those that are there are replaced.",
            Self::Users => "Users with their password hashes (auth.users).",
            Self::Identities => "Identities of users at other providers (auth.identities).",
            Self::Accounts => {
                "What else belongs to accounts: sessions, second factors, single sign-on (the other tables of auth)."
            }
            Self::Storage => "Buckets and the list of files (storage). The files are not in it.",
            Self::Migrations => "The list of migrations that were run (supabase_migrations).",
            Self::Cron => "Cron jobs (cron).",
            Self::Encryption => {
                "Encryption: keys and secrets (vault, pgsodium), and a copy of the functions that encrypt."
            }
            Self::Data => "All other rows, positions of sequences, materialized views.",
            Self::LargeObjects => "Large objects with their owners and grants.",
            Self::Triggers => "Triggers.",
            Self::RowSecurity => "Row security: which tables have it.",
            Self::Policies => "Policies of row security.",
            Self::Grants => "Grants, and grants by default.",
            Self::Publications => "Publications and subscriptions.",
            Self::EventTriggers => "Event triggers.",
            Self::UserRoles => {
                "Roles and permissions of the application's users: rows of the tables that are named after them."
            }
        }
    }

    /// Whether all of it is in other scripts.
    pub(super) const fn repeats(self) -> bool {
        matches!(self, Self::UserRoles)
    }
}

/// The component of each entry, by dump id.
pub(super) fn of(job: &Job<'_>) -> HashMap<i32, Kind> {
    let entries = &job.contents.archive.entries;
    let by_id: HashMap<i32, &Entry> = entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    entries.iter().map(|entry| (entry.dump_id, kind(about(entry, &by_id)))).collect()
}

/// What a remark is about; any other entry is about itself.
fn about<'a>(entry: &'a Entry, by_id: &HashMap<i32, &'a Entry>) -> &'a Entry {
    let mut entry = entry;
    while matches!(entry.desc.as_slice(), b"COMMENT" | b"SECURITY LABEL") && !entry.is_data() {
        match entry.dependencies.iter().find_map(|id| by_id.get(id)) {
            Some(object) if object.dump_id < entry.dump_id => entry = object,
            _ => break,
        }
    }
    entry
}

fn kind(entry: &Entry) -> Kind {
    let namespace = entry.namespace.as_ref().map_or(&[][..], |name| name.as_slice());
    let tag = entry.tag.as_ref().map_or(&[][..], |tag| tag.as_slice());
    match entry.desc.as_slice() {
        b"TABLE DATA" | b"SEQUENCE SET" => match (namespace, tag) {
            (b"auth", b"users") => Kind::Users,
            (b"auth", b"identities") => Kind::Identities,
            (b"auth", _) => Kind::Accounts,
            (b"storage", _) => Kind::Storage,
            (b"supabase_migrations", _) => Kind::Migrations,
            (b"cron", _) => Kind::Cron,
            (b"vault" | b"pgsodium", _) => Kind::Encryption,
            _ => Kind::Data,
        },
        b"MATERIALIZED VIEW DATA" | b"STATISTICS DATA" => Kind::Data,
        _ if entry.is_data() => Kind::LargeObjects,
        b"EXTENSION" => Kind::Extensions,
        b"FUNCTION" | b"PROCEDURE" | b"AGGREGATE" => Kind::Functions,
        b"TRIGGER" => Kind::Triggers,
        b"EVENT TRIGGER" => Kind::EventTriggers,
        b"ROW SECURITY" => Kind::RowSecurity,
        b"POLICY" => Kind::Policies,
        b"ACL" | b"DEFAULT ACL" | b"ACL LANGUAGE" => Kind::Grants,
        b"PUBLICATION"
        | b"PUBLICATION TABLE"
        | b"PUBLICATION TABLES IN SCHEMA"
        | b"SUBSCRIPTION"
        | b"SUBSCRIPTION TABLE" => Kind::Publications,
        _ => Kind::Schema,
    }
}

/// What is in a script for convenience, and in another one in any case.
pub(super) fn copies(job: &Job<'_>, kinds: &HashMap<i32, Kind>) -> Vec<(Kind, HashSet<i32>)> {
    let manifest = &job.contents.manifest;
    let listed: HashSet<&str> = manifest
        .supabase
        .iter()
        .flat_map(|supabase| supabase.encryption.iter().map(String::as_str))
        .collect();
    let of = |kind: Kind| {
        let entries = job.contents.archive.entries.iter();
        entries.filter(move |entry| kinds.get(&entry.dump_id) == Some(&kind))
    };
    let encrypts = of(Kind::Functions).filter(|entry| {
        let defn = entry.defn.as_ref().map_or(&[][..], |defn| defn.as_slice());
        entry.desc != "COMMENT"
            && (listed.contains(entry.display().as_str())
                || ENCRYPTING.iter().any(|name| defn.contains_str(name)))
    });
    let speaks_of_roles = |entry: &&Entry| {
        let tag = entry.tag.as_ref().map(|tag| tag.to_string().to_lowercase()).unwrap_or_default();
        entry.desc == "TABLE DATA" && ["role", "permission"].iter().any(|word| tag.contains(word))
    };
    let ids = |entries: &mut dyn Iterator<Item = &Entry>| entries.map(|entry| entry.dump_id).collect();
    vec![
        (Kind::Encryption, ids(&mut encrypts.into_iter())),
        (Kind::UserRoles, ids(&mut of(Kind::Data).filter(speaks_of_roles))),
    ]
}

/// How calls of functions that encrypt, hash and decrypt begin.
const ENCRYPTING: [&str; 7] =
    ["pgp_sym_", "pgp_pub_", "crypt(", "gen_salt(", "hmac(", "crypto_aead_det_", "vault.decrypted_secrets"];

//! The parts of a snapshot by name, and which entries of an archive belong to each.

use std::fmt;
use std::str::FromStr;

use basekeep_archive::Entry;
use basekeep_supabase::objects::rows_are_platforms;

/// A kind of thing that a snapshot holds. An entry may belong to several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All definitions.
    Schema,
    /// All rows, positions of sequences, large objects.
    Data,
    /// Accounts: the rows of the schema `auth`, password hashes included.
    Users,
    /// Roles, memberships and their settings.
    Roles,
    /// Row security and its policies.
    Policies,
    /// Functions, procedures and aggregates.
    Functions,
    /// Triggers and event triggers.
    Triggers,
    /// Extensions.
    Extensions,
    /// Vault secrets, and the rows of the schemas `vault` and `pgsodium`.
    Encryption,
    /// Buckets and the list of files: the rows of the schema `storage`.
    Storage,
    /// The files themselves.
    Files,
    /// Edge functions that were deployed.
    EdgeFunctions,
    /// The list of migrations: the schema `supabase_migrations` with its rows.
    Migrations,
    /// Cron jobs.
    Cron,
    /// Settings of the database, its grants and its comment.
    Config,
}

impl Part {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Schema,
        Self::Data,
        Self::Users,
        Self::Roles,
        Self::Policies,
        Self::Functions,
        Self::Triggers,
        Self::Extensions,
        Self::Encryption,
        Self::Storage,
        Self::Files,
        Self::EdgeFunctions,
        Self::Migrations,
        Self::Cron,
        Self::Config,
    ];

    /// Its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Data => "data",
            Self::Users => "users",
            Self::Roles => "roles",
            Self::Policies => "policies",
            Self::Functions => "functions",
            Self::Triggers => "triggers",
            Self::Extensions => "extensions",
            Self::Encryption => "encryption",
            Self::Storage => "storage",
            Self::Files => "files",
            Self::EdgeFunctions => "edge-functions",
            Self::Migrations => "migrations",
            Self::Cron => "cron",
            Self::Config => "config",
        }
    }

    /// Whether all of it is beside the archive.
    pub const fn is_beside_the_archive(self) -> bool {
        matches!(self, Self::Roles | Self::Files | Self::EdgeFunctions | Self::Config)
    }

    /// Whether `entry` belongs to it. `object` is what the entry is about: itself, or for a comment or a grant its object.
    pub(super) fn has(self, entry: &Entry, object: &Entry) -> bool {
        let schema = object.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = object.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        let rows_of =
            |wanted: &str| is_data(entry) && schema == wanted && !rows_are_platforms(&schema, &name);
        match self {
            Self::Schema => !is_data(entry),
            Self::Data => is_data(entry),
            Self::Users => rows_of("auth"),
            Self::Policies => matches!(object.desc.as_slice(), b"POLICY" | b"ROW SECURITY"),
            Self::Functions => matches!(object.desc.as_slice(), b"FUNCTION" | b"PROCEDURE" | b"AGGREGATE"),
            Self::Triggers => matches!(object.desc.as_slice(), b"TRIGGER" | b"EVENT TRIGGER"),
            Self::Extensions => object.desc == "EXTENSION",
            Self::Encryption => is_data(entry) && matches!(schema.as_str(), "vault" | "pgsodium"),
            Self::Storage => rows_of("storage"),
            Self::Migrations => {
                schema == "supabase_migrations" || object.desc == "SCHEMA" && name == "supabase_migrations"
            }
            Self::Cron => {
                is_data(entry) && schema == "cron" && name.starts_with("job") && name != "job_run_details"
            }
            Self::Roles | Self::Files | Self::EdgeFunctions | Self::Config => false,
        }
    }
}

/// Whether the entry carries rows, a position or large objects.
pub(super) fn is_data(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_slice(),
        b"TABLE DATA"
            | b"SEQUENCE SET"
            | b"MATERIALIZED VIEW DATA"
            | b"BLOB"
            | b"BLOB METADATA"
            | b"BLOBS"
            | b"STATISTICS DATA"
    ) || entry.tag.as_ref().is_some_and(|tag| {
        tag.starts_with(b"LARGE OBJECT")
            && matches!(entry.desc.as_slice(), b"ACL" | b"COMMENT" | b"SECURITY LABEL")
    })
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no part of a snapshot; the parts are {all}", all = Part::ALL.map(Part::name).join(", "))]
pub struct UnknownPart(String);

impl FromStr for Part {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        Self::ALL.into_iter().find(|part| part.name() == text).ok_or_else(|| UnknownPart(text.to_owned()))
    }
}

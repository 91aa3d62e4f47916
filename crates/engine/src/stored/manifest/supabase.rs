//! What the manifest says about a Supabase project. Counts are by name, so that a newer program can add some.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A Supabase project, as far as the role that backed it up could see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Supabase {
    /// `hosted`, `self-hosted`, `local`, or `unknown` where nothing tells them apart.
    pub flavour: String,
    /// The hosted project's reference, where the connection told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The role that read everything.
    pub role: String,
    /// How far the schema `auth` has been migrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_schema: Option<SchemaVersion>,
    /// How far the schema `storage` has been migrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_schema: Option<SchemaVersion>,
    /// How many there are of each component (`users`, `policies`, `object_bytes`…); what could not be counted is absent,
    /// and stands in `not_captured`. docs/FORMAT.md lists the names.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// Users by the algorithm of their password's hash; `none` have no password.
    #[serde(default)]
    pub users_by_hash: BTreeMap<String, u64>,
    /// Identities by provider.
    #[serde(default)]
    pub identities_by_provider: BTreeMap<String, u64>,
    /// What calls pgcrypto: `function public.seal(text)`, `view …`, `column …`.
    #[serde(default)]
    pub encryption: Vec<String>,
    /// What no backup can hold and a restored project needs again, by name: secrets of functions, passwords, keys.
    #[serde(default)]
    pub supply_again: Vec<String>,
}

/// How far a service has migrated its schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// The newest migration that its own list names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How many migrations that list has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<u64>,
    /// Where the list may not be read: a migration that must have run, told by the columns that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// Equal for equal tables and columns: an MD5 over their names and types.
    #[serde(default)]
    pub fingerprint: String,
}

impl Supabase {
    /// Adds to a count.
    pub fn count(&mut self, name: &str, more: u64) {
        *self.counts.entry(name.to_owned()).or_default() += more;
    }
}

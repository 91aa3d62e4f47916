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

/// Components in the order in which people look for them; what is not here follows by name.
const ORDER: [&str; 44] = [
    "users",
    "users_anonymous",
    "users_sso",
    "identities",
    "mfa_factors",
    "sessions",
    "sso_providers",
    "roles",
    "platform_roles",
    "memberships",
    "grants",
    "schemas",
    "tables",
    "tables_rls_enabled",
    "tables_rls_disabled",
    "tables_rls_forced",
    "views",
    "policies",
    "policies_on_platform_tables",
    "functions",
    "triggers",
    "triggers_on_platform_tables",
    "event_triggers",
    "platform_event_triggers",
    "extensions",
    "publications",
    "realtime_tables",
    "webhooks",
    "cron_jobs",
    "queues",
    "queue_messages",
    "vault_secrets",
    "pgsodium_keys",
    "encryption_uses",
    "migrations",
    "migration_files",
    "edge_functions",
    "edge_function_files",
    "project_files",
    "buckets",
    "objects",
    "object_bytes",
    "files",
    "file_bytes",
];

impl Supabase {
    /// Everything with a name and a value, for people; lists are left out.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = vec![("project".to_owned(), self.project())];
        let schemas = [("auth schema", &self.auth_schema), ("storage schema", &self.storage_schema)];
        for (name, version) in schemas {
            if let Some(version) = version {
                lines.push((name.to_owned(), version.to_string()));
            }
        }
        for (name, count) in self.counts_in_order() {
            let parts = match name {
                "users" => listed(&self.users_by_hash),
                "identities" => listed(&self.identities_by_provider),
                _ => String::new(),
            };
            lines.push((name.replace('_', " "), format!("{count}{parts}")));
        }
        lines
    }

    /// The counts in the order that they are shown in.
    pub fn counts_in_order(&self) -> Vec<(&str, u64)> {
        let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        let mut counts: Vec<_> = self.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        counts.sort_by_key(|(name, _)| place(name));
        counts
    }

    fn project(&self) -> String {
        let kind = match self.flavour.as_str() {
            "unknown" => "it cannot be told where it runs",
            known => known,
        };
        let reference = self.reference.as_ref().map(|reference| format!(" {reference}")).unwrap_or_default();
        format!("{kind}{reference}, read as {}", self.role)
    }
}

impl std::fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.last, &self.at_least, self.migrations) {
            (Some(last), _, Some(count)) => write!(f, "{last} ({count} migrations)"),
            (Some(last), _, None) => f.write_str(last),
            (None, Some(at_least), _) => write!(f, "at least {at_least}"),
            (None, None, _) => f.write_str("unknown"),
        }
    }
}

/// ` (bcrypt 10, none 2)`
fn listed(parts: &BTreeMap<String, u64>) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = parts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!(" ({})", parts.join(", "))
}

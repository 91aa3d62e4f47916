//! How far the services have migrated their schemas: by their own lists, or, where these may not be read (the hosted
//! `postgres` may not), by tables and columns that a known migration made.

use std::collections::BTreeSet;

use basekeep_postgres::{Error, Row};

use crate::probe::Probe;

/// How far a service has migrated its schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The newest migration of its own list.
    pub last: Option<String>,
    /// How many migrations that list has.
    pub migrations: Option<u64>,
    /// Where the list is closed: the newest known migration that must have run.
    pub at_least: Option<String>,
    /// An MD5 over the names and types of all its tables' columns: equal for equal schemas.
    pub fingerprint: String,
}

/// Columns and the migration that made them, newest first, from the migrations of `supabase/auth`.
const AUTH: [(&str, &str); 15] = [
    ("custom_oauth_providers.custom_claims_allowlist", "20260625000000"),
    ("webauthn_credentials.id", "20260302000000"),
    ("custom_oauth_providers.id", "20260219120000"),
    ("flow_state.oauth_client_state_id", "20260115000000"),
    ("oauth_client_states.id", "20251201000000"),
    ("sessions.scopes", "20251111201300"),
    ("sessions.refresh_token_counter", "20251007112900"),
    ("sessions.oauth_client_id", "20250904133000"),
    ("oauth_authorizations.id", "20250804100000"),
    ("sso_providers.disabled", "20250717082212"),
    ("mfa_factors.web_authn_credential", "20241009103726"),
    ("mfa_factors.phone", "20240729123726"),
    ("one_time_tokens.id", "20240427152123"),
    ("users.is_anonymous", "20240214120130"),
    ("identities.id", "20231117164230"),
];
/// The same of `supabase/storage`, whose migrations have numbers and names.
const STORAGE: [(&str, &str); 9] = [
    ("objects.is_versioned", "object-versioning-core"),
    ("s3_multipart_uploads.metadata", "s3-multipart-uploads-metadata"),
    ("buckets_vectors.id", "vector-buckets"),
    ("buckets.type", "iceberg-catalog-flag-on-buckets"),
    ("objects.user_metadata", "custom-metadata"),
    ("s3_multipart_uploads.id", "s3-multipart-uploads"),
    ("objects.owner_id", "add_owner_id_column_deprecate_owner"),
    ("objects.version", "add-version"),
    ("buckets.allowed_mime_types", "add-bucket-custom-limits"),
];

/// The version of `auth` or `storage`; `None` where the schema has no tables.
pub(super) async fn read(
    probe: &mut Probe<'_>,
    schema: &str,
    columns: &BTreeSet<String>,
) -> Result<Option<SchemaVersion>, Error> {
    let prefix = format!("{schema}.");
    if !columns.iter().any(|column| column.starts_with(&prefix)) {
        return Ok(None);
    }
    let (list, known): (_, &[_]) = match schema {
        "auth" => (AUTH_LIST, &AUTH),
        _ => (STORAGE_LIST, &STORAGE),
    };
    let mut version = SchemaVersion::default();
    let rows = probe.rows("", list).await?;
    if let Some(row) = rows.as_ref().and_then(|rows| rows.first()) {
        (version.migrations, version.last) = (Some(row.parse(0)?), row.parse(1)?);
    }
    // A list without entries says nothing either.
    if version.last.is_none() {
        let made = known.iter().find(|(column, _)| columns.contains(&format!("{prefix}{column}")));
        version.at_least = made.map(|(_, migration)| (*migration).to_owned());
    }
    let rows = probe.rows("", &FINGERPRINT.replace("{schema}", schema)).await?;
    let fingerprint = rows.as_ref().and_then(|rows| rows.first()).and_then(|row: Row<'_>| row.get(0));
    version.fingerprint = fingerprint.unwrap_or_default().to_owned();
    Ok(Some(version))
}

const AUTH_LIST: &str = "SELECT count(*), max(version::text) FROM auth.schema_migrations";
const STORAGE_LIST: &str =
    "SELECT count(*), (SELECT name FROM storage.migrations ORDER BY id DESC LIMIT 1) FROM storage.migrations";
const FINGERPRINT: &str = "SELECT pg_catalog.md5(pg_catalog.string_agg(
    c.relname || '.' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), E'\\n'
    ORDER BY c.relname COLLATE \"C\", a.attname COLLATE \"C\"))
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relkind IN ('r', 'p') AND n.nspname = '{schema}'";

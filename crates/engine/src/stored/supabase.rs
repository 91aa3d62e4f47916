//! The files below `supabase/`: what of a Supabase project its tables do not give back by themselves.
//!
//! `vault.json` holds secrets in the clear (the repository seals them), so no type here prints them.

use std::fmt;

use basekeep_postgres::Secret;
use basekeep_repository::{Repository, Snapshot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{EngineError, ResultExt, listing};

/// The version this program writes, of each of these files.
pub const VERSION: u32 = 1;
/// A file larger than this, in bytes, is neither written nor read.
pub const LARGEST: usize = 64 << 20;

/// `supabase/vault.json`.
pub const VAULT: &str = "supabase/vault.json";
/// `supabase/cron.json`.
pub const CRON: &str = "supabase/cron.json";
/// `supabase/queues.json`.
pub const QUEUES: &str = "supabase/queues.json";
/// `supabase/permissions.json`.
pub const PERMISSIONS: &str = "supabase/permissions.json";

/// `supabase/vault.json`: the secrets of `vault.decrypted_secrets`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vault {
    /// Version of this format.
    pub version: u32,
    /// In the order of their creation.
    pub secrets: Vec<VaultSecret>,
}

/// One secret. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultSecret {
    /// Its id in the source; a restore gives it another one.
    pub id: String,
    /// Its unique name, where it has one.
    pub name: Option<String>,
    /// Its description.
    pub description: String,
    /// The secret itself; `None` where the server could not decrypt it.
    #[serde(with = "in_the_clear")]
    pub secret: Option<Secret>,
    /// When it was made, as the server words it (ISO, UTC).
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
}

/// `supabase/cron.json`: the rows of `cron.job`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cron {
    /// Version of this format.
    pub version: u32,
    /// By id.
    pub jobs: Vec<CronJob>,
}

/// One job of pg_cron. `Debug` does not print its command, which may hold a key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronJob {
    /// Its number in the source.
    pub id: i64,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// When, in cron's words or as an interval.
    pub schedule: String,
    /// What it runs.
    pub command: String,
    /// Host that it connects to.
    pub node_name: String,
    /// Port that it connects to.
    pub node_port: i32,
    /// Database that it runs in.
    pub database: String,
    /// Role that it runs as.
    pub username: String,
    /// Whether it runs.
    pub active: bool,
}

/// `supabase/queues.json`: the rows of `pgmq.meta`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// Version of this format.
    pub version: u32,
    /// By name.
    pub queues: Vec<Queue>,
}

/// One queue of pgmq.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// When it was made, as the server words it (ISO, UTC).
    pub created_at: Option<String>,
    /// Whether its table is partitioned.
    pub partitioned: bool,
    /// Whether its table is unlogged.
    pub unlogged: bool,
    /// Messages that wait; `None` where they could not be counted.
    pub messages: Option<u64>,
    /// Messages in its archive.
    pub archived: Option<u64>,
    /// Its tables. Where `file` is absent, the rows are in the database's archive.
    pub tables: Vec<QueueTable>,
}

/// A table of a queue, in the schema `pgmq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTable {
    /// Name.
    pub name: String,
    /// The file with its rows as COPY text, where the archive does not have them since the table belongs to the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The columns in that file, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Rows in that file.
    #[serde(default)]
    pub rows: u64,
    /// The last number that its `msg_id` gave out, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<i64>,
}

/// `supabase/permissions.json`: who may do what. Privileges are the letters of an ACL (`r` select, `a` insert, `w` update,
/// `d` delete, `D` truncate, `x` references, `t` trigger, `m` maintain, `U` usage, `C` create, `X` execute), each followed by
/// `*` where it may be granted on. `PUBLIC` is everybody. Built-in defaults are spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Version of this format.
    pub version: u32,
    /// One for each object and role that may do something with it.
    pub grants: Vec<Grant>,
}

/// What one role may do with one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// `schema`, `table`, `view`, `materialized view`, `foreign table`, `sequence`, `column`, `function`, or `default` for
    /// objects that will be made (then `object` says by whom and of what kind).
    pub kind: String,
    /// The object's schema; the object itself where it is a schema.
    pub schema: String,
    /// The object, `None` for a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The role.
    pub role: String,
    /// Its privileges.
    pub privileges: String,
}

/// A snapshot's vault; `None` where it has none.
///
/// Errors: kind `Failed` when it cannot be read or is of a newer version.
pub async fn read_vault(repository: &Repository, snapshot: &Snapshot) -> Result<Option<Vault>, EngineError> {
    read(repository, snapshot, VAULT).await
}

/// A snapshot's cron jobs; errors as [`read_vault`].
pub async fn read_cron(repository: &Repository, snapshot: &Snapshot) -> Result<Option<Cron>, EngineError> {
    read(repository, snapshot, CRON).await
}

/// A snapshot's queues; errors as [`read_vault`].
pub async fn read_queues(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<Queues>, EngineError> {
    read(repository, snapshot, QUEUES).await
}

/// A snapshot's permissions; errors as [`read_vault`].
pub async fn read_permissions(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<Permissions>, EngineError> {
    read(repository, snapshot, PERMISSIONS).await
}

/// A small versioned JSON file of a snapshot, below the source's folder.
pub(super) async fn read<T: DeserializeOwned>(
    repository: &Repository,
    snapshot: &Snapshot,
    name: &str,
) -> Result<Option<T>, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    let Some(bytes) = listing::read_file(repository, snapshot, name, LARGEST).await? else { return Ok(None) };
    parse(&bytes).map(Some).map_err(|why| {
        EngineError::failed(format!("{name} of snapshot {}: {why}", snapshot.id.short()))
            .hint("install the newest basekeep, and check the repository: `basekeep check --read-data`")
    })
}

/// The error says where it went wrong, and nothing of the content.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let place = |error: serde_json::Error| {
        format!("it is no JSON of the right form at line {}, column {}", error.line(), error.column())
    };
    let version = serde_json::from_slice::<Versioned>(bytes).map_err(place)?.version;
    if version > VERSION {
        return Err(format!("it was written by a newer basekeep (version {version})"));
    }
    serde_json::from_slice(bytes).map_err(place)
}

impl fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultSecret").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for CronJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CronJob");
        shown.field("id", &self.id).field("name", &self.name).field("schedule", &self.schedule);
        shown.finish_non_exhaustive()
    }
}

mod in_the_clear {
    use basekeep_postgres::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde asks for this form")]
    pub(super) fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_comes_back_and_is_never_printed() {
        let secret = VaultSecret {
            id: "8b1f".into(),
            name: Some("stripe".into()),
            description: String::new(),
            secret: Some("sk_live".into()),
            created_at: None,
            updated_at: None,
        };
        let vault = Vault { version: VERSION, secrets: vec![secret] };
        let text = serde_json::to_vec(&vault).unwrap();
        assert_eq!(parse::<Vault>(&text).unwrap(), vault);
        assert!(!format!("{vault:?}").contains("sk_live"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_saying_its_content() {
        let newer = parse::<Vault>(br#"{"version":2,"secrets":[]}"#).unwrap_err();
        assert!(newer.contains("newer"), "{newer}");
        let wrong = parse::<Vault>(br#"{"version":1,"secrets":"sk_live"}"#).unwrap_err();
        assert!(!wrong.contains("sk_live"), "{wrong}");
    }
}

//! The files below `project/api/` and `project/deployed/`: what the Management API knew of a project.

use basekeep_postgres::Secret;
use basekeep_repository::{Repository, Snapshot};
use serde::{Deserialize, Serialize};

use super::supabase::read;
use crate::EngineError;

/// The version this program writes, of each of these files.
pub const VERSION: u32 = 1;
/// The list of deployed functions.
pub const FUNCTIONS: &str = "project/api/functions.json";
/// The folder of their bundles, `<slug>.eszip`.
pub const DEPLOYED: &str = "project/deployed";
/// The names of the functions' secrets.
pub const SECRETS: &str = "project/api/secrets.json";
/// pgsodium's root key, in the clear.
pub const ROOT_KEY: &str = "supabase/pgsodium_root_key.json";

/// Where a document of configuration is; `name` is that of the API's document, such as `auth`.
pub fn configuration(name: &str) -> String {
    format!("project/api/{name}.json")
}

/// [`FUNCTIONS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedFunctions {
    /// Version of this format.
    pub version: u32,
    /// By slug.
    pub functions: Vec<DeployedFunction>,
}

/// A deployed edge function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedFunction {
    /// Its name in URLs.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// `ACTIVE`, `REMOVED`, `THROTTLED`.
    pub status: String,
    /// How often it had been deployed.
    pub deployments: u64,
    /// Whether callers need a valid JWT.
    pub verify_jwt: bool,
    /// Whether it has an import map.
    pub import_map: bool,
    /// Where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint_path: Option<String>,
    /// Where its import map is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_map_path: Option<String>,
    /// The platform's SHA-256 of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ezbr_sha256: Option<String>,
    /// The bundle's file; `None` where it could not be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// [`SECRETS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretNames {
    /// Version of this format.
    pub version: u32,
    /// By name; the platform's own are left out.
    pub secrets: Vec<SecretName>,
}

/// The name of a secret; nobody tells its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Name.
    pub name: String,
    /// When it was last set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

/// A document of configuration, without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Version of this format.
    pub version: u32,
    /// Its path in the API, below the project.
    pub path: String,
    /// Places whose values were secrets and were taken out.
    pub redacted: Vec<String>,
    /// What the API gave, without them.
    pub config: serde_json::Value,
}

/// [`ROOT_KEY`]. `Debug` does not print the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKey {
    /// Version of this format.
    pub version: u32,
    /// Hexadecimal.
    #[serde(with = "in_the_clear")]
    pub root_key: Secret,
}

/// A snapshot's deployed functions; `None` where it has no list.
///
/// Errors: kind `Failed` when it cannot be read or is of a newer version.
pub async fn read_functions(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<DeployedFunctions>, EngineError> {
    read(repository, snapshot, FUNCTIONS).await
}

/// The names of a snapshot's secrets; errors as [`read_functions`].
pub async fn read_secrets(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<SecretNames>, EngineError> {
    read(repository, snapshot, SECRETS).await
}

/// A snapshot's document of configuration; errors as [`read_functions`].
pub async fn read_configuration(
    repository: &Repository,
    snapshot: &Snapshot,
    name: &str,
) -> Result<Option<Configuration>, EngineError> {
    read(repository, snapshot, &configuration(name)).await
}

/// A snapshot's root key of pgsodium; errors as [`read_functions`].
pub async fn read_root_key(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<RootKey>, EngineError> {
    read(repository, snapshot, ROOT_KEY).await
}

mod in_the_clear {
    use basekeep_postgres::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

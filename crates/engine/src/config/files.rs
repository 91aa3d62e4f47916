//! What the configuration says about a source's storage files, and what follows from it with the variables at hand.

use basekeep_postgres::{ConnectOptions, Environment};

use super::Dotenv;
use crate::files::{Address, FilesAccess, service_url};

/// The variable that Supabase's tools use for the key of the service role.
pub(super) const KEY: &str = "SUPABASE_SERVICE_ROLE_KEY";
/// The variable that they use for the project's URL.
const URL: &str = "SUPABASE_URL";
const REGION: &str = "us-east-1";

/// `storage` of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesEntry {
    /// `"skip"`: files are left out on purpose.
    Skip,
    /// The Storage API.
    Api {
        /// Its URL; derived from the database's address if `None`.
        url: Option<String>,
        /// The variable that holds the key of the service role.
        service_key_env: String,
    },
    /// The S3 protocol.
    S3 {
        /// The endpoint, without a bucket.
        url: String,
        /// The region that requests are signed for.
        region: Option<String>,
        /// The variable that holds the access key's id.
        access_key_env: String,
        /// The variable that holds its secret.
        secret_key_env: String,
    },
}

/// How the files are reached; what is missing for it is said.
pub(super) fn access(
    entry: Option<&FilesEntry>,
    database: &ConnectOptions,
    env: &Environment,
    dotenv: &Dotenv,
) -> FilesAccess {
    let var = |name: &str| env.var(name).or_else(|| dotenv.var(name)).map(str::to_owned);
    let unset = |name: &str| FilesAccess::Unavailable { reason: format!("the variable {name} is not set") };
    let url_of = |given: Option<&String>| {
        let project = || Some(format!("{}/storage/v1", var(URL)?.trim_end_matches('/')));
        given.cloned().or_else(|| service_url(database)).or_else(project)
    };
    let unknown_url = || FilesAccess::Unavailable {
        reason: format!(
            "where its Storage API is cannot be told from the database's address, and {URL} is not set"
        ),
    };
    match entry {
        Some(FilesEntry::Skip) => FilesAccess::Skip,
        Some(FilesEntry::Api { url, service_key_env }) => {
            match (url_of(url.as_ref()), var(service_key_env)) {
                (None, _) => unknown_url(),
                (_, None) => unset(service_key_env),
                (Some(url), Some(key)) => FilesAccess::service(Address::api(&url, key.into())),
            }
        }
        Some(FilesEntry::S3 { url, region, access_key_env, secret_key_env }) => {
            match (var(access_key_env), var(secret_key_env)) {
                (None, _) => unset(access_key_env),
                (_, None) => unset(secret_key_env),
                (Some(id), Some(secret)) => {
                    let region = region.as_deref().unwrap_or(REGION);
                    FilesAccess::service(Address::s3(url, region, &id, secret.into()))
                }
            }
        }
        None => match (url_of(None), var(KEY)) {
            (_, None) => FilesAccess::Unknown,
            (None, Some(_)) => unknown_url(),
            (Some(url), Some(key)) => FilesAccess::service(Address::api(&url, key.into())),
        },
    }
}

//! What the configuration says about repositories: where they are, and how their storage is reached.

use super::PasswordFrom;

/// `[repository]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryEntry {
    /// A folder (absolute by now) or a URL.
    pub url: Option<String>,
    /// Where its password comes from.
    pub password: Option<PasswordFrom>,
    /// How its storage is reached.
    pub storage: StorageEntry,
}

/// `[[replica]]`: another repository that every backup is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Its name; made from the place where the file gives none.
    pub name: String,
    /// A folder (absolute by now) or a URL.
    pub url: String,
    /// Where its password comes from; the repository's own password where this is `None`.
    pub password: Option<PasswordFrom>,
    /// How its storage is reached.
    pub storage: StorageEntry,
}

/// How object storage is reached. Whatever is `None` comes from the URL, the environment or the shared profile files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageEntry {
    /// Where the service answers, such as `https://minio.example.com:9000`.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// A profile of the shared AWS files.
    pub profile: Option<String>,
    /// The bucket stands in the path of requests rather than in the host's name.
    pub path_style: Option<bool>,
    /// The variable that holds the access key's id.
    pub access_key_env: Option<String>,
    /// The variable that holds the secret key.
    pub secret_key_env: Option<String>,
    /// The variable that holds the session token of temporary credentials.
    pub session_token_env: Option<String>,
    /// Most bytes per second that are sent.
    pub limit_upload: Option<u64>,
    /// Most bytes per second that are received.
    pub limit_download: Option<u64>,
    /// Nothing is to be deleted with these credentials: `forget`, `prune` and `repair` refuse before they try.
    pub append_only: bool,
}

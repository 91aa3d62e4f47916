//! The Management API: what supabase.com knows of a project and its database does not. Deployed edge functions, the names
//! of their secrets, the services' configuration, pgsodium's root key.
//!
//! From the API's published description (`api.supabase.com/api/v1`). Secrets in configuration are taken out and named
//! ([`redact`]); the token is never printed, and goes to the configured address alone.

mod error;
pub mod redact;
mod transport;

use basekeep_postgres::Secret;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

pub use error::{ApiError, ErrorKind};
pub use transport::Patience;
use transport::Transport;

/// Everything that RFC 3986 does not call unreserved.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the API is, unless told otherwise.
pub const DEFAULT_URL: &str = "https://api.supabase.com";
/// The variable that holds the token, unless told otherwise; the Supabase CLI's.
pub const DEFAULT_TOKEN_ENV: &str = "SUPABASE_ACCESS_TOKEN";

/// A document of configuration that the API gives: its name in a snapshot, its path below the project, and how people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// File name in the snapshot, without `.json`.
    pub name: &'static str,
    /// Below `/v1/projects/<reference>/`.
    pub path: &'static str,
    /// What it configures.
    pub words: &'static str,
    /// Projects without this feature answer 404.
    pub optional: bool,
}

const fn document(name: &'static str, path: &'static str, words: &'static str) -> Document {
    Document { name, path, words, optional: false }
}

/// All documents.
pub const DOCUMENTS: [Document; 10] = [
    document("auth", "config/auth", "the configuration of auth"),
    document("postgrest", "postgrest", "the configuration of the REST API"),
    document("realtime", "config/realtime", "the configuration of realtime"),
    document("storage", "config/storage", "the configuration of storage"),
    document("pooler", "config/database/pooler", "the configuration of the pooler"),
    document("postgres", "config/database/postgres", "the settings of the database server"),
    document("network-restrictions", "network-restrictions", "the network restrictions"),
    document("ssl-enforcement", "ssl-enforcement", "whether TLS is enforced"),
    Document {
        optional: true,
        ..document("auth-third-party", "config/auth/third-party-auth", "the third-party providers of auth")
    },
    Document {
        optional: true,
        ..document("auth-sso", "config/auth/sso/providers", "the single sign-on providers")
    },
];

/// A deployed edge function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Function {
    /// Its name in URLs: letters, digits, `-` and `_`.
    pub slug: String,
    /// Its name for people.
    #[serde(default)]
    pub name: String,
    /// `ACTIVE`, `REMOVED`, `THROTTLED`.
    #[serde(default)]
    pub status: String,
    /// Counts deployments.
    #[serde(default)]
    pub version: u64,
    /// Whether callers need a valid JWT; the API's default is yes.
    #[serde(default = "yes")]
    pub verify_jwt: bool,
    /// Whether it has an import map.
    #[serde(default)]
    pub import_map: bool,
    /// Where it begins.
    #[serde(default)]
    pub entrypoint_path: Option<String>,
    /// Where its import map is.
    #[serde(default)]
    pub import_map_path: Option<String>,
    /// The platform's SHA-256 of the bundle, hexadecimal.
    #[serde(default)]
    pub ezbr_sha256: Option<String>,
}

fn yes() -> bool {
    true
}

/// A secret of the edge functions; the API never tells its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionSecret {
    /// Its name.
    pub name: String,
    /// When it was last set.
    #[serde(default)]
    pub updated_at: Option<String>,
}

impl FunctionSecret {
    /// Whether the platform sets it by itself, in every project.
    pub fn is_platforms(&self) -> bool {
        self.name.starts_with("SUPABASE_")
    }
}

/// The API of one project. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    transport: Transport,
    project: String,
}

impl Api {
    /// Nothing is sent yet. `url` is the API's address without `/v1`, `reference` the project's.
    ///
    /// Errors: kind `Usage` for an address that is no URL, or that would send the token unencrypted over a network, and for
    /// a reference that is none.
    pub fn new(url: &str, reference: &str, token: Secret, patience: Patience) -> Result<Self, ApiError> {
        if reference.is_empty() || !reference.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err(ApiError::new(
                ErrorKind::Usage,
                "the project's reference has letters and digits only",
            ));
        }
        Ok(Self {
            transport: Transport::new(url, token, patience)?,
            project: format!("v1/projects/{reference}"),
        })
    }

    /// Whether the token opens the project, and what the project is called.
    ///
    /// Errors: kind `Unauthorized`, `Forbidden`, `NotFound`; `Unavailable` after all attempts.
    pub async fn project(&self) -> Result<Value, ApiError> {
        self.transport.json(&self.project).await
    }

    /// A document of configuration, as it is: [`redact`] it before it goes anywhere. `None` where an optional one is not there.
    ///
    /// Errors: as [`Api::project`].
    pub async fn document(&self, document: &Document) -> Result<Option<Value>, ApiError> {
        match self.transport.json(&format!("{}/{}", self.project, document.path)).await {
            Err(error) if document.optional && error.kind == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// All deployed functions, by slug.
    ///
    /// Errors: as [`Api::project`]; kind `Unexpected` when one has a slug that cannot be.
    pub async fn functions(&self) -> Result<Vec<Function>, ApiError> {
        let mut functions: Vec<Function> =
            self.transport.list(&format!("{}/functions", self.project)).await?;
        if functions.iter().any(|function| !is_slug(&function.slug)) {
            return Err(ApiError::new(ErrorKind::Unexpected, "a function has a slug that cannot be one"));
        }
        functions.sort_by(|a, b| a.slug.cmp(&b.slug));
        functions.dedup_by(|a, b| a.slug == b.slug);
        Ok(functions)
    }

    /// Begins to fetch the bundle of a deployed function.
    ///
    /// Errors: as [`Api::project`].
    pub async fn function_body(&self, slug: &str) -> Result<Content, ApiError> {
        let path = format!("{}/functions/{}/body", self.project, escaped(slug));
        Ok(Content {
            response: self.transport.send(Method::GET, &path, None).await?,
            stall: self.transport.stall(),
        })
    }

    /// The names of the functions' secrets, sorted.
    ///
    /// Errors: as [`Api::project`].
    pub async fn secrets(&self) -> Result<Vec<FunctionSecret>, ApiError> {
        let mut secrets: Vec<FunctionSecret> =
            self.transport.list(&format!("{}/secrets", self.project)).await?;
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(secrets)
    }

    /// pgsodium's root key; `None` where the project has none.
    ///
    /// Errors: as [`Api::project`].
    pub async fn pgsodium_root_key(&self) -> Result<Option<Secret>, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            root_key: Option<String>,
        }
        match self.transport.json::<Answer>(&format!("{}/pgsodium", self.project)).await {
            Ok(answer) => Ok(answer.root_key.filter(|key| !key.is_empty()).map(Secret::new)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deploys a bundle as [`Api::function_body`] gave it: creates the function, or replaces it where it exists.
    ///
    /// Errors: as [`Api::project`].
    pub async fn deploy(&self, function: &Function, bundle: Bytes) -> Result<(), ApiError> {
        let mut query = format!("slug={}&name={}", escaped(&function.slug), escaped(&function.name));
        query += &format!("&verify_jwt={}&import_map={}", function.verify_jwt, function.import_map);
        let paths =
            [("entrypoint_path", &function.entrypoint_path), ("import_map_path", &function.import_map_path)];
        for (name, path) in paths {
            if let Some(path) = path {
                query += &format!("&{name}={}", escaped(path));
            }
        }
        if let Some(digest) = &function.ezbr_sha256 {
            query += &format!("&ezbr_sha256={}", escaped(digest));
        }
        let exists = match self.transport.json::<Value>(&self.function(&function.slug)).await {
            Ok(_) => true,
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let (method, path) = match exists {
            true => (Method::PATCH, self.function(&function.slug)),
            false => (Method::POST, format!("{}/functions", self.project)),
        };
        let body = ("application/vnd.denoland.eszip", bundle);
        self.transport.send(method, &format!("{path}?{query}"), Some(body)).await?;
        Ok(())
    }

    /// Changes configuration: what `change` does not name stays.
    ///
    /// Errors: as [`Api::project`]; kind `Unexpected` when the API refuses a value.
    pub async fn configure(&self, document: &Document, change: &Value) -> Result<(), ApiError> {
        let method = if document.name == "postgres" { Method::PUT } else { Method::PATCH };
        let body = serde_json::to_vec(change)
            .map_err(|error| ApiError::new(ErrorKind::Unexpected, error.to_string()))?;
        let path = format!("{}/{}", self.project, document.path);
        self.transport.send(method, &path, Some(("application/json", body.into()))).await?;
        Ok(())
    }

    fn function(&self, slug: &str) -> String {
        format!("{}/functions/{}", self.project, escaped(slug))
    }
}

/// A file, piece by piece.
#[derive(Debug)]
pub struct Content {
    response: reqwest::Response,
    stall: std::time::Duration,
}

impl Content {
    /// The next piece; `None` at the end, of which the server has said that it is the end.
    ///
    /// Errors: kind `Unavailable` when the answer breaks off; fetch it again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        transport::in_time(self.stall, self.response.chunk()).await
    }
}

/// Letters, digits, `-` and `_`: a name that can be a file's.
fn is_slug(slug: &str) -> bool {
    !slug.is_empty()
        && slug.len() <= 200
        && slug.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, &ESCAPED).to_string()
}

//! The client of one service: what it can do, whichever protocol it speaks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use basekeep_store::http_client;
use jiff::Timestamp;
use reqwest::{Body, Method, Response};

use super::error::{ErrorKind, StorageError};
use super::http::{self, Request, exact, in_time, patiently};
use super::sign::Signer;
use super::upload::{Content, NewFile};
use super::{Address, Credentials, Download, api, s3, tus};

/// Idle connections that are kept.
const CONNECTIONS: usize = 16;
/// A request with a body of some megabytes may take so long until it is answered.
const SENDING: Duration = Duration::from_secs(900);

/// How long something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// No attempt begins later than this after the first one.
    pub within: Duration,
    /// The longest pause before the second attempt; doubles with each further one, up to 10 s.
    pub first_pause: Duration,
    /// An answer from which nothing comes for so long is given up.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(120),
            first_pause: Duration::from_millis(300),
            stall: Duration::from_secs(60),
        }
    }
}

/// What a service says about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes.
    pub size: Option<u64>,
    /// The entity tag, without quotes.
    pub etag: Option<String>,
    /// MIME type. The Storage API says `text/plain` for HTML.
    pub mime: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
}

/// Some of the names in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whole names.
    pub names: Vec<String>,
    /// What the next request begins with; `None` at the end.
    pub next: Option<String>,
}

/// A bucket to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// Its id.
    pub id: String,
    /// Its name, almost always the same.
    pub name: String,
    /// Whether anybody may read it.
    pub public: bool,
    /// Bytes that a file may have.
    pub file_size_limit: Option<u64>,
    /// MIME types that it allows; all if `None`.
    pub allowed_mime_types: Option<Vec<String>>,
}

/// A service that has files. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    address: Address,
    /// Host and port, as the `Host` header has them.
    host: String,
    patience: Patience,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.0.address.url).finish()
    }
}

impl Files {
    /// Nothing is sent yet.
    ///
    /// Errors: the URL is none, or there are no certificates to trust.
    pub fn new(address: Address, patience: Patience) -> Result<Self, StorageError> {
        let wrong = |message: String| StorageError::new(ErrorKind::Refused, message);
        let url = reqwest::Url::parse(&address.url)
            .map_err(|error| wrong(format!("the storage URL is no URL: {error}")))?;
        let host = match (url.scheme(), url.host_str(), url.port()) {
            ("http" | "https", Some(host), Some(port)) => format!("{host}:{port}"),
            ("http" | "https", Some(host), None) => host.to_owned(),
            _ => return Err(wrong("the storage URL does not begin with http:// or https://".into())),
        };
        let client =
            http_client(&address.url, CONNECTIONS).map_err(|error| wrong(error.source.to_string()))?;
        Ok(Self(Arc::new(Inner { client, address, host, patience })))
    }

    /// Where it is, for people.
    pub fn location(&self) -> &str {
        &self.0.address.url
    }

    /// Whether this is the Storage API rather than S3.
    pub fn is_api(&self) -> bool {
        matches!(self.0.address.credentials, Credentials::ServiceKey(_))
    }

    /// Begins to fetch a file.
    ///
    /// Errors: kind `NotFound`, `Denied`, `Unsendable`; `Transient` after all attempts.
    pub async fn download(&self, bucket: &str, name: &str) -> Result<Download, StorageError> {
        Download::begin(self.clone(), bucket, name).await
    }

    /// What there is under this name, found out by asking for its first byte: the answer comes from the storage itself and
    /// not from the rows. `size` is what is expected.
    ///
    /// Errors: as [`Files::download`].
    pub async fn facts(&self, bucket: &str, name: &str, size: u64) -> Result<FileFacts, StorageError> {
        let range = (size > 0).then_some(0..1);
        let asked = patiently(self.patience(), || async {
            let answer = self.open(bucket, name, range.clone()).await;
            // With its files in a folder, the service answers 500 for one that it does not have.
            answer.map_err(|error| match error.doubtful {
                true => StorageError { kind: ErrorKind::NotFound, ..error },
                false => error,
            })
        });
        match asked.await {
            Ok(response) => Ok(download_facts(&response)),
            Err(error) if error.code() == "InvalidRange" => {
                Ok(FileFacts { size: Some(0), ..FileFacts::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// The version that the service's row of this file has now; `None` where the protocol does not tell.
    ///
    /// Errors: kind `NotFound` if there is no row.
    pub async fn version(&self, bucket: &str, name: &str) -> Result<Option<String>, StorageError> {
        if !self.is_api() {
            return Ok(None);
        }
        patiently(self.patience(), || api::version(self, bucket, name)).await
    }

    /// Names in a bucket, after those that were listed before.
    pub async fn list(&self, bucket: &str, after: Option<&str>) -> Result<Listed, StorageError> {
        patiently(self.patience(), || async {
            match self.is_api() {
                true => api::list(self, bucket, after).await,
                false => s3::list(self, bucket, after).await,
            }
        })
        .await
    }

    /// Creates a bucket; one that exists is no error and stays as it is. S3 takes the id alone.
    pub async fn create_bucket(&self, bucket: &NewBucket) -> Result<(), StorageError> {
        let created = patiently(self.patience(), || async {
            match self.is_api() {
                true => api::create_bucket(self, bucket).await,
                false => s3::create_bucket(self, &bucket.id).await,
            }
        });
        match created.await {
            Err(error) if error.kind == ErrorKind::Exists => Ok(()),
            result => result,
        }
    }

    /// Sends a file; one of the same name is replaced.
    ///
    /// Errors: kind `Content` if it could not be read; `TooLarge`, `NotAllowed`, `Denied`, `NotFound` (the bucket).
    pub async fn upload(&self, file: &NewFile<'_>, content: &dyn Content) -> Result<(), StorageError> {
        let simple = || async {
            match self.is_api() {
                true => api::upload(self, file, content).await,
                false => s3::put(self, file, content).await,
            }
        };
        match self.is_api() {
            true if file.size > tus::ABOVE && tus::keeps_cache_control(file) => {
                tus::upload(self, file, content).await
            }
            true => match patiently(self.patience(), simple).await {
                // The limit for one request can be lower than the one for resumable uploads.
                Err(error)
                    if error.kind == ErrorKind::TooLarge
                        && file.size > tus::PIECE as u64
                        && tus::keeps_cache_control(file) =>
                {
                    tus::upload(self, file, content).await
                }
                result => result,
            },
            false if file.size > s3::PARTS_ABOVE => s3::put_parts(self, file, content).await,
            false => patiently(self.patience(), simple).await,
        }
    }

    /// Asks for a file, or a part of it.
    pub(super) async fn open(
        &self,
        bucket: &str,
        name: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Response, StorageError> {
        self.open_from(bucket, name, range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .await
    }

    /// The same, with the header `Range` as it is sent.
    pub(super) async fn open_from(
        &self,
        bucket: &str,
        name: &str,
        range: Option<String>,
    ) -> Result<Response, StorageError> {
        let path = match self.is_api() {
            true => format!("object/authenticated/{}", file_path(bucket, name)),
            false => file_path(bucket, name),
        };
        let mut request = self.request(Method::GET, &path);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        self.send(request, Body::default()).await
    }

    /// A request below the service's URL; the path is escaped already.
    pub(super) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, format!("{}/{path}", self.0.address.url))
    }

    /// Sends a request once; an answer that is no success is an error.
    pub(super) async fn send(&self, request: Request, body: Body) -> Result<Response, StorageError> {
        let inner = &*self.0;
        let url = exact(&request.url)?;
        let request = match &inner.address.credentials {
            Credentials::ServiceKey(key) => request
                .header("authorization", format!("Bearer {}", key.expose()))
                .header("apikey", key.expose()),
            Credentials::AccessKey { region, id, secret } => {
                let signer = Signer { region, id, secret: secret.expose() };
                signer.sign(request, &inner.host, Timestamp::now())
            }
        };
        let limit = match body.as_bytes() {
            Some([]) => inner.patience.stall,
            _ => SENDING,
        };
        let mut outgoing = inner.client.request(request.method, url);
        for (name, value) in request.headers {
            outgoing = outgoing.header(name, value);
        }
        let response = in_time(limit, outgoing.body(body).send()).await?;
        http::checked(response, inner.patience.stall).await
    }

    /// Sends a request and reads the answer.
    pub(super) async fn ask(&self, request: Request, body: Body) -> Result<String, StorageError> {
        let response = self.send(request, body).await?;
        http::text(response, self.0.patience.stall).await
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.0.patience
    }
}

/// `bucket/name` for a URL.
pub(super) fn file_path(bucket: &str, name: &str) -> String {
    format!("{}/{}", http::escaped(bucket), http::escaped_path(name))
}

/// What the headers of a file's answer say; the size is the whole file's.
pub(super) fn download_facts(response: &Response) -> FileFacts {
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let whole = header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let length = header("content-length").and_then(|length| length.parse().ok());
    FileFacts {
        size: whole.or(length),
        etag: header("etag").map(|etag| bare_etag(&etag).to_owned()),
        mime: header("content-type"),
        cache_control: header("cache-control"),
    }
}

/// An entity tag without quotes and mark of weakness.
pub(super) fn bare_etag(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

/// Whether a text can be sent as a header's value.
pub(super) fn is_header_value(text: &str) -> bool {
    reqwest::header::HeaderValue::from_str(text).is_ok()
}

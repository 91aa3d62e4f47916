//! A bucket of an S3 server: AWS, MinIO, Garage, R2, Supabase and others that speak the same protocol.
//!
//! Writes are conditional (`If-None-Match: *`) where the server honours that, which is found out with the first small
//! object. Elsewhere an object is looked up before it is written. Keys that end in a SHA-256 name their content, so two
//! writers of one such key cannot disagree; any other key is read back and compared after it was written that way.

mod credentials;
mod failure;
mod profile;
mod settings;
mod transport;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    RetryConfig,
};
use reqwest::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::credentials::Credentials;
use self::failure::{Failure, Server};
pub(crate) use self::settings::Settings;
use self::transport::Transport;
use crate::{ErrorKind, Object, Operation, Put, Store, StoreError, key};

/// Larger objects go up in parts, several at a time.
const MULTIPART_ABOVE: usize = 64 << 20;
const PART: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;
/// The object by which conditional writes are tried out is no larger: it is sent twice.
const PROBE_AT_MOST: usize = 64 << 10;

/// Objects in a bucket, below a prefix.
pub struct S3 {
    client: AmazonS3,
    /// Empty, or ends with a slash.
    root: String,
    location: String,
    conditions: Conditions,
    permits: Semaphore,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("location", &self.location).finish_non_exhaustive()
    }
}

/// An HTTP client like that of a bucket.
pub(crate) fn http_client(
    url: &str,
    ca_file: Option<&std::path::Path>,
    connections: usize,
) -> Result<reqwest::Client, StoreError> {
    transport::client(url, ca_file, connections).map_err(|failure| failure.into_error(Operation::Open, ""))
}

impl S3 {
    /// Nothing is sent yet.
    pub(crate) fn new(settings: Settings) -> Result<Self, StoreError> {
        Self::build(settings).map_err(|failure| failure.into_error(Operation::Open, ""))
    }

    fn build(settings: Settings) -> Result<Self, Failure> {
        let location = settings.location();
        let server = Server {
            endpoint: origin(&settings.bucket_url),
            bucket: settings.bucket.clone(),
            region: settings.region.clone(),
        };
        let ca_file = settings.ca_file.as_deref();
        let http = transport::client(&settings.bucket_url, ca_file, settings.connections)?;
        let transport = Transport::new(http.clone(), server, &settings);
        let conditions = Conditions::new(transport.conditional());
        let credentials = Credentials::new(settings.credentials, http, transport::metadata_client()?);
        let client = AmazonS3Builder::new()
            .with_bucket_name(settings.bucket)
            .with_region(settings.region)
            // With this the endpoint is the bucket's own URL, in either style.
            .with_endpoint(settings.bucket_url)
            .with_virtual_hosted_style_request(true)
            .with_credentials(Arc::new(credentials))
            // The signature needs the SHA-256 anyway, and buckets with Object Lock want a checksum.
            .with_checksum_algorithm(Checksum::SHA256)
            .with_disable_bulk_delete(true)
            .with_retry(no_retries())
            .with_http_connector(transport)
            .build()
            .map_err(|error| Failure::new(ErrorKind::Permanent, error.to_string()))?;
        let root = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Ok(Self { client, root, location, conditions, permits: Semaphore::new(settings.connections) })
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.permits.acquire().await.ok()
    }

    fn path(&self, operation: Operation, key: &str) -> Result<Path, StoreError> {
        key::check(operation, key)?;
        Path::parse(format!("{}{key}", self.root))
            .map_err(|error| StoreError::new(ErrorKind::Permanent, operation, key, error))
    }

    async fn exists(&self, operation: Operation, key: &str, path: &Path) -> Result<bool, StoreError> {
        match self.client.head(path).await.map_err(|error| failed(operation, key, error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn look_up(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let path = self.path(Operation::Size, key)?;
        let _permit = self.permit().await;
        self.client.head(&path).await.map_err(|error| failed(Operation::Size, key, error))
    }

    async fn put_small(&self, key: &str, path: &Path, data: Bytes) -> Result<Put, StoreError> {
        if !self.conditions.honoured() && self.exists(Operation::Put, key, path).await? {
            return Ok(Put::AlreadyExists);
        }
        let put = self.write(key, path, data.clone()).await?;
        if put == Put::Written && self.conditions.unknown() && data.len() <= PROBE_AT_MOST {
            // What it holds is there already, so it does no harm where the condition is ignored.
            match self.write(key, path, data.clone()).await {
                Ok(Put::AlreadyExists) => self.conditions.set(Conditions::HONOURED),
                Ok(Put::Written) => self.conditions.set(Conditions::IGNORED),
                Err(error) => tracing::debug!(%error, "conditional writes are not known yet"),
            }
        }
        if put == Put::Written && !self.conditions.honoured() && !key::names_content(key) {
            let found = self.client.get(path).await.map_err(|error| failed(Operation::Put, key, error))?;
            let found = found.bytes().await.map_err(|error| failed(Operation::Put, key, error))?;
            return Ok(if found == data { Put::Written } else { Put::AlreadyExists });
        }
        Ok(put)
    }

    /// One request, with the condition unless the server has refused that before.
    async fn write(&self, key: &str, path: &Path, data: Bytes) -> Result<Put, StoreError> {
        let conditional = !self.conditions.refused();
        let mode = if conditional { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, ..PutOptions::default() };
        let Err(error) = self.client.put_opts(path, data.clone().into(), options).await else {
            return Ok(Put::Written);
        };
        match Failure::within(&error) {
            Some(failure) if failure.exists() => Ok(Put::AlreadyExists),
            Some(failure) if conditional && failure.not_implemented() => {
                self.conditions.set(Conditions::REFUSED);
                Box::pin(self.write(key, path, data)).await
            }
            _ => Err(failed(Operation::Put, key, error)),
        }
    }

    async fn put_large(&self, key: &str, path: &Path, data: Bytes) -> Result<Put, StoreError> {
        let failed = |error| failed(Operation::Put, key, error);
        if self.exists(Operation::Put, key, path).await? {
            return Ok(Put::AlreadyExists);
        }
        let id = self.client.create_multipart(path).await.map_err(failed)?;
        let mut upload = Upload { client: self.client.clone(), path: path.clone(), id: Some(id.clone()) };
        let parts = self.put_parts(path, &id, data).await.map_err(failed)?;
        let mut ended = self.client.complete_multipart(path, &id, parts.clone()).await;
        if let Err(error) = &ended
            && Failure::within(error).is_some_and(Failure::not_implemented)
            && self.conditions.honoured()
        {
            self.conditions.not_for_parts();
            ended = self.client.complete_multipart(path, &id, parts).await;
        }
        match ended {
            Ok(_) => {
                upload.id = None;
                Ok(Put::Written)
            }
            Err(error) if Failure::within(&error).is_some_and(Failure::exists) => Ok(Put::AlreadyExists),
            Err(error) => Err(failed(error)),
        }
    }

    async fn put_parts(&self, path: &Path, id: &str, data: Bytes) -> object_store::Result<Vec<PartId>> {
        let pieces = (0..data.len().div_ceil(PART)).map(|index| {
            let piece = data.slice(index * PART..data.len().min((index + 1) * PART));
            let (client, path, id) = (self.client.clone(), path.clone(), id.to_owned());
            async move { client.put_part(&path, &id, index, piece.into()).await }
        });
        futures::stream::iter(pieces.collect::<Vec<_>>()).buffered(PARTS_AT_ONCE).try_collect().await
    }
}

#[async_trait]
impl Store for S3 {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        let path = self.path(Operation::Put, key)?;
        let _permit = self.permit().await;
        if data.len() > MULTIPART_ABOVE {
            self.put_large(key, &path, data).await
        } else {
            self.put_small(key, &path, data).await
        }
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let path = self.path(Operation::Get, key)?;
        let _permit = self.permit().await;
        let failed = |error| failed(Operation::Get, key, error);
        self.client.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(Operation::GetRange, key)?;
        let permit = self.permit().await;
        let wanted = range.end.saturating_sub(range.start);
        let short = |size: u64| {
            let text = format!("it has {size} bytes and bytes {}..{} were asked for", range.start, range.end);
            StoreError::new(ErrorKind::Corrupt, Operation::GetRange, key, text)
        };
        let error = if wanted == 0 {
            None
        } else {
            let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
            match read(&self.client, &path, options).await {
                Ok(data) if data.len() as u64 == wanted => return Ok(data),
                Ok(_) => None,
                Err(error) => Some(error),
            }
        };
        // An answer of the server other than "not in there" stands for itself.
        if let Some(failure) = error.as_ref().and_then(|error| Failure::within(error))
            && failure.status != Some(StatusCode::RANGE_NOT_SATISFIABLE)
        {
            return Err(failure.clone().into_error(Operation::GetRange, key));
        }
        drop(permit);
        let size =
            self.size(key).await.map_err(|error| StoreError { operation: Operation::GetRange, ..error })?;
        match error {
            _ if size < range.end => Err(short(size)),
            None if wanted == 0 => Ok(Bytes::new()),
            Some(error) => Err(failed(Operation::GetRange, key, error)),
            None => {
                let text = "the server sent another number of bytes than asked for";
                Err(StoreError::new(ErrorKind::Transient, Operation::GetRange, key, text))
            }
        }
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.look_up(key).await?.size)
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        let time = SystemTime::from(self.look_up(key).await?.last_modified);
        // object_store's word for a server that does not tell.
        Ok((time != SystemTime::UNIX_EPOCH).then_some(time))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        key::check_prefix(prefix)?;
        let failed = |error| failed(Operation::List, prefix, error);
        let folder = format!("{}{prefix}", self.root);
        let path = Path::parse(&folder)
            .map_err(|error| StoreError::new(ErrorKind::Permanent, Operation::List, prefix, error))?;
        let _permit = self.permit().await;
        let mut pages = self.client.list((!folder.is_empty()).then_some(&path));
        let mut found = Vec::new();
        while let Some(object) = pages.next().await {
            let object = object.map_err(failed)?;
            if let Some(key) = object.location.as_ref().strip_prefix(&self.root)
                && key.starts_with(prefix)
            {
                found.push(Object { key: key.to_owned(), size: object.size });
            }
        }
        // Nearly every server lists in this order.
        if !found.is_sorted() {
            found.sort_unstable();
        }
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(Operation::Delete, key)?;
        let _permit = self.permit().await;
        match self.client.delete(&path).await.map_err(|error| failed(Operation::Delete, key, error)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

/// What is known of the server's conditional writes.
struct Conditions {
    state: AtomicU8,
    /// The same for the transport, which adds the condition to the end of uploads in parts.
    for_parts: Arc<AtomicBool>,
}

impl Conditions {
    const UNKNOWN: u8 = 0;
    const HONOURED: u8 = 1;
    /// It takes the header and overwrites all the same.
    const IGNORED: u8 = 2;
    /// It fails when the header is there.
    const REFUSED: u8 = 3;

    fn new(for_parts: Arc<AtomicBool>) -> Self {
        Self { state: AtomicU8::new(Self::UNKNOWN), for_parts }
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        self.for_parts.store(state == Self::HONOURED, Ordering::Relaxed);
    }

    fn not_for_parts(&self) {
        self.for_parts.store(false, Ordering::Relaxed);
    }

    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Relaxed) == state
    }

    fn unknown(&self) -> bool {
        self.is(Self::UNKNOWN)
    }

    fn honoured(&self) -> bool {
        self.is(Self::HONOURED)
    }

    fn refused(&self) -> bool {
        self.is(Self::REFUSED)
    }
}

/// An upload in parts. The parts of one that was not completed are removed, because they cost money and nobody sees them.
struct Upload {
    client: AmazonS3,
    path: Path,
    id: Option<String>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (client, path) = (self.client.clone(), self.path.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = client.abort_multipart(&path, &id).await {
                    tracing::warn!(%path, %error, "the parts of an unfinished upload stay behind");
                }
            });
        }
    }
}

async fn read(client: &AmazonS3, path: &Path, options: GetOptions) -> object_store::Result<Bytes> {
    client.get_opts(path, options).await?.bytes().await
}

fn failed(operation: Operation, key: &str, error: object_store::Error) -> StoreError {
    match Failure::within(&error) {
        Some(failure) => failure.clone().into_error(operation, key),
        // An answer that object_store could not make sense of.
        None => StoreError::new(ErrorKind::Permanent, operation, key, error),
    }
}

fn origin(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// Whoever wraps this store decides on retries.
fn no_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    }
}

//! How requests of object_store reach the server: one pool of connections, TLS with the system's certificates and those
//! that the user names, bandwidth limits, an end to connections on which nothing moves, and failures as [`Failure`].

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;
use md5::{Digest, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Body, Client, ClientBuilder, Method, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::failure::{Failure, Server};
use super::settings::Settings;
use crate::ErrorKind;
use crate::limits::Limiter;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers close idle connections after some 20 seconds; one that is closed under us costs an attempt.
const IDLE: Duration = Duration::from_secs(15);
/// Bodies go out in pieces of this size, so that limits and stalls are seen.
const PIECE: usize = 64 << 10;
/// No object of ours is larger by far; whatever else answers more is not read into memory.
const LARGEST_ANSWER: usize = 1 << 30;

/// The client of one store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: Client,
    server: Arc<Server>,
    upload: Option<Arc<Limiter>>,
    download: Option<Arc<Limiter>>,
    /// The server honours conditions, so the end of a multipart upload gets one too.
    conditional: Arc<AtomicBool>,
    /// The server wants the MD5 of what is uploaded, too, as some do for a bucket with Object Lock.
    wants_md5: Arc<AtomicBool>,
    /// A request that moves nothing for so long is given up.
    stall: Duration,
}

impl Transport {
    pub(crate) fn new(client: Client, server: Server, settings: &Settings) -> Self {
        Self {
            client,
            server: Arc::new(server),
            upload: Limiter::new(settings.limit_upload),
            download: Limiter::new(settings.limit_download),
            conditional: Arc::default(),
            wants_md5: Arc::default(),
            stall: settings.stall_after,
        }
    }

    pub(crate) fn conditional(&self) -> Arc<AtomicBool> {
        self.conditional.clone()
    }

    /// Sends a request, and once more with the MD5 of its body when the server asks for that.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let without = request.method() == Method::PUT && !self.wants_md5.load(Ordering::Relaxed);
        let again = without.then(|| request.clone());
        match (self.send_once(request).await, again) {
            (Err(failure), Some(request)) if failure.wants_md5() => {
                self.wants_md5.store(true, Ordering::Relaxed);
                self.send_once(request).await
            }
            (result, _) => result,
        }
    }

    async fn send_once(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::PUT && self.wants_md5.load(Ordering::Relaxed) {
            parts.headers.insert("content-md5", md5_of(body.clone()).await?);
        }
        let ends_upload = parts.method == Method::POST
            && parts.uri.query().is_some_and(|query| query.contains("uploadId="));
        if ends_upload && self.conditional.load(Ordering::Relaxed) {
            parts.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let url = parts.uri.to_string().parse();
        let url =
            url.map_err(|error| Failure::new(ErrorKind::Permanent, format!("{}: {error}", parts.uri)))?;
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;

        let progress = Arc::new(Progress::new());
        *outgoing.body_mut() = Some(self.outgoing_body(body, progress.clone()));
        let answer = self.moving(&progress, self.client.execute(outgoing)).await?;
        let answer = answer.map_err(|error| Failure::of_network(&error, &self.server))?;

        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = self.moving(&progress, self.collect(answer, &progress)).await??;
        // The end of a multipart upload answers 200 and then what went wrong.
        let failed_late = ends_upload && body.windows(7).any(|bytes| bytes == b"<Error>");
        if !status.is_success() || failed_late {
            return Err(Failure::of_answer(status, &headers, &body, &self.server));
        }
        let mut response = HttpResponse::new(body.into());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    fn outgoing_body(&self, body: HttpRequestBody, progress: Arc<Progress>) -> Body {
        if let Some(bytes) = body.as_bytes() {
            return bytes.clone().into();
        }
        let limiter = self.upload.clone();
        let size = limiter.as_ref().map_or(PIECE, |limiter| limiter.piece(PIECE));
        let pieces = BodyDataStream::new(body).map_ok(move |chunk| cut(chunk, size)).try_flatten();
        let paced = pieces.and_then(move |piece| {
            let (limiter, progress) = (limiter.clone(), progress.clone());
            async move {
                if let Some(limiter) = limiter {
                    limiter.take(piece.len() as u64).await;
                }
                progress.moved();
                Ok(piece)
            }
        });
        Body::wrap_stream(paced)
    }

    async fn collect(&self, answer: reqwest::Response, progress: &Progress) -> Result<Bytes, Failure> {
        let expected = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        // HEAD tells a length and sends nothing.
        let mut data = BytesMut::new();
        let mut stream = answer.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| Failure::of_network(&error, &self.server))?;
            if let Some(limiter) = &self.download {
                for part in piece.chunks(limiter.piece(PIECE)) {
                    limiter.take(part.len() as u64).await;
                    progress.moved();
                }
            }
            progress.moved();
            if data.len() + piece.len() > LARGEST_ANSWER {
                return Err(Failure::new(
                    ErrorKind::Permanent,
                    "the answer is larger than any object of ours",
                ));
            }
            if data.is_empty() {
                data.reserve(expected.min(LARGEST_ANSWER));
            }
            data.extend_from_slice(&piece);
        }
        Ok(data.freeze())
    }

    /// Waits for `work` as long as something moves.
    async fn moving<T>(&self, progress: &Progress, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Ok(result),
                () = tokio::time::sleep_until(progress.last() + self.stall) => {
                    if progress.last().elapsed() >= self.stall {
                        let Server { endpoint, .. } = &*self.server;
                        let seconds = self.stall.as_secs();
                        let text = format!("nothing has moved between {endpoint} and here for {seconds} s");
                        return Err(Failure::new(ErrorKind::Transient, text));
                    }
                }
            }
        }
    }
}

/// The value of `Content-MD5`. No signature covers it.
async fn md5_of(body: HttpRequestBody) -> Result<HeaderValue, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(ErrorKind::Permanent, format!("MD5: {error}"));
    let mut hasher = Md5::new();
    let mut pieces = BodyDataStream::new(body);
    while let Some(piece) = pieces.next().await {
        hasher.update(piece.map_err(|error| wrong(&error))?);
    }
    HeaderValue::from_str(&BASE64_STANDARD.encode(hasher.finalize())).map_err(|error| wrong(&error))
}

fn cut(chunk: Bytes, size: usize) -> impl Stream<Item = Result<Bytes, HttpError>> {
    futures::stream::unfold(chunk, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok(piece), rest))
    })
}

/// When something moved last.
#[derive(Debug)]
struct Progress {
    start: Instant,
    last_ms: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn moved(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // The kind only matters to object_store's own retries, which are off.
        self.send(request).await.map_err(|failure| HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// A client for `https` as well as `http`. Proxies come from the environment, as reqwest reads it.
///
/// Errors: there is no certificate to trust and the endpoint is `https`; the file of certificates cannot be read.
pub(crate) fn client(endpoint: &str, ca_file: Option<&Path>, connections: usize) -> Result<Client, Failure> {
    build(builder(endpoint, ca_file)?.pool_max_idle_per_host(connections))
}

/// A client for the metadata services of machines and containers: nearby or not there at all.
pub(crate) fn metadata_client() -> Result<Client, Failure> {
    let builder = builder("http://", None)?.no_proxy();
    build(builder.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(5)))
}

fn build(builder: ClientBuilder) -> Result<Client, Failure> {
    builder.build().map_err(|error| {
        Failure::new(ErrorKind::Permanent, format!("cannot set up HTTP: {}", innermost(&error)))
    })
}

fn builder(endpoint: &str, ca_file: Option<&Path>) -> Result<ClientBuilder, Failure> {
    Ok(Client::builder()
        .user_agent(concat!("basekeep/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls(endpoint.starts_with("https:"), ca_file)?)
        // Many connections move more than many streams on one.
        .http1_only()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30)))
}

fn tls(needed: bool, ca_file: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    let found = if needed { Some(rustls_native_certs::load_native_certs()) } else { None };
    if let Some(found) = found {
        roots.add_parsable_certificates(found.certs);
    }
    if let Some(file) = ca_file {
        let own = certificates(file).map_err(|error| {
            Failure::new(ErrorKind::Permanent, format!("certificates of {}: {error}", file.display()))
                .hint("AWS_CA_BUNDLE or ca_file names a file of certificates in PEM")
        })?;
        roots.add_parsable_certificates(own);
    }
    if needed && roots.is_empty() {
        return Err(Failure::new(
            ErrorKind::Permanent,
            "this machine has no certificates to trust a server by",
        )
        .hint("install them (Debian: apt install ca-certificates), or name a file with AWS_CA_BUNDLE"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Failure::new(ErrorKind::Permanent, format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found.map_err(io::Error::other)? {
        found if found.is_empty() => Err(io::Error::other("there is no certificate in it")),
        found => Ok(found),
    }
}

/// The innermost cause, which says most.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

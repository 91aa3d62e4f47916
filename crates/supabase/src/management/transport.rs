//! Requests: the token, patience with what is transient, lists of several pages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use basekeep_postgres::Secret;
use basekeep_store::http_client;
use bytes::Bytes;
use rand::RngExt;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::{ApiError, ErrorKind};

const CONNECTIONS: usize = 4;
/// No document of a project is larger, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;
/// Of an answer that refuses, no more is read.
const LARGEST_REFUSAL: usize = 16 << 10;
/// More pages than this are no list of a project.
const MOST_PAGES: usize = 1000;
/// The longest pause between two attempts, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// No attempt begins later than this after the first one.
    pub within: Duration,
    /// The longest pause before the second attempt; doubles with each further one, up to 10 s.
    pub first_pause: Duration,
    /// An answer of which nothing comes for so long is given up.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(90),
            first_pause: Duration::from_millis(500),
            stall: Duration::from_secs(30),
        }
    }
}

/// Sends requests to one address. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    base: Url,
    token: Secret,
    patience: Patience,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.0.base.as_str()).finish()
    }
}

impl Transport {
    pub(super) fn new(url: &str, token: Secret, patience: Patience) -> Result<Self, ApiError> {
        let wrong = |message: &str| ApiError::new(ErrorKind::Usage, message);
        let mut base = Url::parse(url).map_err(|_| wrong("the address of the Management API is no URL"))?;
        match (base.scheme(), base.host_str()) {
            ("https", Some(_)) | ("http", Some("localhost" | "127.0.0.1" | "[::1]")) => {}
            ("http", Some(_)) => {
                return Err(wrong(
                    "the address of the Management API must begin with https://, or the token would be read on the way",
                ));
            }
            _ => return Err(wrong("the address of the Management API does not begin with https://")),
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        if token.expose().trim().is_empty() {
            return Err(wrong("the access token is empty"));
        }
        let client = http_client(url, CONNECTIONS).map_err(|error| wrong(&error.source.to_string()))?;
        Ok(Self(Arc::new(Inner { client, base, token, patience })))
    }

    pub(super) fn stall(&self) -> Duration {
        self.0.patience.stall
    }

    /// A document. Its reading is tried again with the request.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let url = self.url(path)?;
        self.patiently(async || {
            let answer = self.attempt(Method::GET, url.clone(), None).await?;
            understood(&self.collected(answer, LARGEST_ANSWER).await?)
        })
        .await
    }

    /// A list, with all pages that the server's `Link` headers name.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        let mut next = Some(self.url(path)?);
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(all) };
            let (page, link) = self
                .patiently(async || {
                    let answer = self.attempt(Method::GET, url.clone(), None).await?;
                    let link = next_page(answer.headers(), &url);
                    let page: Vec<T> = understood(&self.collected(answer, LARGEST_ANSWER).await?)?;
                    Ok((page, link))
                })
                .await?;
            all.extend(page);
            next = link;
        }
        Err(ApiError::new(ErrorKind::Unexpected, "a list of the Management API does not end"))
    }

    /// A request that must succeed; the answer's body is left to the caller.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Response, ApiError> {
        let url = self.url(path)?;
        self.patiently(async || self.attempt(method.clone(), url.clone(), body.clone()).await).await
    }

    fn url(&self, path: &str) -> Result<Url, ApiError> {
        let joined = self.0.base.join(path);
        joined.map_err(|_| ApiError::new(ErrorKind::Usage, "the address of the Management API is no URL"))
    }

    async fn attempt(
        &self,
        method: Method,
        url: Url,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Response, ApiError> {
        let mut token =
            HeaderValue::from_str(&format!("Bearer {}", self.0.token.expose().trim())).map_err(|_| {
                ApiError::new(ErrorKind::Usage, "the access token has characters that no token has")
            })?;
        token.set_sensitive(true);
        let mut request = self.0.client.request(method, url);
        request = request.header(AUTHORIZATION, token).header(ACCEPT, "application/json, */*");
        request = request.header(USER_AGENT, concat!("basekeep/", env!("CARGO_PKG_VERSION")));
        if let Some((kind, bytes)) = body {
            request = request.header(CONTENT_TYPE, kind).body(bytes);
        }
        let answer = in_time(self.stall(), request.send()).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let body = self.collected(answer, LARGEST_REFUSAL).await.unwrap_or_default();
        let mut error = refused(status, &body, self.0.token.expose());
        error.retry_after = retry_after;
        Err(error)
    }

    /// Tries again what is transient, with growing random pauses, and those that the server asks for.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let Patience { within, mut first_pause, .. } = self.0.patience;
        let started = Instant::now();
        let mut tried = 0;
        loop {
            let error = match attempt().await {
                Err(error) if error.kind == ErrorKind::Unavailable => error,
                done => return done,
            };
            tried += 1;
            let pause = first_pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            let pause = pause.max(error.retry_after.unwrap_or_default());
            if started.elapsed() + pause > within {
                let message = match tried {
                    1 => error.message,
                    _ => format!("{} (tried {tried} times)", error.message),
                };
                return Err(ApiError { message, ..error });
            }
            tracing::info!(%error, tried, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            first_pause = (first_pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn collected(&self, mut answer: Response, limit: usize) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        while let Some(piece) = in_time(self.stall(), answer.chunk()).await? {
            if body.len() + piece.len() > limit {
                return Err(ApiError::new(
                    ErrorKind::Unexpected,
                    "the answer of the Management API is too long",
                ));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// Waits for something that the network owes, but not for ever.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| ApiError::of_network(&error)),
        Err(_) => {
            let message = format!("nothing has come from the Management API for {} s", limit.as_secs());
            Err(ApiError::new(ErrorKind::Unavailable, message))
        }
    }
}

/// The error names the place in the answer, and nothing of it: it may hold secrets.
fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = format!("the answer of the Management API is not as its description says, at {place}");
        ApiError::new(ErrorKind::Unexpected, message)
    })
}

fn refused(status: StatusCode, body: &[u8], token: &str) -> ApiError {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: Option<serde_json::Value>,
    }
    let kind = match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        402 | 403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 | 429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    };
    let said = serde_json::from_slice::<Refusal>(body).ok().and_then(|refusal| refusal.message);
    let said = said.as_ref().and_then(|message| message.as_str()).unwrap_or_default().replace(token, "…");
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    let answered = format!("the Management API answered {status}");
    ApiError::new(kind, if said.is_empty() { answered } else { format!("{answered}: {said}") })
}

/// Seconds, as the API sends it, or `X-RateLimit-Reset`, which is seconds too; never more than ten minutes.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let of = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let seconds = of(RETRY_AFTER.as_str()).or_else(|| of("x-ratelimit-reset"))?;
    Some(Duration::from_secs(seconds.min(600)))
}

/// The page after this one, where there is one at the same server; the token goes nowhere else.
fn next_page(headers: &HeaderMap, here: &Url) -> Option<Url> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    let next = here.join(address).ok()?;
    (next.origin() == here.origin() && next != *here).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(link: &str) -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_str(link).unwrap())])
    }

    #[test]
    fn the_next_page_is_followed_at_the_same_server_alone() {
        let here = Url::parse("https://api.example/v1/x?offset=0").unwrap();
        let next = |link: &str| next_page(&headers(link), &here).map(|url| url.to_string());
        assert_eq!(
            next(r#"</v1/x?offset=0>; rel="first", </v1/x?offset=10>; rel="next""#).as_deref(),
            Some("https://api.example/v1/x?offset=10")
        );
        assert_eq!(next(r#"<https://elsewhere.example/v1/x?offset=10>; rel="next""#), None);
        assert_eq!(next(r#"</v1/x?offset=0>; rel="next""#), None, "a page that names itself would never end");
        assert_eq!(next(r#"</v1/x>; rel="prev""#), None);
    }

    #[test]
    fn refusals_are_classified_and_the_token_never_shows() {
        let of = |status: u16, body: &str| {
            refused(StatusCode::from_u16(status).unwrap(), body.as_bytes(), "sbp_123")
        };
        let error = of(401, r#"{"message":"JWT sbp_123 could not be decoded"}"#);
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert_eq!(error.message, "the Management API answered 401 Unauthorized: JWT … could not be decoded");
        assert_eq!(of(403, "<html>").kind, ErrorKind::Forbidden);
        assert_eq!(of(429, "").kind, ErrorKind::Unavailable);
        assert_eq!(of(503, "").kind, ErrorKind::Unavailable);
        assert_eq!(of(422, "").kind, ErrorKind::Unexpected);
    }

    #[test]
    fn a_token_is_not_sent_unencrypted_over_a_network() {
        let transport = |url: &str| Transport::new(url, "t".into(), Patience::default());
        assert!(transport("http://api.example").is_err() && transport("ftp://x").is_err());
        assert!(transport("http://127.0.0.1:9").is_ok());
        let shown =
            format!("{:?}", Transport::new("http://127.0.0.1:9", "sbp_1".into(), Patience::default()));
        assert!(!shown.contains("sbp_1"), "{shown}");
    }
}

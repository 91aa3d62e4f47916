//! Requests: exact URLs, patience with what is transient, an end to what does not move.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt;
use reqwest::{Method, Response, Url};
use tokio::time::Instant;

use super::error::{ErrorKind, Refusal, StorageError};
use super::{Patience, xml};

/// Everything that RFC 3986 does not call unreserved.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, but slashes stay: a path.
const ESCAPED_IN_PATH: AsciiSet = ESCAPED.remove(b'/');
/// Of an answer that refuses, no more than this is read.
const LARGEST_REFUSAL: usize = 64 << 10;
/// Attempts at what is answered with 500.
const DOUBTFUL: u32 = 3;
/// Of an answer that tells (a listing, say), no more than this is read.
const LARGEST_ANSWER: usize = 64 << 20;

/// A part of a path, or a value of a query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, &ESCAPED).to_string()
}

/// A path whose slashes stay.
pub(super) fn escaped_path(text: &str) -> String {
    utf8_percent_encode(text, &ESCAPED_IN_PATH).to_string()
}

/// The URL exactly as it is given.
///
/// Errors: kind `Unsendable` where a URL is understood in another way than it is written.
pub(super) fn exact(url: &str) -> Result<Url, StorageError> {
    let parsed = Url::parse(url)
        .map_err(|error| StorageError::new(ErrorKind::Refused, format!("not a URL: {error}")))?;
    if parsed.as_str() != url {
        let message = "its name has a part '.' or '..', which HTTP does not leave as it is";
        return Err(StorageError::new(ErrorKind::Unsendable, message));
    }
    Ok(parsed)
}

/// The answer if it is a success.
pub(super) async fn checked(response: Response, stall: Duration) -> Result<Response, StorageError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers().clone();
    // What the body would have said is not worth an error of its own.
    let body = collected(response, LARGEST_REFUSAL, stall).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    Err(StorageError::of_answer(status, &headers, refusal(&body)))
}

/// A whole answer of moderate size.
pub(super) async fn text(response: Response, stall: Duration) -> Result<String, StorageError> {
    let body = collected(response, LARGEST_ANSWER, stall).await?;
    String::from_utf8(body).map_err(|_| StorageError::new(ErrorKind::Refused, "the answer is not UTF-8"))
}

async fn collected(mut response: Response, limit: usize, stall: Duration) -> Result<Vec<u8>, StorageError> {
    let mut body = Vec::new();
    while let Some(piece) = in_time(stall, response.chunk()).await? {
        if body.len() + piece.len() > limit {
            return Err(StorageError::new(ErrorKind::Refused, "the answer is too long"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn refusal(body: &str) -> Refusal {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Json {
        #[serde(rename = "statusCode")]
        status: serde_json::Value,
        error: Option<String>,
        code: Option<String>,
        message: Option<String>,
        msg: Option<String>,
    }
    if let Ok(json) = serde_json::from_str::<Json>(body) {
        let status = match &json.status {
            serde_json::Value::String(text) => text.parse().ok(),
            serde_json::Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            _ => None,
        };
        let message = json.message.or(json.msg).or_else(|| json.error.clone()).unwrap_or_default();
        return Refusal { status, code: json.code.or(json.error).unwrap_or_default(), message };
    }
    match xml::first(body, "Code") {
        Some(code) => {
            let message = xml::first(body, "Message").unwrap_or_default();
            Refusal { status: None, message: format!("{code}: {message}"), code }
        }
        None => {
            let message = if body.trim_start().starts_with('<') { "" } else { body };
            Refusal { message: message.to_owned(), ..Refusal::default() }
        }
    }
}

/// Waits for something that the network owes, but not for ever.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, StorageError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(|error| StorageError::of_network(&error)),
        Err(_) => Err(StorageError::new(
            ErrorKind::Transient,
            format!("nothing has come from the service for {} s", limit.as_secs()),
        )),
    }
}

/// Tries again what is transient, with growing random pauses.
pub(super) async fn patiently<T, F>(
    patience: &Patience,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StorageError>
where
    F: Future<Output = Result<T, StorageError>>,
{
    let mut pauses = Pauses::new(patience);
    loop {
        match attempt().await {
            Err(error) => pauses.wait(error).await?,
            done => return done,
        }
    }
}

/// The pauses between attempts at one thing.
#[derive(Debug)]
pub(super) struct Pauses {
    patience: Patience,
    started: Instant,
    longest: Duration,
    tried: u32,
}

impl Pauses {
    pub(super) fn new(patience: &Patience) -> Self {
        Self { patience: *patience, started: Instant::now(), longest: patience.first_pause, tried: 0 }
    }

    /// Waits before the next attempt; gives the error back if there is to be none.
    pub(super) async fn wait(&mut self, error: StorageError) -> Result<(), StorageError> {
        self.tried += 1;
        if error.kind != ErrorKind::Transient {
            return Err(error);
        }
        let pause = self.longest.mul_f64(rand::rng().random_range(0.5..=1.0));
        let pause = pause.max(error.retry_after.unwrap_or_default());
        let hopeless = error.doubtful && self.tried >= DOUBTFUL;
        if hopeless || self.started.elapsed() + pause > self.patience.within {
            let (tried, seconds) = (self.tried, self.started.elapsed().as_secs());
            let message = match tried {
                1 => error.message,
                _ => format!("{} (tried {tried} times in {seconds} s)", error.message),
            };
            return Err(StorageError { message, ..error });
        }
        tracing::info!(%error, tried = self.tried, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        self.longest = (self.longest * 2).min(Duration::from_secs(10));
        Ok(())
    }

    /// Something came through: the next failure has all the patience again.
    pub(super) fn moved(&mut self) {
        *self = Self::new(&self.patience.clone());
    }
}

/// A request that is sent once.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Request {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self { method, url, headers: Vec::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_urls_exactly() {
        let name = "a b/ü%20%/.hidden//+&?#=;:@'()*!,$~ end ";
        let url = format!("http://h/x/{}", escaped_path(name));
        assert_eq!(exact(&url).unwrap().as_str(), url);
        for bad in ["a/../b", ".", "a/./b", ".."] {
            let error = exact(&format!("http://h/x/{}", escaped_path(bad))).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsendable, "{bad}");
        }
    }

    #[test]
    fn refusals_are_understood_in_json_and_xml() {
        let of = |status: u16, body: &str| {
            let status = reqwest::StatusCode::from_u16(status).unwrap();
            StorageError::of_answer(status, &reqwest::header::HeaderMap::new(), refusal(body))
        };
        let not_found = of(
            400,
            r#"{"statusCode":"404","error":"not_found","message":"Object not found","code":"NoSuchKey"}"#,
        );
        assert_eq!((not_found.kind, not_found.code()), (ErrorKind::NotFound, "NoSuchKey"));
        assert_eq!(not_found.to_string(), "the service answered 404: Object not found");
        let denied = of(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>");
        assert_eq!(denied.kind, ErrorKind::Denied);
        assert_eq!(of(429, "").kind, ErrorKind::Transient);
        assert_eq!(
            of(400, r#"{"statusCode":"413","error":"Payload too large","message":"m"}"#).kind,
            ErrorKind::TooLarge
        );
        assert_eq!(of(502, "<html>bad gateway</html>").to_string(), "the service answered 502 Bad Gateway");
    }
}

//! What an S3 server answers when it refuses, and what the network does, classified once.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::transport::innermost;
use crate::{ErrorKind, Operation, StoreError};

/// A failed request. It travels through object_store as the source of its errors.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    /// The HTTP status, where there was an answer.
    pub(crate) status: Option<StatusCode>,
    /// The server's error code, such as `NoSuchBucket`; may be empty.
    pub(crate) code: String,
    text: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

/// Whom the requests go to, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Scheme, host and port.
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, status: None, code: String::new(), text: text.into(), hint: None, retry_after: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The one that is somewhere below `error`.
    pub(crate) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
    }

    /// The condition of a conditional write did not hold: the object exists.
    pub(crate) fn exists(&self) -> bool {
        matches!(self.status, Some(StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED))
    }

    /// The server does not know what a header of the request asks for.
    pub(crate) fn not_implemented(&self) -> bool {
        self.status == Some(StatusCode::NOT_IMPLEMENTED) || self.code == "NotImplemented"
    }

    /// The server wants the MD5 of what is uploaded.
    pub(crate) fn wants_md5(&self) -> bool {
        self.status == Some(StatusCode::BAD_REQUEST) && self.text.contains("Content-MD5")
    }

    pub(crate) fn into_error(self, operation: Operation, key: &str) -> StoreError {
        let (kind, hint, retry_after) = (self.kind, self.hint.clone(), self.retry_after);
        let error = StoreError::new(kind, operation, key, self);
        StoreError { hint: hint.map(Into::into), retry_after, ..error }
    }

    /// An answer that is not success.
    pub(crate) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], server: &Server) -> Self {
        let body = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
        let answer = Answer {
            status,
            headers,
            code: element(&body, "Code").unwrap_or_default(),
            message: element(&body, "Message").unwrap_or_default(),
            body: &body,
        };
        let mut failure = answer.classify(server);
        failure.status = Some(status);
        failure.retry_after = retry_after(headers);
        failure.code = answer.code;
        failure
    }

    /// No answer, or half of one.
    pub(crate) fn of_network(error: &reqwest::Error, server: &Server) -> Self {
        let endpoint = &server.endpoint;
        let cause = innermost(error);
        if error.is_connect() && is_about_certificates(error) {
            return Self::new(ErrorKind::Permanent, format!("TLS with {endpoint}: {cause}")).hint(
                "for a server with certificates of your own: AWS_CA_BUNDLE, or ca_file, names a file with the \
                 certificate that signed them",
            );
        }
        if error.is_connect() {
            return Self::new(ErrorKind::Transient, format!("cannot connect to {endpoint}: {cause}"))
                .hint("check the endpoint, the network, and whether a proxy is needed (HTTPS_PROXY)");
        }
        if error.is_builder() {
            return Self::new(ErrorKind::Permanent, format!("the request to {endpoint} is wrong: {cause}"));
        }
        Self::new(ErrorKind::Transient, format!("the connection to {endpoint} failed: {cause}"))
    }
}

struct Answer<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    code: String,
    message: String,
    body: &'a str,
}

impl Answer<'_> {
    fn classify(&self, server: &Server) -> Failure {
        let Server { endpoint, bucket, region } = server;
        let failure = |kind| Failure::new(kind, self.text(endpoint));
        let denied = |hint: &str| failure(ErrorKind::Denied).hint(hint);
        match self.code.as_str() {
            "NoSuchBucket" => {
                return Failure::new(
                    ErrorKind::Permanent,
                    format!("there is no bucket {bucket} at {endpoint}"),
                )
                .hint(format!(
                    "create the bucket {bucket}, or correct its name, the region or the endpoint"
                ));
            }
            "RequestTimeTooSkewed" => {
                return Failure::new(ErrorKind::Permanent, self.clock(endpoint))
                    .hint("set this machine's clock, for example with NTP, and run it again");
            }
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                return self.wrong_region(bucket, endpoint, region);
            }
            "InvalidAccessKeyId" => return denied("the server does not know this access key id"),
            "SignatureDoesNotMatch" => return denied("the secret access key is not the one of this key id"),
            "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" => {
                return denied("the session token has expired or is wrong; get new credentials");
            }
            "RequestTimeout"
            | "SlowDown"
            | "InternalError"
            | "ServiceUnavailable"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "NoSuchUpload"
            | "TooManyRequests"
            | "Throttling"
            | "RequestLimitExceeded" => {
                return failure(ErrorKind::Transient);
            }
            _ => {}
        }
        if self.means_full() {
            return failure(ErrorKind::NoSpace);
        }
        match self.status.as_u16() {
            404 => failure(ErrorKind::NotFound),
            401 | 403 => {
                denied("the credentials may not do this there; check the bucket's and the key's policy")
            }
            301 | 302 | 307 | 308 => self.wrong_region(bucket, endpoint, region),
            416 => failure(ErrorKind::Corrupt),
            408 | 409 | 425 | 429 => failure(ErrorKind::Transient),
            507 => failure(ErrorKind::NoSpace),
            501 | 505 => failure(ErrorKind::Permanent),
            500..=599 => failure(ErrorKind::Transient),
            _ => failure(ErrorKind::Permanent),
        }
    }

    /// `403 AccessDenied: Forbidden: …`.
    fn text(&self, endpoint: &str) -> String {
        let mut text = format!("{endpoint} answered {}", self.status.as_u16());
        let reason = self.status.canonical_reason().unwrap_or_default();
        let name = if self.code.is_empty() { reason } else { &self.code };
        if !name.is_empty() {
            text.push_str(&format!(" {name}"));
        }
        if !self.message.is_empty() {
            text.push_str(&format!(": {}", self.message.trim_end_matches('.')));
        }
        text
    }

    /// A quota or a full disk, in the words of several servers.
    fn means_full(&self) -> bool {
        let code = self.code.to_ascii_lowercase();
        let refused = matches!(self.status.as_u16(), 400 | 403 | 409 | 413 | 507);
        code.contains("quotaexceeded")
            || code.contains("storagefull")
            || (refused && self.message.to_ascii_lowercase().contains("quota is reached"))
    }

    fn wrong_region(&self, bucket: &str, endpoint: &str, region: &str) -> Failure {
        let of_header = self.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let named = element(self.body, "Region").or_else(|| of_header.map(str::to_owned));
        let failure = Failure::new(
            ErrorKind::Permanent,
            format!("the bucket {bucket} at {endpoint} is not in the region {region}"),
        );
        match named.filter(|named| named != region) {
            Some(named) => failure.hint(format!("set region = \"{named}\", or AWS_REGION={named}")),
            None => {
                failure.hint(format!("set the bucket's region; the server says: {}", self.text(endpoint)))
            }
        }
    }

    fn clock(&self, endpoint: &str) -> String {
        let date = self.headers.get(DATE).and_then(|value| value.to_str().ok());
        let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let Some(theirs) = theirs else {
            return format!("the clock of this machine differs from that of {endpoint}");
        };
        let seconds = Timestamp::now().as_second() - theirs.timestamp().as_second();
        let direction = if seconds < 0 { "behind" } else { "ahead of" };
        let minutes = seconds.unsigned_abs() / 60;
        format!("the clock of this machine is {minutes} minutes {direction} that of {endpoint}")
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let seconds = until.as_second().saturating_sub(Timestamp::now().as_second());
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// The text of the first `<name>` in an error document, which is flat.
pub(super) fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim().replace("&lt;", "<").replace("&gt;", ">");
    let text =
        text.replace("&quot;", "\"").replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&");
    (!text.is_empty()).then_some(text)
}

fn is_about_certificates(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| below(*error)).any(|error| {
        let tls = error.downcast_ref::<rustls::Error>();
        tls.is_some_and(|tls| {
            use rustls::Error as E;
            matches!(tls, E::InvalidCertificate(_) | E::NoCertificatesPresented | E::InvalidMessage(_))
        })
    })
}

/// The next cause. What an I/O error holds is not its source; the source is what lies below that.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            endpoint: "https://s3.example.com".to_owned(),
            bucket: "backups".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }

    fn answer(status: u16, code: &str, message: &str) -> Failure {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Failure::of_answer(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
            &server(),
        )
    }

    #[test]
    fn answers_are_classified_by_code_and_status() {
        for (status, code, kind) in [
            (404, "NoSuchKey", ErrorKind::NotFound),
            (404, "", ErrorKind::NotFound),
            (404, "NoSuchBucket", ErrorKind::Permanent),
            (404, "NoSuchUpload", ErrorKind::Transient),
            (403, "AccessDenied", ErrorKind::Denied),
            (401, "", ErrorKind::Denied),
            (403, "InvalidAccessKeyId", ErrorKind::Denied),
            (400, "ExpiredToken", ErrorKind::Denied),
            (403, "RequestTimeTooSkewed", ErrorKind::Permanent),
            (400, "AuthorizationHeaderMalformed", ErrorKind::Permanent),
            (301, "PermanentRedirect", ErrorKind::Permanent),
            (416, "InvalidRange", ErrorKind::Corrupt),
            (500, "InternalError", ErrorKind::Transient),
            (200, "InternalError", ErrorKind::Transient),
            (503, "SlowDown", ErrorKind::Transient),
            (502, "", ErrorKind::Transient),
            (429, "", ErrorKind::Transient),
            (408, "", ErrorKind::Transient),
            (409, "ConditionalRequestConflict", ErrorKind::Transient),
            (400, "RequestTimeout", ErrorKind::Transient),
            (507, "XMinioStorageFull", ErrorKind::NoSpace),
            (400, "QuotaExceeded", ErrorKind::NoSpace),
            (501, "NotImplemented", ErrorKind::Permanent),
            (400, "InvalidRequest", ErrorKind::Permanent),
        ] {
            assert_eq!(answer(status, code, "").kind, kind, "{status} {code}");
        }
        let full = answer(403, "AccessDenied", "Bucket size quota is reached, maximum total size: 1");
        assert_eq!(full.kind, ErrorKind::NoSpace);
    }

    #[test]
    fn messages_name_what_to_do() {
        let failure = answer(404, "NoSuchBucket", "gone");
        assert_eq!(failure.to_string(), "there is no bucket backups at https://s3.example.com");
        assert!(failure.hint.unwrap().starts_with("create the bucket backups"));

        let failure = answer(403, "AccessDenied", "Forbidden: &quot;no&quot;.");
        assert_eq!(
            failure.to_string(),
            "https://s3.example.com answered 403 AccessDenied: Forbidden: \"no\""
        );

        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        let status = StatusCode::BAD_REQUEST;
        let failure = Failure::of_answer(status, &HeaderMap::new(), body.as_bytes(), &server());
        assert!(failure.to_string().contains("not in the region us-east-1"), "{failure}");
        assert!(failure.hint.unwrap().contains("AWS_REGION=eu-west-1"));

        let headers = [("x-amz-bucket-region".parse().unwrap(), "eu-north-1".parse().unwrap())];
        let headers = headers.into_iter().collect();
        let failure = Failure::of_answer(StatusCode::MOVED_PERMANENTLY, &headers, b"", &server());
        assert!(failure.hint.unwrap().contains("eu-north-1"));
    }

    #[test]
    fn the_difference_of_the_clocks_is_told() {
        let then = Timestamp::now() - jiff::SignedDuration::from_secs(2 * 3600 + 20);
        let date = jiff::fmt::rfc2822::to_string(&then.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        let headers = [(DATE, date.parse().unwrap())].into_iter().collect();
        let body = b"<Error><Code>RequestTimeTooSkewed</Code></Error>";
        let failure = Failure::of_answer(StatusCode::FORBIDDEN, &headers, body, &server());
        assert_eq!(
            failure.to_string(),
            "the clock of this machine is 120 minutes ahead of that of https://s3.example.com"
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let of = |value: &str| retry_after(&[(RETRY_AFTER, value.parse().unwrap())].into_iter().collect());
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), None, "the past is no reason to wait");
        assert_eq!(of("soon"), None);
        let error = answer(503, "SlowDown", "").into_error(Operation::Put, "a");
        assert_eq!(error.retry_after, None);
    }
}

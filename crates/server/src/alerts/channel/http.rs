//! One POST: redirects are not followed, answers are not shown.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::postgres::Secret;
use reqwest::{Client, Response, Url, redirect};

use super::SendError;

/// A web address. The error does not show it.
pub(super) fn address(secret: &Secret) -> Result<Url, EngineError> {
    let wrong = || {
        EngineError::usage("its address is not an https:// or http:// address")
            .hint("copy the whole address from the service")
    };
    let url = Url::parse(secret.expose().trim()).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    Ok(url)
}

/// The client of all channels. It trusts the certificates of this machine, and follows no redirect.
pub(crate) fn client() -> Result<Client, EngineError> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    let client = CLIENT.get_or_init(|| build().map_err(|error| error.to_string()));
    client.clone().map_err(|why| EngineError::failed(format!("cannot set up HTTP: {why}")))
}

fn build() -> Result<Client, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .user_agent(concat!("basekeep/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .http1_only()
        // An address that moved is told: a message would go to a place that nobody named.
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(0)
        .build()?)
}

/// Sends it, and says what a status means for another try.
pub(super) async fn post(
    client: &Client,
    url: &Url,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
) -> Result<(), SendError> {
    let mut request = client.post(url.clone()).body(body);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = request.send().await.map_err(|error| SendError::for_now(describe(&error)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let text = match status.canonical_reason() {
        Some(reason) => format!("it answered {} {reason}", status.as_u16()),
        None => format!("it answered {}", status.as_u16()),
    };
    if status.is_redirection() {
        return Err(SendError::for_good(format!("{text}: redirects are not followed, give the new address")));
    }
    let again = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    Err(SendError { text, again, after: retry_after(&response) })
}

/// Seconds of `Retry-After`.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost cause, which says most; never the address.
fn describe(error: &reqwest::Error) -> String {
    let innermost = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    // The outermost text of reqwest holds the address.
    if innermost.contains("://") { what.to_owned() } else { format!("{what}: {innermost}") }
}

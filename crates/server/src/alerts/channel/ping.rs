//! A dead man's switch: a service that alerts when it hears nothing (healthchecks.io and its likes).

use basekeep_engine::EngineError;
use reqwest::{Client, Url};

use super::{SendError, http};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::alerts) enum Signal {
    Start,
    Success,
    Fail,
}

/// The services keep the beginning of a longer text.
const LONGEST: usize = 10_000;

#[derive(Debug)]
pub(super) struct Ping {
    client: Client,
    success: Url,
    start: Option<Url>,
    fail: Option<Url>,
    pub(super) job: String,
}

impl Ping {
    /// Without other addresses and unless the service is a plain one, `/start` and `/fail` below the first one are meant.
    pub(super) fn new(
        success: Url,
        start: Option<Url>,
        fail: Option<Url>,
        plain: bool,
        job: String,
    ) -> Result<Self, EngineError> {
        let below = |name: &str| (!plain).then(|| below(&success, name));
        let (start, fail) = (start.or_else(|| below("start")), fail.or_else(|| below("fail")));
        Ok(Self { client: http::client()?, success, start, fail, job })
    }

    pub(super) async fn send(&self, signal: Signal, text: &str) -> Result<(), SendError> {
        let url = match signal {
            Signal::Start => self.start.as_ref(),
            Signal::Success => Some(&self.success),
            Signal::Fail => self.fail.as_ref(),
        };
        let Some(url) = url else { return Ok(()) };
        let body = text.chars().take(LONGEST).collect::<String>().into_bytes();
        http::post(&self.client, url, &[("content-type", "text/plain; charset=utf-8".to_owned())], body).await
    }
}

fn below(url: &Url, name: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_and_failure_lie_below_the_address_and_before_its_query() {
        let url = Url::parse("https://hc-ping.com/0f/?create=1").unwrap();
        assert_eq!(below(&url, "fail").as_str(), "https://hc-ping.com/0f/fail?create=1");
    }
}

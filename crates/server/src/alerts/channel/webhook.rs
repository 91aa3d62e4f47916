//! The generic webhook: JSON, signed with HMAC-SHA256.

use basekeep_engine::EngineError;
use basekeep_engine::postgres::Secret;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::{Client, Url};
use serde::Serialize;
use sha2::Sha256;

use super::{SendError, http};
use crate::alerts::message::{Item, Level, Message};

/// The version of the document.
const VERSION: u32 = 1;

#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
}

/// What a webhook and a command get. docs/ALERTS.md describes it.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    topic: &'static str,
    level: Level,
    title: &'a str,
    text: &'a str,
    sources: &'a [String],
    time: String,
    host: String,
    alerts: &'a [Item],
}

/// The message as JSON.
pub(super) fn document(message: &Message) -> Result<Vec<u8>, SendError> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let document = Document {
        version: VERSION,
        topic: message.topic.word(),
        level: message.level,
        title: &message.title,
        text: &message.text,
        sources: &message.sources,
        time: message.time.to_string(),
        host,
        alerts: &message.items,
    };
    serde_json::to_vec(&document).map_err(|error| SendError::for_good(error.to_string()))
}

impl Webhook {
    pub(super) fn new(url: Url, secret: Option<Secret>) -> Result<Self, EngineError> {
        Ok(Self { client: http::client()?, url, secret })
    }

    pub(super) async fn send(&self, message: &Message, delivery: &str) -> Result<(), SendError> {
        let body = document(message)?;
        let time = Timestamp::now().as_second();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("basekeep-delivery", delivery.to_owned()),
            ("basekeep-timestamp", time.to_string()),
        ];
        if let Some(secret) = &self.secret {
            headers.push(("basekeep-signature", signature(secret, time, &body)?));
        }
        http::post(&self.client, &self.url, &headers, body).await
    }
}

/// `v1=` and the hexadecimal HMAC-SHA256 over the time, a full stop and the body.
fn signature(secret: &Secret, time: i64, body: &[u8]) -> Result<String, SendError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|error| SendError::for_good(error.to_string()))?;
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    Ok(format!("v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_other_programs() {
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let signed = signature(&Secret::new("key"), 1_800_000_000, b"{\"a\":1}").unwrap();
        assert_eq!(signed, "v1=7330c9cf7d886970cbebbbb5494c04d2aeff06a990adb7d7a75abfeb0159d291");
    }
}

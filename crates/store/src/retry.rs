//! Tries transient failures again, with growing random pauses. Everything a store does can be repeated safely: a put
//! whose answer was lost finds its own object the second time.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use rand::RngExt;

use crate::{ErrorKind, Object, Put, Store, StoreError};

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The longest pause before the second attempt; doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer than this.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 6, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(10) }
    }
}

/// A store that tries again.
#[derive(Debug)]
pub struct Retry {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
}

impl Retry {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    async fn again<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut longest = self.policy.first_pause;
        let mut tried = 1;
        loop {
            match attempt().await {
                Err(error) if error.kind == ErrorKind::Transient && tried < self.policy.attempts => {
                    let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
                    tracing::debug!(%error, tried, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                    longest = (longest * 2).min(self.policy.longest_pause);
                    tried += 1;
                }
                result => return result,
            }
        }
    }
}

#[async_trait]
impl Store for Retry {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        self.again(|| self.inner.put(key, data.clone())).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.again(|| self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.again(|| self.inner.get_range(key, range.clone())).await
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.again(|| self.inner.size(key)).await
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        self.again(|| self.inner.modified(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.again(|| self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.again(|| self.inner.delete(key)).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

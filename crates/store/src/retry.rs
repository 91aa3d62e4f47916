//! Tries transient failures again, with growing random pauses. Everything a store does can be repeated safely: a put
//! whose answer was lost finds its own object the second time. Whoever drops the work ends the pauses too.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use rand::RngExt;
use tokio::time::Instant;

use crate::{ErrorKind, Object, Put, Store, StoreError};

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The longest pause before the second attempt; doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer than this, unless the server asks for it.
    pub longest_pause: Duration,
    /// No attempt begins later than this after the first one.
    pub within: Duration,
    /// The same until the storage has answered for the first time: a wrong address should not take minutes to be told.
    pub first_contact_within: Duration,
}

impl RetryPolicy {
    /// For storage behind a network, which may be gone for a while: as many attempts as fit into `within`.
    pub fn network(within: Duration) -> Self {
        Self { attempts: u32::MAX, longest_pause: Duration::from_secs(15), within, ..Self::default() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            within: Duration::from_secs(60),
            first_contact_within: Duration::from_secs(10),
        }
    }
}

/// A store that tries again.
#[derive(Debug)]
pub struct Retry {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    reached: AtomicBool,
}

impl Retry {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy) -> Self {
        Self { inner, policy, reached: AtomicBool::new(false) }
    }

    async fn again<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let started = Instant::now();
        let mut longest = self.policy.first_pause;
        let mut tried: u32 = 1;
        loop {
            let error = match attempt().await {
                Err(error) if error.kind == ErrorKind::Transient => error,
                result => {
                    self.reached.store(true, Ordering::Relaxed);
                    return result;
                }
            };
            let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
            let pause = pause.max(error.retry_after.unwrap_or_default());
            if tried >= self.policy.attempts || started.elapsed() + pause > self.within() {
                return Err(given_up(error, tried, started.elapsed()));
            }
            tracing::info!(%error, tried, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            longest = (longest * 2).min(self.policy.longest_pause);
            tried += 1;
        }
    }

    fn within(&self) -> Duration {
        if self.reached.load(Ordering::Relaxed) {
            self.policy.within
        } else {
            self.policy.within.min(self.policy.first_contact_within)
        }
    }
}

fn given_up(error: StoreError, tried: u32, elapsed: Duration) -> StoreError {
    if tried < 2 || error.hint.is_some() {
        return error;
    }
    error.hint(format!("it was tried {tried} times in {} s", elapsed.as_secs()))
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

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
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

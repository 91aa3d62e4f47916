//! Bandwidth limits: a token bucket for each direction, shared by everything that a store does.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{Object, Put, Store, StoreError};

/// Spreads bytes over time. Everybody who takes from it waits in turn.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_per_second: u64,
    /// When the bytes that were taken so far will have passed.
    free_at: Mutex<Instant>,
}

impl Limiter {
    /// `None` limits nothing, and so does a limit of 0.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Option<Arc<Self>> {
        let bytes_per_second = bytes_per_second.filter(|limit| *limit > 0)?;
        Some(Arc::new(Self { bytes_per_second, free_at: Mutex::new(Instant::now()) }))
    }

    /// Waits until what was taken before has passed, then takes `bytes`.
    pub(crate) async fn take(&self, bytes: u64) {
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*free_at).max(Instant::now());
            *free_at = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            start
        };
        tokio::time::sleep_until(start).await;
    }

    /// How many bytes to take at once, so that nobody waits for longer than about a tenth of a second for each taker.
    pub(crate) fn piece(&self, at_most: usize) -> usize {
        usize::try_from(self.bytes_per_second / 10).unwrap_or(at_most).clamp(1, at_most)
    }
}

/// A store whose uploads and downloads are held back to so many bytes per second, whole objects at a time.
#[derive(Debug)]
pub struct Limits {
    inner: Arc<dyn Store>,
    upload: Option<Arc<Limiter>>,
    download: Option<Arc<Limiter>>,
}

impl Limits {
    /// Wraps `inner`; the limits are in bytes per second.
    pub fn new(inner: Arc<dyn Store>, upload: Option<u64>, download: Option<u64>) -> Self {
        Self { inner, upload: Limiter::new(upload), download: Limiter::new(download) }
    }
}

async fn take(limiter: Option<&Arc<Limiter>>, bytes: u64) {
    if let Some(limiter) = limiter {
        limiter.take(bytes).await;
    }
}

#[async_trait]
impl Store for Limits {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        take(self.upload.as_ref(), data.len() as u64).await;
        self.inner.put(key, data).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let data = self.inner.get(key).await?;
        // The size is known only now; the next reader waits for it.
        take(self.download.as_ref(), data.len() as u64).await;
        Ok(data)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        take(self.download.as_ref(), range.end.saturating_sub(range.start)).await;
        self.inner.get_range(key, range).await
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.inner.size(key).await
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        self.inner.modified(key).await
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

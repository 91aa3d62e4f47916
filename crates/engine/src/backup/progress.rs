//! Counters that readers bump, and the ticker that tells them ten times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use basekeep_repository::Writer;

use crate::{Event, Observer, Progress};

/// What the readers have done so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: AtomicU64,
    /// Of the bytes, those that were not read.
    pub(super) taken_over: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) items: AtomicU64,
}

/// Tells progress until it is dropped.
pub(super) async fn tell(
    counters: &Counters,
    expected_bytes: u64,
    expected_items: u64,
    writer: &Writer,
    observer: &Arc<dyn Observer>,
) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        observer.event(Event::Progressed(Progress {
            bytes: counters.bytes.load(Relaxed),
            bytes_expected: expected_bytes,
            rows: counters.rows.load(Relaxed),
            items: counters.items.load(Relaxed),
            items_expected: expected_items,
            stored: writer.stats().bytes_stored,
        }));
    }
}

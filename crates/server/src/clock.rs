//! What time it is. Everything that waits asks a clock, so that tests can let a year pass in a second.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Waits until `time`, or less: callers look at the time again. A machine that slept wakes late and finds the time passed.
    async fn sleep_until(&self, time: Timestamp);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Timers stand still while a machine sleeps, and the clock may be set: so it is looked at this often.
const LOOK: Duration = Duration::from_secs(15);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, time: Timestamp) {
        let left = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

//! How fast rows are read: limits that all connections share, and backing off from a server that is busy.
//!
//! Pausing is enough to slow the server down: its session waits until there is room in the socket. Everything that decides takes
//! the moment as an argument, so that tests need no clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backup::settings::Pace;

/// What may be taken at once after a quiet time, in parts of a second's worth.
const BURST: f64 = 0.25;
/// The longest pause at a time, so that a limit that was set far too low still shows progress.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The least part of its time that a backup under pressure reads.
const LEAST_SHARE: f64 = 1.0 / 16.0;
/// What a calm second gives back of the share.
const RECOVERY: f64 = 1.0 / 8.0;
/// A server that takes this many times as long for a byte as it did at best is busy.
const SLOWER: f64 = 4.0;
/// Ranges smaller than this say nothing about the server's speed.
const TELLING_BYTES: u64 = 1 << 20;

/// So many units per second. What has arrived is taken at once, and paid for by waiting afterwards.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// What is left, negative when it is owed, and when that was.
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(per_second: u64, now: Instant) -> Self {
        let per_second = per_second.max(1) as f64;
        Self { per_second, level: Mutex::new((per_second * BURST, now)) }
    }

    /// Takes `amount`; gives how long to wait for it.
    fn take(&self, amount: u64, now: Instant) -> Duration {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(level.1).as_secs_f64();
        let left = (level.0 + since * self.per_second).min(self.per_second * BURST) - amount as f64;
        *level = (left, now.max(level.1));
        Duration::try_from_secs_f64((-left).max(0.0) / self.per_second).unwrap_or(Duration::MAX)
    }
}

/// What the watching connection sees of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::backup) struct Load {
    /// Sessions of others that run something now, where the role may see it.
    pub(in crate::backup) active: u64,
    /// Sessions that wait for a lock that we hold.
    pub(in crate::backup) waiting: u64,
    /// How far the slowest standby is behind, where the role may see it.
    pub(in crate::backup) lag: Duration,
    /// The same in bytes of write-ahead log.
    pub(in crate::backup) lag_bytes: u64,
}

/// More sessions than this, or a standby further behind, are pressure.
const BUSY_SESSIONS: u64 = 4;
const BUSY_LAG: Duration = Duration::from_secs(10);
const BUSY_LAG_BYTES: u64 = 256 << 20;

impl Load {
    fn is_pressure(&self) -> bool {
        self.active > BUSY_SESSIONS
            || self.waiting > 0
            || self.lag > BUSY_LAG
            || self.lag_bytes > BUSY_LAG_BYTES
    }
}

/// Reads a smaller share of the time while there is pressure: halved with each look, given back slowly. Never nothing.
#[derive(Debug)]
struct Gentle(Mutex<Share>);

#[derive(Debug)]
struct Share {
    share: f64,
    /// Least seconds for a byte that were seen.
    best: f64,
    /// A range took much longer than that since the last look.
    slow: bool,
}

impl Gentle {
    fn new() -> Self {
        Self(Mutex::new(Share { share: 1.0, best: f64::INFINITY, slow: false }))
    }

    fn look(&self, load: Load) -> f64 {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pressure = load.is_pressure() || std::mem::take(&mut now.slow);
        now.share = match pressure {
            true => (now.share / 2.0).max(LEAST_SHARE),
            false => (now.share + RECOVERY).min(1.0),
        };
        now.share
    }

    /// How long to pause after a range that took `elapsed`.
    fn after_range(&self, bytes: u64, elapsed: Duration) -> Duration {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes >= TELLING_BYTES {
            let each = elapsed.as_secs_f64() / bytes as f64;
            now.slow |= each > now.best * SLOWER;
            now.best = now.best.min(each);
        }
        elapsed.mul_f64(1.0 / now.share - 1.0).min(LONGEST_PAUSE)
    }

    fn share(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).share
    }
}

/// What all connections that read rows share.
#[derive(Debug)]
pub(in crate::backup) struct Throttle {
    rows: Option<Bucket>,
    bytes: Option<Bucket>,
    gentle: Option<Gentle>,
}

impl Throttle {
    pub(in crate::backup) fn new(pace: &Pace) -> Self {
        let now = Instant::now();
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, now));
        Self {
            rows: bucket(pace.limit_rows),
            bytes: bucket(pace.limit_read),
            gentle: pace.gentle.unwrap_or(false).then(Gentle::new),
        }
    }

    /// Whether the server is to be looked at.
    pub(in crate::backup) fn is_gentle(&self) -> bool {
        self.gentle.is_some()
    }

    /// Takes a look in; gives the share of its time that is read from now on, where that is not all of it.
    pub(in crate::backup) fn look(&self, load: Load) -> Option<f64> {
        self.gentle.as_ref().map(|gentle| gentle.look(load)).filter(|share| *share < 1.0)
    }

    /// To be called with what has arrived: waits as long as the limits want.
    pub(super) async fn taken(&self, rows: u64, bytes: u64) {
        if self.rows.is_none() && self.bytes.is_none() {
            return;
        }
        let now = Instant::now();
        let wait = |bucket: &Option<Bucket>, amount| bucket.as_ref().map(|bucket| bucket.take(amount, now));
        let longest = wait(&self.rows, rows).max(wait(&self.bytes, bytes)).unwrap_or_default();
        if !longest.is_zero() {
            tokio::time::sleep(longest).await;
        }
    }

    /// To be called after a range: pauses while the server is busy.
    pub(super) async fn after_range(&self, bytes: u64, elapsed: Duration) {
        let Some(gentle) = &self.gentle else { return };
        let pause = gentle.after_range(bytes, elapsed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether only one connection is to read now.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.gentle.as_ref().is_some_and(|gentle| gentle.share() < 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_over_time_whoever_takes() {
        let start = Instant::now();
        let bucket = Bucket::new(1000, start);
        assert_eq!(bucket.take(200, start), Duration::ZERO, "a burst is there at first");
        assert_eq!(bucket.take(550, start), Duration::from_millis(500));
        // A second connection waits for what both have taken.
        assert_eq!(bucket.take(500, start), Duration::from_secs(1));
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.take(0, later), Duration::ZERO);
        // Quiet times are not saved up beyond the burst.
        let much_later = start + Duration::from_secs(100);
        assert_eq!(bucket.take(1250, much_later), Duration::from_secs(1));
    }

    #[test]
    fn pressure_halves_the_share_and_calm_gives_it_back() {
        let gentle = Gentle::new();
        let busy = Load { active: 20, ..Load::default() };
        assert_eq!(gentle.look(Load::default()), 1.0);
        assert_eq!(gentle.look(busy), 0.5);
        assert_eq!(gentle.look(Load { lag: Duration::from_secs(60), ..Load::default() }), 0.25);
        for _ in 0..10 {
            gentle.look(Load { waiting: 1, ..Load::default() });
        }
        assert_eq!(gentle.share(), LEAST_SHARE, "it always goes on");
        assert_eq!(gentle.after_range(10, Duration::from_millis(10)), Duration::from_millis(150));
        assert_eq!(gentle.after_range(10, Duration::from_secs(100)), LONGEST_PAUSE);
        for _ in 0..8 {
            gentle.look(Load { active: 2, ..Load::default() });
        }
        assert_eq!(gentle.share(), 1.0);
        assert_eq!(gentle.after_range(10, Duration::from_millis(10)), Duration::ZERO);
    }

    #[test]
    fn ranges_that_take_much_longer_than_at_best_are_pressure() {
        let gentle = Gentle::new();
        gentle.after_range(10 << 20, Duration::from_millis(100));
        gentle.after_range(10 << 20, Duration::from_millis(150));
        assert_eq!(gentle.look(Load::default()), 1.0);
        gentle.after_range(10 << 20, Duration::from_millis(900));
        assert_eq!(gentle.look(Load::default()), 0.5);
        assert_eq!(gentle.look(Load::default()), 0.625, "once is told once");
        gentle.after_range(1000, Duration::from_secs(5));
        assert_eq!(gentle.look(Load::default()), 0.75, "small ranges say nothing");
    }
}

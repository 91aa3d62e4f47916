//! Points in time by two clocks, since each of them misses something.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point in time. The steady clock stands still while the machine sleeps; the wall clock can be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    wall: Timestamp,
    steady: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { wall: Timestamp::now(), steady: Instant::now() }
    }

    /// How long ago it is, by the clock that says more.
    pub(super) fn elapsed(self) -> Duration {
        let wall = Duration::try_from(Timestamp::now().duration_since(self.wall)).unwrap_or_default();
        wall.max(self.steady.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_and_one_that_stood_still_do_not_make_it_younger() {
        let hour = Duration::from_secs(3600);
        let slept = Moment { wall: Timestamp::now() - hour, steady: Instant::now() };
        assert!(slept.elapsed() >= hour);
        if let Some(steady) = Instant::now().checked_sub(Duration::from_secs(60)) {
            let set_back = Moment { wall: Timestamp::now() + hour, steady };
            assert!(set_back.elapsed() >= Duration::from_secs(60));
        }
    }
}

//! How often somebody may try to log in: failures are counted for each address and for each name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Failures within [`WINDOW`] after which nothing is tried any more.
const FAILURES: u32 = 10;
/// How long failures count.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// The most keys that are remembered.
const MOST: usize = 10_000;

/// Counts of failures.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Throttle {
    /// Seconds until one of the keys may try again, if it may not now.
    pub(crate) fn wait(&self, keys: &[String], now: Timestamp) -> Option<i64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = keys.iter().filter_map(|key| {
            let (failures, since) = counts.get(key)?;
            let left = WINDOW.as_secs() - now.duration_since(*since).as_secs();
            (*failures >= FAILURES && left > 0).then_some(left)
        });
        left.max()
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, keys: &[String], now: Timestamp) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() + keys.len() > MOST {
            counts.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
        }
        if counts.len() + keys.len() > MOST
            && let Some(oldest) =
                counts.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone())
        {
            counts.remove(&oldest);
        }
        for key in keys {
            let entry = counts.entry(key.clone()).or_insert((0, now));
            if now.duration_since(entry.1) >= WINDOW {
                *entry = (0, now);
            }
            entry.0 += 1;
        }
    }

    /// Forgets what was counted, after a success.
    pub(crate) fn succeeded(&self, keys: &[String]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_failures_there_is_a_pause_for_the_address_and_for_the_name() {
        let throttle = Throttle::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let keys = |address: &str, name: &str| vec![format!("address {address}"), format!("name {name}")];
        for second in 0..10 {
            assert_eq!(throttle.wait(&keys("a", "ada"), at(second)), None);
            throttle.failed(&keys("a", "ada"), at(second));
        }
        assert_eq!(throttle.wait(&keys("a", "bob"), at(10)), Some(290), "the same address");
        assert_eq!(throttle.wait(&keys("b", "ada"), at(10)), Some(290), "the same name");
        assert_eq!(throttle.wait(&keys("b", "bob"), at(10)), None);
        assert_eq!(throttle.wait(&keys("a", "ada"), at(301)), None, "it ends by itself");
        throttle.succeeded(&keys("a", "ada"));
        assert_eq!(throttle.wait(&keys("a", "ada"), at(10)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..MOST + 10 {
            throttle.failed(&[format!("address {number}")], Timestamp::from_second(0).unwrap());
        }
        assert!(throttle.0.lock().unwrap().len() <= MOST);
    }
}

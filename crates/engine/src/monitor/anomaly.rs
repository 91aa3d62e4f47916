//! What is unlike before: a level that fell, a run that took long.

use jiff::{SignedDuration, Timestamp};

use super::statistics::median;

/// For so long after a fall it alerts; then the new level is taken as meant.
pub const FALL: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What fell so often within this time falls by nature (a queue, a table that is loaded afresh), and does not alert.
const HABIT: SignedDuration = SignedDuration::from_hours(30 * 24);
const OFTEN: usize = 2;

/// Runs that are needed to know what is usual, and how many are looked at.
const USUAL: (usize, usize) = (5, 20);

/// A slower run must also be slower by this, in seconds.
const SLOWER_BY: f64 = 30.0;

/// A level that fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fall {
    /// The first time that it was low.
    pub(super) since: Timestamp,
    /// When it was last high.
    pub(super) last: Timestamp,
    /// How high.
    pub(super) before: u64,
    /// How low it is.
    pub(super) now: u64,
}

/// Whether the newest of these levels (in the order of time) lies lower by `percent` than one of the week before, or than
/// the one before it; and not by less than `least`.
pub(super) fn fall(levels: &[(Timestamp, u64)], percent: f64, least: u64) -> Option<Fall> {
    let (&(newest, now), before) = levels.split_last()?;
    let share = 1.0 - percent / 100.0;
    let fallen =
        |high: u64, low: u64| high.saturating_sub(low) >= least.max(1) && low as f64 <= high as f64 * share;
    // Since it fell there is nothing high.
    let last = before.iter().rposition(|(_, level)| fallen(*level, now))?;
    let (time, high) = before[last];
    if newest.duration_since(time) > FALL && last + 1 < before.len() {
        return None;
    }
    let recent = before[..=last].windows(2).filter(|pair| newest.duration_since(pair[1].0) <= HABIT);
    let falls = recent.filter(|pair| fallen(pair[0].1, pair[1].1)).count();
    let since = levels[last + 1].0;
    (falls < OFTEN).then_some(Fall { since, last: time, before: high, now })
}

/// The usual duration, if the last of these (in the order of time, in seconds) took `times` as long or longer.
pub(super) fn slower(seconds: &[f64], times: f64) -> Option<f64> {
    let (last, before) = seconds.split_last()?;
    let (fewest, most) = USUAL;
    if before.len() < fewest {
        return None;
    }
    let usual = median(&mut before[before.len().saturating_sub(most)..].to_vec())?;
    (*last >= usual * times && last - usual >= SLOWER_BY).then_some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily(levels: &[u64]) -> Vec<(Timestamp, u64)> {
        let at = |day: usize| Timestamp::from_second(1_767_225_600 + day as i64 * 86_400).unwrap();
        levels.iter().enumerate().map(|(day, level)| (at(day), *level)).collect()
    }

    #[test]
    fn a_fall_alerts_for_a_week_with_its_first_day() {
        let levels = |after: usize| daily(&[vec![100; 10], vec![40; after]].concat());
        for after in 1..=7 {
            let found = fall(&levels(after), 50.0, 10).unwrap();
            assert_eq!((found.before, found.now, found.since), (100, 40, levels(11)[10].0), "{after}");
        }
        assert_eq!(fall(&levels(8), 50.0, 10), None, "the new level is taken as meant");
        assert_eq!(fall(&daily(&[100, 100, 60]), 50.0, 10), None);
        assert_eq!(fall(&daily(&[9, 0]), 50.0, 10), None, "a few rows");
        assert_eq!(fall(&daily(&[100, 40, 100]), 50.0, 10), None, "it came back");
    }

    #[test]
    fn a_rare_backup_is_compared_with_the_one_before() {
        let mut levels = daily(&[100, 10]);
        levels[1].0 = levels[0].0 + SignedDuration::from_hours(24 * 60);
        assert!(fall(&levels, 50.0, 10).is_some());
    }

    #[test]
    fn what_falls_by_nature_does_not_alert() {
        assert_eq!(fall(&daily(&[100, 0, 100, 0, 100, 0]), 50.0, 10), None);
        assert!(fall(&daily(&[0, 50, 100, 0]), 50.0, 10).is_some(), "a table that was filled once");
        assert!(
            fall(&daily(&[100, 0, 100, 0]), 50.0, 10).is_some(),
            "an accident was repaired, and happened again"
        );
    }

    #[test]
    fn slow_is_told_against_the_usual() {
        assert_eq!(slower(&[10.0, 11.0, 9.0, 10.0, 300.0, 60.0], 3.0), Some(10.0));
        assert_eq!(slower(&[1.0, 1.0, 1.0, 1.0, 1.0, 20.0], 3.0), None, "20 seconds are no alert");
        assert_eq!(slower(&[10.0, 10.0, 600.0], 3.0), None, "too few to know what is usual");
    }
}

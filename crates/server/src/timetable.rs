//! When a job is due: a schedule, whose clock it goes by, and how much later this source begins.

use basekeep_engine::config::{ProfileEntry, Schedule};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::jobs::{Job, JobKind};

/// One schedule of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    schedule: Schedule,
    zone: TimeZone,
    /// How much later than the schedule says.
    offset: SignedDuration,
}

impl Timetable {
    /// The schedule of `job` in `profile`, if it has one.
    pub fn of(job: &Job, profile: &ProfileEntry) -> Option<Self> {
        let schedule = match job.kind {
            JobKind::Backup => &profile.backup,
            JobKind::Drill => &profile.drill,
            JobKind::Prune => &profile.prune,
            JobKind::Check => &profile.check,
            JobKind::Replicas => &profile.replicas,
            JobKind::Forget | JobKind::Restore => return None,
        };
        let schedule = schedule.clone()?;
        Some(Self { schedule, zone: profile.zone(), offset: offset(job, profile.jitter.as_secs()) })
    }

    /// The first time after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.checked_sub(self.offset).ok()?;
        self.schedule.next(after, &self.zone)?.checked_add(self.offset).ok()
    }

    /// The last time after `after` and not after `until`.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let (after, until) = (after.checked_sub(self.offset).ok()?, until.checked_sub(self.offset).ok()?);
        self.schedule.latest(after, until, &self.zone)?.checked_add(self.offset).ok()
    }
}

/// From 0 to `jitter` seconds: the same for one source and job wherever and whenever it is asked, so that two servers
/// agree about when a run is due.
fn offset(job: &Job, jitter: u64) -> SignedDuration {
    let digest = Sha256::digest(format!("{}\0{}", job.kind, job.source.as_deref().unwrap_or_default()));
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    let seconds = u64::from_be_bytes(number) % (jitter + 1);
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_spreads_sources_and_is_always_the_same() {
        let offsets: Vec<_> = (0..100)
            .map(|number| offset(&Job::of(JobKind::Backup, format!("source-{number}")), 600).as_secs())
            .collect();
        assert!(offsets.iter().all(|offset| (0..=600).contains(offset)));
        assert!(offsets.iter().min() < Some(&60) && offsets.iter().max() > Some(&540), "{offsets:?}");
        assert_eq!(
            offset(&Job::of(JobKind::Backup, "shop"), 600),
            offset(&Job::of(JobKind::Backup, "shop"), 600)
        );
        assert_eq!(offset(&Job::repository(JobKind::Prune), 0), SignedDuration::ZERO);
    }

    #[test]
    fn a_run_is_as_much_later_as_its_jitter_says() {
        let mut profile = ProfileEntry::built_in("staging").unwrap();
        profile.timezone = Some(TimeZone::UTC);
        let job = Job::of(JobKind::Backup, "shop");
        let plain = Timetable::of(&job, &profile).unwrap();
        profile.jitter = std::time::Duration::from_secs(3600);
        let jittered = Timetable::of(&job, &profile).unwrap();
        let after: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let (due, later) = (plain.next(after).unwrap(), jittered.next(after).unwrap());
        assert_eq!(later, due + jittered.offset);
        assert_eq!(jittered.latest(after, later), Some(later));
        assert_eq!(jittered.latest(after, later - SignedDuration::from_secs(1)), None);
        assert_eq!(Timetable::of(&Job::of(JobKind::Forget, "shop"), &profile), None);
    }
}

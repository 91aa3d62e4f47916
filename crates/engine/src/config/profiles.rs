//! Profiles: what happens to a source by itself, and the ones that are built in.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{MaxUnused, Schedule};
use crate::retention::{Count, Policy, Span};

/// `[profile.<name>]`, or a built-in profile: what happens to the snapshots of the sources that name it, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileEntry {
    /// Its name.
    pub name: String,
    /// What `forget` keeps; `None` where the profile says nothing about it.
    pub keep: Option<Policy>,
    /// From which age on `prune` compresses packs again, harder.
    pub recompress_after: Option<Span>,
    /// How much unused data `prune` leaves in packs.
    pub max_unused: Option<MaxUnused>,
    /// When `serve` makes a backup.
    pub backup: Option<Schedule>,
    /// When it drills the newest snapshot.
    pub drill: Option<Schedule>,
    /// When it prunes the repository.
    pub prune: Option<Schedule>,
    /// When it checks the repository, each time another part of its data.
    pub check: Option<Schedule>,
    /// When it copies to replicas what they have missed.
    pub replicas: Option<Schedule>,
    /// Whose clock the schedules and the calendar of `keep` go by; the machine's if `None`.
    pub timezone: Option<TimeZone>,
    /// Each source and job begins up to this much later, always by the same time.
    pub jitter: Duration,
}

impl ProfileEntry {
    /// The names of the built-in profiles.
    pub const BUILT_IN: [&str; 4] = ["development", "staging", "production", "latest-only"];

    /// A profile that is known without being defined.
    ///
    /// `production`: a backup every six hours; the newest eight, one of each day for 30 days and of each month for a year
    /// stay, which never is more than 50; a drill and a prune each week, a check each day, replicas each hour. `staging`: a
    /// backup each day, 14 days stay, otherwise the same. `development`: backups when somebody makes them, 7 days stay.
    /// `latest-only`: a backup each day, the newest stays alone.
    pub fn built_in(name: &str) -> Option<Self> {
        let at = |cron: &str| cron.parse().ok();
        let within = |days| Policy { within: Span { days, ..Span::default() }, ..Policy::default() };
        let profile = Self { name: name.to_owned(), prune: at("30 5 * * 0"), ..Self::default() };
        let watched = Self {
            drill: at("0 4 * * 0"),
            check: at("30 3 * * *"),
            replicas: at("45 * * * *"),
            ..profile.clone()
        };
        Some(match name {
            "development" => Self { keep: Some(within(7)), ..profile },
            "staging" => Self { backup: at("0 2 * * *"), keep: Some(within(14)), ..watched },
            "production" => Self {
                backup: at("0 */6 * * *"),
                keep: Some(Policy {
                    last: Count::Newest(8),
                    within_daily: Span { days: 30, ..Span::default() },
                    monthly: Count::Newest(12),
                    max: Some(50),
                    ..Policy::default()
                }),
                recompress_after: Some(Span { days: 7, ..Span::default() }),
                ..watched
            },
            "latest-only" => Self {
                backup: at("0 2 * * *"),
                keep: Some(Policy { latest_only: true, ..Policy::default() }),
                ..profile
            },
            _ => return None,
        })
    }

    /// Whose clock the schedules go by.
    pub fn zone(&self) -> TimeZone {
        self.timezone.clone().unwrap_or_else(TimeZone::system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_keeps_something_and_prunes() {
        for name in ProfileEntry::BUILT_IN {
            let profile = ProfileEntry::built_in(name).unwrap();
            profile.keep.unwrap().check().unwrap();
            assert!(profile.prune.is_some(), "{name}");
            assert_eq!(profile.backup.is_some(), name != "development", "{name}");
        }
        assert_eq!(ProfileEntry::built_in("prod"), None);
        let production = ProfileEntry::built_in("production").unwrap();
        assert_eq!(
            production.keep.unwrap().to_string(),
            "the newest 8, 12 monthly, daily within 30d, at most 50"
        );
    }
}

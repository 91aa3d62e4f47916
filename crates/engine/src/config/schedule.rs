//! When something happens by itself: cron's five fields, by the clock on the wall of a time zone.
//!
//! What happens where that clock jumps. A time in the hour that does not exist in spring happens once, as much later as the
//! clock jumped (02:30 becomes 03:30); two that become the same moment are one. A time in the hour that happens twice in
//! autumn happens once, in the first of the two. Schedules whose hour is `*` go by elapsed time: they skip nothing in
//! spring but what does not exist, and happen in both hours in autumn.

use std::fmt;
use std::str::FromStr;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// No clock jumps by more than this (apart from islands that changed sides of the date line).
const JUMP: SignedDuration = SignedDuration::from_hours(3);

/// Where [`Schedule::latest`] looks first: what happens often is found without walking through years.
const WINDOWS: [SignedDuration; 5] = [
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(25),
    SignedDuration::from_hours(8 * 24),
    SignedDuration::from_hours(32 * 24),
    SignedDuration::from_hours(367 * 24),
];

/// A schedule. It knows no time zone; whoever asks says which one is meant.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    crontab: Crontab,
    /// In which seconds of a minute; 0 alone unless the schedule has six fields.
    seconds: Vec<u8>,
    /// The hour is `*`.
    every_hour: bool,
}

impl Schedule {
    /// The five fields, in cron's own form (names such as `@daily` are spelled out). A schedule with seconds has six, the
    /// seconds first; cron knows no such thing.
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The first time after `after`; `None` at the end of the calendar.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let near = near_a_jump(after, zone);
        let from = if near { after.checked_sub(JUMP).ok()? } else { after };
        // The clock on the wall, as if it were UTC, which never jumps. A minute earlier for the seconds of this minute.
        let mut wall = zone.to_datetime(from).to_zoned(TimeZone::UTC).ok()?.timestamp();
        wall = wall.checked_sub(SignedDuration::from_mins(1)).ok()?;
        let mut best: Option<(Timestamp, Timestamp)> = None;
        loop {
            if let Some((_, until)) = best
                && wall > until
            {
                break;
            }
            let Ok(next) = self.crontab.find_next(MakeTimestamp(wall)) else { break };
            wall = next.timestamp();
            let (moments, jumps) = self.moments(next.datetime(), zone);
            for moment in moments.into_iter().filter(|moment| *moment > after) {
                let jumps = jumps || near;
                let until = if jumps { wall.checked_add(JUMP).unwrap_or(wall) } else { wall };
                match &mut best {
                    Some((first, _)) => *first = moment.min(*first),
                    None => best = Some((moment, until)),
                }
            }
            if best.is_some_and(|(_, until)| until == wall) {
                break;
            }
        }
        best.map(|(moment, _)| moment)
    }

    /// The last time after `after` and not after `until`.
    pub fn latest(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let starts = WINDOWS.iter().filter_map(|window| until.checked_sub(*window).ok());
        for start in starts.filter(|start| *start > after).chain([after]) {
            let mut found = None;
            let mut at = start;
            while let Some(next) = self.next(at, zone).filter(|next| *next <= until) {
                (found, at) = (Some(next), next);
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The moments at which the clock on the wall shows this minute, and whether it jumps there.
    fn moments(&self, wall: DateTime, zone: &TimeZone) -> (Vec<Timestamp>, bool) {
        let offset = zone.to_ambiguous_timestamp(wall).offset();
        let offsets = match offset {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } if self.every_hour => Vec::new(),
            AmbiguousOffset::Gap { before, .. } => vec![before],
            AmbiguousOffset::Fold { before, after } if self.every_hour => vec![before, after],
            AmbiguousOffset::Fold { before, .. } => vec![before],
        };
        let mut moments = Vec::with_capacity(offsets.len() * self.seconds.len());
        for minute in offsets.into_iter().filter_map(|offset| offset.to_timestamp(wall).ok()) {
            let seconds = self.seconds.iter();
            moments.extend(
                seconds.filter_map(|second| {
                    minute.checked_add(SignedDuration::from_secs(i64::from(*second))).ok()
                }),
            );
        }
        (moments, !matches!(offset, AmbiguousOffset::Unambiguous { .. }))
    }
}

/// Whether the clock jumps within [`JUMP`] of this moment.
fn near_a_jump(moment: Timestamp, zone: &TimeZone) -> bool {
    let offset = |moment: Timestamp| zone.to_offset(moment);
    let (before, after) = (moment.checked_sub(JUMP), moment.checked_add(JUMP));
    match (before, after) {
        (Ok(before), Ok(after)) => offset(before) != offset(after),
        _ => false,
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{}' is no schedule: {why}", text.escape_debug());
        let form = "write cron's five fields, such as \"0 */6 * * *\": minute, hour, day, month, weekday";
        let spelled = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = spelled.split_whitespace().collect();
        let (seconds, fields) = match fields.as_slice() {
            fields @ [_, _, _, _, _] => (vec![0], fields),
            [seconds, fields @ ..] if fields.len() == 5 => {
                (seconds_of(seconds).ok_or_else(|| wrong(form))?, fields)
            }
            _ => return Err(wrong(form)),
        };
        // What goes beyond cron is not needed, and its meaning differs between programs.
        let plain = |field: &&str| {
            let names = |c: char| c.is_ascii_alphanumeric() || "*,-/".contains(c);
            field.chars().all(names)
                && !matches!(field.trim_start_matches(|c: char| c.is_ascii_digit()), "L" | "W" | "H")
        };
        if !fields.iter().all(plain) {
            return Err(wrong(form));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let cron = fields.join(" ");
        let crontab = cronexpr::parse_crontab_with(&cron, options).map_err(|_| wrong(form))?;
        let start = MakeTimestamp::from(Timestamp::UNIX_EPOCH);
        if crontab.find_next(start).is_err() {
            return Err(wrong("there is no such day"));
        }
        let with_seconds = if seconds == [0] { None } else { spelled.split_whitespace().next() };
        let every_hour = fields.get(1) == Some(&"*");
        let text = with_seconds.map_or_else(|| cron.clone(), |seconds| format!("{seconds} {cron}"));
        Ok(Self { text, crontab, seconds, every_hour })
    }
}

/// `*`, `*/5`, `0,30`.
fn seconds_of(field: &str) -> Option<Vec<u8>> {
    let step = match field {
        "*" => Some(1),
        _ => field.strip_prefix("*/").map(|step| step.parse::<u8>().unwrap_or(0)),
    };
    if let Some(step) = step {
        return (1..60).contains(&step).then(|| (0..60).step_by(usize::from(step)).collect());
    }
    let seconds: Option<Vec<u8>> = field.split(',').map(|second| second.parse().ok()).collect();
    let mut seconds = seconds.filter(|seconds| seconds.iter().all(|second| *second < 60))?;
    seconds.sort_unstable();
    seconds.dedup();
    Some(seconds)
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    /// All times after `from` and not after `to`.
    #[track_caller]
    fn check(cron: &str, zone: &str, from: &str, to: &str, expected: &[&str]) {
        let (schedule, zone) = (schedule(cron), TimeZone::get(zone).unwrap());
        let (mut at, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        let mut found = Vec::new();
        while let Some(next) = schedule.next(at, &zone).filter(|next| *next <= to) {
            assert!(next > at, "{cron} stands still at {at}");
            found.push(next.to_string());
            at = next;
        }
        assert_eq!(found, expected, "{cron}");
        let latest = schedule.latest(from.parse().unwrap(), to, &zone);
        assert_eq!(latest.map(|at| at.to_string()).as_deref(), expected.last().copied(), "{cron}");
    }

    #[test]
    fn in_spring_a_time_that_does_not_exist_happens_once_and_later() {
        // 2026-03-29: 02:00 becomes 03:00 in Zurich.
        let (from, to) = ("2026-03-28T12:00:00Z", "2026-03-29T20:00:00Z");
        check("30 2 * * *", "Europe/Zurich", from, to, &["2026-03-29T01:30:00Z"]);
        check("0 2,3 * * *", "Europe/Zurich", from, to, &["2026-03-29T01:00:00Z"]);
        check("30 2,3 * * *", "Europe/Zurich", from, to, &["2026-03-29T01:30:00Z"]);
        // The earlier of the two by the clock on the wall is the later moment.
        check(
            "30 2 * * 0",
            "America/New_York",
            "2026-03-08T00:00:00Z",
            "2026-03-09T00:00:00Z",
            &["2026-03-08T07:30:00Z"],
        );
        let quarter = "*/30 * * * *";
        let (from, to) = ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z");
        let all =
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"];
        check(quarter, "Europe/Zurich", from, to, &all);
    }

    #[test]
    fn in_autumn_a_time_that_exists_twice_happens_once_and_hourly_ones_in_both() {
        // 2026-10-25: 03:00 becomes 02:00 in Zurich.
        let (from, to) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        check("30 2 * * *", "Europe/Zurich", from, to, &["2026-10-25T00:30:00Z"]);
        check("0 2,3 * * *", "Europe/Zurich", from, to, &["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"]);
        let (from, to) = ("2026-10-24T23:30:00Z", "2026-10-25T02:10:00Z");
        let all = ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"];
        check("0 * * * *", "Europe/Zurich", from, to, &all);
        // Asked in the second of the two hours, the first one is over.
        check("30 2 * * *", "Europe/Zurich", "2026-10-25T01:10:00Z", "2026-10-26T00:00:00Z", &[]);
    }

    #[test]
    fn a_schedule_without_jumps_is_crons() {
        let (from, to) = ("2026-06-01T00:00:00Z", "2026-06-08T00:00:00Z");
        check("0 4 * * 0", "Europe/Zurich", from, to, &["2026-06-07T02:00:00Z"]);
        check(
            "@monthly",
            "UTC",
            "2026-06-01T00:00:00Z",
            "2026-08-01T00:00:00Z",
            &["2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"],
        );
        check("0 0 29 2 *", "UTC", from, "2030-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check(
            "*/20 30 4 * * *",
            "UTC",
            from,
            "2026-06-02T00:00:00Z",
            &["2026-06-01T04:30:00Z", "2026-06-01T04:30:20Z", "2026-06-01T04:30:40Z"],
        );
        check(
            "*/30 * * * * *",
            "UTC",
            "2026-06-01T00:00:10Z",
            "2026-06-01T00:01:00Z",
            &["2026-06-01T00:00:30Z", "2026-06-01T00:01:00Z"],
        );
    }

    #[test]
    fn every_schedule_walks_through_two_years_without_standing_still_or_skipping() {
        for zone in ["Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "UTC"] {
            let zone = TimeZone::get(zone).unwrap();
            let (start, end) =
                ("2026-01-01T00:00:00Z".parse().unwrap(), "2028-01-01T00:00:00Z".parse().unwrap());
            for (cron, number) in
                [("0 */6 * * *", 2920), ("30 2 * * *", 730), ("0 4 * * 0", 104), ("0 * * * *", 17_520)]
            {
                let (mut at, mut count): (Timestamp, _) = (start, 0);
                while let Some(next) = schedule(cron).next(at, &zone).filter(|next| *next <= end) {
                    assert!(next > at);
                    (at, count) = (next, count + 1);
                }
                assert!((number - 3..=number + 3).contains(&count), "{cron} in {zone:?}: {count}");
            }
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "61 * * * *",
            "0 0 30 2 *",
            "0 0 L * *",
            "0 0 * * 1#2",
            "H * * * *",
            "0 0 * * * UTC",
            "60 * * * * *",
            "*/0 * * * * *",
            "@often",
            "x y z a b",
        ] {
            assert!(wrong.parse::<Schedule>().is_err(), "{wrong}");
        }
        assert!("0 0 31 4 *".parse::<Schedule>().unwrap_err().contains("no such day"));
        assert_eq!(schedule(" @daily ").cron(), "0 0 * * *");
        assert_eq!(schedule("0  4 * *  SUN").cron(), "0 4 * * SUN");
    }
}

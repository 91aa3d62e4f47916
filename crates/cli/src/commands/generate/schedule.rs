//! Schedules in cron's five fields, and how systemd writes the same.

use std::collections::BTreeSet;

/// When something is due: cron's fields and a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Cron's five fields, separated by single blanks.
    pub(super) cron: String,
    /// A name of the time zone database; the machine's own zone if `None`.
    pub(super) zone: Option<String>,
    minutes: BTreeSet<u8>,
    hours: BTreeSet<u8>,
    days: BTreeSet<u8>,
    months: BTreeSet<u8>,
    weekdays: BTreeSet<u8>,
    /// The days of the month and those of the week are both restricted: cron then takes either.
    either: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// As systemd spells them.
const CALENDAR_DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Schedule {
    /// Reads `0 */6 * * *` or `@daily`. Errors say which field is wrong.
    pub(super) fn read(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let cron = expand(text.trim());
        let fields: Vec<&str> = cron.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "'{}' is no schedule: cron has five fields, such as 0 */6 * * *",
                text.escape_debug()
            ));
        };
        let mut weekdays = set(weekday, 0, 7, &WEEKDAYS, 0)?;
        // Both 0 and 7 are Sunday.
        if weekdays.remove(&7) {
            weekdays.insert(0);
        }
        Ok(Self {
            cron: fields.join(" "),
            zone: zone.map(str::to_owned),
            minutes: set(minute, 0, 59, &[], 0)?,
            hours: set(hour, 0, 23, &[], 0)?,
            days: set(day, 1, 31, &[], 0)?,
            months: set(month, 1, 12, &MONTHS, 1)?,
            weekdays,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// The same as systemd's calendar events; any of them counts.
    pub(super) fn calendar(&self) -> Vec<String> {
        let zone = self.zone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
        let time = format!("{}:{}:00{zone}", numbers(&self.hours, 0..=23), numbers(&self.minutes, 0..=59));
        let months = numbers(&self.months, 1..=12);
        let days = numbers(&self.days, 1..=31);
        let weekdays: Vec<&str> = match self.weekdays.len() {
            7 => Vec::new(),
            _ => {
                self.weekdays.iter().filter_map(|day| CALENDAR_DAYS.get(usize::from(*day)).copied()).collect()
            }
        };
        let weekdays = if weekdays.is_empty() { String::new() } else { weekdays.join(",") + " " };
        if self.either {
            return vec![format!("*-{months}-{days} {time}"), format!("{weekdays}*-{months}-* {time}")];
        }
        vec![format!("{weekdays}*-{months}-{days} {time}")]
    }

    /// For comments: `0 4 * * 0, Europe/Zurich`.
    pub(super) fn words(&self) -> String {
        match &self.zone {
            Some(zone) => format!("{}, {zone}", self.cron),
            None => self.cron.clone(),
        }
    }
}

fn expand(text: &str) -> &str {
    match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    }
}

/// The numbers of one field: lists of `*`, `a`, `a-b`, each with `/step`; names stand for numbers from `first` on.
fn set(field: &str, low: u8, high: u8, names: &[&str], first: u8) -> Result<BTreeSet<u8>, String> {
    let wrong = || format!("'{}' is no part of a schedule that is understood here", field.escape_debug());
    let number = |text: &str| -> Result<u8, String> {
        let named = names.iter().zip(first..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        let number = named.map(|(_, number)| number).or_else(|| text.parse().ok());
        number.filter(|number| (low..=high).contains(number)).ok_or_else(wrong)
    };
    let mut found = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step: u8 = step.map_or(Ok(1), str::parse).map_err(|_| wrong())?;
        let (from, to) = match (range, range.split_once('-')) {
            // The second Sunday of a week is left out, or steps would find it too.
            ("*" | "?", _) => (low, if names.len() == 7 { 6 } else { high }),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            (one, None) if part.contains('/') => (number(one)?, high),
            (one, None) => (number(one)?, number(one)?),
        };
        if step == 0 || from > to {
            return Err(wrong());
        }
        found.extend((from..=to).step_by(usize::from(step)));
    }
    Ok(found)
}

/// `*` where all are meant, else a list of two digits each.
fn numbers(set: &BTreeSet<u8>, all: std::ops::RangeInclusive<u8>) -> String {
    if all.clone().all(|number| set.contains(&number)) {
        return "*".to_owned();
    }
    set.iter().map(|number| format!("{number:02}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cron: &str, calendar: &[&str]) {
        assert_eq!(Schedule::read(cron, None).unwrap().calendar(), calendar);
    }

    #[test]
    fn systemd_is_told_the_same_as_cron() {
        check("0 */6 * * *", &["*-*-* 00,06,12,18:00:00"]);
        check("12 2 * * *", &["*-*-* 02:12:00"]);
        check("0 4 * * 0", &["Sun *-*-* 04:00:00"]);
        check("0 4 * * 7", &["Sun *-*-* 04:00:00"]);
        check("0 8 * * mon-fri", &["Mon,Tue,Wed,Thu,Fri *-*-* 08:00:00"]);
        check("0 8 * * */2", &["Sun,Tue,Thu,Sat *-*-* 08:00:00"]);
        check("*/30 9-17 1,15 jan,7 *", &["*-01,07-01,15 09,10,11,12,13,14,15,16,17:00,30:00"]);
        check("@monthly", &["*-*-01 00:00:00"]);
        check("5/20 * * * *", &["*-*-* *:05,25,45:00"]);
        let zoned = Schedule::read("0 4  * * *", Some("Europe/Zurich")).unwrap();
        assert_eq!(zoned.calendar(), ["*-*-* 04:00:00 Europe/Zurich"]);
        assert_eq!(zoned.words(), "0 4 * * *, Europe/Zurich");
    }

    /// The first moments after a moment, as systemd says.
    fn by_systemd(events: &[String], base: &str, number: usize) -> Vec<String> {
        let number = number.to_string();
        let output = std::process::Command::new(basekeep_testkit::tool("systemd-analyze", 0))
            .args(["calendar", "--iterations", &number, "--base-time", base])
            .args(events)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let moments = text.lines().filter_map(|line| {
            let (name, value) = line.trim().split_once(": ")?;
            (name == "Next elapse" || name.starts_with("Iter. ")).then(|| value[4..23].to_owned())
        });
        let mut moments: Vec<String> = moments.collect();
        moments.sort();
        moments.dedup();
        moments
    }

    #[test]
    fn systemd_runs_at_the_times_of_serve() {
        // No change of the clocks in between: systemd has its own way with those.
        let zone = jiff::tz::TimeZone::get("Europe/Zurich").unwrap();
        for cron in [
            "0 */6 * * *",
            "*/20 4,5 * * 1-5",
            "30 3 1-7 */2 *",
            "15 10 13 * 5",
            "0 0 29 2 *",
            "7 7 * jan-mar sun",
        ] {
            let schedule: basekeep_engine::config::Schedule = cron.parse().unwrap();
            let mut at: jiff::Timestamp = "2028-01-01T12:34:00Z".parse().unwrap();
            let mut ours = Vec::new();
            while ours.len() < 6 {
                at = schedule.next(at, &zone).unwrap();
                ours.push(at.strftime("%Y-%m-%d %H:%M:%S").to_string());
            }
            if at > "2028-03-25T00:00:00Z".parse().unwrap() {
                ours.truncate(1);
            }
            let events = Schedule::read(cron, Some("Europe/Zurich")).unwrap().calendar();
            let mut theirs = by_systemd(&events, "2028-01-01 12:34:00 UTC", ours.len());
            theirs.truncate(ours.len());
            assert_eq!(ours, theirs, "{cron} as {events:?}");
        }
    }

    #[test]
    fn cron_takes_either_where_both_days_are_restricted() {
        check("0 4 1 * mon", &["*-*-01 04:00:00", "Mon *-*-* 04:00:00"]);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for wrong in
            ["", "soon", "0 25 * * *", "60 * * * *", "0 4 * *", "0 4 L * *", "0 4 * * 5-1", "*/0 * * * *"]
        {
            assert!(Schedule::read(wrong, None).is_err(), "{wrong}");
        }
    }
}

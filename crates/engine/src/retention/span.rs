//! Spans of time as people write them: `30d`, `2w`, `12h`, restic's `1y5m7d2h`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Years, months, days and hours. Months have different lengths, so it means something only from a point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Calendar years.
    pub years: u16,
    /// Calendar months.
    pub months: u16,
    /// Calendar days; weeks are seven of them.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl Span {
    /// Whether it spans no time at all; a rule with such a span is not set.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The point in time that is this much before `time`, by the calendar of `zone`.
    ///
    /// As in restic, a day that does not exist runs over into the next month: one month before 31 March is 3 March
    /// (2 March in a leap year). What lies before the calendar begins is its beginning.
    pub fn before(&self, time: Timestamp, zone: &TimeZone) -> Timestamp {
        self.checked_before(time, zone).unwrap_or(Timestamp::MIN)
    }

    fn checked_before(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = zone.to_datetime(time);
        let months = i32::from(local.year()) * 12 + i32::from(local.month())
            - 1
            - i32::from(self.years) * 12
            - i32::from(self.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()?;
        let days = i64::from(local.day()) - 1 - i64::from(self.days);
        let date = first.checked_add(SignedDuration::from_hours(24 * days)).ok()?;
        let then = zone.to_timestamp(DateTime::from_parts(date, local.time())).ok()?;
        then.checked_sub(SignedDuration::from_hours(i64::from(self.hours))).ok()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{}' is no span of time: {why}", text.escape_debug());
        let mut span = Self::default();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong("it is empty"));
        }
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, tail) = rest.split_at(end);
            if digits.is_empty() {
                return Err(wrong("a number is missing"));
            }
            let mut unit = tail.chars();
            let number: u32 = digits.parse().map_err(|_| wrong("a number is too large"))?;
            let large = |_| wrong("a number is too large");
            match unit.next() {
                Some('y') => span.years = u16::try_from(number).map_err(large)?,
                Some('m') => span.months = u16::try_from(number).map_err(large)?,
                Some('w') => {
                    let days = number.checked_mul(7).and_then(|days| days.checked_add(span.days));
                    span.days = days.ok_or_else(|| wrong("a number is too large"))?;
                }
                Some('d') => {
                    let days = span.days.checked_add(number);
                    span.days = days.ok_or_else(|| wrong("a number is too large"))?;
                }
                Some('h') => span.hours = number,
                Some(_) => return Err(wrong("the units are y, m (months), w, d and h")),
                None => return Err(wrong("a unit is missing; they are y, m (months), w, d and h")),
            }
            rest = unit.as_str();
        }
        Ok(span)
    }
}

impl fmt::Display for Span {
    /// As restic writes it: `1y5m7d2h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (u32::from(self.years), 'y'),
            (u32::from(self.months), 'm'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ];
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        if self.is_zero() { f.write_str("0h") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_restic_reads_them_and_weeks_too() {
        let span = |text: &str| text.parse::<Span>();
        assert_eq!(span("1y5m7d2h").unwrap(), Span { years: 1, months: 5, days: 7, hours: 2 });
        assert_eq!(span("2w1d").unwrap(), Span { days: 15, ..Span::default() });
        assert_eq!(span(" 12h ").unwrap().to_string(), "12h");
        assert_eq!(span("7d2h1y").unwrap().to_string(), "1y7d2h");
        assert!(span("0d").unwrap().is_zero());
        for wrong in ["", "30", "d", "-3d", "3x", "1.5d", "99999999999d", "999999999w", "70000y"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert!(span("30").unwrap_err().contains("a unit is missing"));
    }

    #[test]
    fn the_calendar_decides_what_lies_before() {
        #[track_caller]
        fn check(span: &str, time: &str, zone: &str, before: &str) {
            let zone = TimeZone::get(zone).unwrap();
            let span: Span = span.parse().unwrap();
            assert_eq!(span.before(time.parse().unwrap(), &zone).to_string(), before, "{span} before {time}");
        }
        check("1m", "2023-03-31T10:00:00Z", "UTC", "2023-03-03T10:00:00Z");
        check("1m", "2024-03-31T10:00:00Z", "UTC", "2024-03-02T10:00:00Z");
        check("1y", "2024-02-29T10:00:00Z", "UTC", "2023-03-01T10:00:00Z");
        check("3m2d1h", "2024-01-01T00:30:00Z", "UTC", "2023-09-28T23:30:00Z");
        // Across the change to summer time a day has 23 hours.
        check("1d", "2024-03-31T12:00:00Z", "Europe/Berlin", "2024-03-30T13:00:00Z");
        check("24h", "2024-03-31T12:00:00Z", "Europe/Berlin", "2024-03-30T12:00:00Z");
        check("60000y", "2024-03-31T12:00:00Z", "UTC", &Timestamp::MIN.to_string());
    }
}

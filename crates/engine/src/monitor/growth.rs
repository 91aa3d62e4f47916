//! Growth by day and by week, trends and projections, from points in time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::statistics::{self, Slope};

/// Trends and projections look so far back.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How far ahead projections look, in days.
pub const HORIZONS: [u32; 4] = [30, 90, 180, 365];

/// A significant slope that moves less than this share of the level within 30 days is still called stable.
const STABLE_SHARE: f64 = 0.01;

/// A moment's rows and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// Rows.
    pub rows: u64,
    /// Bytes before compression.
    pub bytes: u64,
}

/// A day or a week that has snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its first day.
    pub start: Date,
    /// Snapshots in it.
    pub snapshots: u64,
    /// Rows of the last of them.
    pub rows: u64,
    /// Bytes of the last of them.
    pub bytes: u64,
    /// Rows more (or less) than at the end of the period before that has snapshots.
    pub rows_change: Option<i64>,
    /// Bytes more or less.
    pub bytes_change: Option<i64>,
}

/// How much something changed within a day or a week up to the newest snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Rows, for exactly one day or week.
    pub rows: i64,
    /// The same in percent; `None` where there was none before.
    pub rows_percent: Option<f64>,
    /// Bytes.
    pub bytes: i64,
    /// The same in percent.
    pub bytes_percent: Option<f64>,
    /// The time between the two snapshots, in days.
    pub over_days: f64,
}

/// Where something is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trend {
    /// There are too few days to tell.
    Unknown,
    /// More, and not by chance.
    Growing,
    /// Neither.
    Stable,
    /// Less, and not by chance.
    Shrinking,
}

/// What is expected in so many days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Projection {
    /// Days from the newest snapshot.
    pub days: u32,
    /// Expected.
    pub expected: u64,
    /// The lower end of the range.
    pub low: u64,
    /// The upper end of the range.
    pub high: u64,
}

/// Trend and projections of one number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// Where it is going.
    pub trend: Trend,
    /// How fast; `None` where that is unknown.
    pub slope: Option<Slope>,
    /// For each of [`HORIZONS`]; empty where the trend is unknown.
    pub projections: Vec<Projection>,
}

/// The last point of each day, oldest first. `points` are in the order of time.
pub(super) fn daily(points: &[Point], zone: &TimeZone) -> Vec<Point> {
    let mut days: Vec<(Date, Point)> = Vec::new();
    for point in points {
        let date = point.time.to_zoned(zone.clone()).date();
        match days.last_mut() {
            Some((last, kept)) if *last == date => *kept = *point,
            _ => days.push((date, *point)),
        }
    }
    days.into_iter().map(|(_, point)| point).collect()
}

/// Points by periods, whose first day `start` tells. `points` are in the order of time.
pub(super) fn periods(points: &[Point], zone: &TimeZone, start: impl Fn(Date) -> Date) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    for point in points {
        let start = start(point.time.to_zoned(zone.clone()).date());
        let before = match periods.last_mut() {
            Some(last) if last.start == start => {
                let last = periods.pop();
                let before = periods.last();
                (before.map(|p| (p.rows, p.bytes)), last.map_or(0, |last| last.snapshots))
            }
            last => (last.map(|p| (p.rows, p.bytes)), 0),
        };
        let (before, snapshots) = before;
        periods.push(Period {
            start,
            snapshots: snapshots + 1,
            rows: point.rows,
            bytes: point.bytes,
            rows_change: before.map(|(rows, _)| change(rows, point.rows)),
            bytes_change: before.map(|(_, bytes)| change(bytes, point.bytes)),
        });
    }
    periods
}

/// The Monday of a date's week.
pub(super) fn monday(date: Date) -> Date {
    let back = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(jiff::Span::new().days(back)).unwrap_or(date)
}

fn change(before: u64, now: u64) -> i64 {
    let change = i128::from(now) - i128::from(before);
    i64::try_from(change).unwrap_or(if change < 0 { i64::MIN } else { i64::MAX })
}

/// The change within the last `days`: between the newest point and the last one that is at least (nearly) so old. Where
/// that is older, its share for `days`. `None` where the points do not reach back so far.
pub(super) fn rate(points: &[Point], days: f64) -> Option<Rate> {
    let (newest, before) = points.split_last()?;
    let old = before.iter().rev().find(|point| distance(point, newest) >= days * 0.9)?;
    let over_days = distance(old, newest);
    let share = if over_days > days * 1.1 { days / over_days } else { 1.0 };
    let of = |old: u64, new: u64| (change(old, new) as f64 * share).round() as i64;
    let (rows, bytes) = (of(old.rows, newest.rows), of(old.bytes, newest.bytes));
    let percent = |change: i64, old: u64| (old > 0).then(|| change as f64 * 100.0 / old as f64);
    Some(Rate {
        rows,
        rows_percent: percent(rows, old.rows),
        bytes,
        bytes_percent: percent(bytes, old.bytes),
        over_days,
    })
}

/// Days between two points.
fn distance(old: &Point, new: &Point) -> f64 {
    new.time.duration_since(old.time).as_secs_f64() / 86_400.0
}

/// Trend and projections of a number of each day. At most `most` points are looked at, evenly chosen.
pub(super) fn outlook(days: &[Point], most: usize, number: impl Fn(&Point) -> u64) -> Outlook {
    let unknown = Outlook { trend: Trend::Unknown, slope: None, projections: Vec::new() };
    let Some(newest) = days.last() else { return unknown };
    let recent: Vec<&Point> =
        days.iter().filter(|point| newest.time.duration_since(point.time) <= WINDOW).collect();
    let every = recent.len().div_ceil(most.max(2)).max(1);
    let chosen = recent.iter().rev().step_by(every).rev();
    let points: Vec<(f64, f64)> =
        chosen.map(|point| (-distance(point, newest), number(point) as f64)).collect();
    let Some(slope) = statistics::slope(&points) else { return unknown };
    let level = statistics::median(&mut points.iter().map(|(_, y)| *y).collect::<Vec<_>>()).unwrap_or(0.0);
    let moves = (slope.per_day * 30.0).abs() >= (level * STABLE_SHARE).max(1.0);
    let trend = match (slope.significant && moves, slope.per_day > 0.0) {
        (false, _) => Trend::Stable,
        (true, true) => Trend::Growing,
        (true, false) => Trend::Shrinking,
    };
    let now = number(newest) as f64;
    // Casts of floating-point numbers saturate: less than nothing is nothing.
    let whole = |value: f64| value.round() as u64;
    let projections = HORIZONS.map(|days| {
        let ahead = f64::from(days);
        let expected = now + if slope.significant { slope.per_day * ahead } else { 0.0 };
        let noise = 1.96 * slope.scatter;
        Projection {
            days,
            expected: whole(expected),
            low: whole((now + slope.low * ahead - noise).min(expected)),
            high: whole((now + slope.high * ahead + noise).max(expected)),
        }
    });
    Outlook { trend, slope: Some(slope), projections: projections.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + hours * 3600).unwrap() // 2026-01-01, a Thursday
    }

    fn point(hours: i64, rows: u64) -> Point {
        Point { time: at(hours), rows, bytes: rows * 100 }
    }

    #[test]
    fn days_and_weeks_end_with_their_last_snapshot() {
        let points = [point(1, 10), point(20, 15), point(30, 14), point(24 * 8, 50)];
        let days = periods(&points, &TimeZone::UTC, |date| date);
        let told: Vec<_> = days.iter().map(|day| (day.snapshots, day.rows, day.rows_change)).collect();
        assert_eq!(told, [(2, 15, None), (1, 14, Some(-1)), (1, 50, Some(36))]);
        let weeks = periods(&points, &TimeZone::UTC, monday);
        let told: Vec<_> = weeks.iter().map(|w| (w.start.to_string(), w.snapshots, w.rows_change)).collect();
        assert_eq!(told, [("2025-12-29".to_owned(), 3, None), ("2026-01-05".to_owned(), 1, Some(36))]);
    }

    #[test]
    fn a_rate_is_for_a_day_whatever_the_time_between_snapshots() {
        let six_hourly: Vec<Point> = (0..=8).map(|i| point(i * 6, 100 + 10 * i as u64)).collect();
        let daily = rate(&six_hourly, 1.0).unwrap();
        assert_eq!((daily.rows, daily.over_days), (40, 1.0));
        assert_eq!(daily.rows_percent.unwrap().round(), 29.0);
        let rare = [point(0, 1000), point(96, 1400)];
        assert_eq!(rate(&rare, 1.0).unwrap().rows, 100);
        assert_eq!(rate(&rare, 7.0), None, "nothing is so old");
        assert_eq!(rate(&[point(0, 0), point(24, 5)], 1.0).unwrap().rows_percent, None);
    }

    #[test]
    fn trends_need_days_and_more_than_chance() {
        let of = |rows: &[u64]| {
            let days: Vec<Point> =
                rows.iter().enumerate().map(|(i, rows)| point(24 * i as i64, *rows)).collect();
            outlook(&days, 100, |point| point.rows)
        };
        assert_eq!(of(&[1, 2, 3, 4]).trend, Trend::Unknown);
        let growing = of(&[100, 110, 120, 130, 140, 150]);
        assert_eq!(growing.trend, Trend::Growing);
        let expected: Vec<u64> = growing.projections.iter().map(|p| p.expected).collect();
        assert_eq!(expected, [450, 1050, 1950, 3800]);
        assert_eq!(of(&[100_000, 100_001, 100_002, 100_003, 100_004]).trend, Trend::Stable);
        assert_eq!(of(&[50, 40, 30, 20, 10]).trend, Trend::Shrinking);
        let shrinking = of(&[50, 40, 30, 20, 10]).projections;
        assert!(shrinking.iter().all(|p| p.expected == 0 && p.low == 0), "never negative: {shrinking:?}");
    }

    proptest! {
        #[test]
        fn projections_have_a_range_around_them(rows in proptest::collection::vec(0u64..1_000_000, 5..60)) {
            let days: Vec<Point> = rows.iter().enumerate().map(|(i, rows)| point(24 * i as i64, *rows)).collect();
            for p in outlook(&days, 100, |point| point.rows).projections {
                prop_assert!(p.low <= p.expected && p.expected <= p.high);
            }
        }
    }
}

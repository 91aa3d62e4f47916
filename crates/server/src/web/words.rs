//! How pages word times and numbers.

pub(crate) use basekeep_engine::words::{bytes, count, counted};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

/// The first eight digits of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// `2026-11-21 10:58` in the server's time zone.
pub(crate) fn minute(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `Nov 21`.
pub(crate) fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%b %-d, %Y").to_string()
}

/// `10:58:01`.
pub(crate) fn clock(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// `just now`, `5 min ago`, `3 h ago`, `in 2 d`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs();
    let (number, unit) = match seconds.abs() {
        0..60 => return if seconds >= 0 { "just now".to_owned() } else { "in a moment".to_owned() },
        60..7200 => (seconds.abs() / 60, "min"),
        7200..172_800 => (seconds.abs() / 3600, "h"),
        other => (other / 86_400, "d"),
    };
    if seconds >= 0 { format!("{number} {unit} ago") } else { format!("in {number} {unit}") }
}

/// `0.4 s`, `2 min 5 s`, `3 h 12 min`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A time that machines read, too: how long ago, with the exact one as its title.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(time) title=(minute(time)) { (ago(time, now)) } }
}

/// A time that machines read, too.
pub(crate) fn exact(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (minute(time)) } }
}

/// A number, or a dash where it is not known.
pub(crate) fn known(number: Option<u64>, word: fn(u64) -> String) -> String {
    number.map_or_else(|| "–".to_owned(), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let told = |before: i64| ago(Timestamp::from_second(1_000_000 - before).unwrap(), now);
        assert_eq!(
            [5, 60, 7199, 7200, 200_000, -5, -90_000].map(told).each_ref().map(String::as_str),
            ["just now", "1 min ago", "119 min ago", "2 h ago", "2 d ago", "in a moment", "in 25 h"]
        );
        assert_eq!([0.42, 125.0, 11_535.0].map(span), ["0.4 s", "2 min 5 s", "3 h 12 min"]);
    }
}

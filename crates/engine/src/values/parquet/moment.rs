//! Dates and timestamps, as the pinned session writes them, as days and microseconds since 1970.

const DAY: i64 = 86_400_000_000;

/// Days since 1970-01-01 of `2024-02-29` or `0044-03-15 BC`. `None` for infinity.
pub(super) fn days(text: &[u8]) -> Option<i32> {
    let (text, before_christ) = era(text);
    i32::try_from(days_of(text, before_christ)?).ok()
}

/// Microseconds since 1970-01-01 of `2024-02-29 12:30:15.25`, with `+00` behind it where it has a time zone. `None` for
/// infinity, and for what 64 bits do not hold.
pub(super) fn microseconds(text: &[u8]) -> Option<i64> {
    let (text, before_christ) = era(text);
    let text = text.strip_suffix(b"+00").unwrap_or(text);
    let space = memchr::memchr(b' ', text)?;
    let days = days_of(&text[..space], before_christ)?;
    let mut parts = text[space + 1..].split(|&byte| byte == b':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (seconds, fraction) = match memchr::memchr(b'.', seconds) {
        Some(point) => (&seconds[..point], &seconds[point + 1..]),
        None => (seconds, b"".as_slice()),
    };
    if fraction.len() > 6 || parts.next().is_some() {
        return None;
    }
    let micros = number(fraction).unwrap_or(0) * 10_i64.pow(6 - fraction.len() as u32);
    let time = (number(hours)? * 60 + number(minutes)?) * 60 + number(seconds)?;
    days.checked_mul(DAY)?.checked_add(time * 1_000_000 + micros)
}

fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

fn days_of(text: &[u8], before_christ: bool) -> Option<i64> {
    let mut parts = text.split(|&byte| byte == b'-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // There is no year 0: 1 BC comes before 1.
    let year = if before_christ { 1 - year } else { year };
    // Counted from March on, a year's leap day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2024-03-01", 19_783),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("5874897-12-31", 2_145_042_905),
        ] {
            assert_eq!(days(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["infinity", "-infinity", "", "2024-13-01", "2024-02"] {
            assert_eq!(days(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn moments_are_counted_in_microseconds() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", 0),
            ("1970-01-02 01:02:03.5+00", DAY + 3_723_500_000),
            ("1969-12-31 23:59:59.999999", -1),
            ("0001-01-01 00:00:00+00 BC", -62_167_219_200_000_000),
        ] {
            assert_eq!(microseconds(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["infinity", "294276-12-31 23:59:59.999999", "2024-01-01", "2024-01-01 12:00"] {
            assert_eq!(microseconds(text.as_bytes()), None, "{text}");
        }
    }
}

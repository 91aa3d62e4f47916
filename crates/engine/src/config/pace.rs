//! How a source is read, as people write it: `jobs = "auto"`, `lock_timeout = "10s"`, `limit_rows = 20000`.

use std::time::Duration;

use crate::backup::Jobs;

/// Connections: `auto`, or 1 to 256.
pub fn jobs(text: &str) -> Result<Jobs, String> {
    match text.trim() {
        "auto" => Ok(Jobs::Auto),
        number => match number.parse::<usize>() {
            Ok(number @ 1..=256) => Ok(Jobs::Number(number)),
            _ => Err(format!("'{}' is neither auto nor a number from 1 to 256", text.escape_debug())),
        },
    }
}

/// Rows per second, at least 1.
pub fn rows_per_second(text: &str) -> Result<u64, String> {
    let number = text.trim().replace('_', "").parse::<u64>();
    number
        .ok()
        .filter(|rows| *rows > 0)
        .ok_or_else(|| format!("'{}' is no number of rows", text.escape_debug()))
}

/// A time such as `500ms`, `10s`, `5m`, `2h`; `0` for none.
pub fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("'{}' is no time; write it as 500ms, 10s, 5m or 2h", text.escape_debug());
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..end].parse().map_err(|_| wrong())?;
    let milliseconds = match text[end..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!((jobs("auto"), jobs("4")), (Ok(Jobs::Auto), Ok(Jobs::Number(4))));
        assert!(jobs("0").is_err() && jobs("many").is_err());
        assert_eq!(rows_per_second("20_000"), Ok(20_000));
        assert!(rows_per_second("0").is_err());
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!((span("10s"), span("2h")), (Ok(Duration::from_secs(10)), Ok(Duration::from_secs(7200))));
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert!(span("10").is_err() && span("ten").is_err());
    }
}

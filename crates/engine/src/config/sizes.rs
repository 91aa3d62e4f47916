//! Amounts of data as people write them: `10MiB`, `500K`, `5%`.

/// How much unused data may stay in packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Nothing is repacked for it.
    Unlimited,
    /// Of the data that stays.
    Percent(f64),
    /// In bytes.
    Bytes(u64),
}

impl Eq for MaxUnused {}

impl std::str::FromStr for MaxUnused {
    type Err = String;

    /// `unlimited`, `5%` or `10GiB`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let Some(percent) = text.strip_suffix('%') else { return size(text).map(Self::Bytes) };
        match percent.trim_end().parse::<f64>() {
            Ok(number) if (0.0..100.0).contains(&number) => Ok(Self::Percent(number)),
            _ => Err(format!("'{}' is no percentage below 100", text.escape_debug())),
        }
    }
}

/// Bytes: `4096`, `500K`, `10MiB`, `1.5G`. The units are powers of 1,024, as restic's are.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "'{}' is no size; write it as 512K, 10MiB or 2G (powers of 1,024)",
            text.trim().escape_debug()
        )
    };
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 1,
        "M" | "m" | "MiB" => 2,
        "G" | "g" | "GiB" => 3,
        "T" | "t" | "TiB" => 4,
        _ => return Err(wrong()),
    };
    let factor = 1u64 << (10 * power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    match number.parse::<f64>() {
        Ok(part) if power > 0 && part.is_finite() && part < 1e6 => Ok((part * factor as f64) as u64),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let right =
            [("0", 0), ("4096", 4096), ("1K", 1024), ("10MiB", 10 << 20), ("1.5 G", 3 << 29), ("7B", 7)];
        for (text, bytes) in right {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1M", "10MB", "1.5", "1..5M", "99999999999T", "ten"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_stay_unused_is_a_share_an_amount_or_anything() {
        assert_eq!("unlimited".parse(), Ok(MaxUnused::Unlimited));
        assert_eq!("2.5 %".parse(), Ok(MaxUnused::Percent(2.5)));
        assert_eq!("10G".parse(), Ok(MaxUnused::Bytes(10 << 30)));
        for text in ["100%", "-1%", "NaN%", "%", "much"] {
            assert!(text.parse::<MaxUnused>().is_err(), "{text}");
        }
    }
}

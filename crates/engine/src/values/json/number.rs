//! Numbers in JSON. Common readers take each for a double; what that would change stays a string where that is wanted.

use super::{Numbers, string};

/// Any decimal of so many digits comes back from a double as it was.
const SAFE_DIGITS: usize = 15;
/// 2^53: beyond it not every integer is a double.
const SAFE_INTEGER: u64 = 1 << 53;

/// An integer or decimal.
pub(super) fn exact(text: &[u8], numbers: Numbers, out: &mut Vec<u8>) {
    let as_number = match numbers {
        // The shortest check first: it decides nearly always.
        Numbers::ExactStrings => {
            (text.len() <= SAFE_DIGITS && is_json(text)) || (is_json(text) && survives(text))
        }
        Numbers::AsIs => is_json(text),
    };
    if as_number { out.extend_from_slice(text) } else { string(text, out) }
}

/// A floating-point number, which is written so that it comes back.
pub(super) fn float(text: &[u8], out: &mut Vec<u8>) {
    if is_json(text) { out.extend_from_slice(text) } else { string(text, out) }
}

/// Whether a number survives a reader that takes it for a double.
fn survives(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, b"".as_slice()),
    };
    if fraction.iter().all(|&digit| digit == b'0')
        && let Some(number) = std::str::from_utf8(whole).ok().and_then(|text| text.parse::<u64>().ok())
        && number <= SAFE_INTEGER
    {
        return true;
    }
    // The range of a double is far wider than what few digits can say without an exponent, but small ones need zeros.
    let significant = whole.iter().chain(fraction).skip_while(|&&digit| digit == b'0');
    let (mut length, mut last) = (0, 0);
    for (number, &digit) in significant.enumerate() {
        length = number + 1;
        if digit != b'0' {
            last = length;
        }
    }
    last <= SAFE_DIGITS && length <= 300 && fraction.len() <= 300
}

/// Whether a text is a number in JSON's sense: NaN and Infinity are none.
fn is_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix(b".") {
        let fraction = digits(after);
        if fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    }
    if let Some(after) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let after = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"+")).unwrap_or(after);
        let exponent = digits(after);
        if exponent == 0 {
            return false;
        }
        rest = &after[exponent..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, numbers: Numbers) -> String {
        let mut out = Vec::new();
        exact(text.as_bytes(), numbers, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_that_a_double_would_change_are_strings() {
        for text in [
            "0",
            "-1",
            "1.50",
            "9007199254740992",
            "-9007199254740992",
            "123456789012345000000",
            "0.1",
            "0.00001",
        ] {
            assert_eq!(shown(text, Numbers::ExactStrings), text);
        }
        let tiny = format!("0.{}1", "0".repeat(400));
        for text in [
            "9007199254740993",
            "9223372036854775807",
            "0.12345678901234567",
            "12345678901234567.5",
            "NaN",
            "-Infinity",
            &tiny,
        ] {
            assert_eq!(shown(text, Numbers::ExactStrings), format!("\"{text}\""));
        }
        assert_eq!(shown("9223372036854775807", Numbers::AsIs), "9223372036854775807");
        assert_eq!(shown("NaN", Numbers::AsIs), "\"NaN\"");
    }

    #[test]
    fn what_is_shown_as_a_number_comes_back_from_a_double() {
        for text in [
            "9007199254740992",
            "123456789012345",
            "0.123456789012345",
            "98765432109876.5",
            "0.000012345678901234",
        ] {
            assert_eq!(shown(text, Numbers::ExactStrings), text);
            let double: f64 = text.parse().unwrap();
            assert_eq!(double.to_string(), text);
        }
    }

    #[test]
    fn only_numbers_in_the_sense_of_json_are_numbers() {
        for text in ["1e+100", "-0", "1E-5", "10.25"] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "Infinity", "+1", "1 "] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }
}

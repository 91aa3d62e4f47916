//! Bodies of the server's messages. They come from outside: nothing here panics.

use crate::error::{Error, ServerError};

fn malformed(what: &str) -> Error {
    Error::Protocol(format!("malformed {what}"))
}

/// A text up to its zero byte, and what follows.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

/// Column names of a RowDescription.
pub(crate) fn column_names(body: &[u8]) -> Result<Vec<String>, Error> {
    let wrong = || malformed("RowDescription");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(wrong)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, after) = text(rest).ok_or_else(wrong)?;
        names.push(name);
        // Table, column, type, size, modifier, format.
        rest = after.get(18..).ok_or_else(wrong)?;
    }
    Ok(names)
}

/// Name and value of a ParameterStatus.
pub(crate) fn parameter_status(body: &[u8]) -> Result<(String, String), Error> {
    let wrong = || malformed("ParameterStatus");
    let (name, rest) = text(body).ok_or_else(wrong)?;
    let (value, _) = text(rest).ok_or_else(wrong)?;
    Ok((name, value))
}

/// Process id and secret key of a BackendKeyData.
pub(crate) fn backend_key(body: &[u8]) -> Result<(i32, Vec<u8>), Error> {
    let (process, key) = body.split_first_chunk::<4>().ok_or_else(|| malformed("BackendKeyData"))?;
    Ok((i32::from_be_bytes(*process), key.to_vec()))
}

/// Number of rows in a CommandComplete of COPY.
pub(crate) fn copied_rows(body: &[u8]) -> Option<u64> {
    text(body)?.0.strip_prefix("COPY ")?.parse().ok()
}

/// Fields of an ErrorResponse or NoticeResponse. What is missing stays empty.
pub(crate) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    let mut rest = body;
    while let Some((kind, after)) = rest.split_first().filter(|(kind, _)| **kind != 0) {
        let Some((value, after)) = text(after) else { break };
        rest = after;
        match kind {
            // The untranslated severity follows the translated one.
            b'S' if error.severity.is_empty() => error.severity = value,
            b'V' => error.severity = value,
            b'C' => error.code = value,
            b'M' => error.message = value,
            b'D' => error.detail = Some(value),
            b'H' => error.hint = Some(value),
            b'P' => error.position = value.parse().ok(),
            b'W' => error.context = Some(value),
            b's' => error.schema = Some(value),
            b't' => error.table = Some(value),
            b'c' => error.column = Some(value),
            b'd' => error.data_type = Some(value),
            b'n' => error.constraint = Some(value),
            b'R' => error.routine = Some(value),
            _ => {}
        }
    }
    error
}

/// `15.18 (Debian 15.18-1)` as 150018, `16beta1` as 160000, `9.6.24` as 90624.
pub(crate) fn version_number(text: &str) -> u32 {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or_default()
        .split('.')
        .map(|n| n.parse::<u32>().unwrap_or(0).min(9999));
    let mut next = || numbers.next().unwrap_or(0);
    match (next(), next()) {
        (major, minor) if major >= 10 => major * 10_000 + minor,
        (major, minor) => major * 10_000 + minor * 100 + next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_read_as_the_server_numbers_them() {
        for (text, expect) in [
            ("15.18 (Debian 15.18-1)", 150_018),
            ("16beta1", 160_000),
            ("18.4", 180_004),
            ("9.6.24", 90_624),
            ("", 0),
            ("99999999999", 0),
        ] {
            assert_eq!(version_number(text), expect, "{text}");
        }
    }

    #[test]
    fn fields_of_an_error_are_told_apart() {
        let error = server_error(b"SFEHLER\0VERROR\0C42P01\0Mno table\0P15\0Whier\0\0");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str(), error.position),
            ("ERROR", "42P01", Some(15))
        );
        assert_eq!(error.message, "no table");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = column_names(&body);
            let _ = parameter_status(&body);
            let _ = backend_key(&body);
            let _ = copied_rows(&body);
            let _ = server_error(&body);
            version_number(&String::from_utf8_lossy(&body));
        }
    }
}

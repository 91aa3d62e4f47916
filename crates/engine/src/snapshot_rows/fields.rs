//! A line of COPY text as fields. Nothing is allocated for a row: a field is a part of the line, and is unescaped on demand
//! into a buffer of the caller's.

/// The lines of a piece, without their newlines.
pub(crate) fn lines(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', piece).map(move |end| {
        let line = &piece[start..end];
        start = end + 1;
        line
    })
}

/// The fields of a line. A line of a table without columns is empty and gives one empty field all the same.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (field, after) = match memchr::memchr(b'\t', line) {
            Some(end) => (&line[..end], Some(&line[end + 1..])),
            None => (line, None),
        };
        rest = after;
        Some(Field(field))
    })
}

/// One field as COPY writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a>(pub(crate) &'a [u8]);

impl<'a> Field<'a> {
    /// Whether it is `\N`.
    pub(crate) fn is_null(self) -> bool {
        self.0 == b"\\N"
    }

    /// The value's text, in `buffer` where it was escaped; `None` for null.
    pub(crate) fn text<'b>(self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if self.is_null() {
            return None;
        }
        if memchr::memchr(b'\\', self.0).is_none() {
            return Some(self.0);
        }
        buffer.clear();
        unescape(self.0, buffer);
        Some(buffer)
    }
}

/// Appends a field's text without COPY's escapes.
pub(crate) fn unescape(mut field: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', field) {
        out.extend_from_slice(&field[..at]);
        let Some(&escaped) = field.get(at + 1) else {
            out.push(b'\\');
            return;
        };
        out.push(match escaped {
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            other => other,
        });
        field = &field[at + 2..];
    }
    out.extend_from_slice(field);
}

/// Appends a text as COPY writes it (`CopyAttributeOutText` in the server's `copyto.c`).
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        let escaped = match byte {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            11 => b'v',
            12 => b'f',
            b'\r' => b'r',
            b'\\' => b'\\',
            other => {
                out.push(other);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escaped]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut buffer = Vec::new();
        fields(line).map(|field| field.text(&mut buffer).map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn null_and_texts_that_look_like_it_are_told_apart() {
        let texts = texts(b"\\N\t\t\\\\N\tN");
        assert_eq!(texts, [None, Some(b"".to_vec()), Some(b"\\N".to_vec()), Some(b"N".to_vec())]);
    }

    #[test]
    fn a_line_of_no_columns_is_a_line() {
        assert_eq!(lines(b"\n\n").count(), 2);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(texts(b""), [Some(Vec::new())]);
    }

    proptest! {
        #[test]
        fn any_row_comes_back_from_its_escaped_form(
            row in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(1_u8.., 0..30)), 1..8),
        ) {
            let mut line = Vec::new();
            for (number, value) in row.iter().enumerate() {
                if number > 0 {
                    line.push(b'\t');
                }
                match value {
                    None => line.extend_from_slice(b"\\N"),
                    Some(text) => escape(text, &mut line),
                }
            }
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(texts(&line), row);
        }
    }
}

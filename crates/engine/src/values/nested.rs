//! Values that hold others, taken apart: the text of arrays, composite types and hstore, as the server's output functions
//! write it (`array_out`, `record_out`, `hstore_out`).

use std::borrow::Cow;

/// The text is not one of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The text of an element or attribute; `None` for null.
pub(crate) type Value<'a> = Option<Cow<'a, [u8]>>;

/// What an array is made of, in the order of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A dimension begins.
    Open,
    /// A dimension ends.
    Close,
    /// An element, `None` for null.
    Element(Value<'a>),
}

/// Calls `part` for each part of an array's text: `{1,NULL,"a b"}`, `[0:1][2:3]={{1,2},{3,4}}`, `{}`.
pub(crate) fn array<E: From<Malformed>>(
    text: &[u8],
    delimiter: u8,
    mut part: impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = match text.first() {
        // Bounds; they have no equal sign in them.
        Some(b'[') => {
            let equals = memchr::memchr(b'=', text).ok_or(Malformed)?;
            &text[equals + 1..]
        }
        _ => text,
    };
    let mut depth = 0_usize;
    // Whether an element or a dimension may begin here.
    let mut begins = true;
    // Whether a dimension just began, and may end without an element.
    let mut opened = false;
    while let Some((&first, after)) = rest.split_first() {
        let empty = std::mem::take(&mut opened);
        match first {
            b'{' if begins => {
                depth += 1;
                opened = true;
                part(Part::Open)?;
                rest = after;
            }
            b'}' if depth > 0 && (empty || !begins) => {
                depth -= 1;
                part(Part::Close)?;
                begins = false;
                rest = after;
                if depth == 0 && !rest.is_empty() {
                    return Err(Malformed.into());
                }
            }
            _ if depth == 0 => return Err(Malformed.into()),
            byte if byte == delimiter && !begins => {
                begins = true;
                rest = after;
            }
            b'"' if begins => {
                let (value, after) = quoted(after)?;
                part(Part::Element(Some(value)))?;
                begins = false;
                rest = after;
            }
            _ if begins => {
                let end = rest.iter().position(|&byte| byte == delimiter || byte == b'}').ok_or(Malformed)?;
                let (word, after) = rest.split_at(end);
                if word.is_empty() {
                    return Err(Malformed.into());
                }
                let value = (word != b"NULL").then_some(Cow::Borrowed(word));
                part(Part::Element(value))?;
                begins = false;
                rest = after;
            }
            _ => return Err(Malformed.into()),
        }
    }
    if depth == 0 && !begins { Ok(()) } else { Err(Malformed.into()) }
}

/// The values of a composite type's text: `(1,,"a ""b"" \\ c")`. Nothing between two commas is null.
pub(crate) fn composite(text: &[u8]) -> Result<Vec<Value<'_>>, Malformed> {
    let inner = text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")")).ok_or(Malformed)?;
    let mut values = Vec::new();
    let mut rest = inner;
    loop {
        let (value, after) = composite_value(rest)?;
        values.push(value);
        match after.split_first() {
            None => return Ok(values),
            Some((b',', after)) => rest = after,
            Some(_) => return Err(Malformed),
        }
    }
}

fn composite_value(text: &[u8]) -> Result<(Value<'_>, &[u8]), Malformed> {
    if let Some(after) = text.strip_prefix(b"\"") {
        let (value, after) = doubled(after)?;
        return Ok((Some(value), after));
    }
    let end = memchr::memchr(b',', text).unwrap_or(text.len());
    let (value, after) = text.split_at(end);
    Ok(((!value.is_empty()).then_some(Cow::Borrowed(value)), after))
}

/// Pairs of an hstore: `"a"=>"1", "b"=>NULL`.
pub(crate) fn hstore<E: From<Malformed>>(
    text: &[u8],
    mut pair: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = quoted(rest.strip_prefix(b"\"").ok_or(Malformed)?)?;
        let after = after.strip_prefix(b"=>").ok_or(Malformed)?;
        let after = match after.strip_prefix(b"NULL") {
            Some(after) => {
                pair(&key, None)?;
                after
            }
            None => {
                let (value, after) = quoted(after.strip_prefix(b"\"").ok_or(Malformed)?)?;
                pair(&key, Some(&value))?;
                after
            }
        };
        rest = match after {
            [] => after,
            _ => after.strip_prefix(b", ").ok_or(Malformed)?,
        };
    }
    Ok(())
}

/// Up to the closing quote, with backslash escapes; gives what follows, too.
fn quoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let end = memchr::memchr2(b'"', b'\\', text).ok_or(Malformed)?;
    if text[end] == b'"' {
        return Ok((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = Vec::with_capacity(text.len().min(256));
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
        value.extend_from_slice(&rest[..at]);
        if rest[at] == b'"' {
            return Ok((Cow::Owned(value), &rest[at + 1..]));
        }
        value.push(*rest.get(at + 1).ok_or(Malformed)?);
        rest = &rest[at + 2..];
    }
}

/// Up to the closing quote, where quotes and backslashes are doubled; gives what follows, too.
fn doubled(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
        let again = rest.get(at + 1) == Some(&rest[at]);
        match (rest[at], again) {
            (b'"', false) if value.is_empty() => return Ok((Cow::Borrowed(&rest[..at]), &rest[at + 1..])),
            (b'"', false) => {
                value.extend_from_slice(&rest[..at]);
                return Ok((Cow::Owned(value), &rest[at + 1..]));
            }
            (_, true) => {
                value.extend_from_slice(&rest[..=at]);
                rest = &rest[at + 2..];
            }
            _ => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array_text(text: &str, delimiter: u8) -> Result<String, Malformed> {
        let mut found = String::new();
        array(text.as_bytes(), delimiter, |part| {
            match part {
                Part::Open => found.push('<'),
                Part::Close => found.push('>'),
                Part::Element(None) => found.push('-'),
                Part::Element(Some(value)) => {
                    found.push_str(&format!("[{}]", String::from_utf8_lossy(&value)));
                }
            }
            Ok::<_, Malformed>(())
        })?;
        Ok(found)
    }

    #[test]
    fn arrays_give_their_elements() {
        let cases = [
            ("{}", "<>"),
            ("{1,NULL,3}", "<[1]-[3]>"),
            ("{\"NULL\",\"\",\"a\\\"b\\\\c,}\"}", "<[NULL][][a\"b\\c,}]>"),
            ("[2:3][-1:0]={{1,2},{3,NULL}}", "<<[1][2]><[3]->>"),
        ];
        for (text, expected) in cases {
            assert_eq!(array_text(text, b',').unwrap(), expected, "{text}");
        }
        assert_eq!(array_text("{(1,2),(0,0);(3,4),(1,1)}", b';').unwrap(), "<[(1,2),(0,0)][(3,4),(1,1)]>");
        for wrong in [
            "", "{", "}", "{1", "{1,}", "{1}}", "x", "{,1}", "{\"a}", "{\"a\"b}", "[1:2]", "{{1}{2}}",
            "{\"\\",
        ] {
            assert_eq!(array_text(wrong, b','), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn composites_give_their_values() {
        let texts = |text: &str| {
            let values = composite(text.as_bytes())?;
            Ok(values
                .into_iter()
                .map(|v| v.map(|v| String::from_utf8_lossy(&v).into_owned()))
                .collect::<Vec<_>>())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(texts("(1,,\"\",x y)"), Ok(vec![some("1"), None, some(""), some("x y")]));
        assert_eq!(texts("(\"a \"\"b\"\" \\\\ (c),\")"), Ok(vec![some("a \"b\" \\ (c),")]));
        assert_eq!(texts("()"), Ok(vec![None]));
        for wrong in ["", "(", "1,2", "(\"a)", "(\"a\"b)", "(\"a\\b\")"] {
            assert_eq!(texts(wrong), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn hstores_give_their_pairs() {
        let pairs = |text: &str| {
            let mut found = String::new();
            hstore(text.as_bytes(), |key, value| {
                let value = value.map_or("-".into(), String::from_utf8_lossy);
                found.push_str(&format!("[{}|{value}]", String::from_utf8_lossy(key)));
                Ok::<_, Malformed>(())
            })
            .map(|()| found)
        };
        assert_eq!(pairs("").unwrap(), "");
        assert_eq!(pairs("\"a\"=>\"1\", \"b \\\"\"=>NULL, \"\"=>\"\"").unwrap(), "[a|1][b \"|-][|]");
        for wrong in ["a=>1", "\"a\"=>", "\"a\"=>\"1\" \"b\"=>NULL", "\"a\""] {
            assert_eq!(pairs(wrong), Err(Malformed), "{wrong}");
        }
    }
}

//! Text as Go's standard library writes it, which the format refers to: `encoding/json` escapes three characters that
//! JSON would allow, and names in trees go through `strconv.Quote` first.

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// `strconv.Quote` without the quotes.
pub(crate) fn quote(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            '\u{80}'..='\u{a0}'
            | '\u{ad}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => quoted.push(c),
        }
    }
    quoted
}

/// `strconv.Unquote` without the quotes. Bytes that are no UTF-8 are replaced.
pub(crate) fn unquote(quoted: &str) -> Result<String, String> {
    if !quoted.contains('\\') {
        return Ok(quoted.to_owned());
    }
    let bad = || format!("'{quoted}' is not a quoted name");
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next().ok_or_else(bad)?;
        let after = &rest[at + 1 + escape.len_utf8()..];
        let (digits, radix, is_char) = match escape {
            'x' => (2, 16, false),
            'u' => (4, 16, true),
            'U' => (8, 16, true),
            '0'..='7' => (3, 8, false),
            _ => (0, 0, false),
        };
        if digits == 0 {
            bytes.push(match escape {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '\\' | '"' | '\'' => escape as u8,
                _ => return Err(bad()),
            });
            rest = after;
            continue;
        }
        let text = if radix == 8 { &rest[at + 1..] } else { after };
        let number = text.get(..digits).and_then(|t| u32::from_str_radix(t, radix).ok()).ok_or_else(bad)?;
        if is_char {
            let c = char::from_u32(number).ok_or_else(bad)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| bad())?);
        }
        rest = &text[digits..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_quoted_as_go_quotes_them() {
        for (name, quoted) in [
            ("plain", "plain"),
            ("Ünïcode 表", "Ünïcode 表"),
            (r#"a"b\c"#, r#"a\"b\\c"#),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}\u{1}\u{7f}", r"\a\b\f\n\r\t\v\x01\x7f"),
            ("\u{a0}\u{ad}\u{200b}\u{feff}", r"\u00a0\u00ad\u200b\ufeff"),
        ] {
            assert_eq!(quote(name), quoted);
            assert_eq!(unquote(quoted).unwrap(), name);
        }
        assert_eq!(unquote(r"\U0001f600\101\xc3\xa4\'").unwrap(), "😀Aä'");
        for bad in [r"\", r"\q", r"\x1", r"\u12", r"\ud800", r"\777", r"\xgg"] {
            assert!(unquote(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_through_quoting_and_json(name in any::<String>()) {
            let mut json = Vec::new();
            push_json(&mut json, &quote(&name));
            let read: String = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(unquote(&read).unwrap(), name);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in r"[\\a-zäU0-9]{0,12}") {
            let _ = unquote(&text);
        }
    }
}

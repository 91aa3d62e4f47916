//! Identifiers and literals as pg_dump quotes them.

use bstr::BString;

use crate::keywords::QUOTED_KEYWORDS;

/// An identifier, in double quotes when the parser needs them (`fmtId` in `fe_utils/string_utils.c`).
///
/// Keywords are those of all supported releases together, so a name may be quoted that one release would not quote.
pub fn quote_identifier(name: impl AsRef<[u8]>) -> BString {
    let name = name.as_ref();
    if is_plain(name) {
        return BString::from(name);
    }
    let mut quoted = Vec::with_capacity(name.len() + 2);
    quoted.push(b'"');
    for byte in name {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    BString::from(quoted)
}

/// `schema.name`, each part quoted as needed; the name alone when the schema is empty.
pub fn quote_qualified(schema: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> BString {
    let schema = schema.as_ref();
    let mut text = BString::default();
    if !schema.is_empty() {
        text.extend_from_slice(&quote_identifier(schema));
        text.push(b'.');
    }
    text.extend_from_slice(&quote_identifier(name));
    text
}

/// A string literal. With `standard_strings` off (a setting of the dump) a backslash is doubled as well.
pub fn quote_literal(text: impl AsRef<[u8]>, standard_strings: bool) -> BString {
    let text = text.as_ref();
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'\'');
    for byte in text {
        if *byte == b'\'' || (*byte == b'\\' && !standard_strings) {
            quoted.push(*byte);
        }
        quoted.push(*byte);
    }
    quoted.push(b'\'');
    BString::from(quoted)
}

fn is_plain(name: &[u8]) -> bool {
    let Some((first, rest)) = name.split_first() else { return false };
    let starts_well = first.is_ascii_lowercase() || *first == b'_';
    let goes_on_well = rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
    starts_well && goes_on_well && !is_keyword(name)
}

fn is_keyword(name: &[u8]) -> bool {
    QUOTED_KEYWORDS.binary_search_by(|k| k.as_bytes().cmp(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_identifiers_only_when_the_parser_needs_it() {
        for (name, quoted) in [
            ("orders", "orders"),
            ("_a1", "_a1"),
            ("Orders", "\"Orders\""),
            ("1a", "\"1a\""),
            ("user", "\"user\""),
            ("name", "name"),
            ("a\"b", "\"a\"\"b\""),
            ("größe", "\"größe\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_identifier(name), quoted, "{name}");
        }
        assert_eq!(quote_qualified("my schema", "order"), "\"my schema\".\"order\"");
        assert_eq!(quote_qualified("", "t"), "t");
    }

    #[test]
    fn doubles_backslashes_only_without_standard_strings() {
        assert_eq!(quote_literal(r"it's \ here", true), r"'it''s \ here'");
        assert_eq!(quote_literal(r"it's \ here", false), r"'it''s \\ here'");
    }

    #[test]
    fn keywords_are_sorted_for_the_search() {
        assert!(QUOTED_KEYWORDS.is_sorted());
    }
}

//! The few elements of S3's documents that are read: flat, without attributes that matter.

use percent_encoding::percent_decode_str;

/// The text of the first element of this name.
pub(super) fn first(document: &str, name: &str) -> Option<String> {
    all(document, name).next()
}

/// The texts of all elements of this name, in order.
pub(super) fn all<'a>(document: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let length = rest[start..].find(&close)?;
        let text = unescaped(&rest[start..start + length]);
        rest = &rest[start + length + close.len()..];
        Some(text)
    })
}

/// A name as `encoding-type=url` gives it. A space is `+` or `%20`; a plus is `%2B` either way.
pub(super) fn decoded(name: &str) -> String {
    percent_decode_str(&name.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Text for an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').unwrap_or(0);
        let entity = rest.get(1..end).unwrap_or_default();
        let number = match entity.strip_prefix("#x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => entity.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
        };
        let character = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => number.and_then(char::from_u32),
        };
        match character {
            Some(character) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_entities_are_read() {
        let text = "<R><Key>a &amp; b</Key><Key>&#x3c;c&#62;&quot;</Key><Key></Key><Key>1 & 2;</Key><Token>t";
        let keys: Vec<String> = all(text, "Key").collect();
        assert_eq!(keys, ["a & b", "<c>\"", "", "1 & 2;"]);
        assert_eq!(first(text, "Token"), None);
        assert_eq!(decoded("a+b%2Bc%20%C3%BC"), "a b+c ü");
        assert_eq!(unescaped(&escaped("a<b>&\"c")), "a<b>&\"c");
    }
}

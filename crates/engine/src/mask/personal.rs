//! Columns that look as if they held something personal: by their name, and by what stands in them. A hint, no proof.

use super::method::Kind;
use crate::snapshot_rows::fields::{fields, lines};

/// Rows of a table that are looked at.
const ROWS: usize = 1000;
/// Of so many values one must look personal.
const ONE_IN: usize = 5;

/// Words of column names, as a part of the name.
const PARTS: [(&str, &str); 17] = [
    ("email", "an e-mail address"),
    ("e_mail", "an e-mail address"),
    ("phone", "a phone number"),
    ("first_name", "a name"),
    ("firstname", "a name"),
    ("last_name", "a name"),
    ("lastname", "a name"),
    ("full_name", "a name"),
    ("surname", "a name"),
    ("display_name", "a name"),
    ("birth", "a date of birth"),
    ("passport", "a passport"),
    ("street", "an address"),
    ("postal", "an address"),
    ("password", "a password"),
    ("ip_address", "an IP address"),
    ("user_agent", "a user's program"),
];

/// Words that a column's name is made of.
const WORDS: [(&str, &str); 21] = [
    ("mail", "an e-mail address"),
    ("tel", "a phone number"),
    ("mobile", "a phone number"),
    ("fax", "a phone number"),
    ("username", "a name"),
    ("nickname", "a name"),
    ("dob", "a date of birth"),
    ("ssn", "a social security number"),
    ("iban", "an account"),
    ("bic", "an account"),
    ("address", "an address"),
    ("city", "an address"),
    ("zip", "an address"),
    ("latitude", "a place"),
    ("longitude", "a place"),
    ("ip", "an IP address"),
    ("token", "a token"),
    ("secret", "a secret"),
    ("avatar", "a picture"),
    ("gender", "a gender"),
    ("salary", "a salary"),
];

/// What a column's name and type say that it holds.
pub(super) fn by_name(name: &str, kind: Kind, type_name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let fits = |what: &str| {
        !matches!(kind, Kind::Other)
            || matches!(what, "a date of birth" | "a place" | "a salary" | "an IP address")
    };
    let by_part = PARTS.iter().find(|(part, _)| name.contains(part));
    let by_word = || {
        let mut words = name.split(|c: char| !c.is_alphanumeric());
        words.find_map(|word| WORDS.iter().find(|(known, _)| *known == word))
    };
    if matches!(type_name, "inet" | "cidr") {
        return Some("its type is that of an IP address".into());
    }
    let (_, what) = by_part.or_else(by_word)?;
    fits(what).then(|| format!("its name is that of {what}"))
}

/// What the values of some columns look like; `looked_at` says for which to tell.
pub(super) fn by_content(piece: &[u8], looked_at: &[bool]) -> Vec<Option<String>> {
    let mut values = vec![0; looked_at.len()];
    let mut mails = vec![0; looked_at.len()];
    let mut phones = vec![0; looked_at.len()];
    for line in lines(piece).take(ROWS) {
        for (number, field) in
            fields(line).enumerate().filter(|(number, _)| looked_at.get(*number) == Some(&true))
        {
            if !field.is_null() && !field.0.is_empty() {
                values[number] += 1;
                mails[number] += usize::from(has_address(field.0));
                phones[number] += usize::from(is_phone(field.0));
            }
        }
    }
    let many = |found: usize, all: usize| found > 0 && found * ONE_IN >= all;
    (0..looked_at.len())
        .map(|number| {
            if many(mails[number], values[number]) {
                Some("e-mail addresses stand in it".into())
            } else {
                many(phones[number], values[number]).then(|| "phone numbers stand in it".into())
            }
        })
        .collect()
}

/// Whether something like `a@b.c` stands in it.
fn has_address(text: &[u8]) -> bool {
    let is_part = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+') || *byte >= 0x80
    };
    memchr::memchr_iter(b'@', text).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(is_part);
        let domain: Vec<u8> = text[at + 1..].iter().copied().take_while(is_part).take(255).collect();
        let dot = memchr::memrchr(b'.', domain.strip_suffix(b".").unwrap_or(&domain));
        before && dot.is_some_and(|dot| dot > 0 && dot + 2 < domain.len())
    })
}

/// Whether it is a number of a foreign country, whole.
fn is_phone(text: &[u8]) -> bool {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    text.first() == Some(&b'+')
        && (7..=15).contains(&digits)
        && text[1..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'(' | b')' | b'/' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_personal_columns_are_known() {
        for name in [
            "email",
            "contact_email",
            "Phone",
            "home_address",
            "first_name",
            "ip",
            "raw_token",
            "date_of_birth",
        ] {
            assert!(by_name(name, Kind::TEXT, "text").is_some(), "{name}");
        }
        for name in ["id", "description", "zipped", "intel", "created_at", "telemetry"] {
            assert_eq!(by_name(name, Kind::TEXT, "text"), None, "{name}");
        }
        assert!(by_name("date_of_birth", Kind::Other, "date").is_some());
        assert!(by_name("seen_from", Kind::Other, "inet").is_some());
        assert_eq!(by_name("email_confirmed_at", Kind::Other, "timestamp with time zone"), None);
    }

    #[test]
    fn values_that_look_personal_are_seen() {
        let piece = b"jo@shop.test\t+49 170 1234567\t{\"m\": \"x@y.org\"}\tjo@shop.test\nplain\t\\N\t{}\tjo@shop.test\n";
        let found = by_content(piece, &[true, true, true, false]);
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
        for text in ["a@b", "@x.org", "user @ x.org", "a@.org", "a@b.c"] {
            assert!(!has_address(text.as_bytes()), "{text}");
        }
        assert!(!is_phone(b"+12") && !is_phone(b"0170 1234567") && !is_phone(b"+a1234567"));
    }
}

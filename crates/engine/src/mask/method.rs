//! What a mask makes of one value.

use super::document::{Document, Path};
use super::key::{Key, letters};
use super::names::{FIRST, LAST};

/// Letters that keep fake values of different ones different.
const TELLING: usize = 12;
/// Reserved for examples by RFC 2606: no mail ever goes there.
const DOMAIN: &[u8] = b"@example.com";
/// The longest first or last name.
const LONGEST_NAME: usize = 8;
/// A country code that nobody has, and digits.
const PHONE: &[u8] = b"999";
const PHONE_DIGITS: usize = 15;

/// How values of a column are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all: says that this is meant.
    Keep,
    /// Null.
    Null,
    /// This text.
    Constant(String),
    /// Something else of the same type, the same for equal values wherever they are.
    Hash,
    /// A first and a last name.
    Name,
    /// A first name.
    FirstName,
    /// A last name.
    LastName,
    /// An address at example.com.
    Email,
    /// A number of no country.
    Phone,
    /// The characters at start and end, stars between them.
    Partial {
        /// How many characters stay at the start.
        start: usize,
        /// How many at the end.
        end: usize,
    },
    /// Values inside of JSON.
    Json(Vec<(Path, Method)>),
}

/// What a value is, as far as masks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text {
        /// Characters that fit.
        longest: Option<usize>,
        /// Upper and lower case are equal (`citext`).
        fold: bool,
        /// Spaces at the end do not count (`character(n)`).
        trim: bool,
    },
    /// A whole number.
    Integer,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytes,
    /// `json`, `jsonb`.
    Json,
    /// Anything else: may be kept, left out or replaced by a constant.
    Other,
}

impl Kind {
    /// A text of any length.
    pub(super) const TEXT: Self = Self::Text { longest: None, fold: false, trim: false };
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Masked {
    /// It stays as it is.
    Kept,
    /// It is null.
    Null,
    /// It was written.
    Written,
}

impl Method {
    /// Its name in rules and plans.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Null => "null",
            Self::Constant(_) => "constant",
            Self::Hash => "hash",
            Self::Name => "name",
            Self::FirstName => "first-name",
            Self::LastName => "last-name",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Partial { .. } => "partial",
            Self::Json(_) => "json",
        }
    }

    /// Bits that keep fake values apart, `None` where equal fakes are to be expected of different values. Without limit
    /// where two are never equal.
    pub(super) fn telling_bits(&self, kind: Kind, unique: bool) -> Option<f64> {
        let longest = match kind {
            Kind::Text { longest, .. } => longest.unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let letters = |count: usize| Some(5.0 * count as f64);
        match (self, kind) {
            (Self::Keep | Self::Json(_), _) | (Self::Hash, Kind::Integer) => Some(f64::INFINITY),
            (Self::Hash, Kind::Uuid) => Some(122.0),
            (Self::Hash, Kind::Bytes) => Some(128.0),
            (Self::Hash, _) => letters(longest.min(26)),
            (Self::Email, _) => letters(longest.min(TELLING)),
            (Self::Phone, _) if longest > PHONE.len() + PHONE_DIGITS => Some(49.0),
            (Self::Name, _) if unique && longest >= 2 * LONGEST_NAME + 2 + TELLING => letters(TELLING),
            (Self::FirstName | Self::LastName, _) if unique && longest > LONGEST_NAME + TELLING => {
                letters(TELLING)
            }
            _ => None,
        }
    }

    /// Masks a value that is not null: its text without COPY's escapes. `unique` keeps names of different values different.
    pub(super) fn apply(
        &self,
        key: &Key,
        kind: Kind,
        unique: bool,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Masked {
        match self {
            Self::Keep => return Masked::Kept,
            Self::Null => return Masked::Null,
            Self::Constant(constant) => {
                out.extend_from_slice(constant.as_bytes());
                return Masked::Written;
            }
            Self::Json(paths) => return Document { key, paths }.apply(text, out),
            _ => {}
        }
        match kind {
            Kind::Integer => integer(key, text, out),
            Kind::Uuid => uuid(key, text, out),
            Kind::Bytes => {
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(hex::encode(&key.hash(b'b', text)[..16]).as_bytes());
            }
            Kind::Text { longest, fold, trim } => {
                let text = if trim { text.trim_ascii_end() } else { text };
                if text.is_empty() {
                    return Masked::Kept;
                }
                let folded;
                let text = match (fold, std::str::from_utf8(text)) {
                    (true, Ok(mixed)) => {
                        folded = mixed.to_lowercase();
                        folded.as_bytes()
                    }
                    _ => text,
                };
                self.text(key, text, longest.unwrap_or(usize::MAX), unique, out);
            }
            // The plan refuses these.
            Kind::Json | Kind::Other => return Masked::Null,
        }
        Masked::Written
    }

    fn text(&self, key: &Key, text: &[u8], longest: usize, unique: bool, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Name => {
                let hash = key.hash(b'p', text);
                out.extend_from_slice(pick(&FIRST, hash[31]));
                out.push(b' ');
                out.extend_from_slice(pick(&LAST, hash[30]));
                telling(&hash, unique, out);
            }
            Self::FirstName => {
                let hash = key.hash(b'f', text);
                out.extend_from_slice(pick(&FIRST, hash[31]));
                telling(&hash, unique, out);
            }
            Self::LastName => {
                let hash = key.hash(b'l', text);
                out.extend_from_slice(pick(&LAST, hash[31]));
                telling(&hash, unique, out);
            }
            Self::Email => {
                let hash = key.hash(b'e', text);
                if longest > LONGEST_NAME + TELLING + DOMAIN.len() {
                    out.extend(pick(&FIRST, hash[31]).to_ascii_lowercase());
                    out.push(b'.');
                }
                letters(&hash, TELLING, out);
                if out.len() - start + DOMAIN.len() <= longest {
                    out.extend_from_slice(DOMAIN);
                }
            }
            Self::Phone => {
                let hash = key.hash(b't', text);
                if text.starts_with(b"+") {
                    out.push(b'+');
                }
                let number = hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                let digits =
                    format!("{:0width$}", number % 10_u64.pow(PHONE_DIGITS as u32), width = PHONE_DIGITS);
                out.extend_from_slice(PHONE);
                out.extend_from_slice(digits.as_bytes());
            }
            Self::Partial { start, end } => partial(text, *start, *end, out),
            // Text that holds a uuid goes with the column that it came from.
            _ if is_uuid(text) => uuid(key, text, out),
            _ => letters(&key.hash(b'h', text), 26, out),
        }
        // All but `partial`, whose result is as long as the value, are ASCII.
        if !matches!(self, Self::Partial { .. }) {
            out.truncate(start.saturating_add(longest));
        }
    }
}

fn telling(hash: &[u8; 32], unique: bool, out: &mut Vec<u8>) {
    if unique {
        out.push(b' ');
        letters(hash, TELLING, out);
    }
}

fn pick<'a>(names: &[&'a str; 64], by: u8) -> &'a [u8] {
    names[usize::from(by & 63)].as_bytes()
}

fn integer(key: &Key, text: &[u8], out: &mut Vec<u8>) {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    out.extend_from_slice(key.number(number).to_string().as_bytes());
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// A random uuid in the sense of RFC 9562 (version 4).
fn uuid(key: &Key, text: &[u8], out: &mut Vec<u8>) {
    let mut bytes = key.hash(b'u', text);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(&bytes[..16]);
    for (number, part) in
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].iter().enumerate()
    {
        if number > 0 {
            out.push(b'-');
        }
        out.extend_from_slice(part.as_bytes());
    }
}

/// At least one character between start and end is hidden, and all of a short text.
fn partial(text: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    let count = text.chars().count();
    let all = start.saturating_add(end) >= count;
    for (number, character) in text.chars().enumerate() {
        let shown = !all && (number < start || number >= count - end);
        let shown = if shown { character } else { '*' };
        out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_postgres::Secret;

    fn masked(method: &Method, kind: Kind, unique: bool, text: &str) -> Option<String> {
        let mut out = Vec::new();
        match method.apply(&Key::new(&Secret::new("test")), kind, unique, text.as_bytes(), &mut out) {
            Masked::Kept => Some(text.to_owned()),
            Masked::Null => None,
            Masked::Written => Some(String::from_utf8(out).unwrap()),
        }
    }

    fn text(method: &Method, text: &str) -> String {
        masked(method, Kind::TEXT, false, text).unwrap()
    }

    fn short(method: &Method, longest: usize, text: &str) -> String {
        masked(method, Kind::Text { longest: Some(longest), fold: false, trim: false }, true, text).unwrap()
    }

    #[test]
    fn equal_values_get_equal_masks_and_different_ones_different() {
        for method in [Method::Hash, Method::Email, Method::Phone] {
            assert_eq!(text(&method, "jo@shop.test"), text(&method, "jo@shop.test"));
            assert_ne!(text(&method, "jo@shop.test"), text(&method, "Jo@shop.test"));
            assert_eq!(text(&method, ""), "", "nothing to hide");
        }
        for method in [Method::Name, Method::FirstName, Method::LastName] {
            let unique: std::collections::HashSet<_> =
                (0..1000).map(|n| masked(&method, Kind::TEXT, true, &n.to_string())).collect();
            assert_eq!(unique.len(), 1000);
        }
    }

    #[test]
    fn fakes_look_like_what_they_stand_for() {
        let email = text(&Method::Email, "jo@shop.test");
        assert!(email.ends_with("@example.com") && email.contains('.') && email.is_ascii(), "{email}");
        assert_eq!(text(&Method::Name, "Jo").split(' ').count(), 2);
        assert!(text(&Method::Phone, "+49 170 123").starts_with("+999"));
        assert!(text(&Method::Phone, "0170 123").starts_with("999"));
        assert_eq!(text(&Method::Partial { start: 2, end: 1 }, "Jürgen"), "Jü***n");
        assert_eq!(text(&Method::Partial { start: 2, end: 2 }, "Jürg"), "****");
        assert_eq!(masked(&Method::Null, Kind::Other, false, "x"), None);
        assert_eq!(text(&Method::Constant("c".into()), "x"), "c");
    }

    #[test]
    fn types_and_lengths_are_kept() {
        assert_eq!(short(&Method::Hash, 7, "something").len(), 7);
        assert!(short(&Method::Email, 24, "jo@shop.test").ends_with("@example.com"));
        assert_eq!(short(&Method::Email, 20, "jo@shop.test").len(), 12);
        assert_eq!(short(&Method::Name, 5, "Jo").len(), 5);
        let uuid = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
        let masked_uuid = masked(&Method::Hash, Kind::Uuid, false, uuid).unwrap();
        assert!(is_uuid(masked_uuid.as_bytes()) && masked_uuid != uuid);
        assert_eq!(text(&Method::Hash, uuid), masked_uuid, "a text that holds a uuid still matches it");
        assert_eq!(masked(&Method::Hash, Kind::Bytes, false, "\\x00").unwrap().len(), 34);
        assert!(masked(&Method::Hash, Kind::Integer, false, "-12").unwrap().parse::<i16>().unwrap() < 0);
        let citext = Kind::Text { longest: None, fold: true, trim: false };
        assert_eq!(masked(&Method::Hash, citext, false, "JO"), masked(&Method::Hash, citext, false, "jo"));
        let padded = Kind::Text { longest: Some(9), fold: false, trim: true };
        assert_eq!(masked(&Method::Hash, padded, false, "jo   "), masked(&Method::Hash, padded, false, "jo"));
    }

    #[test]
    fn what_cannot_keep_values_apart_says_so() {
        let tight = Kind::Text { longest: Some(6), fold: false, trim: false };
        assert_eq!(Method::Hash.telling_bits(tight, true), Some(30.0));
        assert_eq!(Method::Name.telling_bits(tight, true), None);
        assert_eq!(Method::Name.telling_bits(Kind::TEXT, false), None);
        assert_eq!(Method::Constant(String::new()).telling_bits(Kind::TEXT, true), None);
        assert_eq!(Method::Hash.telling_bits(Kind::Integer, true), Some(f64::INFINITY));
    }
}

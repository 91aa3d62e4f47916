//! Digests of rows that do not depend on their order.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// Rows, bytes and sum of a set of rows. For each row the XXH3-128 of its COPY text without the newline, summed modulo
/// 2^128: independent of order, and it adds up over ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Digest {
    /// Number of rows.
    pub rows: u64,
    /// COPY text with newlines.
    pub bytes: u64,
    /// Sum of the rows' hashes.
    #[serde(rename = "digest", with = "hex32")]
    pub sum: u128,
}

impl Digest {
    /// Adds one row, given as its COPY text without the newline.
    #[inline]
    pub fn add_row(&mut self, line: &[u8]) {
        self.rows += 1;
        self.bytes += line.len() as u64 + 1;
        self.sum = self.sum.wrapping_add(xxh3_128(line));
    }
}

impl Add for Digest {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Digest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), Self::add)
    }
}

/// The sum alone, as 32 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a digest is 32 hexadecimal digits")]
pub struct ParseDigestError;

/// The sum from 32 hexadecimal digits; rows and bytes are 0.
impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        Ok(Self { sum: parse_hex32(text).ok_or(ParseDigestError)?, ..Self::default() })
    }
}

fn parse_hex32(text: &str) -> Option<u128> {
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(sum: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{sum:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        super::parse_hex32(&text).ok_or_else(|| D::Error::custom(super::ParseDigestError))
    }
}

/// Digests COPY text as it streams by. Rows may be split anywhere between calls; memory does not depend on their size.
pub struct RowDigester {
    complete: Digest,
    /// State of the row that has begun and not ended, and its length so far.
    partial: Xxh3Default,
    partial_length: u64,
}

impl Default for RowDigester {
    fn default() -> Self {
        Self::new()
    }
}

impl RowDigester {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { complete: Digest::default(), partial: Xxh3Default::new(), partial_length: 0 }
    }

    /// Takes the next piece of the stream.
    pub fn update(&mut self, mut data: &[u8]) {
        if self.partial_length > 0 {
            let Some(end) = memchr::memchr(b'\n', data) else {
                self.extend_partial(data);
                return;
            };
            self.extend_partial(&data[..end]);
            self.end_partial();
            data = &data[end + 1..];
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', data) {
            self.complete.add_row(&data[start..end]);
            start = end + 1;
        }
        if start < data.len() {
            self.extend_partial(&data[start..]);
        }
    }

    fn extend_partial(&mut self, piece: &[u8]) {
        self.partial.update(piece);
        self.partial_length += piece.len() as u64;
    }

    fn end_partial(&mut self) {
        self.complete.rows += 1;
        self.complete.bytes += self.partial_length + 1;
        self.complete.sum = self.complete.sum.wrapping_add(self.partial.digest128());
        self.partial.reset();
        self.partial_length = 0;
    }

    /// Digest of the rows that are complete.
    pub fn digest(&self) -> Digest {
        self.complete
    }

    /// Whether the last row is still open: the stream must not end here.
    pub fn in_row(&self) -> bool {
        self.partial_length > 0
    }
}

impl fmt::Debug for RowDigester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowDigester").field("complete", &self.complete).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &[u8]) -> Digest {
        let mut digest = Digest::default();
        for line in text.split_inclusive(|b| *b == b'\n') {
            digest.rows += 1;
            digest.bytes += line.len() as u64;
            digest.sum = digest.sum.wrapping_add(xxh3_128(&line[..line.len() - 1]));
        }
        digest
    }

    proptest! {
        #[test]
        fn splits_do_not_change_the_digest(
            rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..20),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
        ) {
            let text: Vec<u8> = rows
                .iter()
                .flat_map(|r| r.iter().copied().filter(|b| *b != b'\n').chain([b'\n']))
                .collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut digester = RowDigester::new();
            for pair in cuts.windows(2) {
                digester.update(&text[pair[0]..pair[1]]);
            }
            prop_assert!(!digester.in_row());
            prop_assert_eq!(digester.digest(), plain(&text));
        }

        #[test]
        fn the_digest_adds_up_and_ignores_order(
            mut rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            at in any::<proptest::sample::Index>(),
        ) {
            let of = |rows: &[Vec<u8>]| { let mut d = Digest::default(); rows.iter().for_each(|r| d.add_row(r)); d };
            let whole = of(&rows);
            let (left, right) = rows.split_at(at.index(rows.len() + 1));
            prop_assert_eq!([of(left), of(right)].into_iter().sum::<Digest>(), whole);
            rows.reverse();
            prop_assert_eq!(of(&rows), whole);
        }
    }

    #[test]
    fn a_row_of_no_columns_is_a_row() {
        let mut digester = RowDigester::new();
        digester.update(b"\n\n");
        assert_eq!((digester.digest().rows, digester.digest().bytes), (2, 2));
    }

    #[test]
    fn digests_are_written_and_read_as_hex() {
        let digest = Digest { rows: 2, bytes: 9, sum: 0xab };
        assert_eq!(digest.to_string(), "000000000000000000000000000000ab");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap().sum, 0xab);
        assert!("+0000000000000000000000000000000".parse::<Digest>().is_err());
        let json = r#"{"rows":2,"bytes":9,"digest":"000000000000000000000000000000ab"}"#;
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        assert_eq!(serde_json::from_str::<Digest>(json).unwrap(), digest);
    }
}

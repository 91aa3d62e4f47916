//! What makes masks deterministic: a keyed hash, and a keyed permutation of whole numbers.

use basekeep_postgres::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Letters of fake words: five bits each, the same in upper and lower case.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Rounds of the permutation. Four make it a good one; small halves get more.
const ROUNDS: u8 = 8;

/// Made of the secret. Who does not know it cannot compute a mask, and so cannot try values until one fits.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// A secret of any length.
    pub(crate) fn new(secret: &Secret) -> Self {
        // A key of any length is one; there is no other error.
        match Hmac::new_from_slice(secret.expose().as_bytes()) {
            Ok(state) => Self(state),
            Err(_) => Self(Hmac::new(&Default::default())),
        }
    }

    /// 32 bytes that depend on the secret and on these texts alone.
    pub(super) fn hash(&self, purpose: u8, text: &[u8]) -> [u8; 32] {
        let mut state = self.0.clone();
        state.update(&[purpose]);
        state.update(text);
        state.finalize().into_bytes().into()
    }

    /// A number instead of another of its size: a permutation of 1 to 2^15 - 1, of the numbers from there to 2^31, and of those
    /// from there to 2^63, and the same for negative ones; 0 stays. So it fits the column's type, whichever it is, different
    /// numbers stay different, and equal ones in a narrower column stay equal.
    pub(super) fn number(&self, number: i64) -> i64 {
        match number {
            0 => 0,
            1.. => self.positive(number.unsigned_abs()).cast_signed(),
            _ => !self.positive_or_zero(!number),
        }
    }

    /// For negative numbers, of which one more fits a type.
    fn positive_or_zero(&self, number: i64) -> i64 {
        match number {
            0 => 0,
            _ => self.positive(number.unsigned_abs()).cast_signed(),
        }
    }

    fn positive(&self, number: u64) -> u64 {
        let (half, least, end) = match number {
            0..0x8000 => (8, 1, 0x8000),
            0x8000..0x8000_0000 => (16, 0x8000, 0x8000_0000),
            _ => (32, 0x8000_0000, 0x8000_0000_0000_0000),
        };
        let mut found = number;
        loop {
            found = self.permuted(half, found);
            if (least..end).contains(&found) {
                return found;
            }
        }
    }

    /// A Feistel network over numbers of twice `half` bits.
    fn permuted(&self, half: u32, number: u64) -> u64 {
        let mask = (1_u64 << half) - 1;
        let (mut left, mut right) = (number >> half & mask, number & mask);
        for round in 0..ROUNDS {
            let mut text = [0; 10];
            text[0] = round;
            text[1] = half as u8;
            text[2..].copy_from_slice(&right.to_be_bytes());
            let hash = self.hash(b'n', &text);
            let mixed = hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            (left, right) = (right, (left ^ mixed) & mask);
        }
        left << half | right
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// Appends `count` letters and digits (26 at most hold 130 bits) made of a hash.
pub(super) fn letters(hash: &[u8; 32], count: usize, out: &mut Vec<u8>) {
    let bit = |at: usize| hash[at / 8] >> (7 - at % 8) & 1;
    for letter in 0..count.min(51) {
        let index = (letter * 5..letter * 5 + 5).fold(0, |sum, at| sum << 1 | bit(at));
        out.push(LETTERS[usize::from(index)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(secret: &str) -> Key {
        Key::new(&Secret::new(secret))
    }

    #[test]
    fn numbers_are_permuted_within_their_type() {
        let key = key("a secret");
        let small: HashSet<i64> = (-0x8000..0x8000).map(|n| key.number(n)).collect();
        assert_eq!(small.len(), 0x10000);
        assert!(small.iter().all(|n| (-0x8000..0x8000).contains(n)));
        assert_eq!(key.number(0), 0);
        for n in [0x8000, i64::from(i32::MAX), i64::from(i32::MIN), -0x8001] {
            let found = key.number(n);
            assert!(i32::try_from(found).is_ok() && i16::try_from(found).is_err(), "{n} {found}");
        }
        for n in [i64::MAX, i64::MIN, 1 << 40] {
            assert!(i32::try_from(key.number(n)).is_err());
        }
        let many: HashSet<i64> = (40_000..60_000).map(|n| key.number(n)).collect();
        assert_eq!(many.len(), 20_000);
    }

    #[test]
    fn another_secret_gives_another_mask() {
        assert_eq!(key("a").hash(b'x', b"text"), key("a").hash(b'x', b"text"));
        assert_ne!(key("a").hash(b'x', b"text"), key("b").hash(b'x', b"text"));
        assert_ne!(key("a").number(12345), key("b").number(12345));
        let mut word = Vec::new();
        letters(&key("a").hash(b'x', b"text"), 26, &mut word);
        assert!(word.len() == 26 && word.iter().all(|letter| LETTERS.contains(letter)));
        assert_eq!(format!("{:?}", key("hidden")), "Key");
    }
}

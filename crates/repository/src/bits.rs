//! A bit for each of many things, set from several threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits, all of them clear at first.
#[derive(Debug, Default)]
pub(crate) struct Bits(Vec<AtomicU64>);

impl Bits {
    pub(crate) fn new(length: usize) -> Self {
        let mut words = Vec::new();
        words.resize_with(length.div_ceil(64), AtomicU64::default);
        Self(words)
    }

    /// Whether it was set before.
    pub(crate) fn set(&self, at: usize) -> bool {
        let Some(word) = self.0.get(at / 64) else { return false };
        let bit = 1 << (at % 64);
        word.fetch_or(bit, Relaxed) & bit != 0
    }

    pub(crate) fn clear(&self, at: usize) {
        if let Some(word) = self.0.get(at / 64) {
            word.fetch_and(!(1 << (at % 64)), Relaxed);
        }
    }

    pub(crate) fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word.load(Relaxed) & (1 << (at % 64)) != 0)
    }

    /// The same bits, to be set apart from these.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.iter().map(|word| AtomicU64::new(word.load(Relaxed))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_and_cleared_one_by_one() {
        let bits = Bits::new(130);
        assert!(!bits.set(129) && bits.set(129) && !bits.get(128));
        let copy = bits.copy();
        bits.clear(129);
        assert!(!bits.get(129) && copy.get(129) && !bits.get(10_000));
    }
}

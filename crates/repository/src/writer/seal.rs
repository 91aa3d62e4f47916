//! One blob: compress, seal, and open it again to see that it is right.
//!
//! Verifying compares a fast 128-bit hash (XXH3) of what comes out with that of what went in, which was taken before the
//! blob's SHA-256. A bit that flips anywhere from then on shows, at a tenth of the price of a second SHA-256; nobody
//! forges anything here.

use crate::compression::{Packer, Unpacker};
use crate::crypto::{Key, OVERHEAD};
use xxhash_rust::xxh3::xxh3_128;

use crate::{BlobId, RepositoryError, Result};

const IV: usize = 16;

/// A thread's tools and buffers.
pub(super) struct Sealer {
    packer: Packer,
    unpacker: Unpacker,
    verify: bool,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

/// A blob to seal, with both of its hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain<'a> {
    data: &'a [u8],
    pub(super) id: BlobId,
    fast: u128,
}

impl<'a> Plain<'a> {
    /// Takes the hashes, the fast one first: what changes between the two shows as well.
    pub(super) fn new(data: &'a [u8]) -> Self {
        let fast = xxh3_128(data);
        Self { data, id: BlobId::of(data), fast }
    }
}

/// A sealed blob, in the sealer's buffer.
#[derive(Debug)]
pub(super) struct Sealed<'a> {
    pub(super) bytes: &'a [u8],
    /// Plain length if it is compressed, else 0.
    pub(super) uncompressed: u32,
}

impl Sealer {
    pub(super) fn new(level: i32, verify: bool) -> Result<Self> {
        Ok(Self {
            packer: Packer::new(level)?,
            unpacker: Unpacker::new()?,
            verify,
            sealed: Vec::new(),
            opened: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// Compresses the data unless that makes it larger, and seals it.
    pub(super) fn seal(&mut self, key: &Key, blob: Plain<'_>) -> Result<Sealed<'_>> {
        let data = blob.data;
        let length = u32::try_from(data.len()).map_err(|e| RepositoryError::internal("seal a blob", e))?;
        if self.sealed.len() < data.len() + OVERHEAD {
            self.sealed.resize(data.len() + OVERHEAD, 0);
        }
        let room = &mut self.sealed[IV..IV + data.len()];
        let last = data.len().saturating_sub(1);
        let (packed, uncompressed) = match self.packer.pack_into(data, &mut room[..last]) {
            Some(packed) => (packed, length),
            None => {
                room.copy_from_slice(data);
                (data.len(), 0)
            }
        };
        let end = packed + OVERHEAD;
        key.seal_in_place(&mut self.sealed[..end]);
        if self.verify {
            self.verify(key, end, uncompressed, blob.fast)
                .map_err(|reason| RepositoryError::VerificationFailed { blob: blob.id, reason })?;
        }
        Ok(Sealed { bytes: &self.sealed[..end], uncompressed })
    }

    fn verify(&mut self, key: &Key, end: usize, uncompressed: u32, expected: u128) -> Result<(), String> {
        key.open_into(&self.sealed[..end], &mut self.opened).map_err(|e| e.to_string())?;
        let plain = if uncompressed == 0 {
            &self.opened
        } else {
            self.unpacker.unpack_into(&self.opened, uncompressed as usize, &mut self.plain)?;
            &self.plain
        };
        if xxh3_128(plain) == expected { Ok(()) } else { Err("its hash differs".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn text_is_compressed_and_noise_is_stored_as_it_is() {
        let key = Key::random();
        let mut sealer = Sealer::new(1, true).unwrap();
        let text = b"one two three ".repeat(1000);
        let sealed = sealer.seal(&key, Plain::new(&text)).unwrap();
        assert_eq!(sealed.uncompressed as usize, text.len());
        assert!(sealed.bytes.len() < 200);
        let mut noise = vec![0; 5000];
        rand::rng().fill_bytes(&mut noise);
        let sealed = sealer.seal(&key, Plain::new(&noise)).unwrap();
        assert_eq!((sealed.uncompressed, sealed.bytes.len()), (0, noise.len() + OVERHEAD));
        assert_eq!(key.open(sealed.bytes).unwrap(), noise);
    }

    #[test]
    fn what_does_not_open_to_its_hash_is_refused() {
        let mut sealer = Sealer::new(1, true).unwrap();
        // A bit flips after the hashes were taken.
        for length in [7, 100_000] {
            let data = vec![1; length];
            let mut flipped = data.clone();
            flipped[length / 2] ^= 4;
            let blob = Plain { data: &flipped, ..Plain::new(&data) };
            let error = sealer.seal(&Key::random(), blob).unwrap_err();
            assert!(matches!(error, RepositoryError::VerificationFailed { .. }));
        }
    }
}

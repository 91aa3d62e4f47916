//! One blob: compress, seal, and open it again to see that it is right.
//!
//! Verifying compares a fast 128-bit hash (XXH3) of what comes out with that of what went in, which was taken before the
//! blob's SHA-256. A bit that flips anywhere from then on shows, at a tenth of the price of a second SHA-256; nobody
//! forges anything here.
//!
//! A blob for several repositories is compressed once and sealed with each one's key. What the first sealing opens to is
//! decompressed and compared; the others must open to the same compressed bytes.

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
    /// The packed bytes once more, where they are sealed several times.
    packed: Vec<u8>,
}

/// A blob that is compressed and lies in the sealer's buffer.
#[derive(Debug)]
pub(super) struct Packed {
    id: BlobId,
    fast: u128,
    /// Where it ends when it is sealed.
    end: usize,
    uncompressed: u32,
    /// It was sealed before; the hash of the packed bytes that this opened to.
    sealed: Option<u128>,
    again: bool,
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

    /// Bytes.
    pub(super) fn length(&self) -> usize {
        self.data.len()
    }
}

/// A sealed blob, in the sealer's buffer.
#[derive(Debug)]
pub(super) struct Sealed<'a> {
    pub(super) bytes: &'a [u8],
    /// Plain length if it is compressed, else 0.
    pub(super) uncompressed: u32,
}

impl Packed {
    /// Bytes when it is sealed.
    pub(super) fn length(&self) -> usize {
        self.end
    }
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
            packed: Vec::new(),
        })
    }

    /// Compresses the data unless that makes it larger. `again` if it will be sealed more than once.
    pub(super) fn pack(&mut self, blob: Plain<'_>, again: bool) -> Result<Packed> {
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
        if again {
            self.packed.clear();
            self.packed.extend_from_slice(&room[..packed]);
        }
        Ok(Packed { id: blob.id, fast: blob.fast, end: packed + OVERHEAD, uncompressed, sealed: None, again })
    }

    /// Seals what was packed last.
    pub(super) fn seal(&mut self, key: &Key, packed: &mut Packed) -> Result<Sealed<'_>> {
        let end = packed.end;
        if packed.sealed.is_some() {
            self.sealed[IV..end + IV - OVERHEAD].copy_from_slice(&self.packed);
        }
        key.seal_in_place(&mut self.sealed[..end]);
        let opened = match self.verify {
            true => self
                .open(key, packed)
                .map_err(|reason| RepositoryError::VerificationFailed { blob: packed.id, reason })?,
            false => 0,
        };
        packed.sealed = Some(opened);
        Ok(Sealed { bytes: &self.sealed[..end], uncompressed: packed.uncompressed })
    }

    /// Opens what was sealed and compares; gives the hash of the packed bytes where they are sealed again.
    fn open(&mut self, key: &Key, packed: &Packed) -> Result<u128, String> {
        let differs = || Err("its hash differs".to_owned());
        key.open_into(&self.sealed[..packed.end], &mut self.opened).map_err(|e| e.to_string())?;
        if let Some(first) = packed.sealed {
            return if xxh3_128(&self.opened) == first { Ok(first) } else { differs() };
        }
        let plain = if packed.uncompressed == 0 {
            &self.opened
        } else {
            self.unpacker.unpack_into(&self.opened, packed.uncompressed as usize, &mut self.plain)?;
            &self.plain
        };
        if xxh3_128(plain) != packed.fast {
            return differs();
        }
        Ok(if packed.again { xxh3_128(&self.opened) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    fn seal<'a>(sealer: &'a mut Sealer, key: &Key, blob: Plain<'_>) -> Result<Sealed<'a>> {
        let mut packed = sealer.pack(blob, false)?;
        sealer.seal(key, &mut packed)
    }

    #[test]
    fn text_is_compressed_and_noise_is_stored_as_it_is() {
        let key = Key::random();
        let mut sealer = Sealer::new(1, true).unwrap();
        let text = b"one two three ".repeat(1000);
        let sealed = seal(&mut sealer, &key, Plain::new(&text)).unwrap();
        assert_eq!(sealed.uncompressed as usize, text.len());
        assert!(sealed.bytes.len() < 200);
        let mut noise = vec![0; 5000];
        rand::rng().fill_bytes(&mut noise);
        let sealed = seal(&mut sealer, &key, Plain::new(&noise)).unwrap();
        assert_eq!((sealed.uncompressed, sealed.bytes.len()), (0, noise.len() + OVERHEAD));
        assert_eq!(key.open(sealed.bytes).unwrap(), noise);
    }

    #[test]
    fn a_blob_for_several_repositories_opens_with_the_key_of_each() {
        for verify in [true, false] {
            let mut sealer = Sealer::new(1, verify).unwrap();
            for data in [b"one two three ".repeat(1000), vec![7], Vec::new()] {
                let mut packed = sealer.pack(Plain::new(&data), true).unwrap();
                for _ in 0..3 {
                    let key = Key::random();
                    let sealed = sealer.seal(&key, &mut packed).unwrap();
                    let (mut plain, uncompressed) = (key.open(sealed.bytes).unwrap(), sealed.uncompressed);
                    if uncompressed > 0 {
                        let mut unpacked = Vec::new();
                        let mut unpacker = Unpacker::new().unwrap();
                        unpacker.unpack_into(&plain, uncompressed as usize, &mut unpacked).unwrap();
                        plain = unpacked;
                    }
                    assert_eq!(plain, data);
                }
            }
        }
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
            let error = seal(&mut sealer, &Key::random(), blob).unwrap_err();
            assert!(matches!(error, RepositoryError::VerificationFailed { .. }));
        }
    }

    #[test]
    fn what_changes_between_two_sealings_is_refused() {
        let mut sealer = Sealer::new(1, true).unwrap();
        let data = b"one two three ".repeat(1000);
        let mut packed = sealer.pack(Plain::new(&data), true).unwrap();
        sealer.seal(&Key::random(), &mut packed).unwrap();
        sealer.packed[20] ^= 4;
        let error = sealer.seal(&Key::random(), &mut packed).unwrap_err();
        assert!(matches!(error, RepositoryError::VerificationFailed { .. }));
    }
}

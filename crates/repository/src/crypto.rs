//! Sealing and opening: AES-256 in counter mode and Poly1305-AES, laid out as `IV || ciphertext || MAC`
//! (restic's design document, "Keys, Encryption and MAC").

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128, Aes256};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use rand::Rng;
use zeroize::Zeroizing;

use crate::id::sha256;

const IV: usize = 16;
const MAC: usize = 16;
/// What sealing adds to the plain length.
pub(crate) const OVERHEAD: usize = IV + MAC;

/// The bytes are not what was sealed with this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its message authentication code does not match")
    }
}

/// A pair of keys: one to encrypt, one to authenticate. 64 bytes: AES-256 key, AES-128 key `k`, Poly1305 key `r`.
#[derive(Clone)]
pub(crate) struct Key {
    cipher: Aes256,
    nonce_cipher: Aes128,
    bytes: Zeroizing<[u8; 64]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 64]>) -> Self {
        let mut encrypt = Zeroizing::new([0; 32]);
        encrypt.copy_from_slice(&bytes[..32]);
        let mut k = Zeroizing::new([0; 16]);
        k.copy_from_slice(&bytes[32..48]);
        Self { cipher: Aes256::new((&*encrypt).into()), nonce_cipher: Aes128::new((&*k).into()), bytes }
    }

    pub(crate) fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        rand::rng().fill_bytes(&mut *bytes);
        Self::from_bytes(bytes)
    }

    /// A key for another purpose, that tells nothing about this one. What is sealed with it opens for that purpose alone.
    pub(crate) fn derived(&self, purpose: &str) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        for (half, part) in bytes.chunks_exact_mut(32).zip([1_u8, 2]) {
            let mut input = Zeroizing::new(Vec::with_capacity(purpose.len() + 66));
            input.push(part);
            input.extend_from_slice(&*self.bytes);
            input.extend_from_slice(purpose.as_bytes());
            half.copy_from_slice(&sha256(&input));
        }
        Self::from_bytes(bytes)
    }

    /// Whether it is the same key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&*other.bytes).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    pub(crate) fn encrypt_bytes(&self) -> &[u8] {
        &self.bytes[..32]
    }

    pub(crate) fn mac_k(&self) -> &[u8] {
        &self.bytes[32..48]
    }

    pub(crate) fn mac_r(&self) -> &[u8] {
        &self.bytes[48..]
    }

    /// Seals in place: `buffer` holds 16 spare bytes, the plain text, and 16 spare bytes.
    pub(crate) fn seal_in_place(&self, buffer: &mut [u8]) {
        debug_assert!(buffer.len() >= OVERHEAD, "the caller leaves room for IV and MAC");
        let end = buffer.len() - MAC;
        let (head, mac) = buffer.split_at_mut(end);
        let (iv, text) = head.split_at_mut(IV);
        rand::rng().fill_bytes(iv);
        self.keystream(iv).apply_keystream(text);
        mac.copy_from_slice(&self.mac(iv, text));
    }

    /// Seals into a vector of its own.
    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; plain.len() + OVERHEAD];
        buffer[IV..IV + plain.len()].copy_from_slice(plain);
        self.seal_in_place(&mut buffer);
        buffer
    }

    /// Checks the MAC and decrypts into `plain`, which is replaced.
    pub(crate) fn open_into(&self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        if sealed.len() < OVERHEAD {
            return Err(NotAuthentic);
        }
        let (head, mac) = sealed.split_at(sealed.len() - MAC);
        let (iv, text) = head.split_at(IV);
        let expected = self.mac(iv, text);
        if expected.iter().zip(mac).fold(0, |difference, (a, b)| difference | (a ^ b)) != 0 {
            return Err(NotAuthentic);
        }
        plain.resize(text.len(), 0);
        self.keystream(iv).apply_keystream_b2b(text, plain);
        Ok(())
    }

    /// Checks the MAC and decrypts.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let mut plain = Vec::new();
        self.open_into(sealed, &mut plain)?;
        Ok(plain)
    }

    /// The beginning of the plain text, from the beginning of what was sealed. It is not authentic: good for a guess.
    pub(crate) fn peek(&self, sealed: &[u8]) -> Vec<u8> {
        let (iv, text) = sealed.split_at(IV.min(sealed.len()));
        let mut plain = text.to_vec();
        if iv.len() == IV {
            self.keystream(iv).apply_keystream(&mut plain);
        }
        plain
    }

    fn keystream(&self, iv: &[u8]) -> ctr::Ctr128BE<Aes256> {
        let mut nonce = [0; IV];
        nonce.copy_from_slice(iv);
        ctr::Ctr128BE::from_core(ctr::CtrCore::inner_iv_init(self.cipher.clone(), (&nonce).into()))
    }

    fn mac(&self, iv: &[u8], text: &[u8]) -> [u8; MAC] {
        let mut nonce = [0; IV];
        nonce.copy_from_slice(iv);
        let mut s = nonce.into();
        self.nonce_cipher.encrypt_block(&mut s);
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(self.mac_r());
        key[16..].copy_from_slice(&s);
        let mut poly = Poly1305::new((&*key).into());
        let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
        poly.update(blocks);
        poly.compute_unpadded(rest).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_every_length_and_any_flipped_bit_is_noticed() {
        let key = Key::random();
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 255, 1000, 100_000] {
            let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let sealed = key.seal(&plain);
            assert_eq!(sealed.len(), length + OVERHEAD);
            assert_eq!(key.open(&sealed).unwrap(), plain);
            for position in [0, 15, sealed.len() / 2, sealed.len() - 17, sealed.len() - 1] {
                let mut bad = sealed.clone();
                bad[position] ^= 4;
                assert_eq!(key.open(&bad), Err(NotAuthentic));
            }
            assert_eq!(key.open(&sealed[..sealed.len() - 1]), Err(NotAuthentic));
            let few = length.min(5);
            assert_eq!(key.peek(&sealed[..IV + few]), plain[..few]);
        }
    }

    #[test]
    fn what_is_sealed_for_one_purpose_opens_for_no_other() {
        let key = Key::random();
        let sealed = key.derived("a").seal(b"text");
        assert_eq!(key.derived("a").open(&sealed).unwrap(), b"text");
        assert_eq!(key.open(&sealed), Err(NotAuthentic));
        assert_eq!(key.derived("b").open(&sealed), Err(NotAuthentic));
    }

    #[test]
    fn the_mac_is_poly1305_aes_as_its_author_published_it() {
        // D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B, first and third example.
        let cases = [
            (
                "ec074c835580741701425b623235add6",
                "851fc40c3467ac0be05cc20404f3f700",
                "fb447350c4e868c52ac3275cf9d4327e",
                "f3f6",
                "f4c633c3044fc145f84f335cb81953de",
            ),
            (
                "6acb5f61a7176dd320c5c1eb2edcdc74",
                "48443d0bb0d21109c89a100b5ce2c208",
                "ae212a55399729595dea458bc621ff0e",
                "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
                "0ee1c16bb73f0f4fd19881753c01cdbe",
            ),
        ];
        for (k, r, nonce, text, mac) in cases {
            let mut bytes = Zeroizing::new([0; 64]);
            hex::decode_to_slice(k, &mut bytes[32..48]).unwrap();
            hex::decode_to_slice(r, &mut bytes[48..]).unwrap();
            let key = Key::from_bytes(bytes);
            let found = key.mac(&hex::decode(nonce).unwrap(), &hex::decode(text).unwrap());
            assert_eq!(hex::encode(found), mac);
        }
    }
}

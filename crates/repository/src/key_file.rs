//! Key files: the master key, sealed with a key that scrypt derives from a password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::Key;
use crate::{Password, RepositoryError, Result, host};

/// scrypt's memory is `128 * N * r` bytes. More than this is refused, so that a key file cannot exhaust the machine.
const MOST_MEMORY: u64 = 2 << 30;
/// 2^15, with `r` = 8: 32 MiB and about a tenth of a second, stock restic's order of cost.
pub(crate) const DEFAULT_LOG_N: u8 = 15;

#[derive(Debug, Serialize, Deserialize)]
struct KeyFile {
    created: Timestamp,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

#[derive(Serialize, Deserialize)]
struct MasterKey<'a> {
    #[serde(borrow)]
    mac: MacKey<'a>,
    encrypt: std::borrow::Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct MacKey<'a> {
    k: std::borrow::Cow<'a, str>,
    r: std::borrow::Cow<'a, str>,
}

/// Why a key file gave no master key.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It belongs to another password, or its sealed part is damaged.
    OtherPassword,
    /// It is no key file.
    Damaged(String),
}

/// What a key file says of itself, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) created: Timestamp,
    pub(crate) username: String,
    pub(crate) hostname: String,
}

/// Who is said to have made a key file.
#[derive(Debug, Clone)]
pub(crate) struct Maker {
    pub(crate) username: String,
    pub(crate) hostname: String,
}

impl Maker {
    /// This process.
    pub(crate) fn ours() -> Self {
        Self { username: host::username(), hostname: host::hostname() }
    }
}

/// The contents of a new key file. Slow on purpose: run it on a thread where that does not matter.
pub(crate) fn create(master: &Key, password: &Password, log_n: u8, maker: Maker) -> Result<Vec<u8>> {
    let mut salt = [0; 64];
    rand::rng().fill_bytes(&mut salt);
    let (n, r, p) = (1_u64 << log_n.min(40), 8, 1);
    let user_key =
        derive(password, &salt, n, r, p).map_err(|e| RepositoryError::internal("derive a key", e))?;
    let json = |e: serde_json::Error| RepositoryError::internal("write a key file", e);
    let plain = encode_master(master)?;
    let file = KeyFile {
        created: Timestamp::now(),
        username: maker.username,
        hostname: maker.hostname,
        kdf: "scrypt".to_owned(),
        n,
        r,
        p,
        salt: STANDARD.encode(salt),
        data: STANDARD.encode(user_key.seal(&plain)),
    };
    serde_json::to_vec(&file).map_err(json)
}

/// The master key as JSON, as it stands (sealed) in every key file.
pub(crate) fn encode_master(master: &Key) -> Result<Zeroizing<Vec<u8>>> {
    let encoded = |bytes: &[u8]| STANDARD.encode(bytes).into();
    let plain = MasterKey {
        mac: MacKey { k: encoded(master.mac_k()), r: encoded(master.mac_r()) },
        encrypt: encoded(master.encrypt_bytes()),
    };
    let json = serde_json::to_vec(&plain);
    json.map(Zeroizing::new).map_err(|e| RepositoryError::internal("write a key file", e))
}

/// The master key in `contents`, if the password is the one it was made with.
pub(crate) fn open(contents: &[u8], password: &Password) -> Result<Key, Unopened> {
    let (file, salt, data) = parse(contents).map_err(Unopened::Damaged)?;
    let user_key = derive(password, &salt, file.n, file.r, file.p).map_err(Unopened::Damaged)?;
    let plain = Zeroizing::new(user_key.open(&data).map_err(|_| Unopened::OtherPassword)?);
    let unreadable = |_| Unopened::Damaged("the master key in it cannot be read".to_owned());
    let master: MasterKey<'_> = serde_json::from_slice(&plain).map_err(unreadable)?;
    let mut bytes = Zeroizing::new([0; 64]);
    for (text, range) in [(&master.encrypt, 0..32), (&master.mac.k, 32..48), (&master.mac.r, 48..64)] {
        let part = STANDARD.decode(text.as_ref()).map(Zeroizing::new);
        match part {
            Ok(part) if part.len() == range.len() => bytes[range].copy_from_slice(&part),
            _ => return Err(Unopened::Damaged("the master key in it has the wrong length".to_owned())),
        }
    }
    Ok(Key::from_bytes(bytes))
}

/// What `contents` says of itself, without its password; an error if it is no key file.
pub(crate) fn inspect(contents: &[u8]) -> Result<Described, String> {
    let (file, _, _) = parse(contents)?;
    Ok(Described { created: file.created, username: file.username, hostname: file.hostname })
}

fn parse(contents: &[u8]) -> Result<(KeyFile, Vec<u8>, Vec<u8>), String> {
    let file: KeyFile = serde_json::from_slice(contents).map_err(|e| format!("not a key file: {e}"))?;
    if file.kdf != "scrypt" {
        return Err(format!("key derivation '{}' is not supported", file.kdf));
    }
    let salt = STANDARD.decode(&file.salt).map_err(|e| format!("salt: {e}"))?;
    let data = STANDARD.decode(&file.data).map_err(|e| format!("data: {e}"))?;
    Ok((file, salt, data))
}

fn derive(password: &Password, salt: &[u8], n: u64, r: u32, p: u32) -> Result<Key, String> {
    let memory = n.checked_mul(u64::from(r)).and_then(|blocks| blocks.checked_mul(128));
    if !n.is_power_of_two() || memory.is_none_or(|memory| memory > MOST_MEMORY) || p == 0 || p > 1024 {
        return Err(format!("scrypt with N={n}, r={r}, p={p} is not supported"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|e| e.to_string())?;
    let parameters = scrypt::Params::new(log_n, r, p).map_err(|e| e.to_string())?;
    let mut bytes = Zeroizing::new([0; 64]);
    scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut *bytes).map_err(|e| e.to_string())?;
    Ok(Key::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_opens_with_its_password_alone() {
        let master = Key::random();
        let contents = create(&master, &"right".into(), 10, Maker::ours()).unwrap();
        assert_eq!(open(&contents, &"right".into()).unwrap().encrypt_bytes(), master.encrypt_bytes());
        assert!(matches!(open(&contents, &"wrong".into()), Err(Unopened::OtherPassword)));
        assert!(matches!(open(&contents[1..], &"right".into()), Err(Unopened::Damaged(_))));
    }

    #[test]
    fn costs_that_would_exhaust_the_machine_are_refused() {
        for (n, r, p) in
            [(1 << 40, 8, 1), (3, 8, 1), (0, 8, 1), (1024, 8, 0), (1024, 0, 1), (u64::MAX, 1 << 30, 1)]
        {
            assert!(derive(&"x".into(), b"salt", n, r, p).is_err(), "{n} {r} {p}");
        }
    }
}

//! Large objects: listed, read in parts with few round trips and bounded memory, digested, and written.

mod list;
mod read;
mod write;

pub use list::{LargeObjectInfo, count, list};
pub use read::{Contents, Part};
pub use write::Writer;

use crate::digest::Digest;
use crate::{Client, Error};
use xxhash_rust::xxh3::Xxh3;

/// Digest of one large object: one row, `bytes` of content, and the XXH3-128 of the oid (4 bytes, big endian) followed by
/// the content.
#[derive(Clone)]
pub struct LargeObjectDigester {
    hash: Xxh3,
    bytes: u64,
}

impl LargeObjectDigester {
    /// Begins the object with this oid.
    pub fn new(oid: u32) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&oid.to_be_bytes());
        Self { hash, bytes: 0 }
    }

    /// Takes content.
    pub fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
        self.bytes += data.len() as u64;
    }

    /// The digest; digests of several objects add up.
    pub fn digest(&self) -> Digest {
        Digest { rows: 1, bytes: self.bytes, sum: self.hash.digest128() }
    }
}

/// Sum of the digests of these large objects as the server has them.
pub async fn digest(client: &mut Client, oids: &[u32]) -> Result<Digest, Error> {
    let mut sum = Digest::default();
    let mut contents = Contents::new(oids.to_vec());
    let mut current: Option<LargeObjectDigester> = None;
    while let Some(part) = contents.next(client).await? {
        let mut digester = current.take().unwrap_or_else(|| LargeObjectDigester::new(part.oid));
        digester.update(&part.data);
        if part.last {
            sum += digester.digest();
        } else {
            current = Some(digester);
        }
    }
    Ok(sum)
}

/// Sum of the digests of all large objects of the database that this role may read.
pub async fn digest_all(client: &mut Client) -> Result<Digest, Error> {
    let oids: Vec<u32> =
        list(client).await?.into_iter().filter(|object| object.readable).map(|object| object.oid).collect();
    digest(client, &oids).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_oid_and_content_not_on_the_parts() {
        let digest = |oid, parts: &[&str]| {
            let mut digester = LargeObjectDigester::new(oid);
            parts.iter().for_each(|part| digester.update(part.as_bytes()));
            digester.digest()
        };
        assert_eq!(digest(7, &["ab", "", "c"]), digest(7, &["abc"]));
        assert_ne!(digest(7, &["abc"]), digest(8, &["abc"]));
        assert_ne!(digest(7, &["abc"]), digest(7, &["abd"]));
        assert_eq!(digest(7, &[]).bytes, 0);
        assert_eq!(digest(7, &[]).rows, 1);
    }
}

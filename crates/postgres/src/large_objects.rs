//! Large objects: listed, read in parts with few round trips and bounded memory, digested, and written.

use crate::digest::Digest;
use crate::globals::SecurityLabel;
use crate::{Client, Error};

/// One large object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeObjectInfo {
    /// Its oid.
    pub oid: u32,
    /// Name of its owner.
    pub owner: String,
    /// Privileges as `aclitem` text; none means the default ones.
    pub acl: Option<Vec<String>>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels.
    pub security_labels: Vec<SecurityLabel>,
    /// Whether this role may read the content.
    pub readable: bool,
}

/// All large objects of the database by oid, the unreadable ones included.
pub async fn list(client: &mut Client) -> Result<Vec<LargeObjectInfo>, Error> {
    let _ = client;
    todo!()
}

/// A piece of one large object's content. Parts of one object come in order and in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The large object.
    pub oid: u32,
    /// The bytes; empty for an empty object.
    pub data: Vec<u8>,
    /// Whether the object ends here.
    pub last: bool,
}

/// Reads the contents of many large objects: small ones many per round trip, big ones in ranges. Holds a few MiB.
#[derive(Debug)]
pub struct Contents {}

impl Contents {
    /// Will read these objects in this order.
    pub fn new(oids: Vec<u32>) -> Self {
        let _ = oids;
        todo!()
    }
    /// The next part; `None` when all are read. Call it with a client that joined the snapshot.
    pub async fn next(&mut self, client: &mut Client) -> Result<Option<Part>, Error> {
        let _ = client;
        todo!()
    }
}

/// Digest of one large object: one row, `bytes` of content, and the XXH3-128 of the oid (4 bytes, big endian) followed by
/// the content.
#[derive(Clone)]
pub struct LargeObjectDigester {}

impl LargeObjectDigester {
    /// Begins the object with this oid.
    pub fn new(oid: u32) -> Self {
        let _ = oid;
        todo!()
    }
    /// Takes content.
    pub fn update(&mut self, data: &[u8]) {
        let _ = data;
        todo!()
    }
    /// The digest; digests of several objects add up.
    pub fn digest(&self) -> Digest {
        todo!()
    }
}

/// Sum of the digests of these large objects as the server has them.
pub async fn digest(client: &mut Client, oids: &[u32]) -> Result<Digest, Error> {
    let _ = (client, oids);
    todo!()
}

/// Writes contents into large objects that exist and are empty (the archive's entries create them).
#[derive(Debug, Default)]
pub struct Writer {}

impl Writer {
    /// A writer with nothing written.
    pub fn new() -> Self {
        todo!()
    }
    /// Appends to the object `oid`; all data of one object comes in one go. Sends when enough is gathered; the first
    /// send begins a transaction.
    pub async fn write(&mut self, client: &mut Client, oid: u32, data: &[u8]) -> Result<(), Error> {
        let _ = (client, oid, data);
        todo!()
    }
    /// Sends the rest and commits.
    pub async fn finish(self, client: &mut Client) -> Result<(), Error> {
        let _ = client;
        todo!()
    }
}

//! Contents of large objects through `lo_get`, which needs no more than SELECT on the object, fills holes with zeros and
//! sees the transaction's snapshot.

use crate::{Client, Error};
use std::collections::VecDeque;

/// Objects asked for in one round trip.
const BATCH: usize = 256;
/// Bytes of each object that come with the batch.
const FIRST: usize = 16 << 10;
/// Bytes per round trip of what is longer.
const RANGE: usize = 4 << 20;

/// A piece of one large object's content. Parts of one object come in order and in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The large object.
    pub oid: u32,
    /// The bytes; empty for an empty object, and possibly in a last part.
    pub data: Vec<u8>,
    /// Whether the object ends here.
    pub last: bool,
}

/// Reads the contents of many large objects: small ones many per round trip, big ones in ranges. Holds some 10 MiB.
#[derive(Debug)]
pub struct Contents {
    waiting: VecDeque<u32>,
    /// The beginnings that have arrived and were not given out.
    arrived: VecDeque<(u32, Vec<u8>)>,
    /// The object whose beginning was given out, and how much of it.
    open: Option<(u32, u64)>,
}

impl Contents {
    /// Will read these objects in this order.
    pub fn new(oids: Vec<u32>) -> Self {
        Self { waiting: oids.into(), arrived: VecDeque::new(), open: None }
    }

    /// The next part; `None` when all are read. Call it with a client that joined the snapshot.
    pub async fn next(&mut self, client: &mut Client) -> Result<Option<Part>, Error> {
        if let Some((oid, offset)) = self.open {
            let data = read_range(client, oid, offset).await?;
            let last = data.len() < RANGE;
            self.open = (!last).then(|| (oid, offset + data.len() as u64));
            return Ok(Some(Part { oid, data, last }));
        }
        if self.arrived.is_empty() {
            self.fetch(client).await?;
        }
        let Some((oid, data)) = self.arrived.pop_front() else { return Ok(None) };
        let last = data.len() < FIRST;
        if !last {
            self.open = Some((oid, data.len() as u64));
        }
        Ok(Some(Part { oid, data, last }))
    }

    async fn fetch(&mut self, client: &mut Client) -> Result<(), Error> {
        let batch: Vec<u32> = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = batch.iter().map(u32::to_string).collect();
        let rows = client
            .query(&format!(
                "SELECT pg_catalog.lo_get(u.oid, 0, {FIRST})
                 FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) AS u(oid)",
                list.join(",")
            ))
            .await?;
        if rows.len() != batch.len() {
            return Err(Error::Protocol(format!(
                "{} large objects asked for, {} came",
                batch.len(),
                rows.len()
            )));
        }
        for (oid, row) in batch.into_iter().zip(rows.iter()) {
            self.arrived.push_back((oid, decode(row.bytes(0))?));
        }
        Ok(())
    }
}

async fn read_range(client: &mut Client, oid: u32, offset: u64) -> Result<Vec<u8>, Error> {
    let rows = client.query(&format!("SELECT pg_catalog.lo_get({oid}, {offset}, {RANGE})")).await?;
    decode(rows.one()?.bytes(0))
}

fn decode(value: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    value
        .and_then(|text| text.strip_prefix(b"\\x"))
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or_else(|| Error::Protocol("a bytea in hex is expected: the session is not pinned".into()))
}

//! Contents of large objects go back through `lo_put`, many in one message.

use crate::{Client, Error};
use std::fmt::Write as _;

/// Bytes of content per message.
const MESSAGE: usize = 1 << 20;

/// Writes contents into large objects that exist and are empty (the archive's entries create them), all in one
/// transaction. Dropped before [`Writer::finish`], the transaction is left open for the caller to roll back.
#[derive(Debug, Default)]
pub struct Writer {
    message: String,
    gathered: usize,
    current: Option<(u32, u64)>,
    begun: bool,
}

impl Writer {
    /// A writer with nothing written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to the object `oid`; all data of one object comes in one go. Sends when enough is gathered; the first
    /// send begins the transaction.
    pub async fn write(&mut self, client: &mut Client, oid: u32, mut data: &[u8]) -> Result<(), Error> {
        let mut offset = match self.current {
            Some((current, offset)) if current == oid => offset,
            _ => 0,
        };
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(MESSAGE - self.gathered));
            // Text, not a bytea literal: backslashes mean different things under different settings.
            let _ = write!(
                self.message,
                "SELECT pg_catalog.lo_put({oid}, {offset}, pg_catalog.decode('{}', 'hex'));",
                hex::encode(piece)
            );
            offset += piece.len() as u64;
            self.gathered += piece.len();
            data = rest;
            if self.gathered >= MESSAGE {
                self.send(client).await?;
            }
        }
        self.current = Some((oid, offset));
        Ok(())
    }

    /// Sends the rest and commits.
    pub async fn finish(mut self, client: &mut Client) -> Result<(), Error> {
        self.send(client).await?;
        if self.begun {
            client.execute("COMMIT").await?;
        }
        Ok(())
    }

    async fn send(&mut self, client: &mut Client) -> Result<(), Error> {
        if self.message.is_empty() {
            return Ok(());
        }
        if !self.begun {
            client.execute("BEGIN").await?;
            self.begun = true;
        }
        client.execute(&self.message).await?;
        self.message.clear();
        self.gathered = 0;
        Ok(())
    }
}

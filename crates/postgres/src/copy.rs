//! COPY in both directions, streaming.

use crate::connection::Client;
use crate::digest::Digest;
use crate::error::Error;

/// A running `COPY … TO STDOUT`. Dropped before its end it closes the session.
pub struct CopyOut<'a> {
    _client: &'a mut Client,
}

impl CopyOut<'_> {
    /// Appends what has arrived (at most about 256 KiB) to `out`; false when the server has ended the COPY properly.
    /// A broken connection is an error, never an end.
    pub async fn read(&mut self, _out: &mut Vec<u8>) -> Result<bool, Error> {
        todo!()
    }
    /// Rows and sum so far; final after `read` returned false.
    pub fn digest(&self) -> Digest {
        todo!()
    }
}

/// A running `COPY … FROM STDIN`. Dropped before `finish` or `abort` it closes the session, and the server rolls back.
pub struct CopyIn<'a> {
    _client: &'a mut Client,
}

impl CopyIn<'_> {
    /// Sends data; rows may be split anywhere. An error of the server comes back from the next call.
    pub async fn write(&mut self, _data: &[u8]) -> Result<(), Error> {
        todo!()
    }
    /// Ends the COPY; gives the number of rows that the server took.
    pub async fn finish(self) -> Result<u64, Error> {
        todo!()
    }
    /// Makes the server give up the COPY with an error that it keeps to itself; the session stays usable.
    pub async fn abort(self, _why: &str) -> Result<(), Error> {
        todo!()
    }
}

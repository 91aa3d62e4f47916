//! `COPY … TO STDOUT`: the hottest path of the program.
//!
//! Frames are parsed in place in the session's read buffer. A payload is copied once, to the caller's vector, and the rows
//! are digested there while they are warm in the cache. Nothing is allocated per row, and a row or frame larger than the
//! buffer passes through in pieces.

mod many;

use crate::connection::Client;
use crate::digest::{Digest, RowDigester};
use crate::error::Error;

/// A COPY that has brought so many bytes is taken for one that goes on. A small one is answered at once.
const GATHER_AFTER: u64 = 1 << 20;

/// A running `COPY … TO STDOUT` in text format. Dropped before its end it closes the session.
pub struct CopyOut<'a> {
    client: &'a mut Client,
    digester: RowDigester,
    checked: bool,
    /// What is left of the frame that has begun.
    frame_left: usize,
    /// COPYs of the same command that come after this one.
    following: usize,
    /// Bytes of rows that have arrived.
    arrived: u64,
    ended: bool,
}

/// What stopped a pass over the buffer.
enum Pause {
    /// Nothing complete is left: more bytes are needed.
    Empty,
    /// A message that is not data comes next.
    Other,
}

impl Client {
    /// Starts a `COPY … TO STDOUT` in text format, whose rows are digested and counted.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, Error> {
        self.start_copy_out(sql, true).await
    }

    /// Starts a `COPY … TO STDOUT` in any format. Its digest stays empty, and the server's row count is not compared.
    pub async fn copy_out_undigested(&mut self, sql: &str) -> Result<CopyOut<'_>, Error> {
        self.start_copy_out(sql, false).await
    }

    async fn start_copy_out(&mut self, sql: &str, checked: bool) -> Result<CopyOut<'_>, Error> {
        self.start(sql).await?;
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'H' => break,
                b'E' => return Err(self.server_error(&message).await),
                b'T' | b'D' | b'C' | b'I' => {}
                b'Z' => {
                    self.ready(&message)?;
                    return Err(Error::Usage("the statement is not a COPY TO STDOUT".into()));
                }
                _ => return Err(self.unexpected(&message)),
            }
        }
        self.wire.prepare_for_copy();
        Ok(CopyOut {
            client: self,
            digester: RowDigester::new(),
            checked,
            frame_left: 0,
            following: 0,
            arrived: 0,
            ended: false,
        })
    }
}

impl CopyOut<'_> {
    /// Appends what has arrived (at most about 256 KiB) to `out`. False when the server has ended the COPY *properly*:
    /// CopyDone, CommandComplete with as many rows as have arrived, ReadyForQuery (after the last COPY of a command). A
    /// broken connection is an error, never an end.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        let before = out.len();
        loop {
            let pause = self.drain(out)?;
            if out.len() > before {
                self.arrived += (out.len() - before) as u64;
                if self.checked {
                    self.digester.update(&out[before..]);
                }
                return Ok(true);
            }
            match pause {
                Pause::Empty if self.arrived < GATHER_AFTER => self.client.wire.fill().await?,
                Pause::Empty => self.client.wire.fill_gathered().await?,
                Pause::Other => {
                    if self.other().await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Rows and sum so far; final after `read` has returned false.
    pub fn digest(&self) -> Digest {
        self.digester.digest()
    }

    /// Moves the payload of all data frames in the buffer to `out`.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<Pause, Error> {
        let wire = &mut self.client.wire;
        loop {
            if self.frame_left > 0 {
                let arrived = wire.buffered();
                let take = arrived.len().min(self.frame_left);
                if take == 0 {
                    return Ok(Pause::Empty);
                }
                out.extend_from_slice(&arrived[..take]);
                wire.consume(take);
                self.frame_left -= take;
            } else {
                match wire.peek_header()? {
                    None => return Ok(Pause::Empty),
                    Some((b'd', length)) => {
                        wire.consume(5);
                        self.frame_left = length;
                    }
                    Some(_) => return Ok(Pause::Other),
                }
            }
        }
    }

    /// A message between or after the data. True at the proper end.
    async fn other(&mut self) -> Result<bool, Error> {
        // Only this one: what follows a notice may be data again, which is not read as a whole message.
        let message = self.client.wire.message().await?;
        match message.tag {
            b'c' => {
                self.finish().await?;
                self.ended = true;
                Ok(true)
            }
            b'E' => Err(self.client.server_error(&message).await),
            _ if self.client.absorb(&message)? => Ok(false),
            _ => Err(self.client.unexpected(&message)),
        }
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let mut completed = false;
        loop {
            let message = self.client.next_message().await?;
            match message.tag {
                b'C' if !completed => {
                    if self.checked {
                        self.compare_rows(self.client.copied_rows(&message))?;
                    }
                    if self.following > 0 {
                        return Ok(());
                    }
                    completed = true;
                }
                b'E' => return Err(self.client.server_error(&message).await),
                b'Z' if completed => return self.client.ready(&message),
                _ => return Err(self.client.unexpected(&message)),
            }
        }
    }

    fn compare_rows(&mut self, announced: Option<u64>) -> Result<(), Error> {
        let arrived = self.digester.digest().rows;
        if announced == Some(arrived) && !self.digester.in_row() {
            return Ok(());
        }
        self.client.abandon();
        Err(Error::Protocol(match announced {
            Some(announced) if announced != arrived => {
                format!("the server says it sent {announced} rows, {arrived} have arrived")
            }
            Some(_) => "the COPY ended in the middle of a row".into(),
            None => "the COPY ended without a row count".into(),
        }))
    }
}

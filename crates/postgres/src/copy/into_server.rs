//! `COPY … FROM STDIN`.

use crate::connection::Client;
use crate::error::Error;
use postgres_protocol::message::frontend;

/// Payload of a frame.
const FRAME: usize = 128 * 1024;
const HEADER: usize = 5;

/// A running `COPY … FROM STDIN`. Dropped before `finish` or `abort` it closes the session, and the server rolls back.
pub struct CopyIn<'a> {
    client: &'a mut Client,
    /// The frame that is being filled, with room for its header in front.
    frame: Vec<u8>,
}

impl Client {
    /// Starts a `COPY … FROM STDIN`.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, Error> {
        self.start(sql).await?;
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'G' => break,
                b'E' => return Err(self.server_error(&message).await),
                b'T' | b'D' | b'C' | b'I' => {}
                b'Z' => {
                    self.ready(&message)?;
                    return Err(Error::Usage("the statement is not a COPY FROM STDIN".into()));
                }
                _ => return Err(self.unexpected(&message)),
            }
        }
        let mut frame = Vec::with_capacity(HEADER + FRAME);
        frame.extend([0; HEADER]);
        Ok(CopyIn { client: self, frame })
    }
}

impl CopyIn<'_> {
    /// Sends data in frames of 128 KiB; rows may be split anywhere. The server is not waited for, and an error that it has
    /// reported comes back from here; after that the session can be used again.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let room = HEADER + FRAME - self.frame.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.frame.extend_from_slice(now);
            data = later;
            if self.frame.len() == HEADER + FRAME {
                self.send_frame().await?;
            }
        }
        Ok(())
    }

    /// Ends the COPY; gives the number of rows that the server took.
    pub async fn finish(mut self) -> Result<u64, Error> {
        if self.frame.len() > HEADER {
            self.send_frame().await?;
        }
        self.client
            .wire
            .send(|buf| {
                frontend::copy_done(buf);
                Ok(())
            })
            .await?;
        let mut rows = None;
        loop {
            let message = self.client.next_message().await?;
            match message.tag {
                b'C' => rows = self.client.copied_rows(&message),
                b'E' => return Err(self.client.server_error(&message).await),
                b'Z' => {
                    self.client.ready(&message)?;
                    return rows.ok_or_else(|| Error::Protocol("the COPY ended without a row count".into()));
                }
                _ => return Err(self.client.unexpected(&message)),
            }
        }
    }

    /// Makes the server give up the COPY. Its answer, an error that says so, is expected and not returned; a transaction
    /// block around it is failed, as after any error.
    pub async fn abort(self, why: &str) -> Result<(), Error> {
        let why = why.replace('\0', " ");
        self.client.wire.send(|buf| frontend::copy_fail(&why, buf)).await?;
        loop {
            let message = self.client.next_message().await?;
            match message.tag {
                b'E' => {
                    let error = self.client.server_error(&message).await;
                    return if error.sqlstate() == Some("57014") { Ok(()) } else { Err(error) };
                }
                b'Z' => return self.client.ready(&message),
                b'C' => {}
                _ => return Err(self.client.unexpected(&message)),
            }
        }
    }

    async fn send_frame(&mut self) -> Result<(), Error> {
        let length = (self.frame.len() - 1) as u32;
        self.frame[0] = b'd';
        self.frame[1..HEADER].copy_from_slice(&length.to_be_bytes());
        let mut sent = 0;
        while sent < self.frame.len() {
            let written = self.client.wire.write_or_read(&self.frame[sent..]).await;
            match written {
                Ok(count) => {
                    sent += count;
                    self.absorb_notices()?;
                }
                // A server that is told to end says so before it closes.
                Err(e) => return Err(self.last_words(e).await),
            }
        }
        self.frame.truncate(HEADER);
        self.client.wire.flush().await?;
        self.absorb_notices()?;
        // Between frames only: half a frame on the wire would swallow the next command.
        self.look_for_errors().await
    }

    /// Takes in notices that have arrived, up to the first message that is something else.
    fn absorb_notices(&mut self) -> Result<(), Error> {
        while let Some((b'N' | b'S' | b'A', _)) = self.client.wire.peek_header()? {
            match self.client.wire.take_message()? {
                Some(message) => self.client.absorb(&message)?,
                None => break,
            };
        }
        Ok(())
    }

    /// An error that has arrived ends the COPY: the rest of the data would be ignored.
    async fn look_for_errors(&mut self) -> Result<(), Error> {
        match self.client.wire.take_message()? {
            None => Ok(()),
            Some(message) if message.tag == b'E' => Err(self.client.server_error(&message).await),
            Some(message) => Err(self.client.unexpected(&message)),
        }
    }

    async fn last_words(&mut self, lost: Error) -> Error {
        self.client.abandon();
        while let Ok(message) = self.client.wire.message().await {
            if message.tag == b'E' {
                return self.client.server_error(&message).await;
            }
        }
        lost
    }
}

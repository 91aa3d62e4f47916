//! Messages of the protocol, version 3.0, over a stream: one read buffer in which they are parsed in place.
//!
//! What comes from the wire is not trusted: a length is checked against the kind of message before it is believed,
//! and the buffer grows as bytes arrive, never by an announced length.

use super::stream::Stream;
use crate::error::Error;
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Size of the read buffer while a session does small things, and once it has streamed a COPY.
const SMALL_BUFFER: usize = 16 * 1024;
pub(crate) const COPY_BUFFER: usize = 256 * 1024;
/// A buffer that a huge message grew beyond this is given back.
const KEPT_BUFFER: usize = 1024 * 1024;

/// Kind and place of one message; the body is in the buffer until the next one is read.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Range<usize>,
}

pub(crate) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    /// The bytes that have arrived and are not consumed.
    start: usize,
    end: usize,
}

/// The longest body that is accepted for a kind of message. A row may have 1 GiB; a COPY frame is streamed, so that its
/// length costs nothing; messages of text are long only when somebody means harm.
fn longest_body(tag: u8) -> usize {
    match tag {
        b'd' => i32::MAX as usize,
        b'D' => 1 << 30,
        b'E' | b'N' | b'A' => 64 << 20,
        b'T' => 4 << 20,
        _ => 64 << 10,
    }
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; SMALL_BUFFER], start: 0, end: 0 }
    }

    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    pub(crate) fn body(&self, message: &Message) -> &[u8] {
        self.buffer.get(message.body.clone()).unwrap_or_default()
    }

    /// Makes the buffer large enough for streaming.
    pub(crate) fn prepare_for_copy(&mut self) {
        if self.buffer.len() < COPY_BUFFER {
            self.buffer.resize(COPY_BUFFER, 0);
        }
    }

    /// Room at the buffer's end: moves what is left to the front, grows only a buffer that is full.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_BUFFER {
                self.buffer = vec![0; COPY_BUFFER];
            }
        } else if self.start > 0 && (self.end == self.buffer.len() || self.start > self.buffer.len() / 2) {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) if room.filled().is_empty() => Poll::Ready(Err(ended())),
            Poll::Ready(Ok(())) => {
                self.end += room.filled().len();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for more bytes. The end of the stream is an error: the protocol always says good-bye first.
    pub(crate) async fn fill(&mut self) -> Result<(), Error> {
        self.make_room();
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(ended().into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The same in the midst of a COPY: lets bytes gather, so that there are more of them each time.
    pub(crate) async fn fill_gathered(&mut self) -> Result<(), Error> {
        self.make_room();
        match self.stream.read_gathered(&mut self.buffer[self.end..]).await? {
            0 => Err(ended().into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Kind and body length of the next message, when its header has arrived. Does not consume it.
    pub(crate) fn peek_header(&self) -> Result<Option<(u8, usize)>, Error> {
        let [tag, length @ ..] = match self.buffered().first_chunk::<5>() {
            Some(header) => *header,
            None => return Ok(None),
        };
        let length = u32::from_be_bytes(length) as usize;
        match length.checked_sub(4) {
            Some(body) if body <= longest_body(tag) => Ok(Some((tag, body))),
            _ => {
                Err(Error::Protocol(format!("a message of kind {:?} claims {length} bytes", char::from(tag))))
            }
        }
    }

    /// The next message if it has arrived completely.
    pub(crate) fn take_message(&mut self) -> Result<Option<Message>, Error> {
        let Some((tag, length)) = self.peek_header()? else { return Ok(None) };
        let body = self.start + 5..self.start + 5 + length;
        if body.end > self.end {
            return Ok(None);
        }
        self.start = body.end;
        Ok(Some(Message { tag, body }))
    }

    /// The next message, completely.
    pub(crate) async fn message(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Sends what `encode` writes.
    pub(crate) async fn send(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut message = BytesMut::new();
        // The only failure is text with a zero byte inside.
        encode(&mut message).map_err(|e| Error::Usage(e.to_string()))?;
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Writes as much of `data` as the socket takes, reading meanwhile what the server has to say. Returns how much was
    /// written; 0 when something was read instead. The two must go on at once: a server that waits for us to read its
    /// notices would otherwise stop reading what we send.
    pub(crate) async fn write_or_read(&mut self, data: &[u8]) -> Result<usize, Error> {
        poll_fn(|cx| {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(0)),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
                Poll::Pending => {}
            }
            match Pin::new(&mut self.stream).poll_write(cx, data) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(Error::Io(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(result) => Poll::Ready(result.map_err(Error::from)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        Ok(self.stream.flush().await?)
    }

    pub(crate) async fn shutdown(&mut self) {
        // The session is over either way.
        let _ = self.stream.shutdown().await;
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection unexpectedly")
}

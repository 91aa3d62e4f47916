//! What is sent: a file's properties, and its content as often as it is needed.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Body;

use super::error::{ErrorKind, StorageError};

/// A file to send.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// The bucket's id.
    pub bucket: &'a str,
    /// The whole name.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// MIME type.
    pub mime: Option<&'a str>,
    /// `Cache-Control`, such as `max-age=3600`.
    pub cache_control: Option<&'a str>,
}

/// Content that can be read from the beginning again, for another attempt.
pub trait Content: Send + Sync {
    /// All of it, in pieces. Whoever implements this keeps the cause of an error.
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>>;
}

/// The content as the body of one request.
pub(super) fn body(content: &dyn Content) -> Body {
    Body::wrap_stream(content.open())
}

/// Content in pieces of one size, the last one excepted.
pub(super) struct Pieces {
    content: BoxStream<'static, io::Result<Bytes>>,
    rest: Bytes,
    size: usize,
}

impl Pieces {
    pub(super) fn new(content: &dyn Content, size: usize) -> Self {
        Self { content: content.open(), rest: Bytes::new(), size }
    }

    /// The next piece; empty at the end.
    pub(super) async fn next(&mut self) -> Result<Bytes, StorageError> {
        let mut piece = BytesMut::with_capacity(self.size);
        while piece.len() < self.size {
            if self.rest.is_empty() {
                match self.content.next().await {
                    None => break,
                    Some(Ok(more)) => self.rest = more,
                    Some(Err(error)) => {
                        return Err(StorageError::new(ErrorKind::Content, error.to_string()));
                    }
                }
            }
            let length = self.rest.len().min(self.size - piece.len());
            piece.extend_from_slice(&self.rest.split_to(length));
        }
        Ok(piece.freeze())
    }
}

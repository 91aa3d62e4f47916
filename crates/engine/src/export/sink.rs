//! One file of an export while it is written: bytes are gathered, compressed and written by a thread of their own, and the
//! file has its name only once all of it is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Compression;
use crate::EngineError;

/// Bytes that are handed over at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the thread that writes.
const WAITING: usize = 8;
/// Exports hold password hashes.
pub(super) const FILE_MODE: u32 = 0o600;
/// What is not finished ends so.
pub(super) const PARTIAL: &str = ".partial";
const ZSTD_LEVEL: i32 = 3;

/// Takes the bytes of one file of an export.
#[async_trait]
pub(crate) trait Sink: Send {
    /// Appends some bytes; they are gathered, so that small ones are cheap enough for a row, not for a field.
    ///
    /// Errors: the file cannot be written.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError>;

    /// Appends bytes that need not be copied.
    async fn write_shared(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        self.write(&bytes).await
    }
}

/// A file in a folder, or a stream.
pub(crate) struct FileSink {
    buffer: Vec<u8>,
    sender: Option<mpsc::Sender<Message>>,
    writer: Option<JoinHandle<io::Result<u64>>>,
    what: String,
}

enum Message {
    Bytes(Bytes),
    /// All bytes came.
    End,
}

/// Where the bytes go in the end.
pub(super) enum Bottom {
    /// Beside `path` at first; it gets its name at the end.
    File {
        /// The file's final place.
        path: PathBuf,
        /// Whether it must survive a loss of power from then on.
        durable: bool,
    },
    /// Somebody else's writer.
    Stream(Box<dyn Write + Send>),
}

impl FileSink {
    /// Begins a file.
    pub(super) fn open(bottom: Bottom, compression: Compression) -> Self {
        let what = match &bottom {
            Bottom::File { path, .. } => path.display().to_string(),
            Bottom::Stream(_) => "standard output".to_owned(),
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = tokio::task::spawn_blocking(move || drain(bottom, compression, receiver));
        Self { buffer: Vec::with_capacity(PIECE), sender: Some(sender), writer: Some(writer), what }
    }

    /// Ends the file well and gives its size as it was written. A sink that is dropped instead leaves no file.
    ///
    /// Errors: it cannot be written.
    pub(super) async fn finish(mut self) -> Result<u64, EngineError> {
        self.pass_on().await?;
        self.send(Message::End).await?;
        self.sender = None;
        self.ended().await
    }

    async fn pass_on(&mut self) -> Result<(), EngineError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.send(Message::Bytes(full.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), EngineError> {
        let sent = match &self.sender {
            Some(sender) => sender.send(message).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The thread ends early only with an error.
        self.sender = None;
        match self.ended().await {
            Err(error) => Err(error),
            Ok(_) => Err(EngineError::failed(format!("cannot write {}", self.what))),
        }
    }

    async fn ended(&mut self) -> Result<u64, EngineError> {
        let Some(writer) = self.writer.take() else {
            return Err(EngineError::failed(format!("cannot write {}", self.what)));
        };
        let written = writer
            .await
            .map_err(|error| EngineError::failed(format!("cannot write {}", self.what)).caused_by(error))?;
        written.map_err(|error| {
            EngineError::failed(format!("cannot write {}: {error}", self.what)).caused_by(error)
        })
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.pass_on().await?;
        }
        Ok(())
    }

    async fn write_shared(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        if bytes.len() < PIECE / 8 {
            return self.write(&bytes).await;
        }
        self.pass_on().await?;
        self.send(Message::Bytes(bytes)).await
    }
}

/// The thread: from the first piece to the file's name.
fn drain(bottom: Bottom, compression: Compression, mut receiver: mpsc::Receiver<Message>) -> io::Result<u64> {
    match bottom {
        Bottom::Stream(stream) => {
            let mut encoder = Encoder::new(Counted { inner: stream, bytes: 0 }, compression)?;
            if !pump(&mut encoder, &mut receiver)? {
                return Ok(0);
            }
            let mut counted = encoder.finish()?;
            counted.inner.flush()?;
            Ok(counted.bytes)
        }
        Bottom::File { path, durable } => {
            let partial = partial(&path);
            let _ = std::fs::remove_file(&partial);
            let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&partial)?;
            let written = into_file(file, compression, durable, &mut receiver);
            match written {
                Ok(Some(bytes)) => {
                    std::fs::rename(&partial, &path)?;
                    Ok(bytes)
                }
                Ok(None) => std::fs::remove_file(&partial).map(|()| 0),
                Err(error) => {
                    let _ = std::fs::remove_file(&partial);
                    Err(error)
                }
            }
        }
    }
}

fn into_file(
    file: File,
    compression: Compression,
    durable: bool,
    receiver: &mut mpsc::Receiver<Message>,
) -> io::Result<Option<u64>> {
    let mut encoder = Encoder::new(Counted { inner: file, bytes: 0 }, compression)?;
    if !pump(&mut encoder, receiver)? {
        return Ok(None);
    }
    let counted = encoder.finish()?;
    if durable {
        counted.inner.sync_all()?;
    }
    Ok(Some(counted.bytes))
}

/// Whether all bytes came.
fn pump(into: &mut impl Write, receiver: &mut mpsc::Receiver<Message>) -> io::Result<bool> {
    while let Some(message) = receiver.blocking_recv() {
        match message {
            Message::Bytes(bytes) => into.write_all(&bytes)?,
            Message::End => return Ok(true),
        }
    }
    Ok(false)
}

/// Where a file is written before it has its name.
fn partial(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(PARTIAL);
    path.with_file_name(name)
}

struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Compresses what passes.
pub(super) enum Encoder<W: Write> {
    /// Not at all.
    Plain(W),
    /// For programs that know nothing else.
    Gzip(GzEncoder<W>),
    /// Faster, and smaller.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(inner: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(inner),
            Compression::Gzip => Self::Gzip(GzEncoder::new(inner, flate2::Compression::fast())),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(inner, ZSTD_LEVEL)?),
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(inner) => Ok(inner),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

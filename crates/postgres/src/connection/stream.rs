//! The byte stream below the protocol: TCP, a Unix socket, or TLS over TCP.
//!
//! A server sends its rows in pieces of 8 KiB. Over a local socket each of them would wake a thread of ours, and take
//! a core away from whoever compresses. So a socket that streams is taken off the runtime's watch and looked at
//! once in a while ([`Stream::read_gathered`]).

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// rustls reads its socket 4 KiB at a time; the buffer below it makes that one system call per 256 KiB.
pub(crate) const TLS_READ_BUFFER: usize = 256 * 1024;

/// How long bytes are left to gather: a local server fills its socket's buffer in about that time.
const PAUSE: Duration = Duration::from_millis(1);
/// After so many pauses without a byte the socket is watched again: the server has something else to do.
const MOST_PAUSES: usize = 4;

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
    /// Off the runtime's watch. Set by [`Stream::read_gathered`]; any other use puts it back.
    UnwatchedTcp(std::net::TcpStream),
    UnwatchedUnix(std::os::unix::net::UnixStream),
    /// The runtime could not take it off its watch, or put it back.
    Lost,
}

impl Stream {
    /// Reads like [`AsyncReadExt::read`], but lets bytes gather for a millisecond or two when there are none. For a stream
    /// that is busy; others answer faster when they are watched. It can be dropped at any time without a loss.
    pub(crate) async fn read_gathered(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.unwatch()?;
        for _ in 0..MOST_PAUSES {
            let result = match self {
                Self::UnwatchedTcp(socket) => socket.read(buffer),
                Self::UnwatchedUnix(socket) => socket.read(buffer),
                // TLS has a buffer of its own below it.
                _ => break,
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        self.read(buffer).await
    }

    fn unwatch(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Tcp(socket) => Self::UnwatchedTcp(socket.into_std()?),
            Self::Unix(socket) => Self::UnwatchedUnix(socket.into_std()?),
            other => other,
        };
        Ok(())
    }

    fn watch(&mut self) -> io::Result<()> {
        if matches!(self, Self::UnwatchedTcp(_) | Self::UnwatchedUnix(_)) {
            *self = match std::mem::replace(self, Self::Lost) {
                Self::UnwatchedTcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
                Self::UnwatchedUnix(socket) => Self::Unix(UnixStream::from_std(socket)?),
                other => other,
            };
        }
        Ok(())
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $do:expr) => {{
        let watched = $self.get_mut();
        watched.watch()?;
        match watched {
            Stream::Tcp($stream) => $do,
            Stream::Unix($stream) => $do,
            Stream::Tls($stream) => $do,
            Stream::UnwatchedTcp(_) | Stream::UnwatchedUnix(_) | Stream::Lost => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }};
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

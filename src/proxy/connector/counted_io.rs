//! A provider's connection as the system has it, below TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::socket;

/// Counts what the system took. When the peer takes nothing more, what it said before can still be read: a GOAWAY or an
/// early answer must not be lost to the error of a write. So writes seem to work from then on, and the connection ends, as a
/// failure, when everything was read.
#[derive(Debug)]
pub(in crate::proxy) struct CountedIo {
    stream: TcpStream,
    written: u64,
    deaf: bool,
}

impl CountedIo {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            written: 0,
            deaf: false,
        }
    }

    /// Bytes that the system took. While this stays the same, no byte of a request was sent.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether something has come that was not read, be it the end. The system is asked: what waits to be told by the
    /// runtime counts too.
    pub(super) fn has_unread(&self) -> bool {
        socket::has_unread(&self.stream)
    }

    fn wrote(&mut self, all: usize, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(count) => {
                self.written += count as u64;
                Ok(count)
            }
            Err(error) if is_deaf(&error) => {
                self.deaf = true;
                Ok(all)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_deaf(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for CountedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        // The reset may have been told to the write that failed, and look like an end here.
        if self.deaf && result.is_ok() && buffer.filled().len() == before && buffer.remaining() > 0
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for CountedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.wrote(bytes.len(), result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(all));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts));
        Poll::Ready(self.wrote(all, result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

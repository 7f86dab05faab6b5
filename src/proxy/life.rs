//! What is known of a connection to a provider: whether it served others before, what went out and
//! what came back, and when. From that follows what may be sent again, and what has to be proved
//! alive first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::socket;

/// So much is read at one go; then others get their turn. hyper reads for as long as something comes
/// and no head is whole, and takes a millisecond for a hundred small ones.
const TURN: usize = 16 * 1024;

/// What became of a connection so far.
#[derive(Debug)]
pub(super) struct Life {
    answered: AtomicBool,
    heard: AtomicBool,
    /// What goes out next begins a request on a connection that has served others.
    asks_again: AtomicBool,
    /// Milliseconds from `born` to the last byte that came.
    heard_at: AtomicU64,
    written: AtomicU64,
    born: Instant,
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            answered: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            asks_again: AtomicBool::new(false),
            heard_at: AtomicU64::new(0),
            written: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// An answer's head came.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether a request before this one was answered.
    pub(super) fn is_reused(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The next thing to be sent is a request, if the peer still listens.
    pub(super) fn asks(&self) {
        if self.is_reused() {
            self.asks_again.store(true, Ordering::Relaxed);
        }
    }

    /// Whether anything came since something was last sent. Over HTTP/1.1 one request is under way
    /// at a time.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// When something came last; at first, when the connection was made.
    pub(super) fn heard_at(&self) -> Instant {
        self.born + Duration::from_millis(self.heard_at.load(Ordering::Relaxed))
    }

    /// Bytes that the system took. While this stays the same, no byte of a request was sent.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn hears(&self) {
        self.heard.store(true, Ordering::Relaxed);
        let at = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(at, Ordering::Relaxed);
    }
}

/// A connection as the system has it, below TLS. It counts what the system took. When the peer takes
/// nothing more, what it said before can still be read: a GOAWAY or an early answer must not be lost
/// to the error of a write. So writes seem to work from then on, and the connection ends, as a
/// failure, when everything was read.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    life: Arc<Life>,
    deaf: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, life: Arc<Life>) -> Self {
        Self {
            stream,
            life,
            deaf: false,
        }
    }

    fn wrote(&mut self, all: usize, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(count) => {
                self.life.written.fetch_add(count as u64, Ordering::Relaxed);
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

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
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

/// A stream that can be looked at.
pub(super) trait Watched {
    /// Whether something has come that was not read, be it the end. The system is asked: what waits to be told by the
    /// runtime counts too.
    fn has_unread(&self) -> bool;
}

impl Watched for TcpStream {
    fn has_unread(&self) -> bool {
        socket::has_unread(self)
    }
}

impl<S: Watched> Watched for Wire<S> {
    fn has_unread(&self) -> bool {
        self.stream.has_unread()
    }
}

/// A stream, above TLS where there is TLS, that keeps its [`Life`] and takes turns with others. A request goes out on a
/// connection that has served others only if nothing has come on that since: its end may have come unseen,
/// and what comes before a request is no answer to it. Else the write fails, and no byte of the request was sent.
#[derive(Debug)]
pub(super) struct Lived<S> {
    stream: S,
    life: Arc<Life>,
    /// Read since nothing was there to be read.
    at_one_go: usize,
}

impl<S> Lived<S> {
    /// A new one; nothing was sent on it yet.
    pub(super) fn new(stream: S, life: Arc<Life>) -> Self {
        Self {
            stream,
            life,
            at_one_go: 0,
        }
    }

    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lived<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at_one_go >= TURN {
            self.at_one_go = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.life.hears();
        }
        self.at_one_go = if result.is_pending() {
            0
        } else {
            self.at_one_go + read
        };
        result
    }
}

impl<S: Watched> Lived<S> {
    fn begins_to_write(&self) -> io::Result<()> {
        self.life.heard.store(false, Ordering::Relaxed);
        if self.life.asks_again.load(Ordering::Relaxed) {
            self.life.asks_again.store(false, Ordering::Relaxed);
            if self.stream.has_unread() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Watched + Unpin> AsyncWrite for Lived<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.begins_to_write()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begins_to_write()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

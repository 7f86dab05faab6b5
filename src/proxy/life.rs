//! What is known of a connection to a provider when a request on it fails: whether it served
//! others before, and whether anything came back. From that follows what may be repeated.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at one go; then others get their turn. hyper reads for as long as something comes
/// and no head is whole, and takes a millisecond for a hundred small ones.
const TURN: usize = 16 * 1024;

/// What became of a connection so far. Over HTTP/1.1 one request is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Life {
    answered: AtomicBool,
    heard: AtomicBool,
}

impl Life {
    /// An answer's head came.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether a request before this one was answered.
    pub(super) fn is_reused(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether anything came since something was last sent.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A stream, under TLS where there is TLS, that keeps its [`Life`] and takes turns with others.
#[derive(Debug)]
pub(super) struct Lived<S> {
    stream: S,
    life: Arc<Life>,
    /// Read since nothing was there to be read.
    at_one_go: usize,
}

impl<S> Lived<S> {
    /// A new one; nothing was sent on it yet.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            life: Arc::default(),
            at_one_go: 0,
        }
    }
}

impl<S: Connection> Connection for Lived<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.life.clone())
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
            self.life.heard.store(true, Ordering::Relaxed);
        }
        self.at_one_go = if result.is_pending() {
            0
        } else {
            self.at_one_go + read
        };
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lived<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.life.heard.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.life.heard.store(false, Ordering::Relaxed);
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

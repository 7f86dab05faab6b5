//! How long a client's connection is waited for: for the rest of a request's head, and, longer,
//! for the next request.
//!
//! hyper has one limit for both. So its timer is ours, and the stream tells it whether anything
//! of a head has come.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// A client's stream that counts its reads.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Socket,
    reads: Arc<AtomicU64>,
}

/// The timer of one connection.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    reads: Arc<AtomicU64>,
    head: Duration,
    keep_alive: Duration,
}

/// A wait for a head.
struct Wait {
    patience: Patience,
    /// Reads when it began.
    begun_with: u64,
    /// The head's first bytes have come, and its limit runs.
    head_began: bool,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// A stream and its timer. `head` is the limit from a head's first byte to its last, and for the
/// first request of a connection from its start; `keep_alive` that for the next one to begin.
pub(super) fn watch(stream: Socket, head: Duration, keep_alive: Duration) -> (Watched, Patience) {
    let reads = Arc::new(AtomicU64::new(0));
    let watched = Watched {
        stream,
        reads: reads.clone(),
    };
    (
        watched,
        Patience {
            reads,
            head,
            keep_alive,
        },
    )
}

impl Watched {
    /// The stream itself.
    pub(super) fn into_inner(self) -> Socket {
        self.stream
    }

    /// As [`Socket::is_hung_up`].
    pub(super) fn is_hung_up(&self, cx: &mut Context<'_>) -> bool {
        self.stream.is_hung_up(cx)
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let begun_with = self.reads.load(Ordering::Relaxed);
        let idle = begun_with > 0;
        // hyper asks for the head's limit; between two requests there is another.
        let deadline = if idle {
            tokio::time::Instant::now() + self.keep_alive
        } else {
            tokio::time::Instant::from_std(deadline)
        };
        Box::pin(Wait {
            patience: self.clone(),
            begun_with,
            head_began: !idle,
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reads = self.patience.reads.load(Ordering::Relaxed);
        if !self.head_began && reads > self.begun_with {
            self.head_began = true;
            let limit = tokio::time::Instant::now() + self.patience.head;
            self.sleep.as_mut().reset(limit);
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl Sleep for Wait {}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            // Read and written by this connection's one task.
            self.reads
                .store(self.reads.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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

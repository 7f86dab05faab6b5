//! Facts about an HTTP/2 connection while `h2` owns it: whether it has served requests, what was sent, and when
//! something came back. They decide what may be sent again, and what must be probed first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::proxy::connection_pool::limits::TURN;
use crate::proxy::connector::Transport;

/// A connection's history.
#[derive(Debug)]
pub(super) struct Http2Liveness {
    answered: AtomicBool,
    /// Milliseconds from `born` to the last byte received.
    heard_at: AtomicU64,
    written: AtomicU64,
    born: Instant,
}

impl Http2Liveness {
    /// Notes the head of an answer.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether any request was answered.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// When the last byte was received; initially, when the connection was opened.
    pub(super) fn heard_at(&self) -> Instant {
        self.born + Duration::from_millis(self.heard_at.load(Ordering::Relaxed))
    }

    /// As [`Transport::written`].
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn hears(&self) {
        let at = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(at, Ordering::Relaxed);
    }
}

/// A transport that records its [`Http2Liveness`] and yields to other tasks.
#[derive(Debug)]
pub(super) struct Lived {
    stream: Transport,
    life: Arc<Http2Liveness>,
    /// Bytes read since the socket was last empty.
    at_one_go: usize,
}

impl Lived {
    pub(super) fn new(stream: Transport) -> Self {
        let life = Http2Liveness {
            answered: AtomicBool::new(false),
            heard_at: AtomicU64::new(0),
            written: AtomicU64::new(stream.written()),
            born: Instant::now(),
        };
        Self {
            stream,
            life: Arc::new(life),
            at_one_go: 0,
        }
    }

    pub(super) fn life(&self) -> &Arc<Http2Liveness> {
        &self.life
    }

    fn wrote<T>(&self, result: T) -> T {
        let written = self.stream.written();
        self.life.written.store(written, Ordering::Relaxed);
        result
    }
}

impl AsyncRead for Lived {
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

impl AsyncWrite for Lived {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(result)
    }
}

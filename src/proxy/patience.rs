//! A client's connection as hyper reads it: how long it is waited for, and which of its bytes are
//! handed on.
//!
//! hyper has one limit for the rest of a request's head and for the next request. So its timer is
//! ours, and the stream tells it whether anything of a head has come. The stream hands on what
//! [`super::framing`] lets pass, in whole lines: of a line that it refuses, hyper never sees a byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Scanner, Stop, Violation};
use super::places::Seat;
use super::socket::Socket;

/// A client's stream that looks at what it reads.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Socket,
    /// It keeps the beginning of a line until its end has come.
    scanner: Scanner,
    /// What may be handed on and had no room.
    ready: Bytes,
    refused: Option<Stop>,
    /// hyper was told that it gets nothing more.
    told: bool,
    progress: Arc<Progress>,
}

/// How far a connection is, as its stream tells its timer and the other way round. All of it is
/// read and written by the connection's one task.
#[derive(Debug)]
struct Progress {
    /// A whole head has come.
    served: AtomicBool,
    /// A head has begun and is not whole.
    in_head: AtomicBool,
    /// hyper waits for a head; whatever came before is answered.
    awaits_head: AtomicBool,
    /// Where that can be seen from outside.
    seat: Arc<Seat>,
}

/// The timer of one connection.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    progress: Arc<Progress>,
    head: Duration,
    keep_alive: Duration,
}

/// A wait for a head. hyper keeps it until it has the head.
struct Wait {
    patience: Patience,
    /// The head's limit runs.
    head_began: bool,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// A stream and its timer. `head` is the limit from a head's first byte to its last, and for the
/// first request of a connection from its start; `keep_alive` that for the next one to begin.
pub(super) fn watch(
    stream: Socket,
    (scanner, seat): (Scanner, Arc<Seat>),
    head: Duration,
    keep_alive: Duration,
) -> (Watched, Patience) {
    let progress = Arc::new(Progress {
        served: AtomicBool::new(false),
        in_head: AtomicBool::new(false),
        awaits_head: AtomicBool::new(false),
        seat,
    });
    let watched = Watched {
        stream,
        scanner,
        ready: Bytes::new(),
        refused: None,
        told: false,
        progress: progress.clone(),
    };
    (
        watched,
        Patience {
            progress,
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

    /// Whether a head has begun that is not whole.
    pub(super) fn is_in_head(&self) -> bool {
        self.scanner.is_in_head()
    }

    /// Whether a request has begun that is not whole.
    pub(super) fn is_in_request(&self) -> bool {
        self.scanner.is_in_head() || self.scanner.is_in_body()
    }

    /// Whether the answer has no body, whatever it says.
    pub(super) fn is_head_request(&self) -> bool {
        self.scanner.is_head_request()
    }

    /// Whether nothing is read any more, because what came was refused.
    pub(super) fn is_deaf(&self) -> bool {
        self.refused.is_some()
    }

    /// A head that was refused, and that nobody has answered.
    pub(super) fn unanswered(&self) -> Option<Violation> {
        let stop = self.refused.filter(|stop| self.told && !stop.in_body)?;
        Some(stop.violation)
    }

    /// Whether the client may be sending what nobody reads.
    pub(super) fn is_unfinished(&self) -> bool {
        self.refused.is_some() || self.scanner.is_in_body() || self.scanner.is_behind_upgrade()
    }

    /// The `Origin` of the request under way.
    pub(super) fn origin(&self) -> Option<&[u8]> {
        self.scanner.origin()
    }

    /// hyper asks for more than passes. The answers to what came before a refused head are let go
    /// out; then hyper asks for it again.
    fn refuse(&mut self, stop: Stop) -> Poll<io::Result<()>> {
        if !stop.in_body && !self.progress.awaits_head.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.told = true;
        let error = io::Error::new(io::ErrorKind::InvalidData, stop.violation);
        Poll::Ready(Err(error))
    }

    /// Judges what was read. Returns how much of it can be handed on where it lies; what has to wait
    /// or to stand behind something else is put aside.
    fn look_at(&mut self, new: &[u8]) -> usize {
        let (heads, was_in_body) = (self.scanner.requests(), self.scanner.is_in_body());
        let scanned = self.scanner.scan(new);
        self.note_progress();
        if self.scanner.requests() != heads {
            self.progress.seat.begins_body();
        }
        if was_in_body || self.scanner.is_in_body() {
            self.progress.seat.gets_body(new.len());
        }
        let passes = match scanned {
            Ok(()) => new.len() - self.scanner.unfinished().min(new.len()),
            Err(stop) => {
                self.refused = Some(stop);
                stop.passes
            }
        };
        let head = self.scanner.head_size();
        self.progress.seat.holds_head(head, self.scanner.limit());
        let Some((mut line, used)) = self.scanner.take_joined() else {
            return passes;
        };
        line.extend_from_slice(new.get(used..passes).unwrap_or_default());
        self.ready = line.into();
        0
    }

    fn note_progress(&self) {
        let progress = &self.progress;
        let served = self.scanner.requests() > 0;
        progress.served.store(served, Ordering::Relaxed);
        let in_head = self.scanner.is_in_head();
        progress.in_head.store(in_head, Ordering::Relaxed);
    }
}

impl Patience {
    /// Ends once the connection's first request has begun to come, or after `limit`.
    pub(super) async fn first_request(&self, limit: Duration) {
        /// How often it is looked for; only while the service is stopped.
        const LOOK: Duration = Duration::from_millis(10);
        let begun = || {
            let Progress {
                served, in_head, ..
            } = &*self.progress;
            served.load(Ordering::Relaxed) || in_head.load(Ordering::Relaxed)
        };
        let deadline = tokio::time::Instant::now() + limit;
        while !begun() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.progress.awaits_head.store(true, Ordering::Relaxed);
        self.progress.seat.waits();
        let idle = self.progress.served.load(Ordering::Relaxed)
            && !self.progress.in_head.load(Ordering::Relaxed);
        // hyper asks for the head's limit; between two requests there is another.
        let deadline = if idle {
            tokio::time::Instant::now() + self.keep_alive
        } else {
            tokio::time::Instant::from_std(deadline)
        };
        Box::pin(Wait {
            patience: self.clone(),
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
        if !self.head_began && self.patience.progress.in_head.load(Ordering::Relaxed) {
            self.head_began = true;
            let limit = tokio::time::Instant::now() + self.patience.head;
            self.sleep.as_mut().reset(limit);
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl Sleep for Wait {}

impl Drop for Wait {
    fn drop(&mut self) {
        let progress = &self.patience.progress;
        progress.awaits_head.store(false, Ordering::Relaxed);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let room = buffer.remaining().min(this.ready.len());
                buffer.put_slice(&this.ready.split_to(room));
                return Poll::Ready(Ok(()));
            }
            this.ready = Bytes::new();
            if let Some(stop) = this.refused {
                return this.refuse(stop);
            }
            let before = buffer.filled().len();
            let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
            let new = buffer.filled().get(before..).unwrap_or_default();
            if new.is_empty() {
                if result.is_pending() && this.scanner.is_in_body() {
                    this.progress.seat.lacks_body();
                }
                return result;
            }
            let passes = this.look_at(new);
            buffer.set_filled(before + passes);
            if passes > 0 {
                return result;
            }
        }
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
        // The answer to a refused head is still to come.
        if self.unanswered().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! Whether the client is still there, where hyper does not look: it hung up behind a body that
//! nobody reads, or it does not take its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::patience::Watched;
use super::upload::Upload;

/// How often an upload that does not end looks whether its client has hung up.
const LOOK: Duration = Duration::from_millis(40);

/// What a request knows of its connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Presence(Arc<State>);

#[derive(Debug)]
struct State {
    /// Someone wants to know whether the client has hung up.
    asked: AtomicBool,
    hung_up: AtomicBool,
    stalled: AtomicBool,
    cut: CancellationToken,
}

/// The client has hung up; nobody is left to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client hung up")]
pub(super) struct HungUp;

/// A client's stream that tells the [`Presence`] what it sees.
#[derive(Debug)]
pub(super) struct Present {
    stream: Watched,
    presence: Presence,
    /// The longest time in which a client takes nothing of its answer.
    idle: Duration,
    blocked_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Presence {
    /// A client that is there. `cut` ends what still runs at a shutdown.
    pub(super) fn new(cut: CancellationToken) -> Self {
        Self(Arc::new(State {
            asked: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            cut,
        }))
    }

    /// Ends once the client has hung up, for as long as its body is not read to the end; after that
    /// hyper reads on and sees it itself. Only while it is awaited, and for an upload, it costs a
    /// wake-up every [`LOOK`].
    pub(super) async fn hung_up(&self, upload: Option<&Upload>) {
        while upload.is_some_and(|upload| !upload.is_finished()) {
            let mut pause = std::pin::pin!(sleep(LOOK));
            let answered = std::future::poll_fn(|cx| {
                if self.0.hung_up.load(Ordering::Relaxed) {
                    return Poll::Ready(true);
                }
                pause.as_mut().poll(cx).map(|()| false)
            });
            if answered.await {
                return;
            }
            // hyper flushes whenever it is woken, as it was just now: see `poll_flush`.
            self.0.asked.store(true, Ordering::Relaxed);
        }
        std::future::pending::<()>().await;
    }

    /// Whether a shutdown's grace is over.
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    /// Ends when a shutdown's grace is over. Only for what runs in the connection's own task, which
    /// is woken then.
    pub(super) async fn cut(&self) {
        let is_cut = |_: &mut Context<'_>| {
            if self.is_cut() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        std::future::poll_fn(is_cut).await;
    }

    /// Whether the client took nothing of its answer for too long.
    pub(super) fn has_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}

impl Present {
    /// Watches a stream. A client that takes nothing of its answer for as long as `idle` is given
    /// up.
    pub(super) fn watch(stream: Watched, presence: Presence, idle: Duration) -> Self {
        Self {
            stream,
            presence,
            idle,
            blocked_since: None,
            timer: None,
        }
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> Watched {
        self.stream
    }

    /// Looks whether the client has hung up, if someone asked.
    fn look(&self, cx: &mut Context<'_>) {
        let state = &self.presence.0;
        if state.asked.swap(false, Ordering::Relaxed) && self.stream.is_hung_up(cx) {
            state.hung_up.store(true, Ordering::Relaxed);
            cx.waker().wake_by_ref();
        }
    }

    /// A write's result, which is an error once writes have been blocked for too long. The timer is
    /// set once and looks, when it fires, since when.
    fn paced(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.blocked_since = None;
            return result;
        }
        let deadline = *self.blocked_since.get_or_insert_with(Instant::now) + self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                self.presence.0.stalled.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl AsyncRead for Present {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Present {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.paced(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.paced(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(cx);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! Whether the client is still there, where hyper does not look: it hung up behind bytes that nobody
//! reads, or it does not take its answer.

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
use super::places::{Asking, Seat};

/// How often a client that hyper does not read is looked at, whether it has hung up.
const LOOK: Duration = Duration::from_millis(40);
/// A client takes something of a refusal within this time, or is cut.
const REFUSAL: Duration = Duration::from_secs(1);

/// What a request knows of its connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Presence(Arc<State>);

#[derive(Debug)]
struct State {
    stalled: AtomicBool,
    makes_way: AtomicBool,
    /// The answer under way is a refusal.
    refuses: AtomicBool,
    /// A request has come, and what answers it has not been asked yet.
    undecided: AtomicBool,
    /// The client's end has come meanwhile, and hyper was not told.
    end_waits: AtomicBool,
    seat: Arc<Seat>,
    cut: CancellationToken,
}

/// A client's stream that tells the [`Presence`] what it sees.
#[derive(Debug)]
pub(super) struct Present {
    stream: Watched,
    presence: Presence,
    /// The longest time in which a client takes nothing of its answer.
    idle: Duration,
    /// hyper waits for the client's next bytes, and so sees its end itself. It does not while nobody
    /// takes a body, nor while bytes stand behind the request under way.
    is_read: bool,
    next_look: Option<Pin<Box<Sleep>>>,
    blocked_since: Option<Instant>,
    /// What blocks is a refusal, as far as is known here.
    refuses: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Presence {
    /// A client that is there, in this seat. `cut` ends what still runs at a shutdown.
    pub(super) fn new(cut: CancellationToken, seat: Arc<Seat>) -> Self {
        Self(Arc::new(State {
            stalled: AtomicBool::new(false),
            makes_way: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            undecided: AtomicBool::new(false),
            end_waits: AtomicBool::new(false),
            seat,
            cut,
        }))
    }

    /// Whether a shutdown's grace is over.
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    /// Ends when a shutdown's grace is over. Only for what runs in the connection's own task, which
    /// is woken then.
    pub(super) async fn cut(&self) {
        until(|| self.is_cut()).await;
    }

    /// The guard has let in the request under way, which protects the connection's place.
    pub(super) fn is_let_in(&self) {
        self.0.seat.has_request();
        self.0.refuses.store(false, Ordering::Relaxed);
    }

    /// The request under way is to be sent on to a provider; `None` where too many are.
    pub(super) fn asks(&self) -> Option<Asking> {
        self.0.seat.asks()
    }

    /// How many requests one client key may have sent on at once.
    pub(super) fn share(&self) -> u32 {
        self.0.seat.share()
    }

    /// The answer to the request under way is a refusal.
    pub(super) fn refuses(&self) {
        self.0.refuses.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_refusing(&self) -> bool {
        self.0.refuses.load(Ordering::Relaxed)
    }

    /// Its place is needed for another connection, because its body comes too slowly.
    pub(super) fn make_way(&self) {
        self.0.makes_way.store(true, Ordering::Relaxed);
    }

    /// Whether it makes way.
    pub(super) fn is_making_way(&self) -> bool {
        self.0.makes_way.load(Ordering::Relaxed)
    }

    /// Ends when it has to make way; only for whom [`Self::cut`] is for.
    pub(super) async fn makes_way(&self) {
        until(|| self.is_making_way()).await;
    }

    /// The answer to a request that has just come. hyper reads on before it asks for the answer, and drops
    /// it where it meets the client's end. So the end waits until the answer was asked for once: one of our
    /// own is there by then, and what has to wait for something is dropped.
    pub(super) fn answering<F: Future>(&self, answer: F) -> Answering<F> {
        self.0.undecided.store(true, Ordering::Relaxed);
        Answering {
            answer: Box::pin(answer),
            presence: self.clone(),
        }
    }

    /// Whether the client took nothing of its answer for too long.
    pub(super) fn has_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}

/// A request's answer, as [`Presence::answering`] has it. Boxed, so that a connection whose answer streams
/// keeps no room for it.
#[derive(Debug)]
pub(super) struct Answering<F> {
    answer: Pin<Box<F>>,
    presence: Presence,
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.answer.as_mut().poll(cx);
        let state = &self.presence.0;
        state.undecided.store(false, Ordering::Relaxed);
        if state.end_waits.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

/// Ends when the condition holds at a time when the task was woken anyway.
async fn until(holds: impl Fn() -> bool) {
    std::future::poll_fn(|_| {
        if holds() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Present {
    /// Watches a stream. A client that takes nothing of its answer for as long as `idle` is given
    /// up.
    pub(super) fn watch(stream: Watched, presence: Presence, idle: Duration) -> Self {
        Self {
            stream,
            presence,
            idle,
            is_read: true,
            next_look: None,
            blocked_since: None,
            refuses: false,
            timer: None,
        }
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> Watched {
        self.stream
    }

    /// Looks every [`LOOK`] whether the client has hung up, where nobody else would see it. The error
    /// ends the connection and all that runs for it.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_read {
            return Ok(());
        }
        let next = self.next_look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
        while next.as_mut().poll(cx).is_ready() {
            if self.stream.is_hung_up(cx) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            next.as_mut().reset(Instant::now() + LOOK);
        }
        Ok(())
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
        let refuses = self.presence.is_refusing();
        let refused = std::mem::replace(&mut self.refuses, refuses);
        if refuses && !refused {
            // What was blocked before it was another answer.
            self.blocked_since = None;
        }
        let limit = if refuses {
            self.idle.min(REFUSAL)
        } else {
            self.idle
        };
        let deadline = *self.blocked_since.get_or_insert_with(Instant::now) + limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
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
        let before = buffer.remaining();
        let mut result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let is_end = matches!(result, Poll::Ready(Ok(()))) && buffer.remaining() == before;
        let state = &self.presence.0;
        if is_end && state.undecided.load(Ordering::Relaxed) && !self.stream.is_in_request() {
            state.end_waits.store(true, Ordering::Relaxed);
            result = Poll::Pending;
        }
        self.is_read = result.is_pending() && !self.stream.is_deaf();
        result
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
        // hyper flushes whenever it is woken.
        self.look(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

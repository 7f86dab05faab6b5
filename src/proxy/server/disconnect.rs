//! Events from outside that end a connection, or its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use super::super::admission::{ConnectionSlot, EvictionReason};
use super::super::socket::WriteHalf;

/// When connections end.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Stop {
    /// No new requests; those that run may finish.
    pub(in crate::proxy) drain: CancellationToken,
    /// At once.
    pub(in crate::proxy) abort: CancellationToken,
}

/// Something that a connection hears of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionEvent {
    /// As [`Stop`] has it.
    Drain,
    Abort,
    /// A newcomer needs its slot.
    Leave(EvictionReason),
    /// The client has closed its side.
    HungUp,
}

/// A connection's subscription. It waits only for news that it has not had yet, and the sources are asked only when one
/// of them has some: a connection's task is woken far more often for something else.
pub(super) struct EventSubscription<'c> {
    sources: EventSources<'c>,
    heard: u8,
    next: Option<BoxFuture<'c, ConnectionEvent>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Where a connection's events come from.
#[derive(Clone, Copy)]
struct EventSources<'c> {
    stop: &'c Stop,
    place: &'c ConnectionSlot,
    socket: &'c WriteHalf,
}

/// What the sources wake instead of the connection's task.
#[derive(Debug)]
struct Bell {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Sources that have said what they had to say.
const DRAIN: u8 = 1;
const ABORT: u8 = 1 << 1;
const LEAVE: u8 = 1 << 2;
const HUNG_UP: u8 = 1 << 3;

impl<'c> EventSubscription<'c> {
    pub(super) fn new(stop: &'c Stop, place: &'c ConnectionSlot, socket: &'c WriteHalf) -> Self {
        // The sources have not been asked yet.
        let bell = Arc::new(Bell {
            has_rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            sources: EventSources {
                stop,
                place,
                socket,
            },
            heard: 0,
            next: None,
            waker: bell.clone().into(),
            bell,
        }
    }

    /// The next thing to hear.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEvent> {
        self.bell.task.register(cx.waker());
        if !self.bell.has_rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let (sources, heard) = (self.sources, self.heard);
        let next = self
            .next
            .get_or_insert_with(|| Box::pin(listen(sources, heard)));
        let polled = next.as_mut().poll(&mut Context::from_waker(&self.waker));
        if let Poll::Ready(event) = polled {
            self.next = None;
            self.bell.has_rung.store(true, Ordering::Release);
            self.heard |= match event {
                ConnectionEvent::Drain => DRAIN,
                ConnectionEvent::Abort => ABORT,
                ConnectionEvent::Leave(_) => LEAVE,
                ConnectionEvent::HungUp => HUNG_UP,
            };
        }
        polled
    }
}

async fn listen(sources: EventSources<'_>, heard: u8) -> ConnectionEvent {
    let EventSources {
        stop,
        place,
        socket,
    } = sources;
    let is_new = |source: u8| heard & source == 0;
    tokio::select! {
        biased;
        () = stop.abort.cancelled(), if is_new(ABORT) => ConnectionEvent::Abort,
        reason = place.asked_to_leave(), if is_new(LEAVE) => ConnectionEvent::Leave(reason),
        () = stop.drain.cancelled(), if is_new(DRAIN) => ConnectionEvent::Drain,
        () = socket.hung_up(), if is_new(HUNG_UP) => ConnectionEvent::HungUp,
        else => std::future::pending().await,
    }
}

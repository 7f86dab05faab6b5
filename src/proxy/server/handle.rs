//! A request's view of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::super::admission::{Asking, SlotUse};

/// A request's handle on its connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct ConnectionHandle(Arc<HandleState>);

#[derive(Debug)]
struct HandleState {
    cut: AtomicBool,
    makes_way: AtomicBool,
    /// The answer under way is a refusal.
    refuses: AtomicBool,
    seat: Arc<SlotUse>,
}

impl ConnectionHandle {
    /// Of a connection in this seat.
    pub(in crate::proxy) fn new(seat: Arc<SlotUse>) -> Self {
        Self(Arc::new(HandleState {
            cut: AtomicBool::new(false),
            makes_way: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            seat,
        }))
    }

    /// A shutdown's grace is over.
    pub(super) fn cut_now(&self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(in crate::proxy) fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Relaxed)
    }

    /// Ends when a shutdown's grace is over. Only for what runs in the connection's own task, which
    /// is woken then.
    pub(in crate::proxy) async fn cut(&self) {
        until(|| self.is_cut()).await;
    }

    /// The guard has accepted the request in flight, which protects the connection's slot.
    pub(in crate::proxy) fn is_let_in(&self) {
        self.0.seat.has_request();
        self.0.refuses.store(false, Ordering::Relaxed);
    }

    /// The request under way is to be sent on to a provider; `None` where too many are.
    pub(in crate::proxy) fn asks(&self) -> Option<Asking> {
        self.0.seat.asks()
    }

    /// How many requests one client key may have sent on at once.
    pub(in crate::proxy) fn share(&self) -> u32 {
        self.0.seat.share()
    }

    /// The answer to the request under way is a refusal.
    pub(in crate::proxy) fn refuses(&self) {
        self.0.refuses.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_refusing(&self) -> bool {
        self.0.refuses.load(Ordering::Relaxed)
    }

    /// Another connection needs its slot, because its body arrives too slowly.
    pub(super) fn make_way(&self) {
        self.0.makes_way.store(true, Ordering::Relaxed);
    }

    /// Whether it makes way.
    pub(in crate::proxy) fn is_making_way(&self) -> bool {
        self.0.makes_way.load(Ordering::Relaxed)
    }

    /// Ends when it has to make way; only for whom [`Self::cut`] is for.
    pub(in crate::proxy) async fn makes_way(&self) {
        until(|| self.is_making_way()).await;
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

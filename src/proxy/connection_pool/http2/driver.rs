//! The task that drives a connection, and detects whether its peer is alive.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::life::Lived;
use super::shared::{GOODBYE, Http2Owner, Http2Shared, PING, PONG, UNSETTLED};
use crate::proxy::connection_pool::limits::SUSPICION;

/// Drives a connection until it ends.
pub(super) struct Driver {
    pub(super) connection: h2::client::Connection<Lived, Bytes>,
    pub(super) ping: Option<PingPong>,
    pub(super) shared: Arc<Http2Shared>,
    pub(super) origin: Weak<dyn Http2Owner>,
    /// When the unanswered PING was sent; cleared by any sign of life.
    pub(super) pinged: Option<Instant>,
    /// Whether the PING itself is unanswered; until then no other one can be sent.
    pub(super) unanswered: bool,
    pub(super) left_at: Option<Instant>,
    pub(super) timer: Pin<Box<Sleep>>,
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.driver.register(cx.waker());
        let is_over = match Pin::new(&mut this.connection).poll(cx) {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an HTTP/2 connection to a provider ended");
                }
                true
            }
            Poll::Pending => this.watch(cx).is_break(),
        };
        if !is_over {
            return Poll::Pending;
        }
        this.shared.left.store(true, Ordering::Relaxed);
        if let Some(origin) = this.origin.upgrade() {
            origin.lost(&this.shared);
        }
        Poll::Ready(())
    }
}

impl Driver {
    /// Notes the peer's stream limit and its signs of life. Breaks when the connection is dead.
    fn watch(&mut self, cx: &mut Context<'_>) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let limit = self.connection.max_concurrent_send_streams();
        if limit != UNSETTLED {
            let before = self.shared.limit.swap(limit, Ordering::Relaxed);
            let was_settled = self.shared.settled.swap(true, Ordering::Relaxed);
            if limit != before || !was_settled {
                self.tell(|origin| origin.learned(limit));
            }
        }
        if self.unanswered
            && let Some(ping) = &mut self.ping
        {
            self.unanswered = ping.poll_pong(cx).is_pending();
        }
        if let Some(at) = self.pinged
            && (!self.unanswered || self.shared.life.heard_at() > at)
        {
            self.pinged = None;
            self.shared.check_wanted.store(false, Ordering::Relaxed);
            self.shared.suspect.store(false, Ordering::Relaxed);
            self.tell(Http2Owner::may_have_changed);
        }
        if self.pinged.is_none() && self.shared.check_wanted.load(Ordering::Relaxed) {
            self.send_ping();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.times_out() {
                return Break(());
            }
        }
        Continue(())
    }

    /// Sends a PING.
    fn send_ping(&mut self) {
        if !self.unanswered
            && let Some(ping) = &mut self.ping
        {
            self.unanswered = ping.send_ping(Ping::opaque()).is_ok();
        }
        let now = Instant::now();
        self.pinged = Some(now);
        self.timer.as_mut().reset(now + SUSPICION);
    }

    /// Handles the timer; returns whether the peer is dead, or the connection has nothing more to do.
    fn times_out(&mut self) -> bool {
        let now = Instant::now();
        if self.shared.left.load(Ordering::Relaxed) && !self.shared.has_streams() {
            let left_at = *self.left_at.get_or_insert(now);
            if now >= left_at + GOODBYE {
                return true;
            }
            self.timer.as_mut().reset(left_at + GOODBYE);
            return false;
        }
        if let Some(pinged) = self.pinged {
            if now >= pinged + PONG {
                return true;
            }
            self.shared.suspect.store(true, Ordering::Relaxed);
            self.timer.as_mut().reset(pinged + PONG);
            self.tell(Http2Owner::may_have_changed);
            return false;
        }
        if !self.shared.settled.load(Ordering::Relaxed) {
            self.tell(Http2Owner::may_have_changed);
        }
        let silent_at = self.shared.life.heard_at() + PING;
        if now >= silent_at && self.shared.has_streams() {
            self.send_ping();
        } else {
            self.timer.as_mut().reset(silent_at.max(now + PING / 15));
        }
        false
    }

    fn tell(&self, what: impl FnOnce(Arc<dyn Http2Owner>)) {
        if let Some(origin) = self.origin.upgrade() {
            what(origin);
        }
    }
}

//! What an origin has: connections that are free, requests that wait for one, and dials under way.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::{
    Checkout, ConnectError, DIALS, Demand, FRESH, HTTP1_KEPT, HTTP2_CONNECTIONS, IDLE, Origin,
    PAUSE, Speaks, handshake, http1, http2,
};

#[derive(Debug)]
pub(super) struct State {
    pub(super) speaks: Option<Speaks>,
    /// HTTP/2 connections that take requests.
    pub(super) http2: Vec<http2::Connection>,
    /// HTTP/1.1, used last at the end.
    pub(super) idle: Vec<Idle>,
    /// One for this, and one for each HTTP/1.1 connection.
    pub(super) http1: Arc<()>,
    pub(super) demand: Demand,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) dials: usize,
    /// No dial before, since the last one failed.
    pub(super) pause: Option<Instant>,
    pub(super) sweeping: bool,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: http1::Connection,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) tell: oneshot::Sender<Result<Checkout, Arc<ConnectError>>>,
    pub(super) repeatable: bool,
}

impl State {
    /// What is free now.
    pub(super) fn take(&mut self, origin: &Arc<Origin>, repeatable: bool) -> Option<Checkout> {
        let now = Instant::now();
        let limit = if repeatable { IDLE } else { FRESH };
        // Those below are older.
        let is_fresh = |idle: &mut Idle| now.duration_since(idle.since) < limit;
        if let Some(idle) = self.idle.pop_if(is_fresh) {
            self.demand.uses(self.in_use(), now);
            return Some(Checkout::Http1(idle.connection.check_out(origin)));
        }
        // The first ones are filled first, so that the last ones can go.
        let mut at = 0;
        while let Some(connection) = self.http2.get_mut(at) {
            if connection.has_room() && connection.is_known_alive(now) {
                match connection.permit(origin) {
                    Some(slot) => return Some(Checkout::Http2(slot)),
                    None => drop(self.http2.remove(at)),
                }
            } else {
                at += 1;
            }
        }
        None
    }

    /// Sees to it that those who wait will get something.
    pub(super) fn provide(&mut self, origin: &Arc<Origin>) {
        let waiting = self.waiters.len();
        if waiting == 0 {
            return;
        }
        let now = Instant::now();
        self.http2.retain_mut(|connection| !connection.is_over());
        // Room that can be had once it is proved, or once the peer's settings have come.
        let mut soon = false;
        for connection in &self.http2 {
            if connection.has_room() && connection.is_trusted() {
                connection.check_liveness();
                soon = true;
            }
            soon |= connection.is_unsettled(now);
        }
        let (wanted, most) = match self.speaks {
            Some(Speaks::Http1) => (waiting, DIALS.0),
            Some(Speaks::Http2(_)) if soon || self.http2.len() >= HTTP2_CONNECTIONS => (0, 0),
            None | Some(Speaks::Http2(0)) => (1, 1),
            Some(Speaks::Http2(limit)) => (waiting.div_ceil(limit), DIALS.1),
        };
        if self.dials < wanted.min(most) && self.pause.is_some_and(|until| now < until) {
            return;
        }
        while self.dials < wanted.min(most) {
            self.dial(origin);
        }
    }

    fn dial(&mut self, origin: &Arc<Origin>) {
        self.dials += 1;
        let (connector, target) = (origin.connector.clone(), origin.target.clone());
        let drivers = origin.drivers.clone();
        let weak = Arc::downgrade(origin);
        origin.spawn(async move {
            let result = match connector.connect(&target).await {
                Ok((stream, http2)) => handshake(stream, http2, (&weak, &drivers)).await,
                Err(error) => Err(error),
            };
            if let Some(origin) = weak.upgrade() {
                origin.arrived(result);
            }
        });
    }

    /// No more dials for a while.
    pub(super) fn pause(&mut self, origin: &Arc<Origin>) {
        let until = Instant::now() + PAUSE;
        self.pause = Some(until);
        let weak = Arc::downgrade(origin);
        origin.spawn(async move {
            sleep_until(until).await;
            if let Some(origin) = weak.upgrade() {
                origin.settle();
            }
        });
    }

    pub(super) fn keep(&mut self, connection: http1::Connection) {
        let since = Instant::now();
        // Itself among them: it was in use until now.
        let in_use = self.in_use();
        self.demand.uses(in_use, since);
        self.idle.push(Idle { connection, since });
        let kept = self.demand.most(since).max(HTTP1_KEPT);
        let surplus = (in_use - 1 + self.idle.len()).saturating_sub(kept);
        // Those that were used last stay.
        self.idle.drain(..surplus.min(self.idle.len()));
    }

    /// How many HTTP/1.1 connections are in use.
    fn in_use(&self) -> usize {
        let open = Arc::strong_count(&self.http1) - 1;
        open.saturating_sub(self.idle.len())
    }

    /// Starts the task that ends what is idle for too long; it runs while anything may become so.
    pub(super) fn sweep_later(&mut self, origin: &Arc<Origin>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let weak = Arc::downgrade(origin);
        origin.spawn(sweep(weak));
    }

    /// Ends what was idle for too long; when to look again, unless nothing is left.
    fn sweep(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.idle
            .retain_mut(|idle| now < idle.since + IDLE && idle.connection.is_quiet());
        self.http2.retain_mut(|connection| {
            !connection.is_over() && connection.idle_until().is_none_or(|end| now < end)
        });
        let idle = self.idle.iter().map(|idle| idle.since + IDLE);
        let http2 = self.http2.iter();
        let http2 = http2.map(|connection| connection.idle_until().unwrap_or(now + IDLE));
        let next = idle.chain(http2).min();
        self.sweeping = next.is_some();
        next
    }
}

async fn sweep(origin: Weak<Origin>) {
    loop {
        let next = origin.upgrade().and_then(|origin| origin.state().sweep());
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

//! The state of an origin: free connections, waiting requests, and dials in progress.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Checkout, ConnectError, DIALS, Demand, DialedConnection, FRESH, HTTP1_KEPT, HTTP2_CONNECTIONS,
    IDLE, KnownProtocol, PAUSE, ProtocolChoice, SILENCE, UpstreamOrigin, handshake, http1, http2,
};

/// How long a request relies on a dial that began before it.
const AHEAD: Duration = Duration::from_secs(1);

/// The purpose of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialPurpose {
    /// Waiting requests.
    Wanted,
    /// The next request.
    Ahead,
    /// The next request, but waiting requests no longer rely on it.
    Doubted,
    /// Requests that could also go over HTTP/2.
    Beside,
}

#[derive(Debug)]
pub(super) struct OriginState {
    pub(super) speaks: Option<KnownProtocol>,
    pub(super) choice: ProtocolChoice,
    /// HTTP/2 connections that accept requests.
    pub(super) http2: Vec<http2::Http2Connection>,
    /// Idle HTTP/1.1 connections, the last used one at the end.
    pub(super) idle: Vec<Idle>,
    /// Counts HTTP/1.1 connections: each holds a clone.
    pub(super) http1: Arc<()>,
    pub(super) demand: Demand,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) dials: usize,
    /// No new dial before this time, set after a failed one.
    pub(super) pause: Option<Instant>,
    pub(super) sweeping: bool,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: http1::Http1Connection,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) tell: oneshot::Sender<Result<Checkout, Arc<ConnectError>>>,
    pub(super) repeatable: bool,
}

impl OriginState {
    /// Takes a free connection.
    pub(super) fn take(
        &mut self,
        origin: &Arc<UpstreamOrigin>,
        repeatable: bool,
    ) -> Option<Checkout> {
        let now = Instant::now();
        let limit = self.idle_limit(repeatable);
        if self.http2.is_empty() {
            return self.take_http1(origin, limit, now);
        }
        let under_way = self.under_way();
        let mut checkout = None;
        if self.choice.prefers_http1(under_way, now) {
            checkout = self.take_http1(origin, limit, now);
        }
        let checkout = checkout
            .or_else(|| self.take_http2(origin, now))
            .or_else(|| self.take_http1(origin, limit, now))?;
        self.choice.serves();
        let is_old = |idle: &Idle| now.duration_since(idle.since) >= limit;
        let usable = self.http1_open() - self.idle.partition_point(is_old);
        if matches!(checkout, Checkout::Http2(_)) && self.choice.wants_http1(under_way + 1, usable)
        {
            self.dial(origin, DialPurpose::Beside);
        }
        Some(checkout)
    }

    /// How long an HTTP/1.1 connection may have been idle. A peer that closes an HTTP/2 connection says which requests
    /// it has not processed, and these are sent again; over HTTP/1.1 it says nothing. So if HTTP/2 is available, a
    /// request that must not be sent twice uses HTTP/1.1 only without such a pause.
    fn idle_limit(&self, repeatable: bool) -> Duration {
        let can_take = |one: &http2::Http2Connection| one.has_room() && one.is_trusted();
        if repeatable {
            IDLE
        } else if self.http2.iter().any(can_take) {
            SILENCE
        } else {
            FRESH
        }
    }

    /// The last used HTTP/1.1 connection, if it was used within `limit`.
    fn take_http1(
        &mut self,
        origin: &Arc<UpstreamOrigin>,
        limit: Duration,
        now: Instant,
    ) -> Option<Checkout> {
        // All below it are older.
        let is_fresh = |idle: &mut Idle| now.duration_since(idle.since) < limit;
        let idle = self.idle.pop_if(is_fresh)?;
        self.demand.uses(self.in_use(), now);
        Some(Checkout::Http1(idle.connection.check_out(origin)))
    }

    fn take_http2(&mut self, origin: &Arc<UpstreamOrigin>, now: Instant) -> Option<Checkout> {
        // The first connections are filled first, so that the last ones become idle.
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

    /// Starts the dials that waiting requests need.
    pub(super) fn provide(&mut self, origin: &Arc<UpstreamOrigin>) {
        let waiting = self.waiters.len();
        if waiting == 0 {
            return;
        }
        let now = Instant::now();
        self.http2.retain_mut(|connection| !connection.is_over());
        // Capacity that becomes available after a probe, or once the peer's settings arrive.
        let mut soon = false;
        for connection in &self.http2 {
            if connection.has_room() && connection.is_trusted() {
                connection.check_liveness();
                soon = true;
            }
            soon |= connection.is_unsettled(now);
        }
        let (wanted, most) = match self.speaks {
            Some(KnownProtocol::Http1) => (waiting, DIALS.0),
            Some(KnownProtocol::Http2(_)) if soon || self.http2.len() >= HTTP2_CONNECTIONS => {
                (0, 0)
            }
            None | Some(KnownProtocol::Http2(0)) => (1, 1),
            Some(KnownProtocol::Http2(limit)) => (waiting.div_ceil(limit), DIALS.1),
        };
        if self.dials < wanted.min(most) && self.pause.is_some_and(|until| now < until) {
            return;
        }
        while self.dials < wanted.min(most) {
            self.dial(origin, DialPurpose::Wanted);
        }
    }

    /// Opens a connection for the next request, unless one exists or is being opened.
    pub(super) fn open_ahead(&mut self, origin: &Arc<UpstreamOrigin>) {
        self.http2.retain_mut(|connection| !connection.is_over());
        if self.dials == 0 && self.http1_open() == 0 && self.http2.is_empty() {
            self.dial(origin, DialPurpose::Ahead);
        }
    }

    fn dial(&mut self, origin: &Arc<UpstreamOrigin>, dial: DialPurpose) {
        match dial {
            DialPurpose::Wanted | DialPurpose::Ahead => self.dials += 1,
            DialPurpose::Beside => self.choice.dials(),
            DialPurpose::Doubted => {}
        }
        let connecting = connect(origin, dial);
        let weak = Arc::downgrade(origin);
        origin.spawn(async move {
            let (dial, result) = if dial == DialPurpose::Ahead {
                ahead(&weak, connecting).await
            } else {
                (dial, connecting.await)
            };
            if let Some(origin) = weak.upgrade() {
                origin.arrived(dial, result);
            }
        });
    }

    /// Suspends dialling for a while.
    pub(super) fn pause(&mut self, origin: &Arc<UpstreamOrigin>) {
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

    pub(super) fn keep(&mut self, connection: http1::Http1Connection) {
        let since = Instant::now();
        // This connection still counts as in use.
        let in_use = self.in_use();
        self.demand.uses(in_use, since);
        self.idle.push(Idle { connection, since });
        let kept = self.demand.most(since).max(HTTP1_KEPT);
        let surplus = (in_use - 1 + self.idle.len()).saturating_sub(kept);
        // Those used last stay.
        self.idle.drain(..surplus.min(self.idle.len()));
    }

    /// How many HTTP/1.1 connections are in use.
    fn in_use(&self) -> usize {
        self.http1_open().saturating_sub(self.idle.len())
    }

    fn http1_open(&self) -> usize {
        Arc::strong_count(&self.http1) - 1
    }

    /// How many requests are in flight, over both protocols.
    fn under_way(&self) -> usize {
        let streams = self.http2.iter().map(http2::Http2Connection::streams);
        self.in_use() + streams.sum::<usize>()
    }

    /// Starts the task that closes connections idle for too long; it runs as long as there are any.
    pub(super) fn sweep_later(&mut self, origin: &Arc<UpstreamOrigin>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let weak = Arc::downgrade(origin);
        origin.spawn(sweep(weak));
    }

    /// Closes connections idle for too long; returns when to check again, if any remain.
    fn sweep(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.idle
            .retain_mut(|idle| now < idle.since + IDLE && idle.connection.is_quiet());
        // One stays for requests that HTTP/1.1 can't take at once.
        let mut stay = usize::from(self.http1_open() > 0);
        self.http2.retain_mut(|connection| {
            let is_used = connection.idle_until().is_none_or(|end| now < end);
            !connection.is_over() && (is_used || std::mem::take(&mut stay) > 0)
        });
        let idle = self.idle.iter().map(|idle| idle.since + IDLE);
        let http2 = self.http2.iter().map(|connection| {
            let end = connection.idle_until().filter(|end| now < *end);
            end.unwrap_or(now + IDLE)
        });
        let next = idle.chain(http2).min();
        self.sweeping = next.is_some();
        next
    }
}

/// Dials and completes the handshake.
fn connect(
    origin: &Arc<UpstreamOrigin>,
    dial: DialPurpose,
) -> impl Future<Output = Result<DialedConnection, ConnectError>> + Send + use<> {
    let (connector, target) = (origin.connector.clone(), origin.target.clone());
    let (drivers, weak) = (origin.drivers.clone(), Arc::downgrade(origin));
    async move {
        if dial == DialPurpose::Beside {
            let stream = connector.connect_by_http1(&target).await?;
            return Ok(DialedConnection::Http1(stream));
        }
        let (stream, http2) = connector.connect(&target).await?;
        handshake(stream, http2, weak, &drivers).await
    }
}

/// A dial ahead of need; requests rely on it only for a moment.
async fn ahead(
    origin: &Weak<UpstreamOrigin>,
    connecting: impl Future<Output = Result<DialedConnection, ConnectError>>,
) -> (DialPurpose, Result<DialedConnection, ConnectError>) {
    let mut connecting = pin!(connecting);
    if let Ok(result) = timeout(AHEAD, &mut connecting).await {
        return (DialPurpose::Ahead, result);
    }
    if let Some(origin) = origin.upgrade() {
        origin.doubts();
    }
    (DialPurpose::Doubted, connecting.await)
}

async fn sweep(origin: Weak<UpstreamOrigin>) {
    loop {
        let next = origin.upgrade().and_then(|origin| origin.state().sweep());
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

//! The state of an origin: free connections, waiting requests, and dials in progress.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::connector::ConnectError;
use super::checkout::Checkout;
use super::demand::Demand;
use super::http1::{Http1Checkout, Http1Connection, Http1Owner};
use super::http2::{Http2Connection, Http2Owner};
use super::limits::{DIALS, FRESH, HTTP1_KEPT, HTTP2_CONNECTIONS, IDLE, PAUSE, SILENCE};
use super::version::ProtocolChoice;

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

/// The protocol that an origin is known to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownProtocol {
    Http1,
    /// With the last known stream limit.
    Http2(usize),
}

/// What the state has its origin do.
pub(super) trait OriginHandle: Http1Owner + Http2Owner + 'static {
    /// Starts a dial, which has been counted.
    fn dial(self: &Arc<Self>, dial: DialPurpose);

    /// Looks at the waiting requests at this time.
    fn settle_at(self: &Arc<Self>, until: Instant);

    /// Starts the task that closes connections idle for too long.
    fn keep_swept(self: &Arc<Self>);
}

#[derive(Debug)]
pub(super) struct OriginState {
    pub(super) speaks: Option<KnownProtocol>,
    pub(super) choice: ProtocolChoice,
    /// HTTP/2 connections that accept requests.
    pub(super) http2: Vec<Http2Connection>,
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
    pub(super) connection: Http1Connection,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) tell: oneshot::Sender<Result<Checkout, Arc<ConnectError>>>,
    pub(super) repeatable: bool,
}

impl OriginState {
    /// Takes a free connection.
    pub(super) fn take<O: OriginHandle>(
        &mut self,
        origin: &Arc<O>,
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
        let can_take = |one: &Http2Connection| one.has_room() && one.is_trusted();
        if repeatable {
            IDLE
        } else if self.http2.iter().any(can_take) {
            SILENCE
        } else {
            FRESH
        }
    }

    /// The last used HTTP/1.1 connection, if it was used within `limit`.
    fn take_http1<O: OriginHandle>(
        &mut self,
        origin: &Arc<O>,
        limit: Duration,
        now: Instant,
    ) -> Option<Checkout> {
        // All below it are older.
        let is_fresh = |idle: &mut Idle| now.duration_since(idle.since) < limit;
        let idle = self.idle.pop_if(is_fresh)?;
        self.demand.uses(self.in_use(), now);
        let owner: Weak<O> = Arc::downgrade(origin);
        Some(Checkout::Http1(Http1Checkout::new(idle.connection, owner)))
    }

    fn take_http2<O: OriginHandle>(&mut self, origin: &Arc<O>, now: Instant) -> Option<Checkout> {
        // The first connections are filled first, so that the last ones become idle.
        let mut at = 0;
        while let Some(connection) = self.http2.get_mut(at) {
            if connection.has_room() && connection.is_known_alive(now) {
                let owner: Weak<O> = Arc::downgrade(origin);
                match connection.permit(owner) {
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
    pub(super) fn provide<O: OriginHandle>(&mut self, origin: &Arc<O>) {
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
    pub(super) fn open_ahead<O: OriginHandle>(&mut self, origin: &Arc<O>) {
        self.http2.retain_mut(|connection| !connection.is_over());
        if self.dials == 0 && self.http1_open() == 0 && self.http2.is_empty() {
            self.dial(origin, DialPurpose::Ahead);
        }
    }

    fn dial<O: OriginHandle>(&mut self, origin: &Arc<O>, dial: DialPurpose) {
        match dial {
            DialPurpose::Wanted | DialPurpose::Ahead => self.dials += 1,
            DialPurpose::Beside => self.choice.dials(),
            DialPurpose::Doubted => {}
        }
        origin.dial(dial);
    }

    /// Suspends dialling for a while.
    pub(super) fn pause<O: OriginHandle>(&mut self, origin: &Arc<O>) {
        let until = Instant::now() + PAUSE;
        self.pause = Some(until);
        origin.settle_at(until);
    }

    pub(super) fn keep(&mut self, connection: Http1Connection) {
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
        let streams = self.http2.iter().map(Http2Connection::streams);
        self.in_use() + streams.sum::<usize>()
    }

    /// Starts the task that closes connections idle for too long; it runs as long as there are any.
    pub(super) fn sweep_later<O: OriginHandle>(&mut self, origin: &Arc<O>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        origin.keep_swept();
    }

    /// Closes connections idle for too long; returns when to check again, if any remain.
    pub(super) fn sweep(&mut self) -> Option<Instant> {
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

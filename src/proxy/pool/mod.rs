//! The connection pool: chooses the connection on which a request is sent to a provider.
//!
//! # Design
//!
//! A [`ConnectionPool`] holds connections of one age by [`UpstreamOrigin`] (scheme, host and port). A request asks its
//! origin for a [`Checkout`]: an HTTP/1.1 connection of its own, or one stream of an HTTP/2 connection. A free one is
//! handed out at once; otherwise the request queues, and whatever becomes free goes to the head of the queue. A request
//! is bound to a connection only with its checkout, so a connection that ends fails none of the waiting requests.
//!
//! **HTTP/2.** A connection (`http2`) carries as many streams as the peer's `SETTINGS_MAX_CONCURRENT_STREAMS` allows,
//! and one until its settings have arrived. When all streams are taken and requests wait, another connection is opened.
//! So a client that does not read holds up only its own stream.
//!
//! **HTTP/1.1.** A connection (`http1`) serves one request at a time. The last used one is taken first, so that the
//! others reach the idle limit. As many are kept as were in use at once in the last seconds (`demand`), so a steady
//! load opens none. Idle connections are not watched; whether one is alive is checked when it is taken.
//!
//! **Which of the two.** `version` decides for a host that supports both: HTTP/2 takes all requests, and HTTP/1.1
//! connections are dialled beside it where they pay off, without a request that waits for them.
//!
//! **Ahead of need.** [`UpstreamOrigin::open_ahead`] opens a connection before there is a request. It then counts as an
//! idle one. A request that arrives meanwhile waits for it up to a second, and is not failed by it.
//!
//! **Dials.** A dial belongs to the origin, not to a request: the request that caused it may get another connection
//! first, and the new one goes to the head of the queue. Until the origin's protocol is known, one dial serves all.
//! HTTP/2 gets as many dials as the waiting requests need by the last known limit, HTTP/1.1 one per request. A failed
//! dial fails all requests that waited for it, unless living connections will have capacity again.
//!
//! **Liveness.** An HTTP/2 connection that was silent for [`SILENCE`] receives a PING before a request is sent on it.
//! Without an answer within [`limits::SUSPICION`] it is suspect and another connection is opened; the first of the two that
//! works is used. HTTP/1.1 has no PING, so a request that must not be sent twice takes no connection that was idle for
//! [`FRESH`].
//!
//! **Resending.** A [`UpstreamFailure`] says whether a byte of the request can have been sent;
//! [`super::upstream`] decides what follows.
//!
//! **Ends.** Idle connections are closed after [`IDLE`]. Dropping the pool ends its dials and closes its idle
//! connections; the others end with their last stream, HTTP/2 with a GOAWAY.

mod answer;
mod ask;
mod demand;
mod failure;
mod http1;
mod http2;
mod limits;
mod state;
#[cfg(all(test, unix))]
mod tests;
mod version;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hyper::{Response, Uri};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(super) use self::answer::{BrokeOff, UpstreamBody};
pub(super) use self::ask::Ask;
use self::demand::Demand;
pub(super) use self::failure::{Http1Error, UpstreamCause, UpstreamFailure};
pub(super) use self::limits::IDLE;
use self::limits::{
    DIALS, FRESH, HEAD, HTTP1_KEPT, HTTP2_CONNECTIONS, MOST_INTERIM, PAUSE, SETTLED, SILENCE, TURN,
};
use self::state::{DialPurpose, OriginState, Waiter};
use self::version::ProtocolChoice;
use super::connector::{ConnectError, Connector, Transport};
use super::upload::UploadBody;
use crate::config::HttpVersion;
use crate::provider::BaseUrl;

/// The connections of one age.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    connector: Connector,
    http: HttpVersion,
    origins: Mutex<Vec<Arc<UpstreamOrigin>>>,
    /// The tasks that drive connections; they may outlive the pool.
    drivers: TaskTracker,
}

/// The protocol that an origin is known to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownProtocol {
    Http1,
    /// With the last known stream limit.
    Http2(usize),
}

/// The connections to one origin.
#[derive(Debug)]
pub(super) struct UpstreamOrigin {
    target: Uri,
    connector: Connector,
    drivers: TaskTracker,
    /// Ends dials and timers; its guard cancels it when the origin is dropped.
    stop: CancellationToken,
    _stop: DropGuard,
    state: Mutex<OriginState>,
}

/// The right to send one request on a connection. Dropped unused, it returns to the pool.
#[derive(Debug)]
enum Checkout {
    Http1(http1::Http1Checkout),
    Http2(http2::StreamPermit),
}

impl Checkout {
    /// The connection was there before the request: its end may have come unseen, whatever it was opened for.
    fn has_idled(&mut self) {
        match self {
            Self::Http1(idle) => idle.has_idled(),
            Self::Http2(permit) => permit.has_idled(),
        }
    }
}

impl ConnectionPool {
    /// A pool without connections that inherits what `before` knew about its origins.
    pub(super) fn new(connector: Connector, http: HttpVersion, before: Option<&Self>) -> Self {
        let drivers = TaskTracker::new();
        let known = before.map(|pool| {
            let origins = pool.origins();
            let fresh = |old: &Arc<UpstreamOrigin>| {
                let speaks = old.state().speaks;
                let (connector, drivers) = (connector.clone(), drivers.clone());
                Arc::new(UpstreamOrigin::new(
                    connector,
                    drivers,
                    old.target.clone(),
                    http,
                    speaks,
                ))
            };
            origins.iter().map(fresh).collect()
        });
        Self {
            origins: Mutex::new(known.unwrap_or_default()),
            connector,
            http,
            drivers,
        }
    }

    /// The origin of a URL.
    pub(super) fn origin(&self, target: &Uri) -> Arc<UpstreamOrigin> {
        let mut origins = self.origins();
        let known = origins.iter().find(|origin| origin.is_at(target));
        if let Some(origin) = known {
            return origin.clone();
        }
        // HTTP/2 is negotiated by TLS.
        let is_http1 = target.scheme_str() != Some("https") || self.http == HttpVersion::Http1;
        let speaks = is_http1.then_some(KnownProtocol::Http1);
        let (connector, drivers) = (self.connector.clone(), self.drivers.clone());
        let origin = UpstreamOrigin::new(connector, drivers, target.clone(), self.http, speaks);
        let origin = Arc::new(origin);
        origins.push(origin.clone());
        origin
    }

    /// The origin of a base URL.
    pub(super) fn origin_of(&self, base_url: &BaseUrl) -> Option<Arc<UpstreamOrigin>> {
        let origins = self.origins();
        let known = origins.iter().find(|origin| origin.is_of(base_url));
        if let Some(origin) = known {
            return Some(origin.clone());
        }
        drop(origins);
        Some(self.origin(&base_url.join("/", None)?))
    }

    fn origins(&self) -> MutexGuard<'_, Vec<Arc<UpstreamOrigin>>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamOrigin {
    fn new(
        connector: Connector,
        drivers: TaskTracker,
        target: Uri,
        http: HttpVersion,
        speaks: Option<KnownProtocol>,
    ) -> Self {
        let now = Instant::now();
        let stop = CancellationToken::new();
        Self {
            target,
            connector,
            drivers,
            _stop: stop.clone().drop_guard(),
            stop,
            state: Mutex::new(OriginState {
                speaks,
                choice: ProtocolChoice::new(http, now),
                http2: Vec::new(),
                idle: Vec::new(),
                http1: Arc::default(),
                demand: Demand::new(now),
                waiters: VecDeque::new(),
                dials: 0,
                pause: None,
                sweeping: false,
            }),
        }
    }

    /// Runs a dial or a timer as long as the origin exists. Its memory is released when it ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.drivers
            .spawn(async move { stop.run_until_cancelled(task).await });
    }

    fn is_at(&self, target: &Uri) -> bool {
        self.target.scheme() == target.scheme() && self.target.authority() == target.authority()
    }

    fn is_of(&self, base_url: &BaseUrl) -> bool {
        let is_https = self.target.scheme_str() == Some("https");
        let authority = base_url.authority();
        is_https == base_url.is_https()
            && self.target.authority().is_some_and(|own| {
                // They are usually identical, which a plain comparison finds at once.
                own.as_str() == authority.as_str() || own == authority
            })
    }

    fn state(&self) -> MutexGuard<'_, OriginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request on a connection as soon as one is free. `repeatable`: it may be sent twice. Dropping the future
    /// leaves the queue or cancels the request.
    pub(super) async fn send(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        body: UploadBody,
        repeatable: bool,
    ) -> Result<Response<UpstreamBody>, UpstreamFailure> {
        let checkout = self.check_out(repeatable).await;
        match checkout.map_err(|error| UpstreamFailure::none_sent(UpstreamCause::Connect(error)))? {
            Checkout::Http1(mount) => mount.send(ask, body, &self.drivers).await,
            Checkout::Http2(slot) => slot.send(ask, body).await,
        }
    }

    async fn check_out(self: &Arc<Self>, repeatable: bool) -> Result<Checkout, Arc<ConnectError>> {
        let told = {
            let mut state = self.state();
            if let Some(mut checkout) = state.take(self, repeatable) {
                checkout.has_idled();
                return Ok(checkout);
            }
            let (tell, told) = oneshot::channel();
            state.waiters.push_back(Waiter { tell, repeatable });
            state.provide(self);
            told
        };
        // The sender is in our own queue.
        told.await
            .unwrap_or_else(|_| Err(Arc::new(ConnectError::TimedOut)))
    }

    /// Opens a connection for the next request, unless one exists or is being opened.
    pub(super) fn open_ahead(self: &Arc<Self>) {
        self.state().open_ahead(self);
    }

    /// A dial ahead of need takes long, so requests get dials of their own.
    fn doubts(self: &Arc<Self>) {
        self.state().dials -= 1;
        self.settle();
    }

    /// Called when a connection may have become free: hands it to the waiting requests, and opens more for the others.
    fn settle(self: &Arc<Self>) {
        let mut unwanted = Vec::new();
        let mut state = self.state();
        if state.waiters.is_empty() {
            return;
        }
        state.waiters.retain(|waiter| !waiter.tell.is_closed());
        while let Some(first) = state.waiters.front() {
            let repeatable = first.repeatable;
            let Some(checkout) = state.take(self, repeatable) else {
                break;
            };
            if let Some(waiter) = state.waiters.pop_front()
                && let Err(checkout) = waiter.tell.send(Ok(checkout))
            {
                unwanted.push(checkout);
            }
        }
        state.provide(self);
        drop(state);
        // A checkout that is returned calls `settle` again.
        drop(unwanted);
    }

    /// Handles the end of a dial.
    fn arrived(
        self: &Arc<Self>,
        dial: DialPurpose,
        result: Result<DialedConnection, ConnectError>,
    ) {
        let mut refused = Vec::new();
        {
            let mut state = self.state();
            match dial {
                DialPurpose::Wanted | DialPurpose::Ahead => state.dials -= 1,
                DialPurpose::Beside => {
                    state.choice.dialled();
                    // Anything else may be over by the time that it would pay again.
                    if matches!(result, Err(ConnectError::Tls(_))) {
                        state.choice.refused();
                    }
                }
                DialPurpose::Doubted => {}
            }
            match result {
                Ok(DialedConnection::Http1(stream)) => {
                    let is_wanted = dial == DialPurpose::Wanted;
                    if dial != DialPurpose::Beside {
                        state.speaks = Some(KnownProtocol::Http1);
                    }
                    let connection = http1::Http1Connection::new(stream, &state.http1, is_wanted);
                    state.keep(connection);
                }
                Ok(DialedConnection::Http2(connection)) => {
                    if !matches!(state.speaks, Some(KnownProtocol::Http2(_))) {
                        state.speaks = Some(KnownProtocol::Http2(usize::MAX));
                    }
                    state.pause = None;
                    state.http2.push(connection);
                }
                Err(error) if dial != DialPurpose::Wanted => {
                    tracing::debug!(?dial, %error, "a connection that no request waits for failed");
                }
                Err(error) => {
                    state.waiters.retain(|waiter| !waiter.tell.is_closed());
                    state.http2.retain_mut(|connection| !connection.is_over());
                    let error = Arc::new(error);
                    if state
                        .http2
                        .iter()
                        .any(http2::Http2Connection::will_have_room)
                    {
                        state.pause(self);
                    } else {
                        let served_by_others = state.dials;
                        while state.waiters.len() > served_by_others
                            && let Some(waiter) = state.waiters.pop_front()
                        {
                            refused.push((waiter, error.clone()));
                        }
                    }
                }
            }
            state.sweep_later(self);
        }
        for (waiter, error) in refused {
            waiter.tell.send(Err(error)).ok();
        }
        self.settle();
    }

    /// Takes back an HTTP/1.1 connection that has served its request.
    fn give_back(self: &Arc<Self>, connection: http1::Http1Connection) {
        let mut state = self.state();
        state.keep(connection);
        state.sweep_later(self);
        drop(state);
        self.settle();
    }
}

impl http2::Http2Owner for UpstreamOrigin {
    fn may_have_changed(self: Arc<Self>) {
        self.settle();
    }

    fn learned(self: Arc<Self>, limit: usize) {
        let mut state = self.state();
        state.speaks = Some(KnownProtocol::Http2(limit));
        if limit == 0 {
            // More connections of this kind don't help.
            state.pause(&self);
        }
        drop(state);
        self.settle();
    }

    fn lost(self: Arc<Self>, shared: &Arc<http2::Http2Shared>) {
        self.state()
            .http2
            .retain(|connection| !connection.is(shared));
        self.settle();
    }
}

/// The result of a dial.
enum DialedConnection {
    Http1(Transport),
    Http2(http2::Http2Connection),
}

async fn handshake(
    stream: Transport,
    http2: bool,
    origin: Weak<UpstreamOrigin>,
    drivers: &TaskTracker,
) -> Result<DialedConnection, ConnectError> {
    if http2 {
        let connection = http2::Http2Connection::start(stream, origin, drivers).await;
        return connection.map(DialedConnection::Http2);
    }
    Ok(DialedConnection::Http1(stream))
}

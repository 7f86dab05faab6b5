//! The connections to one origin, and the requests that wait for one.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::{Response, Uri};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::super::connector::{ConnectError, Connector, Transport};
use super::super::upload::UploadBody;
use super::answer::UpstreamBody;
use super::ask::Ask;
use super::checkout::Checkout;
use super::demand::Demand;
use super::failure::{UpstreamCause, UpstreamFailure};
use super::http1::{Http1Connection, Http1Owner};
use super::http2::{Http2Connection, Http2Owner, Http2Shared};
use super::state::{DialPurpose, KnownProtocol, OriginHandle, OriginState, Waiter};
use super::version::ProtocolChoice;
use crate::config::HttpVersion;
use crate::provider::BaseUrl;

/// How long a request relies on a dial that began before it.
const AHEAD: Duration = Duration::from_secs(1);

/// The connections to one origin.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamOrigin {
    pub(super) target: Uri,
    connector: Connector,
    drivers: TaskTracker,
    /// Ends dials and timers; its guard cancels it when the origin is dropped.
    stop: CancellationToken,
    _stop: DropGuard,
    state: Mutex<OriginState>,
}

impl UpstreamOrigin {
    pub(super) fn new(
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

    pub(super) fn is_at(&self, target: &Uri) -> bool {
        self.target.scheme() == target.scheme() && self.target.authority() == target.authority()
    }

    pub(super) fn is_of(&self, base_url: &BaseUrl) -> bool {
        let is_https = self.target.scheme_str() == Some("https");
        let authority = base_url.authority();
        is_https == base_url.is_https()
            && self.target.authority().is_some_and(|own| {
                // They are usually identical, which a plain comparison finds at once.
                own.as_str() == authority.as_str() || own == authority
            })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, OriginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request on a connection as soon as one is free. `repeatable`: it may be sent twice. Dropping the future
    /// leaves the queue or cancels the request.
    pub(in crate::proxy) async fn send(
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
    pub(in crate::proxy) fn open_ahead(self: &Arc<Self>) {
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
                    let connection = Http1Connection::new(stream, &state.http1, is_wanted);
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
                    if state.http2.iter().any(Http2Connection::will_have_room) {
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
}

impl Http2Owner for UpstreamOrigin {
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

    fn lost(self: Arc<Self>, shared: &Arc<Http2Shared>) {
        self.state()
            .http2
            .retain(|connection| !connection.is(shared));
        self.settle();
    }
}

impl Http1Owner for UpstreamOrigin {
    fn give_back(self: Arc<Self>, connection: Http1Connection) {
        let mut state = self.state();
        state.keep(connection);
        state.sweep_later(&self);
        drop(state);
        self.settle();
    }
}

impl OriginHandle for UpstreamOrigin {
    fn dial(self: &Arc<Self>, dial: DialPurpose) {
        let connecting = connect(self, dial);
        let weak = Arc::downgrade(self);
        self.spawn(async move {
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

    fn settle_at(self: &Arc<Self>, until: Instant) {
        let weak = Arc::downgrade(self);
        self.spawn(async move {
            sleep_until(until).await;
            if let Some(origin) = weak.upgrade() {
                origin.settle();
            }
        });
    }

    fn keep_swept(self: &Arc<Self>) {
        self.spawn(sweep(Arc::downgrade(self)));
    }
}

/// The result of a dial.
enum DialedConnection {
    Http1(Transport),
    Http2(Http2Connection),
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

async fn handshake(
    stream: Transport,
    http2: bool,
    origin: Weak<UpstreamOrigin>,
    drivers: &TaskTracker,
) -> Result<DialedConnection, ConnectError> {
    if http2 {
        let connection = Http2Connection::start(stream, origin, drivers).await;
        return connection.map(DialedConnection::Http2);
    }
    Ok(DialedConnection::Http1(stream))
}

//! The connection pool: chooses the connection on which a request is sent to a provider.
//!
//! # Design
//!
//! A [`ConnectionPool`] holds connections of one age by [`UpstreamOrigin`] (scheme, host and port). A request asks its
//! origin for a [`Checkout`](checkout::Checkout): an HTTP/1.1 connection of its own, or one stream of an HTTP/2
//! connection. A free one is handed out at once; otherwise the request queues, and whatever becomes free goes to the head
//! of the queue. A request is bound to a connection only with its checkout, so a connection that ends fails none of the
//! waiting requests.
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
//! **Liveness.** An HTTP/2 connection that was silent for [`limits::SILENCE`] receives a PING before a request is sent on
//! it. Without an answer within [`limits::SUSPICION`] it is suspect and another connection is opened; the first of the two
//! that works is used. HTTP/1.1 has no PING, so a request that must not be sent twice takes no connection that was idle
//! for [`limits::FRESH`].
//!
//! **Resending.** A [`UpstreamFailure`] says whether a byte of the request can have been sent;
//! [`super::upstream`] decides what follows.
//!
//! **Ends.** Idle connections are closed after [`IDLE`]. Dropping the pool ends its dials and closes its idle
//! connections; the others end with their last stream, HTTP/2 with a GOAWAY.

mod answer;
mod ask;
mod broke_off;
mod checkout;
mod demand;
mod failure;
mod http1;
mod http2;
mod limits;
mod origin;
mod state;
#[cfg(all(test, unix))]
mod tests;
mod upload_task;
mod version;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Uri;
use tokio_util::task::TaskTracker;

pub(super) use self::answer::UpstreamBody;
pub(super) use self::ask::Ask;
pub(super) use self::broke_off::BrokeOff;
pub(super) use self::failure::{Http1Error, UpstreamCause, UpstreamFailure};
pub(super) use self::limits::IDLE;
pub(super) use self::origin::UpstreamOrigin;
use self::state::KnownProtocol;
use super::connector::Connector;
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

//! The connections to one provider, kept alive over HTTP/1.1 and HTTP/2, and what it means when
//! no answer comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use hyper::{Method, Response, Uri};
use tokio::time::{Instant, sleep_until};

use super::connection_pool::{
    Ask, ConnectionPool, Http1Error, IDLE, UpstreamBody, UpstreamCause, UpstreamFailure,
};
use super::connector::{ConnectError, Connector};
use super::error::{ErrorKind, ProxyError};
use super::resource_shortage;
use super::upload::{Upload, UploadBody, UploadError};
use crate::causes::{self, with_causes};
use crate::clock::Clock;
use crate::config::{HttpVersion, Timeouts};
use crate::provider::Skew;

/// How often one request is sent at most while the provider says that it did not process it.
const ATTEMPTS: usize = 3;
const INTERIM_ONLY: &str = "protocol: more than 100 interim answers, and no final one";
const NO_ANSWER: &str = "protocol: the answer is not valid HTTP, or its head is too large";

/// The connections to one provider.
#[derive(Debug, Clone)]
pub struct UpstreamClient {
    connector: Connector,
    pool: Arc<ArcSwap<Aged>>,
    http: HttpVersion,
    /// A connection was opened for an app since the last request.
    is_ahead: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    reuse: Duration,
    head_limit: Duration,
    skew: Arc<Skew>,
}

/// Connections of one age. Requests keep their own pool to their end, so another one can take its
/// place at any time; when the last one left, its connections are closed.
#[derive(Debug)]
struct Aged {
    pool: ConnectionPool,
    /// By a clock that stops while the machine is suspended, and by one that does not.
    born: (Instant, Duration),
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client's body ended too soon; its own fault.
    Upload(UploadError),
    /// The provider's.
    Upstream(ProxyError),
}

/// What may be done about a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryDecision {
    /// The provider did not process it (RFC 9113 §8.7): it may be sent again, whatever it is.
    Resend,
    /// It may have been received: only what changes nothing is sent again (RFC 9110 §9.2.2).
    RepeatIfSafe,
    None,
}

impl UpstreamClient {
    /// A client with this trust store, HTTP version and these limits. Nothing is connected yet. What is still open
    /// of `former` is counted here.
    pub fn new(
        tls: rustls::ClientConfig,
        http: HttpVersion,
        timeouts: &Timeouts,
        clock: Arc<dyn Clock>,
        former: Option<&Self>,
    ) -> Self {
        let open = former.map(|former| former.connector.counter());
        let connector = Connector::new(tls, timeouts.connect, http, open.unwrap_or_default());
        let pool = Aged::new(
            ConnectionPool::new(connector.clone(), http, None),
            clock.since_1970(),
        );
        Self {
            connector,
            pool: Arc::new(ArcSwap::from_pointee(pool)),
            http,
            is_ahead: Arc::default(),
            clock,
            reuse: timeouts.reuse,
            head_limit: timeouts.response_head,
            skew: Arc::default(),
        }
    }

    /// The clock that requests go by.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The time, by the clock that requests go by.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// How many connections to the provider are open, with those from before a reload.
    pub fn connections(&self) -> usize {
        self.connector.connections()
    }

    /// Opens a connection to where this URL leads, unless there is one: the next request need not wait for it. Over TLS alone:
    /// that takes round trips, while a small server without TLS may serve one connection at a time.
    pub(super) fn open_ahead(&self, target: &Uri) {
        if target.scheme_str() == Some("https") {
            self.pool().pool.origin(target).open_ahead();
        }
    }

    /// The same for an app that has connected: one until there is a request.
    pub(super) fn open_one_ahead(&self, target: &Uri) {
        if target.scheme_str() == Some("https") && !self.is_ahead.swap(true, Ordering::Relaxed) {
            self.open_ahead(target);
        }
    }

    /// Whether no connection is open, and none was opened for an app since the last request.
    pub(super) fn may_open_ahead(&self) -> bool {
        self.connections() == 0 && !self.is_ahead.load(Ordering::Relaxed)
    }

    /// What the provider's answers tell of this machine's clock.
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Sends a request and waits for the answer's head. It is sent once more when no byte of it was sent, when the
    /// provider says that it did not process it, and, once, when it changes nothing and a kept connection ended
    /// without a byte of an answer. Dropping the future cancels the request.
    ///
    /// # Errors
    /// [`SendError`] tells the client's faults from the provider's.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        upload: Option<&Upload>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        self.is_ahead.store(false, Ordering::Relaxed);
        let host = ask.base_url.authority().as_str();
        tokio::select! {
            biased;
            answer = self.exchange(ask, upload) => match answer {
                // No other protocol was requested; the bytes after it would be no answer.
                Ok(answer) if answer.status().is_informational() => {
                    Err(SendError::Upstream(unreachable(host, NO_ANSWER, "")))
                }
                Ok(answer) => {
                    self.skew.hear(answer.headers(), self.clock.now());
                    Ok(answer)
                }
                Err(error) => Err(match upload.and_then(Upload::failure) {
                    Some(failure) => SendError::Upload(failure),
                    None => SendError::Upstream(explain(&error.cause, host)),
                }),
            },
            () = head_overdue(self.head_limit, upload) => {
                let message = format!(
                    "hermes-proxyd: {host} sent no response head within {} s \
                     (`timeouts.response_head`)",
                    self.head_limit.as_secs()
                );
                let error = ProxyError::new(ErrorKind::UpstreamTimeout, message);
                Err(SendError::Upstream(error))
            }
        }
    }

    async fn exchange(
        &self,
        ask: &Ask<'_>,
        upload: Option<&Upload>,
    ) -> Result<Response<UpstreamBody>, UpstreamFailure> {
        let safe = upload.is_none() && matches!(*ask.method, Method::GET | Method::HEAD);
        let (mut attempt, mut repeated) = (1, false);
        loop {
            let body = upload.map_or_else(UploadBody::empty, Upload::body);
            let Some(origin) = self.pool().pool.origin_of(ask.base_url) else {
                return Err(UpstreamFailure::none_sent(UpstreamCause::Target));
            };
            // Not a part of the request's own future, which every connection has room for.
            let sending = Box::pin(origin.send(ask, body, safe));
            let failure = match sending.await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let again = match remedy(&failure) {
                // Each of those uses up a kept connection.
                RetryDecision::Resend if failure.unsent && failure.reused => {
                    upload.is_none_or(Upload::can_go_elsewhere)
                }
                RetryDecision::Resend => {
                    attempt += 1;
                    upload.is_none_or(Upload::can_go_elsewhere) && attempt <= ATTEMPTS
                }
                RetryDecision::RepeatIfSafe => safe && !std::mem::replace(&mut repeated, true),
                RetryDecision::None => false,
            };
            if !again {
                return Err(failure);
            }
            tracing::debug!(error = %with_causes(&failure.cause), "the request is sent again");
        }
    }

    /// The connections to use now. Fresh ones when these are so old that the name may have moved,
    /// or when the machine was suspended: then they are dead, and no timer of theirs knows.
    fn pool(&self) -> Arc<Aged> {
        let aged = self.pool.load_full();
        let now = self.clock.since_1970();
        if aged.is_good(now, self.reuse) {
            return aged;
        }
        let fresh = ConnectionPool::new(self.connector.clone(), self.http, Some(&aged.pool));
        let fresh = Arc::new(Aged::new(fresh, now));
        self.pool.store(fresh.clone());
        fresh
    }
}

impl Aged {
    fn new(pool: ConnectionPool, now: Duration) -> Self {
        let born = (Instant::now(), now);
        Self { pool, born }
    }

    fn is_good(&self, now: Duration, reuse: Duration) -> bool {
        let awake = self.born.0.elapsed();
        // A clock that was put back says nothing.
        let suspended = now.saturating_sub(self.born.1);
        awake < reuse && suspended.saturating_sub(awake) < IDLE
    }
}

fn remedy(failure: &UpstreamFailure) -> RetryDecision {
    match &failure.cause {
        UpstreamCause::Connect(_)
        | UpstreamCause::Interim
        | UpstreamCause::Upload
        | UpstreamCause::Target => return RetryDecision::None,
        _ if failure.unsent => return RetryDecision::Resend,
        UpstreamCause::Http2(error) => {
            // A stream fails with the provider's GOAWAY only when it is beyond the last one that it
            // processes; those before it go on.
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            if error.is_remote() && (refused || error.is_go_away()) {
                return RetryDecision::Resend;
            }
            if !error.is_io() {
                return RetryDecision::None;
            }
        }
        UpstreamCause::Http1(_) | UpstreamCause::Gone => {}
    }
    if failure.reused && failure.unheard {
        RetryDecision::RepeatIfSafe
    } else {
        RetryDecision::None
    }
}

/// Ends when the head has not come within `limit` of the client's last byte.
async fn head_overdue(limit: Duration, upload: Option<&Upload>) {
    let mut deadline = Instant::now() + limit;
    loop {
        sleep_until(deadline).await;
        let Some(upload) = upload else { return };
        // While a body is on its way, silence has a limit of its own on the client's side; a
        // provider that stops taking it is noticed here.
        let silence = if upload.is_finished() {
            limit
        } else {
            limit.max(upload.silence())
        };
        let next = upload.last_progress() + silence;
        if next <= deadline {
            return;
        }
        deadline = next;
    }
}

fn explain(cause: &UpstreamCause, host: &str) -> ProxyError {
    tracing::debug!(host, error = %with_causes(cause), "no answer from the provider");
    if causes::find::<std::io::Error>(cause).is_some_and(resource_shortage::is_of_ours) {
        return resource_shortage::error(&format!("{host} can't be reached"));
    }
    let connect = match cause {
        UpstreamCause::Connect(error) => Some(&**error),
        UpstreamCause::Http1(_)
        | UpstreamCause::Http2(_)
        | UpstreamCause::Interim
        | UpstreamCause::Upload
        | UpstreamCause::Target
        | UpstreamCause::Gone => None,
    };
    let what = match (connect, cause) {
        (Some(ConnectError::TimedOut), _) => {
            let message = format!(
                "hermes-proxyd: no connection to {host} within the limit (`timeouts.connect`)"
            );
            return ProxyError::new(ErrorKind::UpstreamTimeout, message);
        }
        (Some(ConnectError::Dns(_)), _) => "DNS: the name can't be resolved",
        (Some(ConnectError::Tls(_)), _) => "TLS: the handshake failed",
        (Some(ConnectError::Tcp(_)), _) => "connect: the connection failed",
        (None, UpstreamCause::Interim) => INTERIM_ONLY,
        (None, UpstreamCause::Http1(Http1Error::Malformed(_))) => NO_ANSWER,
        (None, UpstreamCause::Http2(error)) if error.is_library() => NO_ANSWER,
        (None, _) => "protocol: the connection broke before an answer arrived",
    };
    let cause = connect
        .and_then(std::error::Error::source)
        .map(with_causes)
        .unwrap_or_default();
    unreachable(host, what, &cause)
}

/// Whether a host has said that it speaks none of the protocols that it was offered (RFC 7301 §3.2).
fn speaks_another(cause: &str) -> bool {
    cause.contains("NoApplicationProtocol")
}

fn unreachable(host: &str, what: &str, cause: &str) -> ProxyError {
    let mut message = format!("hermes-proxyd: {host} can't be reached ({what}");
    if !cause.is_empty() {
        message.push_str(": ");
        message.push_str(cause);
    }
    message.push_str("); `hermesctl doctor` checks the connection");
    if cause.contains("corrupt message") {
        message.push_str("; the server may speak http: see `base_url` of this provider");
    }
    if speaks_another(cause) {
        message.push_str("; the server may speak HTTP/2 alone: see `http` of this provider");
    }
    ProxyError::new(ErrorKind::UpstreamUnreachable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::fake::JumpingClock;

    #[tokio::test(start_paused = true)]
    async fn connections_are_fresh_after_their_time_and_after_a_suspension() {
        let clock = Arc::new(JumpingClock::at("2026-11-25T12:00:00Z"));
        let tls = crate::provider::client_config(None).unwrap();
        let client = UpstreamClient::new(
            tls,
            HttpVersion::Auto,
            &Timeouts::default(),
            clock.clone(),
            None,
        );
        let mut last = client.pool();
        let mut is_fresh = || {
            let now = client.pool();
            !Arc::ptr_eq(&std::mem::replace(&mut last, now.clone()), &now)
        };
        let seconds = Duration::from_secs;
        assert!(!is_fresh());

        tokio::time::advance(seconds(299)).await;
        clock.jump(seconds(299));
        assert!(!is_fresh());
        tokio::time::advance(seconds(1)).await;
        clock.jump(seconds(1));
        assert!(is_fresh() && !is_fresh());

        // The machine slept: its timers stopped, the wall clock did not.
        clock.jump(seconds(19));
        assert!(!is_fresh());
        clock.jump(seconds(1));
        assert!(is_fresh() && !is_fresh());

        clock.jump_back(seconds(86400));
        assert!(!is_fresh());
    }
}

//! The connections to one provider, kept alive over HTTP/1.1 and HTTP/2, and what it means when
//! no answer comes.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until};

use super::egress::{ConnectError, Connector};
use super::error::{ErrorKind, ProxyError};
use super::upload::{Upload, UploadBody, UploadError};
use crate::config::Timeouts;

/// An idle connection is closed before the provider's edge does it, which would cost a request.
const IDLE: Duration = Duration::from_secs(20);
/// Idle connections kept.
const IDLE_CONNECTIONS: usize = 64;
/// HTTP/2: what one stream may have under way. All of a connection's streams together are not
/// bounded by less than HTTP/2 itself (RFC 9113 §6.9.1): else so many clients that don't read
/// would hold back all others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// HTTP/2: a silent connection is probed, so that a dead one is noticed.
const PING: Duration = Duration::from_secs(30);

/// The connections to one provider.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<Connector, UploadBody>,
    head_limit: Duration,
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client's body ended too soon; its own fault.
    Upload(UploadError),
    /// The provider's.
    Upstream(ProxyError),
}

impl Client {
    /// A client with this trust store and these limits. Nothing is connected yet.
    pub fn new(tls: rustls::ClientConfig, timeouts: &Timeouts) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING)
            .build(Connector::new(tls, timeouts.connect));
        Self {
            http,
            head_limit: timeouts.response_head,
        }
    }

    /// Sends a request and waits for the answer's head. A request on a kept connection that died
    /// before any byte of it was sent is sent again; nothing else is. Dropping the future
    /// cancels the request.
    ///
    /// # Errors
    /// [`SendError`] tells the client's faults from the provider's.
    pub(super) async fn send(
        &self,
        request: Request<UploadBody>,
        upload: Option<&Upload>,
    ) -> Result<Response<Incoming>, SendError> {
        let target = request.uri().clone();
        let answer = tokio::select! {
            biased;
            answer = self.http.request(request) => answer,
            () = head_overdue(self.head_limit, upload) => {
                let host = host(&target);
                let message = format!(
                    "hermes-proxyd: {host} sent no response head within {} s \
                     (`timeouts.response_head`)",
                    self.head_limit.as_secs()
                );
                let error = ProxyError::new(ErrorKind::UpstreamTimeout, message);
                return Err(SendError::Upstream(error));
            }
        };
        answer.map_err(|error| match upload.and_then(Upload::failure) {
            Some(failure) => SendError::Upload(failure),
            None => SendError::Upstream(explain(&error, host(&target))),
        })
    }
}

fn host(target: &Uri) -> &str {
    target
        .authority()
        .map_or("", |authority| authority.as_str())
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

fn explain(error: &legacy::Error, host: &str) -> ProxyError {
    tracing::debug!(host, error = %chain(error), "no answer from the provider");
    let connect = source::<ConnectError>(error);
    let what = match connect {
        Some(ConnectError::TimedOut) => {
            let message = format!(
                "hermes-proxyd: no connection to {host} within the limit (`timeouts.connect`)"
            );
            return ProxyError::new(ErrorKind::UpstreamTimeout, message);
        }
        Some(ConnectError::Dns(_)) => "DNS: the name can't be resolved",
        Some(ConnectError::Tls(_)) => "TLS: the handshake failed",
        Some(ConnectError::Tcp(_)) => "connect: the connection failed",
        None => "protocol: the connection broke before an answer came",
    };
    let cause = connect
        .and_then(Error::source)
        .map(chain)
        .unwrap_or_default();
    let mut message = format!("hermes-proxyd: {host} can't be reached ({what}");
    if !cause.is_empty() {
        message.push_str(": ");
        message.push_str(&cause);
    }
    message.push(')');
    ProxyError::new(ErrorKind::UpstreamUnreachable, message)
}

fn source<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error and its causes on one line. None of them holds a header or a body.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            write!(text, ": {cause}").ok();
        }
        next = error.source();
    }
    text
}

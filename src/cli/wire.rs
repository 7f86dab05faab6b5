//! One request over a new connection, by TCP or a Unix socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::connection::{NAME, connect};
use super::platform;
use crate::OWN_REQUEST;
use crate::control::protocol::IssuedKey;
use crate::control::protocol::calls;

/// How long a connection to this machine may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may be silent; the daemon's own limits end it sooner.
const SILENCE: Duration = Duration::from_mins(5);
/// No answer that we understand is larger, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// No connection.
    #[error("{0}")]
    Connect(io::Error),
    /// The connection broke, or the answer was not HTTP.
    #[error("the answer was cut off ({0})")]
    Http(hyper::Error),
    /// Nothing came for too long.
    #[error("nothing arrived for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// The key can't be in a header.
    #[error("the client key has invalid characters")]
    Key,
}

/// Where the daemon listens.
#[derive(Debug)]
pub(super) struct PortAddress {
    place: SocketTarget,
    origin: String,
    host: String,
}

#[derive(Debug)]
enum SocketTarget {
    Tcp(SocketAddr),
    Unix(String),
}

/// An answer's head, and the body that is still to come.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    /// Carries the connection.
    _connection: TaskTracker,
}

impl PortAddress {
    /// Of a listener's URL in the daemon's status, `http://127.0.0.1:8645/v1` or `unix:/run/…`.
    pub(super) fn of(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Some(Self {
                place: SocketTarget::Unix(path.to_owned()),
                origin: url.to_owned(),
                host: "localhost".to_owned(),
            });
        }
        let authority = url.strip_prefix("http://")?.strip_suffix("/v1")?;
        Some(Self::at(authority.parse().ok()?))
    }

    /// Of an address.
    pub(super) fn at(mut address: SocketAddr) -> Self {
        // Where it listens on every address, this machine's own will do.
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self {
            place: SocketTarget::Tcp(address),
            origin: format!("http://{address}"),
            host: address.to_string(),
        }
    }

    /// The text before the path, for people.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Asks: with a body by POST, without one by GET.
    pub(super) async fn ask(
        &self,
        path: &str,
        body: Option<String>,
        key: Option<&IssuedKey>,
    ) -> Result<RawResponse, WireError> {
        let mut request = self.request(path, body, key)?;
        if let Some(mark) = own_mark().await {
            request.headers_mut().insert(OWN_REQUEST, mark);
        }
        match &self.place {
            SocketTarget::Tcp(address) => {
                let stream = in_time(TcpStream::connect(address)).await?;
                exchange(stream, request).await
            }
            SocketTarget::Unix(path) => {
                let stream = in_time(platform::connect_to_socket(path)).await?;
                exchange(stream, request).await
            }
        }
    }

    fn request(
        &self,
        path: &str,
        body: Option<String>,
        key: Option<&IssuedKey>,
    ) -> Result<Request<String>, WireError> {
        let mut request = Request::new(String::new());
        // An invalid path is answered by the daemon, as for any app.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.host) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(key) = key {
            let bearer = Zeroizing::new(format!("Bearer {}", key.expose()));
            let mut value = HeaderValue::from_str(&bearer).map_err(|_| WireError::Key)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.method_mut() = Method::POST;
            *request.body_mut() = body;
        }
        Ok(request)
    }
}

impl RawResponse {
    /// The next bytes of the body; `None` after the last ones.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let frame = timeout(SILENCE, frame).await;
            let frame = frame.map_err(|_| WireError::Silent(SILENCE))?;
            let Some(frame) = frame.transpose().map_err(WireError::Http)? else {
                return Ok(None);
            };
            // Trailers say nothing to us.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The rest, as far as it would be read.
    pub(super) async fn rest(&mut self) -> Result<Bytes, WireError> {
        let mut rest = Vec::new();
        while let Some(bytes) = self.next().await? {
            if rest.len() + bytes.len() > LARGEST {
                break;
            }
            rest.extend_from_slice(&bytes);
        }
        Ok(rest.into())
    }
}

/// What shows the daemon that hermesctl asks, so that the request counts as no app's. Not kept, since
/// the daemon may be another one by the next request; an old one does not know it.
async fn own_mark() -> Option<HeaderValue> {
    let asked = timeout(CONNECT, async {
        connect().await.ok()?.call(calls::OwnMark).await.ok()
    });
    let mark = asked.await.ok().flatten()?.mark;
    let mut mark = HeaderValue::from_str(mark.expose()).ok()?;
    mark.set_sensitive(true);
    Some(mark)
}

async fn in_time<S>(connecting: impl Future<Output = io::Result<S>>) -> Result<S, WireError> {
    let connected = timeout(CONNECT, connecting).await;
    connected
        .map_err(|_| WireError::Silent(CONNECT))?
        .map_err(WireError::Connect)
}

async fn exchange<S>(stream: S, request: Request<String>) -> Result<RawResponse, WireError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(WireError::Http)?;
    let tracker = TaskTracker::new();
    // Its failure shows to the reader of the answer.
    tracker.spawn(async move { connection.await.ok() });
    let response = timeout(SILENCE, sender.send_request(request)).await;
    let response = response
        .map_err(|_| WireError::Silent(SILENCE))?
        .map_err(WireError::Http)?;
    let (head, body) = response.into_parts();
    Ok(RawResponse {
        status: head.status,
        headers: head.headers,
        body,
        _connection: tracker,
    })
}

//! Connections to a provider: name look-up, TCP, a proxy of the environment where one is set,
//! TLS; all together within one limit.

mod counted_io;

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use self::counted_io::CountedIo;
use super::dial::{BoxError, ResolveError, TcpDialer};
use crate::causes;
use crate::config::HttpVersion;
use crate::provider::Proxies;

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the name can't be resolved")]
    Dns(#[source] BoxError),
    #[error("TLS failed")]
    Tls(#[source] BoxError),
    #[error("the connection failed")]
    Tcp(#[source] BoxError),
    #[error("no connection within the limit")]
    TimedOut,
}

/// A connection to a provider, over TLS where its URL says so.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(
        CountedIo,
        #[expect(dead_code, reason = "it counts while it is there")] OpenConnection,
    ),
    Tls(
        Box<TlsStream<CountedIo>>,
        #[expect(dead_code, reason = "it counts while it is there")] OpenConnection,
    ),
}

/// Counts a connection for as long as it is open.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenConnection(Arc<()>);

/// The names by which protocols are offered and chosen (RFC 7301, RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a host has chosen of the protocols that it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NegotiatedProtocol {
    Http1,
    Http2,
}

/// Opens connections, each within a limit.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    egress: Egress,
    /// Offers what the setting allows; and HTTP/1.1 alone.
    tls: Arc<rustls::ClientConfig>,
    tls_http1: Arc<rustls::ClientConfig>,
    limit: Duration,
    /// One for this, and one for each connection.
    open: Arc<OpenConnection>,
}

impl Connector {
    /// `open` counts its connections, with those of connectors before it.
    pub(super) fn new(
        mut tls: rustls::ClientConfig,
        limit: Duration,
        http: HttpVersion,
        open: Arc<OpenConnection>,
    ) -> Self {
        let egress = Egress {
            dial: TcpDialer::new(),
            proxies: Arc::new(Proxies::from_env()),
        };
        tls.alpn_protocols = vec![HTTP1.to_vec()];
        let tls_http1 = Arc::new(tls.clone());
        let tls = match http {
            HttpVersion::Http1 => tls_http1.clone(),
            HttpVersion::Auto | HttpVersion::Http2 => {
                tls.alpn_protocols.insert(0, HTTP2.to_vec());
                Arc::new(tls)
            }
        };
        Self {
            egress,
            tls,
            tls_http1,
            limit,
            open,
        }
    }

    /// What counts the connections.
    pub(super) fn counter(&self) -> Arc<OpenConnection> {
        self.open.clone()
    }

    /// How many connections are open, with those of connectors before it.
    pub(super) fn connections(&self) -> usize {
        Arc::strong_count(&self.open.0).saturating_sub(1)
    }

    /// A connection to where a URL leads, and whether it speaks HTTP/2.
    pub(super) async fn connect(&self, target: &Uri) -> Result<(Transport, bool), ConnectError> {
        let (stream, chosen) = self.connect_by(target, &self.tls).await?;
        Ok((stream, chosen == Some(NegotiatedProtocol::Http2)))
    }

    /// A connection to a host that speaks HTTP/2, over HTTP/1.1.
    pub(super) async fn connect_by_http1(&self, target: &Uri) -> Result<Transport, ConnectError> {
        match self.connect_by(target, &self.tls_http1).await? {
            (stream, Some(NegotiatedProtocol::Http1)) => Ok(stream),
            // It may still speak HTTP/2 on it.
            (_, Some(NegotiatedProtocol::Http2) | None) => Err(ConnectError::Tls(
                "the host has not agreed to HTTP/1.1".into(),
            )),
        }
    }

    async fn connect_by(
        &self,
        target: &Uri,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<(Transport, Option<NegotiatedProtocol>), ConnectError> {
        match tokio::time::timeout(self.limit, self.open(target, tls)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(classify(error)),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn open(
        &self,
        target: &Uri,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<(Transport, Option<NegotiatedProtocol>), BoxError> {
        let tcp = self.egress.clone().call(target.clone()).await?.into_inner();
        let wire = CountedIo::new(tcp);
        let open = OpenConnection::clone(&self.open);
        if target.scheme() != Some(&Scheme::HTTPS) {
            return Ok((Transport::Plain(wire, open), None));
        }
        let host = target.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())?;
        let tls = TlsConnector::from(tls.clone()).connect(name, wire).await?;
        let chosen = match tls.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Some(NegotiatedProtocol::Http2),
            Some(HTTP1) => Some(NegotiatedProtocol::Http1),
            Some(_) | None => None,
        };
        Ok((Transport::Tls(Box::new(tls), open), chosen))
    }
}

impl Transport {
    fn wire(&self) -> &CountedIo {
        match self {
            Self::Plain(wire, _) => wire,
            Self::Tls(tls, _) => tls.get_ref().0,
        }
    }

    /// As [`CountedIo::written`].
    pub(super) fn written(&self) -> u64 {
        self.wire().written()
    }

    /// As [`CountedIo::has_unread`].
    pub(super) fn has_unread(&self) -> bool {
        self.wire().has_unread()
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire, _) => Pin::new(wire).poll_read(cx, buffer),
            Self::Tls(tls, _) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(wire, _) => Pin::new(wire).poll_write(cx, bytes),
            Self::Tls(tls, _) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(wire, _) => Pin::new(wire).poll_write_vectored(cx, parts),
            Self::Tls(tls, _) => Pin::new(tls).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(wire, _) => wire.is_write_vectored(),
            Self::Tls(tls, _) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire, _) => Pin::new(wire).poll_flush(cx),
            Self::Tls(tls, _) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire, _) => Pin::new(wire).poll_shutdown(cx),
            Self::Tls(tls, _) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

fn classify(error: BoxError) -> ConnectError {
    if causes::find::<ResolveError>(&*error).is_some() {
        ConnectError::Dns(error)
    } else if causes::find::<rustls::Error>(&*error).is_some() {
        ConnectError::Tls(error)
    } else if timed_out(&*error) {
        ConnectError::TimedOut
    } else {
        ConnectError::Tcp(error)
    }
}

/// Whether the system gave a connection up by a limit of its own.
fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let here = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut);
    here || error.source().is_some_and(timed_out)
}

/// TCP, straight or through the proxy that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
/// Loopback never goes through a proxy.
#[derive(Debug, Clone)]
struct Egress {
    dial: TcpDialer,
    proxies: Arc<Proxies>,
}

impl Service<Uri> for Egress {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dial.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        // The configuration allows it for this network alone, where no proxy leads to.
        if target.scheme() == Some(&Scheme::HTTP) {
            return self.dial.call_near(target);
        }
        let proxy = if is_loopback(&target) {
            None
        } else {
            self.proxies.intercept(&target)
        };
        let Some(proxy) = proxy else {
            return self.dial.call(target);
        };
        let (uri, dial) = (proxy.uri().clone(), self.dial.clone());
        let via = host_and_port(&uri);
        let through: BoxFuture<_, BoxError> = match uri.scheme_str().unwrap_or("http") {
            "http" => {
                let mut tunnel = Tunnel::new(uri, dial);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                Box::pin(async move { tunnel.call(target).await.map_err(Into::into) })
            }
            scheme @ ("socks5" | "socks5h") => {
                let mut socks = SocksV5::new(uri.clone(), dial).local_dns(scheme == "socks5");
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                Box::pin(async move { socks.call(target).await.map_err(Into::into) })
            }
            scheme @ ("socks4" | "socks4a") => {
                let mut socks = SocksV4::new(uri.clone(), dial).local_dns(scheme == "socks4");
                Box::pin(async move { socks.call(target).await.map_err(Into::into) })
            }
            scheme => {
                let error = format!(
                    "a proxy of the kind {scheme} is not supported; HTTPS_PROXY and ALL_PROXY \
                     take http, socks4 and socks5"
                );
                Box::pin(async move { Err(error.into()) })
            }
        };
        Box::pin(async move {
            let through = through.await;
            through.map_err(|source| ProxyFailed { via, source }.into())
        })
    }
}

/// The way through a proxy of the environment failed.
#[derive(Debug, thiserror::Error)]
#[error("through the proxy {via} (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)")]
struct ProxyFailed {
    via: String,
    source: BoxError,
}

/// Without the user and password that a proxy's URL may hold.
fn host_and_port(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_loopback(target: &Uri) -> bool {
    let host = target.host().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
        || literal
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_however_it_is_written() {
        for (host, is_this_machine) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("127.0.0.1", true),
            ("127.255.0.3", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("[::ffff:7f00:2]", true),
            ("localhost.example", false),
            ("localhost..", false),
            ("128.0.0.1", false),
            ("[::2]", false),
            ("[::ffff:192.0.2.1]", false),
        ] {
            let target = format!("http://{host}:8080/v1").parse().unwrap();
            assert_eq!(is_loopback(&target), is_this_machine, "{host}");
        }
    }
}

//! Connections to a provider: name look-up, TCP, a proxy of the environment where one is set,
//! TLS; all together within one limit.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::dial::{BoxError, Dial, ResolveError};
use super::life::Lived;

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
pub(super) type Stream = TokioIo<Lived<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>>;

/// Opens connections, each within a limit.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Egress>,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(tls: rustls::ClientConfig, limit: Duration) -> Self {
        let egress = Egress {
            dial: Dial::new(),
            proxies: Arc::new(Matcher::from_env()),
        };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(egress);
        Self { https, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = BoxFuture<Self::Response, ConnectError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(cx).map_err(classify)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.https.call(target);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(Lived::new(TokioIo::new(stream)))),
                Ok(Err(error)) => Err(classify(error)),
                Err(_) => Err(ConnectError::TimedOut),
            }
        })
    }
}

fn classify(error: BoxError) -> ConnectError {
    if has_source::<ResolveError>(&*error) {
        ConnectError::Dns(error)
    } else if has_source::<rustls::Error>(&*error) {
        ConnectError::Tls(error)
    } else if timed_out(&*error) {
        ConnectError::TimedOut
    } else {
        ConnectError::Tcp(error)
    }
}

/// Whether a `T` stands in the chain of causes. An I/O error hides the error that it wraps from
/// its `source`, and wrappers nest.
fn has_source<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<T>()
        || wrapped.is_some_and(|wrapped| has_source::<T>(wrapped))
        || error.source().is_some_and(has_source::<T>)
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
    dial: Dial,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Egress {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dial.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
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

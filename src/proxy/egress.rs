//! Connections to a provider: name look-up, TCP (Happy Eyeballs, RFC 8305), a proxy of the
//! environment where one is set, TLS; all together within one limit.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Probes of an idle TCP connection, so that a dead peer is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

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

/// Opens connections, each within a limit.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Egress>,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(tls: rustls::ClientConfig, limit: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        let egress = Egress {
            http,
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
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
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
                Ok(result) => result.map_err(classify),
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

/// TCP, straight or through the proxy that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
/// Loopback never goes through a proxy.
#[derive(Debug, Clone)]
struct Egress {
    http: HttpConnector<Resolver>,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Egress {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let proxy = if is_loopback(&target) {
            None
        } else {
            self.proxies.intercept(&target)
        };
        let Some(proxy) = proxy else {
            let connecting = self.http.call(target);
            return Box::pin(async move { connecting.await.map_err(Into::into) });
        };
        let (uri, http) = (proxy.uri().clone(), self.http.clone());
        match uri.scheme_str().unwrap_or("http") {
            "http" => {
                let mut tunnel = Tunnel::new(uri, http);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                Box::pin(async move { tunnel.call(target).await.map_err(Into::into) })
            }
            scheme @ ("socks5" | "socks5h") => {
                let mut socks = SocksV5::new(uri.clone(), http).local_dns(scheme == "socks5");
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                Box::pin(async move { socks.call(target).await.map_err(Into::into) })
            }
            scheme @ ("socks4" | "socks4a") => {
                let mut socks = SocksV4::new(uri.clone(), http).local_dns(scheme == "socks4");
                Box::pin(async move { socks.call(target).await.map_err(Into::into) })
            }
            scheme => {
                let error = format!(
                    "a proxy of the kind {scheme} is not supported; HTTPS_PROXY and ALL_PROXY \
                     take http, socks4 and socks5"
                );
                Box::pin(async move { Err(error.into()) })
            }
        }
    }
}

fn is_loopback(target: &Uri) -> bool {
    let host = target.host().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || literal
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The system's resolver, whose errors can be told from others.
#[derive(Debug, Clone)]
struct Resolver(GaiResolver);

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct ResolveError(std::io::Error);

impl Service<Name> for Resolver {
    type Response = <GaiResolver as Service<Name>>::Response;
    type Error = ResolveError;
    type Future = BoxFuture<Self::Response, ResolveError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        self.0.poll_ready(cx).map_err(ResolveError)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { resolving.await.map_err(ResolveError) })
    }
}

//! Addresses, and the connections that come in on them.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{ErrorKind, ProxyError};
use super::gateway::Gateway;
use super::handler::{self, Entry};
use super::patience;
use crate::config::{Listener, ProviderName};

/// Field lines that a request may have.
const MOST_FIELDS: usize = 100;
/// The pause after a failed accept, as when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that wait in the kernel.
const BACKLOG: u32 = 1024;

/// A bound address that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    provider: Option<ProviderName>,
}

/// A port as `proxy status` shows it.
#[derive(Debug, Clone)]
pub struct Port {
    /// The address, with the port that the system chose if it was asked to.
    pub address: SocketAddr,
    /// The provider that `/v1` means here, when it is not the default one.
    pub provider: Option<ProviderName>,
    connections: Arc<AtomicU64>,
}

impl Port {
    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Binds an address.
///
/// # Errors
/// The system's, as when another process has the address.
pub fn bind(listener: &Listener) -> std::io::Result<Bound> {
    let socket = match listener.address.ip() {
        IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(listener.address)?;
    let listener_socket = socket.listen(BACKLOG)?;
    let address = listener_socket.local_addr()?;
    Ok(Bound {
        listener: listener_socket,
        address,
        provider: listener.provider.clone(),
    })
}

/// When connections end.
#[derive(Debug, Clone)]
struct Stop {
    /// No new requests; those that run may finish.
    drain: CancellationToken,
    /// At once.
    abort: CancellationToken,
}

impl Bound {
    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `drain`, each connection in a task of its own, at most as many as `permits`
    /// has over all listeners.
    pub fn serve(
        self,
        gateway: Arc<Gateway>,
        permits: Arc<Semaphore>,
        (drain, abort): (CancellationToken, CancellationToken),
        tracker: &TaskTracker,
    ) -> Port {
        let connections = Arc::new(AtomicU64::new(0));
        let port = Port {
            address: self.address,
            provider: self.provider.clone(),
            connections: connections.clone(),
        };
        let stop = Stop { drain, abort };
        let tasks = tracker.clone();
        tracker.spawn(self.accept(gateway, permits, stop, (tasks, connections)));
        port
    }

    async fn accept(
        self,
        gateway: Arc<Gateway>,
        permits: Arc<Semaphore>,
        stop: Stop,
        (tracker, connections): (TaskTracker, Arc<AtomicU64>),
    ) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                () = stop.drain.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    stream
                }
                Err(error) => {
                    // Said once, not twenty times a second, while it lasts.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "a connection could not be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Accepted first, so that a quiet listener holds no place.
            let permit = tokio::select! {
                () = stop.drain.cancelled() => return,
                permit = permits.clone().acquire_owned() => permit,
            };
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let entry = Arc::new(Entry {
                local: local.ip().to_canonical(),
                provider: self.provider.clone(),
            });
            let (gateway, stop, connections) = (gateway.clone(), stop.clone(), connections.clone());
            connections.fetch_add(1, Ordering::Relaxed);
            tracker.spawn(async move {
                serve_connection(stream, gateway, entry, stop).await;
                connections.fetch_sub(1, Ordering::Relaxed);
                drop(permit);
            });
        }
    }
}

async fn serve_connection(stream: TcpStream, gateway: Arc<Gateway>, entry: Arc<Entry>, stop: Stop) {
    stream.set_nodelay(true).ok();
    let rules = gateway.rules();
    let (headers, timeouts) = (rules.limits.headers, rules.timeouts);
    drop(rules);
    let http10 = Arc::new(AtomicBool::new(false));
    let seen = http10.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        if request.version() == Version::HTTP_10 {
            seen.store(true, Ordering::Relaxed);
        }
        let answer = handler::handle(gateway.clone(), entry.clone(), request);
        // Boxed, so that a connection whose answer streams keeps no room for it.
        let answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { Ok::<_, Infallible>(answer.await) });
        answer
    });
    let (stream, timer) = patience::watch(stream, timeouts.headers, timeouts.keep_alive);
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.headers)
        .max_headers(MOST_FIELDS)
        .max_buf_size(headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = pin!(stop.drain.cancelled());
    let mut drained = false;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = &mut draining, if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = stop.abort.cancelled() => {
                end_abruptly(&connection.into_parts().io.into_inner().into_inner(), &http10);
                return;
            }
        }
    };
    let Err(error) = result else { return };
    if error.is_timeout() {
        let parts = connection.into_parts();
        // Without a byte of a head it was an idle connection.
        if !parts.read_buf.is_empty() {
            say_timeout(parts.io.into_inner().into_inner()).await;
        }
    } else {
        tracing::debug!(%error, "a client's connection ended");
        end_abruptly(
            &connection.into_parts().io.into_inner().into_inner(),
            &http10,
        );
    }
}

/// An answer to HTTP/1.0 ends with its connection (RFC 9112 §6.3), so a connection that is cut
/// must not end in order.
fn end_abruptly(stream: &TcpStream, http10: &AtomicBool) {
    if http10.load(Ordering::Relaxed) {
        stream.set_zero_linger().ok();
    }
}

/// hyper closes a connection whose head came too slowly without a word; the client gets one.
async fn say_timeout(mut stream: TcpStream) {
    let message = "hermes-proxyd: the request's head came too slowly (`timeouts.headers`)";
    let error = ProxyError::new(ErrorKind::RequestTimeout, message);
    let body = error.body();
    let code = error.kind.code();
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nx-hermes-error: {code}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let write = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), write).await {
        tracing::debug!(%error, "a slow client did not take its error");
    }
}

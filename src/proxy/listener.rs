//! Addresses, and how connections that come in on them are accepted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Stop};
use super::gateway::Gateway;
use super::handler::Entry;
use super::socket::Socket;
use crate::config::{Listener, ProviderName};

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
    accepting: AbortHandle,
}

/// One connection that is counted for as long as this lives, whatever its task comes to.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(connections: Arc<AtomicU64>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Port {
    /// Whether connections are still accepted; not after the drain.
    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_finished()
    }

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
        let (address, provider) = (self.address, self.provider.clone());
        let stop = Stop { drain, abort };
        let tasks = (tracker.clone(), connections.clone());
        let accepting = tracker.spawn(self.accept(gateway, permits, stop, tasks));
        Port {
            address,
            provider,
            connections,
            accepting: accepting.abort_handle(),
        }
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
            let (gateway, stop) = (gateway.clone(), stop.clone());
            let counted = Counted::new(connections.clone());
            tracker.spawn(async move {
                connection::serve(Socket::Tcp(stream), gateway, entry, stop).await;
                drop((counted, permit));
            });
        }
    }
}

//! Where clients connect, and how their connections are accepted.
//!
//! An address need not be there at the start: an interface's addresses come and go, and each is
//! listened on while it is there.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bind::{self, Acceptor, Inherited};
use super::connection::{self, Stop};
use super::gateway::Gateway;
use super::handler::Entry;
use super::interface;
use super::places::Places;
use super::socket::Socket;
use super::want;
use crate::config::{Auth, ListenAddress, Listener};

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often an address that may come or go is looked for.
const LOOK: Duration = Duration::from_secs(3);

/// A listener that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    setting: Listener,
    /// `None` where the address has to be looked for.
    acceptor: Option<Acceptor>,
}

/// What the connections of all listeners share.
#[derive(Debug, Clone)]
pub struct Service {
    /// The rules in force.
    pub gateway: Arc<Gateway>,
    /// Places for connections, over all listeners.
    pub places: Arc<Places>,
    /// No new connections and requests; those that run may finish.
    pub drain: CancellationToken,
    /// Everything ends at once.
    pub abort: CancellationToken,
    /// Waits for every task of the port.
    pub tracker: TaskTracker,
}

/// A listener that accepts, as `proxy status` shows it.
#[derive(Debug, Clone)]
pub struct Port {
    site: Site,
    /// The task that accepts, or that looks for the address.
    accepting: AbortHandle,
}

/// What a listener's tasks share.
#[derive(Debug, Clone)]
struct Site {
    setting: Arc<Listener>,
    /// The TCP addresses that it is bound to now.
    bound: Arc<Mutex<Vec<SocketAddr>>>,
    connections: Arc<AtomicU64>,
}

/// Binds a listener's address, or takes the socket from `inherited` that has it. An address that is
/// not there yet is no error.
///
/// # Errors
/// The system's, as when another process has the address.
pub fn bind(listener: &Listener, inherited: &mut Vec<Inherited>) -> io::Result<Bound> {
    let mut setting = listener.clone();
    let acceptor = match (bind::take(inherited, listener), &listener.address) {
        (Some(socket), _) => {
            lock_if_open(&mut setting, &socket.address()?);
            Some(socket.into_acceptor()?)
        }
        (None, ListenAddress::Interface { .. }) => None,
        (None, address) => match Acceptor::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => None,
            result => Some(result?),
        },
    };
    Ok(Bound { setting, acceptor })
}

/// A Unix socket that everyone on this machine may use wants keys, whoever made it; systemd's
/// sockets are so unless told otherwise.
fn lock_if_open(setting: &mut Listener, address: &ListenAddress) {
    let open = matches!(address, ListenAddress::Unix { mode, .. } if mode & 0o007 != 0);
    if open && !setting.allow_unauthenticated {
        setting.auth = Auth::Keys;
    }
}

/// A listener on a socket that no `[[listen]]` names.
///
/// # Errors
/// The system's.
pub fn adopt(socket: Inherited) -> io::Result<Bound> {
    let address = socket.address()?;
    let mut setting = Listener {
        address: address.clone(),
        ..Listener::default()
    };
    lock_if_open(&mut setting, &address);
    Ok(Bound {
        setting,
        acceptor: Some(socket.into_acceptor()?),
    })
}

impl Port {
    /// How it was configured.
    pub fn setting(&self) -> &Listener {
        &self.site.setting
    }

    /// The TCP addresses that it is bound to now, with the ports that the system chose.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.site.bound().clone()
    }

    /// Whether its address is not there yet.
    pub fn is_waiting(&self) -> bool {
        let addresses = self.bound();
        match &self.site.setting.address {
            ListenAddress::Unix { .. } => false,
            ListenAddress::Interface { .. } => addresses.is_empty(),
            ListenAddress::Ip(_) => !addresses
                .iter()
                .any(|address| interface::is_here(address.ip())),
        }
    }

    /// Whether connections are still accepted; not after the drain.
    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_finished()
    }

    /// What an app is configured with, `http://127.0.0.1:8645/v1`, or the socket.
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.site.connections.load(Ordering::Relaxed)
    }
}

impl Site {
    fn url(&self) -> String {
        match (&self.setting.address, self.bound().first()) {
            (ListenAddress::Unix { .. }, _) => self.setting.address.to_string(),
            (_, Some(address)) => url(*address),
            (address, None) => format!("http://{address}/v1"),
        }
    }

    fn bound(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/v1")
}

impl Bound {
    /// How it was configured.
    pub fn setting(&self) -> &Listener {
        &self.setting
    }

    /// Accepts until `drain`, each connection in a task of its own, at most as many as there are
    /// `places` over all listeners.
    pub fn serve(self, service: &Service) -> Port {
        let site = Site {
            setting: Arc::new(self.setting),
            bound: Arc::default(),
            connections: Arc::default(),
        };
        let stop = service.drain.clone();
        let task = if let Some(acceptor) = self.acceptor {
            site.bound().extend(acceptor.tcp_address());
            announce(&site, &site.url());
            let accepting = accept(acceptor, site.clone(), service.clone(), stop);
            service.tracker.spawn(accepting)
        } else {
            let address = &site.setting.address;
            tracing::info!(%address, "this address is not there yet; it is looked for");
            let looking = look_out(site.clone(), service.clone());
            service.tracker.spawn(looking)
        };
        let accepting = task.abort_handle();
        Port { site, accepting }
    }
}

fn announce(site: &Site, url: &str) {
    tracing::info!(url, "listening");
    let setting = &site.setting;
    if setting.address.is_reachable_by_others() && !setting.needs_key() {
        tracing::warn!(
            url,
            "everyone who can reach this address can use the subscription"
        );
    }
}

/// Listens on the addresses that a listener's address stands for, while each is there.
async fn look_out(site: Site, service: Service) {
    let mut running: BTreeMap<SocketAddr, CancellationToken> = BTreeMap::new();
    let mut failed: BTreeMap<SocketAddr, io::ErrorKind> = BTreeMap::new();
    loop {
        let wanted = interface::addresses(&site.setting.address);
        running.retain(|address, stop| {
            let stays = wanted.contains(address);
            if !stays {
                tracing::info!(url = url(*address), "the address is gone");
                stop.cancel();
                site.bound().retain(|bound| bound != address);
            }
            stays
        });
        for address in wanted {
            if running.contains_key(&address) {
                continue;
            }
            match Acceptor::bind(&ListenAddress::Ip(address)) {
                Ok(acceptor) => {
                    let stop = service.drain.child_token();
                    failed.remove(&address);
                    running.insert(address, stop.clone());
                    site.bound().push(address);
                    announce(&site, &url(address));
                    let accepting = accept(acceptor, site.clone(), service.clone(), stop);
                    service.tracker.spawn(accepting);
                }
                // Said once while it lasts.
                Err(error) => {
                    if failed.insert(address, error.kind()) != Some(error.kind()) {
                        tracing::warn!(%address, %error, "can't listen; it is tried again");
                    }
                }
            }
        }
        tokio::select! {
            () = service.drain.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn accept(acceptor: Acceptor, site: Site, service: Service, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            // What is not accepted waits for whoever has the service manager's socket next.
            () = stop.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        let socket = match accepted {
            Ok(socket) => {
                failing = false;
                socket
            }
            Err(error) => {
                // Said once, not twenty times a second, while it lasts.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                if want::is_of_descriptors(&error) {
                    service.places.make_room().await;
                } else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        // Accepted first, so that a quiet listener holds no place.
        let place = tokio::select! {
            biased;
            // What is accepted is served, if there is a place for it: nobody else can.
            place = service.places.take() => place,
            () = stop.cancelled() => return,
        };
        let Ok(entry) = entry(&socket, &site.setting) else {
            continue;
        };
        let ends = Stop {
            drain: service.drain.clone(),
            abort: service.abort.clone(),
        };
        let counted = Counted::new(&site.connections);
        let gateway = service.gateway.clone();
        service.tracker.spawn(async move {
            connection::serve(socket, gateway, Arc::new(entry), (ends, place)).await;
            drop(counted);
        });
    }
}

fn entry(socket: &Socket, setting: &Listener) -> io::Result<Entry> {
    let ends = socket.ends()?;
    let from = match ends {
        Some((remote, _)) => remote.ip().to_canonical().to_string(),
        None => "unix socket".to_owned(),
    };
    Ok(Entry {
        ends,
        from: from.into(),
        provider: setting.provider.clone(),
        needs_key: setting.needs_key(),
        peer: OnceLock::new(),
    })
}

/// One open connection, counted until it is dropped, however its task ends.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(connections: &Arc<AtomicU64>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

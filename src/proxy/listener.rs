//! The listeners, and how their connections are accepted.
//!
//! An address need not exist at the start: an interface's addresses come and go, and each is
//! listened on while it exists.

mod accepting;
mod connection_service;
mod site;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::accepting::accept;
pub use self::connection_service::ConnectionService;
use self::site::{LOOK, Site, url};
use super::bind::{self, Acceptor, Inherited, Wide};
use super::interface;
use crate::config::{ListenAddress, Listener, ListenerAuth};

/// A listener that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    setting: Listener,
    door: ConnectionSource,
    also: Option<Also>,
}

/// How a listener gets its connections.
#[derive(Debug)]
enum ConnectionSource {
    /// By a socket of its own.
    Open(Acceptor),
    /// Its address has to be polled.
    LookedFor(Wide),
    /// By the socket of a listener that has all addresses.
    Within,
}

/// `[::1]` beside a listener on 127.0.0.1: an app that is given `localhost` may come to either, and
/// to another program that has the other one.
#[derive(Debug)]
struct Also {
    address: SocketAddr,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    Held(Acceptor),
    /// The socket of a listener that has all addresses takes its connections.
    Within,
    /// Another program has it.
    Taken,
}

/// An address that can't be listened on.
#[derive(Debug)]
pub struct CannotBind {
    /// Which.
    pub address: ListenAddress,
    /// Why.
    pub error: io::Error,
}

/// A listener that accepts, as `proxy status` shows it.
#[derive(Debug, Clone)]
pub struct Port {
    site: Site,
    /// The task that accepts, or that looks for the address; `None` where that of another listener does.
    accepting: Option<AbortHandle>,
}

/// Binds the addresses of all listeners, or takes the sockets from `inherited` that have them; sockets
/// that no listener names are added. An address that does not exist yet is not an error, and neither is
/// one that another listener's contains.
///
/// # Errors
/// The system's, as when another process has an address.
pub fn bind_all(
    listeners: &[Listener],
    mut inherited: Vec<Inherited>,
) -> Result<Vec<Bound>, CannotBind> {
    let wide = Wide::of(listeners, &inherited);
    let own = listeners.iter().filter_map(Listener::ip_address);
    let theirs = inherited
        .iter()
        .filter_map(|socket| match socket.address() {
            Ok(ListenAddress::Ip(address)) => Some(address),
            _ => None,
        });
    let taken: Vec<_> = own.chain(theirs).collect();
    let mut bound = Vec::new();
    for listener in listeners {
        let result = bind(listener, &mut inherited, &wide, &taken);
        bound.push(result.map_err(|error| CannotBind {
            address: listener.address.clone(),
            error,
        })?);
    }
    for socket in inherited {
        let address = socket.address();
        bound.push(adopt(socket).map_err(|error| CannotBind {
            address: address.unwrap_or(Listener::default().address),
            error,
        })?);
    }
    Ok(bound)
}

fn bind(
    listener: &Listener,
    inherited: &mut Vec<Inherited>,
    wide: &Wide,
    taken: &[SocketAddr],
) -> io::Result<Bound> {
    let mut setting = listener.clone();
    let door = match (bind::take(inherited, listener), &listener.address) {
        (Some(socket), _) => {
            lock_if_open(&mut setting, &socket.address()?);
            ConnectionSource::Open(socket.into_acceptor()?)
        }
        (None, ListenAddress::Interface { .. }) => ConnectionSource::LookedFor(wide.clone()),
        (None, ListenAddress::Ip(address))
            if !address.ip().is_unspecified() && wide.takes(*address) =>
        {
            ConnectionSource::Within
        }
        (None, address) => match Acceptor::bind(address, wide) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                ConnectionSource::LookedFor(wide.clone())
            }
            result => ConnectionSource::Open(result?),
        },
    };
    let port = match (&door, listener.ip_address()) {
        (ConnectionSource::Open(acceptor), _) => {
            acceptor.tcp_address().map(|address| address.port())
        }
        (ConnectionSource::Within, address) => address.map(|address| address.port()),
        (ConnectionSource::LookedFor(_), _) => None,
    };
    let also = port.and_then(|port| Also::beside(listener, port, wide, taken));
    Ok(Bound {
        setting,
        door,
        also,
    })
}

impl Also {
    /// The extra address of a listener at this port.
    fn beside(listener: &Listener, port: u16, wide: &Wide, taken: &[SocketAddr]) -> Option<Self> {
        let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let own = listener.ip_address()?.ip().to_canonical();
        let all = own == IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let is_reached = own == loopback.ip() || (all && !taken.contains(&loopback));
        if !is_reached || taken.contains(&address) {
            return None;
        }
        let hold = match wide.takes(address) {
            true if all => return None,
            true => Hold::Within,
            false => match Acceptor::bind(&ListenAddress::Ip(address), wide) {
                Ok(acceptor) => Hold::Held(acceptor),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Hold::Taken,
                // This machine has no IPv6.
                Err(_) => return None,
            },
        };
        Some(Self { address, hold })
    }
}

/// A Unix socket that all users of this machine may use requires keys, also one of systemd's,
/// which are open by default.
fn lock_if_open(setting: &mut Listener, address: &ListenAddress) {
    let open = matches!(address, ListenAddress::Unix { mode, .. } if mode & 0o007 != 0);
    if open && !setting.allow_unauthenticated {
        setting.auth = ListenerAuth::Keys;
    }
}

/// A listener on a socket that no `[[listen]]` names.
fn adopt(socket: Inherited) -> io::Result<Bound> {
    let address = socket.address()?;
    let mut setting = Listener {
        address: address.clone(),
        ..Listener::default()
    };
    lock_if_open(&mut setting, &address);
    Ok(Bound {
        setting,
        door: ConnectionSource::Open(socket.into_acceptor()?),
        also: None,
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

    /// Whether its address is not there yet, or its Unix socket was removed and is not made again yet.
    pub fn is_waiting(&self) -> bool {
        let addresses = self.bound();
        match &self.site.setting.address {
            ListenAddress::Unix { .. } => self.site.lost.load(Ordering::Relaxed),
            ListenAddress::Interface { .. } => addresses.is_empty(),
            ListenAddress::Ip(_) => !addresses
                .iter()
                .any(|address| interface::is_here(address.ip())),
        }
    }

    /// Whether connections are still accepted; not after the drain.
    pub fn is_accepting(&self) -> bool {
        let task = self.accepting.as_ref();
        task.is_none_or(|task| !task.is_finished())
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

impl Bound {
    /// How it was configured.
    pub fn setting(&self) -> &Listener {
        &self.setting
    }

    fn site(&self) -> Site {
        Site {
            setting: Arc::new(self.setting.clone()),
            bound: Arc::default(),
            connections: Arc::default(),
            lost: Arc::default(),
            within: Arc::default(),
        }
    }

    fn is_wide(&self) -> bool {
        let address = self.setting.ip_address();
        address.is_some_and(|address| address.ip().is_unspecified())
    }

    fn serve(self, site: Site, service: &ConnectionService) -> Port {
        let stop = service.drain.clone();
        let task = match self.door {
            ConnectionSource::Open(acceptor) => {
                site.bound().extend(acceptor.tcp_address());
                announce(&site, &site.url());
                let accepting = accept(acceptor, site.clone(), service.clone(), stop.clone());
                Some(service.tracker.spawn(accepting))
            }
            ConnectionSource::Within => {
                site.bound().extend(site.setting.ip_address());
                announce(&site, &site.url());
                None
            }
            ConnectionSource::LookedFor(wide) => {
                let address = &site.setting.address;
                tracing::info!(%address, "this machine does not have the address yet; waiting for \
                                          it");
                let looking = look_out(site.clone(), service.clone(), wide);
                Some(service.tracker.spawn(looking))
            }
        };
        let accepting = task.map(|task| task.abort_handle());
        if let Some(Also { address, hold }) = self.also {
            match hold {
                Hold::Within => site.bound().push(address),
                Hold::Held(acceptor) => {
                    site.bound().push(address);
                    let accepting = accept(acceptor, site.clone(), service.clone(), stop);
                    service.tracker.spawn(accepting);
                }
                Hold::Taken => {
                    tracing::warn!(
                        %address,
                        "another program listens there, so an app that connects to `localhost` \
                         may send it prompts and keys; use 127.0.0.1 in apps, or stop that program"
                    );
                    let waiting = hold_later(address, site.clone(), service.clone());
                    service.tracker.spawn(waiting);
                }
            }
        }
        Port { site, accepting }
    }
}

/// Accepts until `drain`, each connection in a task of its own, at most as many as there are `places`
/// over all listeners.
pub fn open(bound: Vec<Bound>, service: &ConnectionService) -> Vec<Port> {
    let sites: Vec<_> = bound.iter().map(Bound::site).collect();
    let narrow = bound.iter().zip(&sites);
    let narrow = narrow.filter(|(bound, _)| !bound.is_wide());
    let narrow: Vec<_> = narrow.map(|(_, site)| site.clone()).collect();
    let ports = bound.into_iter().zip(sites).map(|(bound, site)| {
        if bound.is_wide() {
            site.within.set(narrow.clone()).ok();
        }
        bound.serve(site, service)
    });
    ports.collect()
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

/// Listens on a listener's addresses, while each exists.
async fn look_out(site: Site, service: ConnectionService, wide: Wide) {
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
            // Who has all addresses has this one's connections, and gives them to us.
            if wide.takes(address) {
                running.insert(address, service.drain.child_token());
                site.bound().push(address);
                announce(&site, &url(address));
                continue;
            }
            match Acceptor::bind(&ListenAddress::Ip(address), &wide) {
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
                        tracing::warn!(%address, %error, "can't listen; retrying");
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

/// Listens on an address that another program has, once that has gone.
async fn hold_later(address: SocketAddr, site: Site, service: ConnectionService) {
    let acceptor = loop {
        tokio::select! {
            () = service.drain.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Ok(acceptor) = Acceptor::bind(&ListenAddress::Ip(address), &Wide::default()) {
            break acceptor;
        }
    };
    site.bound().push(address);
    tracing::info!(url = url(address), "listening");
    let stop = service.drain.clone();
    accept(acceptor, site, service, stop).await;
}

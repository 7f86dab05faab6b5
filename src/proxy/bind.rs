//! Binds addresses: IP addresses that may not exist yet, interfaces, Unix sockets, and sockets that
//! the service manager hands over.

#[cfg(unix)]
mod unix;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::net::{TcpListener, TcpSocket};

use super::socket::Socket;
use crate::config::{ListenAddress, Listener};

/// Connections that wait in the kernel.
const BACKLOG: u32 = 1024;

/// A bound socket that accepts.
#[derive(Debug)]
pub(super) enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, with its file where that is ours to remove.
    #[cfg(unix)]
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Removed when this is dropped.
        file: Option<unix::SocketFile>,
    },
}

/// A listening socket that the service manager opened for us.
#[derive(Debug)]
pub enum Inherited {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// The sockets for all of the machine's addresses at a port, of one protocol or of both. A specific address
/// at the same port can't have another socket.
#[derive(Debug, Clone, Default)]
pub(super) struct Wide(Vec<(SocketAddr, Protocols)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocols {
    /// Only that of its address.
    Own,
    /// IPv4 as well as IPv6.
    Both,
}

impl Wide {
    /// Those of the configuration and of the service manager.
    pub(super) fn of(listeners: &[Listener], inherited: &[Inherited]) -> Self {
        let own = listeners.iter().filter_map(Listener::ip_address);
        let own = own.map(|address| (address, Protocols::Both));
        let theirs = inherited.iter().filter_map(|socket| match socket {
            Inherited::Tcp(listener) => {
                Some((listener.local_addr().ok()?, Protocols::of(listener)))
            }
            #[cfg(unix)]
            Inherited::Unix(_) => None,
        });
        let all = theirs.chain(own);
        let mut all: Vec<_> = all
            .filter(|(address, _)| address.ip().is_unspecified() && address.port() != 0)
            .collect();
        let four = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let fours: Vec<_> = all.iter().map(|(address, _)| *address).collect();
        for (address, protocols) in &mut all {
            // Elsewhere the system keeps the two apart.
            let shared = address.is_ipv6() && cfg!(unix) && !fours.contains(&four(address.port()));
            if !shared {
                *protocols = Protocols::Own;
            }
        }
        Self(all)
    }

    /// Whether one of them gets the connections to this address.
    pub(super) fn takes(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_it = |(wide, protocols): &&(SocketAddr, Protocols)| {
            let same = wide.is_ipv4() == ip.is_ipv4();
            wide.port() == address.port() && (same || *protocols == Protocols::Both)
        };
        self.0.iter().any(|wide| is_it(&wide))
    }

    /// Whether a socket for all addresses of IPv6 leaves those of IPv4 to another.
    #[cfg(unix)]
    fn is_six_only(&self, address: SocketAddr) -> bool {
        let known = self.0.iter().find(|(wide, _)| *wide == address);
        known.is_some_and(|(_, protocols)| *protocols == Protocols::Own)
    }
}

impl Protocols {
    #[cfg(unix)]
    fn of(listener: &std::net::TcpListener) -> Self {
        match rustix::net::sockopt::ipv6_v6only(listener) {
            Ok(false) => Self::Both,
            Ok(true) | Err(_) => Self::Own,
        }
    }

    #[cfg(not(unix))]
    fn of(_: &std::net::TcpListener) -> Self {
        Self::Own
    }
}

impl Inherited {
    /// What it is bound to.
    ///
    /// # Errors
    /// The system's, or `Unsupported` for a Unix socket without a file.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => Ok(ListenAddress::Ip(canonical(listener.local_addr()?))),
            #[cfg(unix)]
            Self::Unix(listener) => unix::address(&listener.local_addr()?),
        }
    }

    pub(super) fn into_acceptor(self) -> io::Result<Acceptor> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Acceptor::Tcp(TcpListener::from_std(listener)?))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Acceptor::Unix {
                    listener: UnixListener::from_std(listener)?,
                    file: None,
                })
            }
        }
    }
}

impl Acceptor {
    /// Binds an IP address or a Unix socket.
    ///
    /// # Errors
    /// The system's, as when another process has the address.
    pub(super) fn bind(address: &ListenAddress, wide: &Wide) -> io::Result<Self> {
        match address {
            ListenAddress::Ip(address) => Ok(Self::Tcp(tcp(*address, wide)?)),
            #[cfg(unix)]
            ListenAddress::Unix { path, mode } => {
                let (listener, file) = unix::bind(path, *mode)?;
                Ok(Self::Unix {
                    listener,
                    file: Some(file),
                })
            }
            #[cfg(not(unix))]
            ListenAddress::Unix { .. } => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "Unix sockets are not supported on this system; use `address`",
            )),
            ListenAddress::Interface { .. } => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an interface is bound address by address",
            )),
        }
    }

    /// The next client.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Ok(Socket::Tcp(listener.accept().await?.0)),
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }

    /// The file of a Unix socket that we bound ourselves.
    pub(super) fn path(&self) -> Option<SocketPath> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix { file, .. } => file.as_ref().map(unix::SocketFile::path),
        }
    }

    /// The bound TCP address, with the port that the system chose.
    pub(super) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix { .. } => None,
        }
    }
}

/// The socket among `inherited` that has a listener's address.
pub(super) fn take(inherited: &mut Vec<Inherited>, listener: &Listener) -> Option<Inherited> {
    let same = |one: &Inherited| match (one.address(), &listener.address) {
        (Ok(ListenAddress::Ip(theirs)), ListenAddress::Ip(ours)) => theirs == canonical(*ours),
        (Ok(ListenAddress::Unix { path: theirs, .. }), ListenAddress::Unix { path: ours, .. }) => {
            theirs == *ours
        }
        _ => false,
    };
    let at = inherited.iter().position(same)?;
    Some(inherited.swap_remove(at))
}

pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn tcp(address: SocketAddr, wide: &Wide) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    allow_absent(&socket, address)?;
    separate(&socket, address, wide);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// All addresses of IPv6 have those of IPv4 with them, unless another listener has these.
#[cfg(unix)]
fn separate(socket: &TcpSocket, address: SocketAddr, wide: &Wide) {
    if address.is_ipv6() && address.ip().is_unspecified() {
        let only = wide.is_six_only(address);
        // Where it can't be chosen, binding tells.
        rustix::net::sockopt::set_ipv6_v6only(socket, only).ok();
    }
}

/// Elsewhere they are always apart.
#[cfg(not(unix))]
fn separate(_: &TcpSocket, _: SocketAddr, _: &Wide) {}

/// An address that comes later, as a container bridge's does, can be bound now (`ip(7)`,
/// `IP_FREEBIND`).
#[cfg(target_os = "linux")]
fn allow_absent(socket: &TcpSocket, address: SocketAddr) -> io::Result<()> {
    match address.ip() {
        IpAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(socket, true)?,
        IpAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(socket, true)?,
    }
    Ok(())
}

/// On other systems the listener tries again until the address exists.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Linux")]
fn allow_absent(_: &TcpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
pub(super) use unix::SocketPath;

/// Other systems have none.
#[cfg(not(unix))]
#[derive(Debug, Clone)]
pub(super) enum SocketPath {}

#[cfg(not(unix))]
impl SocketPath {
    pub(super) fn is_found(&self) -> bool {
        match *self {}
    }
}

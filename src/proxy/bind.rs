//! How addresses are bound: IP addresses that may not be there yet, interfaces, Unix sockets, and
//! sockets that the service manager hands over.

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
/// at the same port can't have a socket beside them.
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

/// Elsewhere the listener tries again until the address is there.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Linux")]
fn allow_absent(_: &TcpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
pub(super) use unix::SocketPath;

/// There are none elsewhere.
#[cfg(not(unix))]
#[derive(Debug, Clone)]
pub(super) enum SocketPath {}

#[cfg(not(unix))]
impl SocketPath {
    pub(super) fn is_found(&self) -> bool {
        match *self {}
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};

    use rustix::io::Errno;
    use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
    use tokio::net::UnixListener;

    use crate::config::ListenAddress;
    use crate::files::Spot;

    /// How often another process may put a socket in the place of ours before it has it.
    const ATTEMPTS: usize = 3;

    /// A socket's file, removed when dropped, if it is still the same.
    #[derive(Debug)]
    pub(in crate::proxy) struct SocketFile(SocketPath);

    /// Where clients look for a socket, and which file that is.
    #[derive(Debug, Clone)]
    pub(in crate::proxy) struct SocketPath {
        path: PathBuf,
        spot: Spot,
        /// Device and inode.
        identity: (u64, u64),
    }

    impl SocketFile {
        pub(super) fn path(&self) -> SocketPath {
            self.0.clone()
        }
    }

    impl SocketPath {
        /// Whether clients find this socket. They don't once its folder was removed, as the runtime
        /// folder is when the user's last session ends.
        pub(in crate::proxy) fn is_found(&self) -> bool {
            identity(&self.path).is_ok_and(|now| now == self.identity)
        }
    }

    impl Drop for SocketFile {
        fn drop(&mut self) {
            let SocketPath {
                spot,
                identity: own,
                ..
            } = &self.0;
            let removed = spot.act(|path| {
                if identity(path)? == *own {
                    std::fs::remove_file(path)?;
                }
                Ok(())
            });
            if let Err(error) = removed {
                tracing::debug!(%error, "a socket's file could not be removed");
            }
        }
    }

    pub(super) fn address(address: &std::os::unix::net::SocketAddr) -> io::Result<ListenAddress> {
        let path = address
            .as_pathname()
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the socket has no file"))?;
        let mode = path.metadata().map_or(0o600, |data| data.mode() & 0o777);
        Ok(ListenAddress::Unix {
            path: path.to_path_buf(),
            mode,
        })
    }

    /// Makes the socket under another name and gives it its permissions before it can be found.
    /// What a crashed process left is replaced; what a living one has is not.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        let is_new = !folder.exists();
        let spot = Spot::of_itself(path)?;
        if is_new {
            // Who may use the socket must be able to reach it, whatever our umask.
            let others = [(0o060, 0o050), (0o006, 0o005)];
            let enter = others.iter().filter(|(may_use, _)| mode & may_use != 0);
            let mode = enter.fold(0o700, |all, (_, one)| all | one);
            spot.act(|path| {
                let folder = path.parent().unwrap_or_else(|| Path::new("/"));
                std::fs::set_permissions(folder, Permissions::from_mode(mode))
            })?;
        }
        check_folder(folder)?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                let message = "a file that is not a socket already exists there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            Ok(_) if !is_dead(path) => {
                let message = "another process already listens there";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
            Ok(_) | Err(_) => {}
        }
        let listener = spot.act(|path| {
            // Another process that binds there at this moment has a name of its own.
            let mut hidden = path.as_os_str().to_owned();
            hidden.push(format!(".{:03x}", std::process::id() & 0xfff));
            let hidden = PathBuf::from(hidden);
            // Left by a crash between the next lines, or nothing.
            std::fs::remove_file(&hidden).ok();
            let listener = UnixListener::bind(&hidden)?;
            let put = std::fs::set_permissions(&hidden, Permissions::from_mode(mode))
                .and_then(|()| put(&hidden, path));
            if put.is_err() {
                std::fs::remove_file(&hidden).ok();
            }
            put.map(|()| listener)
        })?;
        let file = SocketPath {
            path: path.to_path_buf(),
            identity: spot.act(identity)?,
            spot,
        };
        Ok((listener, SocketFile(file)))
    }

    /// Gives a socket its name. What has the name by now is replaced only if nobody listens there.
    fn put(hidden: &Path, path: &Path) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            match rename_new(hidden, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
            let there = identity(path);
            if !is_dead(path) {
                break;
            }
            // Between the two, a living one may have come: then it gets its name back.
            let mut aside = hidden.as_os_str().to_owned();
            aside.push("d");
            let aside = Path::new(&aside);
            std::fs::rename(path, aside)?;
            if identity(aside).ok() == there.ok() {
                std::fs::remove_file(aside)?;
            } else {
                rename_new(aside, path)?;
                break;
            }
        }
        let message = "another process already listens there";
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    }

    /// Renames where nothing has the new name; where a file system can't do that, over what has it.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => std::fs::rename(from, to),
            result => Ok(result?),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Whoever may put another socket there would get what apps send to ours.
    fn check_folder(folder: &Path) -> io::Result<()> {
        const STICKY: u32 = 0o1000;
        let there = folder.metadata()?;
        let (owner, ours) = (there.uid(), rustix::process::geteuid().as_raw());
        let refused = |message| Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        let shown = folder.display();
        if owner != ours && owner != 0 && ours != 0 {
            return refused(format!(
                "its folder {shown} belongs to the user with the id {owner}, who could replace the \
                 socket; name a folder of your own"
            ));
        }
        if there.mode() & 0o002 != 0 && there.mode() & STICKY == 0 {
            return refused(format!(
                "everyone could replace the socket; run `chmod o-w {shown}`"
            ));
        }
        Ok(())
    }

    /// Nobody listens any more. One that we may not even ask is not known to be dead.
    /// It is asked without waiting: a living one that is busy accepts nobody for a while.
    fn is_dead(path: &Path) -> bool {
        let asked = (|| {
            let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            net::connect(&socket, &SocketAddrUnix::new(path)?)
        })();
        asked == Err(Errno::CONNREFUSED)
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        let data = path.symlink_metadata()?;
        Ok((data.dev(), data.ino()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Whoever can replace the socket gets the apps' prompts.
        #[tokio::test]
        async fn a_folder_in_which_others_could_replace_the_socket_is_refused() {
            let name = format!("hp-shared-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            let path = folder.join("s.sock");
            for (mode, refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
                std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
                let bound = bind(&path, 0o600);
                let text = bound.map_or_else(|error| error.to_string(), |_| String::new());
                let advice = format!("run `chmod o-w {}`", folder.display());
                assert_eq!(text.contains(&advice), refused, "{mode:o} {text}");
            }
            std::fs::remove_dir(&folder).unwrap();
        }

        /// Two that start at the same moment both see that nobody listens.
        #[test]
        fn a_socket_that_another_process_has_put_there_since_is_not_replaced() {
            let name = format!("hp-race-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            let (path, hidden) = (folder.join("s.sock"), folder.join("hidden"));
            let listen = |path: &Path| std::os::unix::net::UnixListener::bind(path).unwrap();
            let theirs = listen(&path);
            let was = identity(&path).unwrap();
            let ours = listen(&hidden);
            let refused = put(&hidden, &path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
            assert_eq!(identity(&path).unwrap(), was);
            // What a crash left is.
            drop(theirs);
            put(&hidden, &path).unwrap();
            std::os::unix::net::UnixStream::connect(&path).unwrap();
            drop(ours);
            std::fs::remove_file(&path).unwrap();
            std::fs::remove_dir(&folder).unwrap();
        }

        #[test]
        fn a_socket_that_is_too_busy_to_accept_lives() {
            // Short enough for a socket's name, and gone with the test.
            let name = format!("hp-busy-{}.sock", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::remove_file(&path).ok();
            let listener = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            net::listen(&listener, 0).unwrap();
            // The one that its queue has room for.
            let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let (said, says) = std::sync::mpsc::channel();
            let asked = path.clone();
            std::thread::spawn(move || said.send(is_dead(&asked)));
            let dead = says.recv_timeout(std::time::Duration::from_secs(5));
            assert_eq!(dead, Ok(false), "its queue is full");
            let refused = bind(&path, 0o600).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
            drop((waiting, listener));
            assert!(is_dead(&path));
            std::fs::remove_file(&path).unwrap();
            assert!(!is_dead(&path), "nothing is there");
        }
    }
}

//! The user of the process at the other end of a loopback connection.
//!
//! TCP itself does not tell. On Linux the kernel does, for one connection (`sock_diag(7)`); that
//! takes some ten microseconds. On other systems nothing is asked, and every user on loopback is
//! accepted.

use std::net::SocketAddr;

use super::guard::Peer;

/// The user of the other end: `remote` is the client's address, `local` ours. If neither is on
/// loopback, the client may be on another machine, or in a container: there a key decides. A client
/// that reaches loopback from another address is one of this machine that chose it, and is looked
/// up. `None` if the look-up fails right now, for want of descriptors or memory.
pub(super) fn of_connection(remote: SocketAddr, local: SocketAddr) -> Option<Peer> {
    let (remote, local) = (canonical(remote), canonical(local));
    if !remote.ip().is_loopback() && !local.ip().is_loopback() {
        return Some(Peer::Ours);
    }
    platform::owner(remote, local)
}

/// Whether the other end is ours, as far as this system tells such things at all. A client that has closed its
/// end already is not: its request may be anyone's.
pub fn is_ours(remote: SocketAddr, local: SocketAddr) -> bool {
    matches!(
        of_connection(remote, local),
        Some(Peer::Ours | Peer::Untold)
    )
}

/// IPv4 in its own form, in which it can be compared: a socket for both protocols has it as
/// `::ffff:127.0.0.1`, be it ours or the client's.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::SockDiagMessage;
    use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
    use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt,
    };

    use super::canonical;
    use crate::proxy::guard::Peer;
    use crate::proxy::resource_shortage;

    /// The kernel answers at once; this is for a bug.
    const PATIENCE: Duration = Duration::from_millis(200);

    pub(super) fn owner(remote: SocketAddr, local: SocketAddr) -> Option<Peer> {
        let ours = rustix::process::geteuid().as_raw();
        match ask(remote, local) {
            // A socket whose process has closed it has no owner; the kernel says root then.
            Ok(Some((_, 0)) | None) => Some(Peer::Stranger(None)),
            Ok(Some((uid, _))) if uid == ours || uid == 0 => Some(Peer::Ours),
            Ok(Some((uid, _))) => Some(Peer::Stranger(Some(uid))),
            Err(error) if is_want(&error) => {
                tracing::debug!(%error, "the owner of the connection can't be looked up now");
                None
            }
            Err(error) => {
                if !UNTOLD.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "this system can't tell whose connection it is, so requests without a \
                         client key are refused; `hermesctl clients add NAME` makes one"
                    );
                }
                Some(Peer::Untold)
            }
        }
    }

    /// Said once.
    static UNTOLD: AtomicBool = AtomicBool::new(false);

    /// Something of ours was lacking for a moment: descriptors, memory, or time.
    fn is_want(error: &io::Error) -> bool {
        let late = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        resource_shortage::is_of_ours(error) || late.contains(&error.kind())
    }

    /// User id and inode of the socket that is bound to `remote` and connected to `local`. `None`
    /// when there is none.
    fn ask(remote: SocketAddr, local: SocketAddr) -> io::Result<Option<(u32, u32)>> {
        let socket = open()?;
        rustix::net::send(&socket, &request(remote, local), SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                let id = &found.header.socket_id;
                // Without such a connection, the kernel continues with the listeners.
                let source = SocketAddr::new(id.source_address, id.source_port);
                let destination = SocketAddr::new(id.destination_address, id.destination_port);
                let same = (canonical(source), canonical(destination)) == (remote, local);
                Ok(same.then_some((found.header.uid, found.header.inode)))
            }
            NetlinkPayload::Error(error) if error.raw_code() == -NOT_FOUND => Ok(None),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            NetlinkPayload::Noop
            | NetlinkPayload::Done(_)
            | NetlinkPayload::Overrun(_)
            | NetlinkPayload::InnerMessage(_)
            | _ => Err(io::Error::other("the answer was of another kind")),
        }
    }

    /// `ENOENT`.
    const NOT_FOUND: i32 = rustix::io::Errno::NOENT.raw_os_error();

    fn open() -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(socket)
    }

    fn request(remote: SocketAddr, local: SocketAddr) -> Vec<u8> {
        let (family, id) = if remote.is_ipv4() {
            (AF_INET, SocketId::new_v4())
        } else {
            (AF_INET6, SocketId::new_v6())
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_address: remote.ip(),
                source_port: remote.port(),
                destination_address: local.ip(),
                destination_port: local.port(),
                // INET_DIAG_NOCOOKIE: any socket with these addresses.
                cookie: [0xff; 8],
                ..id
            },
        };
        let mut message = NetlinkMessage::new(
            header,
            NetlinkPayload::from(SockDiagMessage::InetRequest(request)),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::net::SocketAddr;

    use crate::proxy::guard::Peer;

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Linux")]
    pub(super) fn owner(_: SocketAddr, _: SocketAddr) -> Option<Peer> {
        Some(Peer::Ours)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        (client, server)
    }

    fn peer(server: &TcpStream) -> Peer {
        of_connection(server.peer_addr().unwrap(), server.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn our_own_connection_is_known_over_both_protocols() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (_client, server) = connection(address);
            assert_eq!(peer(&server), Peer::Ours, "{address}");
        }
    }

    #[test]
    fn ipv4_through_a_socket_for_both_protocols_is_known() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = listener.accept().unwrap().0;
        assert_eq!(peer(&server), Peer::Ours);
    }

    /// Every JVM has a socket for both protocols, and newer systems speak MPTCP.
    #[test]
    fn a_client_is_known_by_whichever_socket_it_reaches_us() {
        use rustix::net::{self, AddressFamily, SocketType};
        const MPTCP: u32 = 262;
        let mptcp = std::num::NonZero::new(MPTCP).map(net::Protocol::from_raw);
        let both = AddressFamily::INET6;
        for (family, protocol, via, at) in [
            (AddressFamily::INET, None, "127.0.0.1", "127.0.0.1:0"),
            (both, None, "::ffff:127.0.0.1", "127.0.0.1:0"),
            (both, None, "::ffff:127.0.0.1", "[::]:0"),
            (both, None, "::1", "[::1]:0"),
            (AddressFamily::INET, mptcp, "127.0.0.1", "127.0.0.1:0"),
            (both, mptcp, "::ffff:127.0.0.1", "127.0.0.1:0"),
            (both, mptcp, "::1", "[::1]:0"),
        ] {
            let listener = TcpListener::bind(at).unwrap();
            let Ok(client) = net::socket(family, SocketType::STREAM, protocol) else {
                assert!(protocol.is_some(), "{via}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let target = SocketAddr::new(via.parse().unwrap(), port);
            net::connect(&client, &target).unwrap();
            let server = listener.accept().unwrap().0;
            assert_eq!(peer(&server), Peer::Ours, "{via} {at} {protocol:?}");
        }
    }

    #[test]
    fn a_client_that_has_gone_is_a_stranger() {
        let (client, server) = connection("127.0.0.1:0");
        drop(client);
        assert_eq!(peer(&server), Peer::Stranger(None));
    }

    #[test]
    fn a_client_that_reaches_loopback_from_elsewhere_is_a_stranger() {
        let remote = "192.0.2.1:1".parse().unwrap();
        let local = "127.0.0.1:1".parse().unwrap();
        assert_eq!(of_connection(remote, local), Some(Peer::Stranger(None)));
    }

    #[test]
    fn a_client_of_another_machine_is_not_asked_for() {
        let remote = "192.0.2.1:1".parse().unwrap();
        let local = "192.0.2.2:1".parse().unwrap();
        assert_eq!(of_connection(remote, local), Some(Peer::Ours));
    }
}

//! The addresses that this machine has now.

use std::net::{IpAddr, SocketAddr};

use crate::config::ListenAddress;

/// The addresses of a listener, as far as they exist. Link-local IPv6 addresses are skipped: no app
/// can be configured with one.
pub(super) fn addresses(address: &ListenAddress) -> Vec<SocketAddr> {
    match address {
        ListenAddress::Ip(address) if is_here(address.ip()) => vec![*address],
        ListenAddress::Interface { name, port } => interfaces()
            .iter()
            .filter(|interface| interface.name == *name && !interface.is_link_local())
            .map(|interface| SocketAddr::new(interface.ip(), *port))
            .collect(),
        ListenAddress::Ip(_) | ListenAddress::Unix { .. } => Vec::new(),
    }
}

/// Whether this machine has the address.
pub(super) fn is_here(address: IpAddr) -> bool {
    address.is_unspecified()
        || address.to_canonical().is_loopback()
        || interfaces()
            .iter()
            .any(|interface| interface.ip() == address.to_canonical())
}

fn interfaces() -> Vec<if_addrs::Interface> {
    if_addrs::get_if_addrs().unwrap_or_default()
}

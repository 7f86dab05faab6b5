//! The addresses on which the service listens, now or after its next start. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{ListenAddress, Listener, Loaded};
use crate::control::protocol::ListenerStatus;

/// An address that hermes-proxyd listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenEndpoint {
    /// Where.
    pub address: ListenAddress,
    /// The provider that `/v1` means there.
    pub provider: String,
    /// Whether apps must show a client key there.
    pub needs_key: bool,
    /// Whether the address exists now. A running daemon reports it, and binds it as soon as it
    /// exists.
    pub is_open: bool,
}

impl ListenEndpoint {
    /// One of a running daemon's; `None` where its address can't be read.
    pub fn of_status(status: &ListenerStatus) -> Option<Self> {
        Some(Self {
            address: read_address(&status.address)?,
            provider: status.provider.clone(),
            needs_key: status.needs_key,
            is_open: !status.waiting,
        })
    }

    /// A listener of the configuration; the daemon creates what it needs.
    pub fn of_config(listener: &Listener, default_provider: &str) -> Self {
        let provider = listener.provider.as_ref();
        Self {
            address: listener.address.clone(),
            provider: provider.map_or_else(|| default_provider.to_owned(), ToString::to_string),
            needs_key: listener.needs_key(),
            is_open: true,
        }
    }

    /// All that a configuration names.
    pub fn all_of_config(loaded: &Loaded) -> Vec<Self> {
        let default = loaded.config.default_provider.as_str();
        let listeners = loaded.config.listeners.iter();
        listeners.map(|it| Self::of_config(it, default)).collect()
    }

    /// Where this machine itself reaches it.
    pub fn seen_from_here(&self) -> Option<SocketAddr> {
        let address = self.ip()?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        Some(SocketAddr::new(ip, address.port()))
    }

    /// Its IP address, with a port that is known.
    pub(super) fn ip(&self) -> Option<SocketAddr> {
        match self.address {
            ListenAddress::Ip(address) if address.port() != 0 => Some(address),
            ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => {
                None
            }
        }
    }

    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.address {
            ListenAddress::Unix { path, .. } => Some(path),
            ListenAddress::Ip(_) | ListenAddress::Interface { .. } => None,
        }
    }
}

/// An address in the daemon's form.
pub(super) fn read_address(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return Some(ListenAddress::Unix { path, mode: 0o600 });
    }
    if let Ok(address) = text.parse() {
        return Some(ListenAddress::Ip(address));
    }
    let (name, port) = text.rsplit_once(':')?;
    Some(ListenAddress::Interface {
        name: name.to_owned(),
        port: port.parse().ok()?,
    })
}

//! What a way is decided by: the listeners and what is around them. Pure.

use std::net::IpAddr;

use super::path::{AccessPath, AppTarget, ConnectStep, Reachability, WayKind};
use crate::config::{DEFAULT_PORT, DEFAULT_PROVIDER, ListenAddress};
use crate::containers::{ListenEndpoint, Surroundings};

/// What is decided by.
#[derive(Debug, Clone, Copy)]
pub struct World<'w> {
    /// Where the service listens, or will.
    pub doors: &'w [ListenEndpoint],
    /// The engines, their networks, and the firewalls.
    pub surroundings: &'w Surroundings,
    /// Whether the configuration has no `[[listen]]`, so that the default one must be listed beside a
    /// new one.
    pub is_bare: bool,
}

impl World<'_> {
    /// The easiest endpoint with such a port: open ones and those without a key first.
    pub(super) fn easiest(
        &self,
        port: impl Fn(&ListenEndpoint) -> Option<u16>,
    ) -> Option<(&ListenEndpoint, u16)> {
        let found = self.doors.iter();
        let found = found.filter_map(|door| Some((door, port(door).filter(|port| *port != 0)?)));
        found.min_by_key(|(door, _)| (!door.is_open, door.needs_key))
    }

    /// The port that apps know already.
    pub(super) fn port(&self) -> u16 {
        let local = self.easiest(loopback);
        let any = || {
            self.easiest(|door| match &door.address {
                ListenAddress::Ip(address) => Some(address.port()),
                ListenAddress::Interface { port, .. } => Some(*port),
                ListenAddress::Unix { .. } => None,
            })
        };
        local.or_else(any).map_or(DEFAULT_PORT, |(_, port)| port)
    }

    pub(super) fn provider(&self) -> &str {
        let first = self.doors.first();
        first.map_or(DEFAULT_PROVIDER, |door| &door.provider)
    }

    /// The lines of one more listener. The first one takes the place of the default one.
    pub(super) fn listener(&self, lines: &[&str]) -> ConnectStep {
        let default = format!("address = \"127.0.0.1:{DEFAULT_PORT}\"");
        let mut text = Vec::new();
        if self.is_bare && lines != [default.as_str()] {
            let why = "# The default; once a listener is set, list this one too.";
            text.extend([why, "[[listen]]", &default, ""].map(str::to_owned));
        }
        text.push("[[listen]]".to_owned());
        text.extend(lines.iter().map(|line| (*line).to_owned()));
        ConnectStep::Configure(text)
    }

    pub(super) fn has_interface(&self, name: &str) -> bool {
        let mut bridges = self.surroundings.bridges.iter();
        bridges.any(|bridge| bridge.name == name)
    }

    /// Why an endpoint can't be used yet.
    pub(super) fn wait(&self, door: &ListenEndpoint) -> Option<String> {
        match &door.address {
            ListenAddress::Interface { name, .. } if !self.has_interface(name) => Some(format!(
                "the listener at {name} waits for its interface, which does not exist yet"
            )),
            _ if door.is_open => None,
            ListenAddress::Unix { path, .. } => {
                Some(format!("the socket {} does not exist", path.display()))
            }
            ListenAddress::Ip(_) | ListenAddress::Interface { .. } => Some(format!(
                "the listener at {} waits for its address, which this machine does not have yet",
                door.address
            )),
        }
    }

    /// The access path through an endpoint, with the steps that are still missing.
    pub(super) fn through(
        &self,
        door: &ListenEndpoint,
        how: String,
        kind: WayKind,
        target: AppTarget,
    ) -> AccessPath {
        let reach = self
            .wait(door)
            .map_or(Reachability::Works(how), Reachability::Blocked);
        AccessPath::new(kind, reach, target)
    }
}

/// Its port, where it is on loopback.
pub(super) fn loopback(door: &ListenEndpoint) -> Option<u16> {
    let address = door.ip()?;
    address.ip().is_loopback().then(|| address.port())
}

/// Its port, where it is on every address.
pub(super) fn wildcard(door: &ListenEndpoint) -> Option<u16> {
    let address = door.ip()?;
    address.ip().is_unspecified().then(|| address.port())
}

/// An address in the form of a URL.
pub(super) fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

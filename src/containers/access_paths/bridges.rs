//! The way over a bridge: an address of this machine that an engine's networks reach. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::path::{AccessPath, AppTarget, ConnectStep, Reachability, WayKind};
use super::world::{World, literal, wildcard};
use crate::config::ListenAddress;
use crate::containers::{BridgeInterface, EngineKind, EngineState, Firewall, ListenEndpoint};

/// An engine whose networks are bridges of this machine, unless it is rootless.
pub(super) const DOCKER: Networks = Networks {
    kinds: (EngineKind::Docker, EngineKind::DockerRootless),
    usual: "docker0",
    prefixes: &["docker", "br-"],
    address: Ipv4Addr::new(172, 17, 0, 1),
    // The usual ones of all its networks.
    range: (Ipv4Addr::new(172, 16, 0, 0), 12),
    host: "host.docker.internal",
    extra_hosts: true,
    rootless_too: false,
};
/// The same of Podman.
pub(super) const PODMAN: Networks = Networks {
    kinds: (EngineKind::Podman, EngineKind::PodmanRootless),
    usual: "podman0",
    prefixes: &["podman", "cni-"],
    address: Ipv4Addr::new(10, 88, 0, 1),
    range: (Ipv4Addr::new(10, 88, 0, 0), 15),
    host: "host.containers.internal",
    extra_hosts: false,
    rootless_too: true,
};

/// An engine's networks, as far as this machine has an address in them.
#[derive(Debug)]
pub(super) struct Networks {
    /// The engine, and its rootless kind, whose networks are not this machine's.
    kinds: (EngineKind, EngineKind),
    /// The interface of its usual network.
    pub(super) usual: &'static str,
    /// How the names of its interfaces begin.
    prefixes: &'static [&'static str],
    /// This machine's address in the usual network, unless it was configured otherwise.
    address: Ipv4Addr,
    /// The addresses of its containers, unless it was configured otherwise, and how many bits of them
    /// are the same.
    range: (Ipv4Addr, u8),
    /// What its containers call this machine.
    pub(super) host: &'static str,
    /// Whether containers need that name set.
    extra_hosts: bool,
    /// Whether that name leads to this machine from the rootless kind's containers too.
    rootless_too: bool,
}

impl Networks {
    fn is_own(&self, interface: &str) -> bool {
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| interface.starts_with(prefix))
    }

    /// Those of its networks that are here.
    fn bridges<'w>(&self, world: World<'w>) -> impl Iterator<Item = &'w BridgeInterface> {
        let bridges = world.surroundings.bridges.iter();
        bridges.filter(|bridge| self.is_own(&bridge.name))
    }

    /// This machine's addresses in the usual network.
    fn addresses(&self, world: World<'_>) -> Vec<IpAddr> {
        let usual = self.bridges(world).find(|bridge| bridge.name == self.usual);
        usual.map_or_else(|| vec![self.address.into()], |it| it.addresses.clone())
    }

    /// The rootless kind, where only that can be used here.
    fn rootless(&self, world: World<'_>) -> Option<EngineKind> {
        let (rootful, rootless) = self.kinds;
        let is_usable = |kind| {
            let mut engines = world.surroundings.engines.iter();
            engines.any(|it| it.kind == kind && it.state != EngineState::Stopped)
        };
        (is_usable(rootless) && !is_usable(rootful)).then_some(rootless)
    }

    /// What a firewall lacks for this port.
    fn firewall(&self, world: World<'_>, interface: &str, port: u16) -> Vec<ConnectStep> {
        let bridge = self.bridges(world).find(|bridge| bridge.name == interface);
        let address = bridge.and_then(|bridge| bridge.addresses.first());
        let (start, bits) = self.range;
        let in_range = |address: &IpAddr| match address {
            IpAddr::V4(ip) => (ip.to_bits() ^ start.to_bits()).leading_zeros() >= u32::from(bits),
            IpAddr::V6(_) => false,
        };
        let from = if address.is_none_or(in_range) {
            format!("from {start}/{bits}")
        } else {
            format!("in on {interface}")
        };
        let firewalls = world.surroundings.firewalls.iter();
        let step = |firewall: &Firewall| match firewall {
            Firewall::Ufw => ConnectStep::Run(format!(
                "sudo ufw allow {from} to any port {port} proto tcp"
            )),
            Firewall::Firewalld => ConnectStep::Advice(format!(
                "firewalld is running: {interface} must be in a zone that lets containers through, such \
                 as `trusted` or `docker`."
            )),
            Firewall::Nftables => ConnectStep::Advice(format!(
                "nftables drops everything without a rule: allow tcp port {port} on {interface}."
            )),
        };
        firewalls.map(step).collect()
    }
}

/// The bridge of whichever engine is here.
pub(super) fn any_bridge(world: World<'_>) -> AccessPath {
    let engines = &world.surroundings.engines;
    let is_here = |networks: &&Networks| {
        let (rootful, rootless) = networks.kinds;
        let mut kinds = engines.iter().map(|engine| engine.kind);
        kinds.any(|kind| kind == rootful || kind == rootless)
            || networks.bridges(world).next().is_some()
    };
    let here = [DOCKER, PODMAN];
    let here = here.iter().filter(is_here);
    let best = here
        .map(|networks| bridge(world, networks))
        .min_by_key(|way| match way.reach {
            Reachability::Works(_) => 0,
            Reachability::Blocked(_) => 1,
            Reachability::NotSetUp(_) => 2,
            Reachability::Impossible(_) => 3,
        });
    best.unwrap_or_else(|| {
        let why = match engines.first() {
            Some(engine) => no_address(engine.kind),
            None => "no container engine was found".to_owned(),
        };
        let target = AppTarget::new(DOCKER.host, world.port(), world.provider());
        AccessPath::new(WayKind::Bridge, Reachability::Impossible(why), target)
    })
}

fn no_address(kind: EngineKind) -> String {
    let name = kind.as_str();
    format!("the networks of {name} have no address of this machine")
}

/// By an address of this machine that the engine's containers reach.
pub(super) fn bridge(world: World<'_>, networks: &Networks) -> AccessPath {
    let rootless = networks.rootless(world).map(|rootless| {
        let target = AppTarget::new(networks.host, world.port(), world.provider());
        AccessPath::new(
            WayKind::Bridge,
            Reachability::Impossible(no_address(rootless)),
            target,
        )
    });
    match rootless {
        Some(way) if !networks.rootless_too => way,
        rootless => networks
            .by_usual(world)
            .or_else(|| networks.by_any(world))
            .or_else(|| networks.by_other(world))
            .or(rootless)
            .or_else(|| networks.by_outside(world))
            .unwrap_or_else(|| networks.by_new(world)),
    }
}

impl Networks {
    /// By a listener at the usual bridge.
    fn by_usual(&self, world: World<'_>) -> Option<AccessPath> {
        let (usual, addresses) = (self.usual, self.addresses(world));
        let (door, port) = world.easiest(|door| at(door, usual, &addresses))?;
        let how = match addresses.first().filter(|_| world.has_interface(usual)) {
            Some(address) => format!("at {address}, the host's address in {usual}"),
            None => format!("at the host's address in {usual}"),
        };
        let way = world.through(door, how, WayKind::Bridge, self.named(port, &door.provider));
        let wait = matches!(way.reach, Reachability::Blocked(_)).then(|| {
            let when = "The engine creates it with its first container; then the listener opens \
                        within 3 s.";
            ConnectStep::Advice(when.to_owned())
        });
        Some(way.with(wait).with(self.firewall(world, usual, port)))
    }

    /// By a listener on all addresses.
    fn by_any(&self, world: World<'_>) -> Option<AccessPath> {
        let (door, port) = world.easiest(wildcard)?;
        let how = "at all addresses of this machine".to_owned();
        let way = world.through(door, how, WayKind::Bridge, self.named(port, &door.provider));
        Some(way.with(self.firewall(world, self.usual, port)))
    }

    /// By a listener at another bridge, which has no name in its containers.
    fn by_other(&self, world: World<'_>) -> Option<AccessPath> {
        self.bridges(world).find_map(|bridge| {
            let name = &bridge.name;
            let (door, port) = world.easiest(|door| at(door, name, &bridge.addresses))?;
            let how = format!("at the host's address in {name}, for containers in that network");
            let target = AppTarget::new(&literal(*bridge.addresses.first()?), port, &door.provider);
            let way = world.through(door, how, WayKind::Bridge, target);
            Some(way.with(self.firewall(world, name, port)))
        })
    }

    /// By a listener at an address in another network: containers get there as other machines do, unless
    /// they have this machine's own address, as Podman's rootless ones.
    fn by_outside(&self, world: World<'_>) -> Option<AccessPath> {
        let (door, port) = world.easiest(outside).filter(|_| !self.rootless_too)?;
        let ip = door.ip()?.ip();
        let how = format!("at {ip}, an address of this machine");
        let target = AppTarget::new(&literal(ip), port, &door.provider);
        let way = world.through(door, how, WayKind::Bridge, target);
        Some(way.with(self.firewall(world, self.usual, port)))
    }

    /// By a listener to add: at the usual bridge, or the existing one.
    fn by_new(&self, world: World<'_>) -> AccessPath {
        let port = world.port();
        let is_usual = world.has_interface(self.usual);
        let other = self.bridges(world).next().filter(|_| !is_usual);
        let addresses = self.addresses(world);
        let address = match other {
            Some(bridge) => bridge.addresses.first(),
            None => addresses.first().filter(|_| is_usual),
        };
        let name = other.map_or(self.usual, |bridge| &bridge.name);
        let why = match address {
            Some(address) => format!("nothing listens at {name} ({address})"),
            None => format!("nothing listens at {name}"),
        };
        let target = match address.filter(|_| other.is_some()) {
            Some(address) => AppTarget::new(&literal(*address), port, world.provider()),
            None => self.named(port, world.provider()),
        };
        let line = format!("address = \"{name}:{port}\"");
        let way = AccessPath::new(WayKind::Bridge, Reachability::NotSetUp(why), target);
        let way = way.with([world.listener(&[&line])]);
        way.with(self.firewall(world, name, port))
    }

    /// By the name that the containers have for this machine.
    fn named(&self, port: u16, provider: &str) -> AppTarget {
        AppTarget {
            extra_hosts: self.extra_hosts,
            ..AppTarget::new(self.host, port, provider)
        }
    }
}

/// Its port, where it is on this interface, by name or by address.
fn at(door: &ListenEndpoint, interface: &str, addresses: &[IpAddr]) -> Option<u16> {
    match &door.address {
        ListenAddress::Interface { name, port } => (name == interface).then_some(*port),
        ListenAddress::Ip(address) => addresses.contains(&address.ip()).then(|| address.port()),
        ListenAddress::Unix { .. } => None,
    }
}

/// Its port, where it is on one address that others reach.
fn outside(door: &ListenEndpoint) -> Option<u16> {
    let address = door.ip()?;
    let ip = address.ip();
    (ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified()).then(|| address.port())
}

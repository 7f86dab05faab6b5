//! How an app reaches the service: through which listener, under which name, whether that works now,
//! and what is missing. Pure.
//!
//! `connect`, `setup` and `doctor` ask here, so they agree about one machine.

mod bridges;

use std::net::IpAddr;
use std::path::PathBuf;

use self::bridges::{DOCKER, Networks, PODMAN, any_bridge, bridge};
use super::{AppOrigin, EngineKind, ListenEndpoint, Surroundings};
use crate::config::{DEFAULT_PORT, DEFAULT_PROVIDER, ListenAddress};

/// The address under which pasta shows a container this machine's loopback, if asked to.
const PASTA: &str = "169.254.1.3";
/// The name of the sidecar in a compose file.
const SIDECAR: &str = "hermes-proxyd";
/// The socket of a listener to add.
const SOCKET: &str = "~/.local/state/hermes-proxyd/apps/proxy.sock";

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

/// What an app's container is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the user chooses when the container is started.
    Chosen,
    /// A network that a compose file makes, with addresses that are not known before.
    Compose,
    /// Nothing of this machine's: a sidecar carries connections to a Unix socket.
    Socket,
}

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPath {
    /// Which one.
    pub kind: WayKind,
    /// Whether it works now.
    pub reach: Reachability,
    /// What the app is configured with, now or once the way is set up.
    pub target: AppTarget,
    /// What makes it work.
    pub steps: Vec<ConnectStep>,
}

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayKind {
    /// The app has this machine's network: it runs without a container, or in one that shares the
    /// host's network.
    HostNetwork,
    /// Docker Desktop forwards to this machine's loopback.
    Desktop,
    /// The service listens at an address of this machine that the container's network leads to.
    Bridge,
    /// Podman maps this machine's loopback into a single container.
    MappedLoopback,
    /// The container mounts the service's Unix socket, and a sidecar carries TCP to it.
    Socket,
}

/// Whether a way works, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reachability {
    /// It does: with which address, in words.
    Works(String),
    /// It would work, except for this.
    Blocked(String),
    /// It is not set up.
    NotSetUp(String),
    /// No engine here has such networks.
    Impossible(String),
}

/// What an app is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTarget {
    /// The host in the base URL.
    pub host: String,
    /// The port in the base URL.
    pub port: u16,
    /// The provider that `/v1` means there.
    pub provider: String,
    /// Whether the app needs a client key.
    pub needs_key: bool,
    /// Whether the container needs a name for this machine set.
    pub extra_hosts: bool,
    /// The socket that a sidecar carries connections to.
    pub socket: Option<PathBuf>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectStep {
    /// A command to run, on one line.
    Run(String),
    /// Lines for the configuration file.
    Configure(Vec<String>),
    /// What no line can do.
    Advice(String),
}

/// How an app that runs at `origin`, in a container of this `network`, gets to the service: the way that
/// works, otherwise the one that is set up most easily.
pub fn way(world: World<'_>, origin: AppOrigin, network: Network) -> AccessPath {
    match origin {
        _ if network == Network::Socket => socket(world),
        AppOrigin::Here => host_network(world),
        AppOrigin::DockerDesktop => desktop(world),
        AppOrigin::Docker => container(world, &DOCKER, network),
        AppOrigin::Podman => container(world, &PODMAN, network),
    }
}

/// The door for an app without a container; `None` if it reaches none of these.
pub fn local(doors: &[ListenEndpoint]) -> Option<AppTarget> {
    let way = way(
        World {
            doors,
            surroundings: &Surroundings::default(),
            is_bare: false,
        },
        AppOrigin::Here,
        Network::Chosen,
    );
    way.works().then_some(way.target)
}

/// The ways of containers on this machine, with all manual steps for each.
pub fn ways(world: World<'_>) -> Vec<AccessPath> {
    let engines = &world.surroundings.engines;
    let is_desktop = |kind: EngineKind| kind == EngineKind::DockerDesktop;
    let only_desktop = !engines.is_empty() && engines.iter().all(|it| is_desktop(it.kind));
    let host = if only_desktop {
        desktop(world)
    } else {
        host_network(world)
    };
    let mut ways = vec![host, any_bridge(world)];
    let mut kinds = engines.iter().map(|engine| engine.kind);
    if kinds.any(|kind| kind == EngineKind::PodmanRootless) {
        ways.push(mapped_loopback(world));
    }
    ways.push(socket(world));
    for way in &mut ways {
        if way.target.needs_key && matches!(way.reach, Reachability::NotSetUp(_)) {
            let key = ConnectStep::Run("hermesctl clients add my-app".to_owned());
            way.steps.insert(way.steps.len().min(1), key);
        }
        if let Reachability::Works(_) | Reachability::NotSetUp(_) = way.reach {
            way.steps.extend(way.by_hand().map(ConnectStep::Advice));
        }
    }
    ways
}

impl AccessPath {
    /// Whether an app gets there now.
    pub fn works(&self) -> bool {
        matches!(self.reach, Reachability::Works(_))
    }

    /// What the configuration lacks for it.
    pub fn lines(&self) -> Option<&[String]> {
        self.steps.iter().find_map(|step| match step {
            ConnectStep::Configure(lines) => Some(lines.as_slice()),
            ConnectStep::Run(_) | ConnectStep::Advice(_) => None,
        })
    }

    /// The container's start options for it, if a compose file does not cover them.
    pub fn by_hand(&self) -> Option<String> {
        match self.kind {
            WayKind::HostNetwork => Some(
                "Start the container with `--network host` (compose: `network_mode: host`)."
                    .to_owned(),
            ),
            WayKind::Bridge if self.target.extra_hosts => Some(format!(
                "Start the container with `--add-host={}:host-gateway` (compose: `extra_hosts`).",
                self.target.host
            )),
            WayKind::MappedLoopback => Some(format!(
                "Rootless Podman (5.3 or newer): run the container with \
                 `--network pasta:--map-host-loopback,{PASTA}`."
            )),
            WayKind::Socket => {
                let socket = self.target.socket.as_deref()?;
                Some(format!(
                    "Mount the folder {} at /apps into a sidecar that runs `hermes-proxyd bridge --to \
                     /apps/{}`; its neighbours reach it by the sidecar's name, at port {DEFAULT_PORT}.",
                    socket
                        .parent()
                        .unwrap_or(socket)
                        .display()
                        .to_string()
                        .replace("${HOME}", "~"),
                    socket.file_name().unwrap_or_default().to_string_lossy()
                ))
            }
            WayKind::Bridge | WayKind::Desktop => None,
        }
    }

    fn new(kind: WayKind, reach: Reachability, target: AppTarget) -> Self {
        Self {
            kind,
            reach,
            target,
            steps: Vec::new(),
        }
    }

    fn with(mut self, steps: impl IntoIterator<Item = ConnectStep>) -> Self {
        self.steps.extend(steps);
        self
    }
}

impl AppTarget {
    /// What most apps call it.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// Host and port.
    pub fn origin(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    fn new(host: &str, port: u16, provider: &str) -> Self {
        Self {
            host: host.to_owned(),
            port,
            provider: provider.to_owned(),
            // From a container this machine has a name or an address that is on no list of hosts.
            needs_key: true,
            extra_hosts: false,
            socket: None,
        }
    }
}

impl World<'_> {
    /// The door that has such a port: one that is open, and without a key, first.
    fn easiest(
        &self,
        port: impl Fn(&ListenEndpoint) -> Option<u16>,
    ) -> Option<(&ListenEndpoint, u16)> {
        let found = self.doors.iter();
        let found = found.filter_map(|door| Some((door, port(door).filter(|port| *port != 0)?)));
        found.min_by_key(|(door, _)| (!door.is_open, door.needs_key))
    }

    /// The port that apps know already.
    fn port(&self) -> u16 {
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

    fn provider(&self) -> &str {
        let first = self.doors.first();
        first.map_or(DEFAULT_PROVIDER, |door| &door.provider)
    }

    /// The lines of one more listener. The first one takes the place of the default one.
    fn listener(&self, lines: &[&str]) -> ConnectStep {
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

    fn has_interface(&self, name: &str) -> bool {
        let mut bridges = self.surroundings.bridges.iter();
        bridges.any(|bridge| bridge.name == name)
    }

    /// Why a door can't be used yet.
    fn wait(&self, door: &ListenEndpoint) -> Option<String> {
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

    /// A door's way, with the steps that are still missing.
    fn through(
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

fn host_network(world: World<'_>) -> AccessPath {
    let kind = WayKind::HostNetwork;
    let here = |door: &ListenEndpoint| Some(door.seen_from_here()?.port());
    let found = world.easiest(loopback).or_else(|| world.easiest(here));
    let Some((door, address)) = found.and_then(|(door, _)| Some((door, door.seen_from_here()?)))
    else {
        let target = AppTarget {
            needs_key: false,
            ..AppTarget::new("127.0.0.1", DEFAULT_PORT, world.provider())
        };
        return no_loopback(world, kind, target);
    };
    let target = AppTarget {
        needs_key: door.needs_key,
        ..AppTarget::new(&literal(address.ip()), address.port(), &door.provider)
    };
    world.through(door, "in the host's own network".to_owned(), kind, target)
}

fn desktop(world: World<'_>) -> AccessPath {
    let kind = WayKind::Desktop;
    let found = world.easiest(loopback).or_else(|| world.easiest(wildcard));
    let Some((door, port)) = found else {
        let target = AppTarget::new(DOCKER.host, DEFAULT_PORT, world.provider());
        return no_loopback(world, kind, target);
    };
    // The name is not known to mean this machine, so a key is needed in any case.
    let target = AppTarget::new(DOCKER.host, port, &door.provider);
    world.through(
        door,
        "Docker Desktop forwards to it".to_owned(),
        kind,
        target,
    )
}

fn mapped_loopback(world: World<'_>) -> AccessPath {
    let kind = WayKind::MappedLoopback;
    let Some((door, port)) = world.easiest(loopback) else {
        let target = AppTarget::new(PASTA, DEFAULT_PORT, world.provider());
        return no_loopback(world, kind, target);
    };
    let how = "this machine's loopback, mapped into a single container".to_owned();
    let target = AppTarget::new(PASTA, port, &door.provider);
    world.through(door, how, kind, target)
}

fn no_loopback(world: World<'_>, kind: WayKind, target: AppTarget) -> AccessPath {
    let reach = Reachability::NotSetUp("no listener is on 127.0.0.1".to_owned());
    let line = format!("address = \"127.0.0.1:{DEFAULT_PORT}\"");
    AccessPath::new(kind, reach, target).with([world.listener(&[&line])])
}

/// By a sidecar in the app's compose file. Its name is on no list of hosts, so a key is needed in any
/// case.
fn socket(world: World<'_>) -> AccessPath {
    let kind = WayKind::Socket;
    let target = |provider: &str, socket: PathBuf| AppTarget {
        socket: Some(socket),
        ..AppTarget::new(SIDECAR, DEFAULT_PORT, provider)
    };
    let doors = world.doors.iter();
    let found = doors.filter_map(|door| Some((door, door.socket()?)));
    let found = found.min_by_key(|(door, _)| (!door.is_open, !door.needs_key));
    if let Some((door, path)) = found {
        let how = format!("through {}", path.display());
        let target = target(&door.provider, path.to_owned());
        return world.through(door, how, kind, target);
    }
    let reach = Reachability::NotSetUp("no listener is a Unix socket".to_owned());
    let lines = [&*format!("unix = \"{SOCKET}\""), "auth = \"keys\""];
    let path = PathBuf::from(SOCKET.replace('~', "${HOME}"));
    let way = AccessPath::new(kind, reach, target(world.provider(), path));
    way.with([world.listener(&lines)])
}

/// From a container of this engine's.
fn container(world: World<'_>, networks: &Networks, network: Network) -> AccessPath {
    let is_podman = networks.usual == PODMAN.usual;
    let bridge = bridge(world, networks);
    let waits = matches!(bridge.reach, Reachability::Blocked(_));
    // No network of a compose file leads to this machine's loopback.
    if is_podman && network == Network::Chosen && !bridge.works() && !waits {
        let mapped = mapped_loopback(world);
        if mapped.lines().is_none() {
            return mapped;
        }
    }
    let socket = socket(world);
    let by_socket = match bridge.reach {
        Reachability::Works(_) => false,
        Reachability::Impossible(_) => true,
        Reachability::Blocked(_) => socket.works(),
        // Where Podman has no bridge, it is rootless for the most part.
        Reachability::NotSetUp(_) => is_podman || socket.lines().is_none(),
    };
    if by_socket { socket } else { bridge }
}

/// Its port, where it is on loopback.
fn loopback(door: &ListenEndpoint) -> Option<u16> {
    let address = door.ip()?;
    address.ip().is_loopback().then(|| address.port())
}

/// Its port, where it is on every address.
fn wildcard(door: &ListenEndpoint) -> Option<u16> {
    let address = door.ip()?;
    address.ip().is_unspecified().then(|| address.port())
}

/// An address in the form of a URL.
fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests;

//! How an app reaches the service: through which listener, under which name, whether that works now,
//! and what is missing. Pure.
//!
//! `connect`, `setup` and `doctor` ask here, so they agree about one machine.

mod bridges;
mod path;
mod world;

use std::path::PathBuf;

use self::bridges::{DOCKER, Networks, PODMAN, any_bridge, bridge};
use self::path::PASTA;
pub use self::path::{AccessPath, AppTarget, ConnectStep, Reachability, WayKind};
pub use self::world::World;
use self::world::{literal, loopback, wildcard};
use super::{AppOrigin, EngineKind, ListenEndpoint, Surroundings};
use crate::config::DEFAULT_PORT;

/// The name of the sidecar in a compose file.
const SIDECAR: &str = "hermes-proxyd";
/// The socket of a listener to add.
const SOCKET: &str = "~/.local/state/hermes-proxyd/apps/proxy.sock";

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

/// The endpoint for an app without a container; `None` if it can reach none of these.
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

#[cfg(test)]
mod tests;

//! How an app gets to hermes-proxyd from where it runs; pure.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::{Door, Origin};
use crate::config::{DEFAULT_PORT, DEFAULT_PROVIDER, ListenAddress};

/// What Docker calls this machine, where it is told to.
const DOCKER: &str = "host.docker.internal";
/// What Podman calls this machine.
const PODMAN: &str = "host.containers.internal";
/// Where pasta shows a container this machine's loopback, if it is told to.
const PASTA: &str = "169.254.1.3";
/// The bridge of Docker, unless it was configured otherwise.
const DOCKER_BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));
/// The bridge of Podman that root runs, unless it was configured otherwise.
const PODMAN_BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1));

/// How an app gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppWay {
    /// The host in the base URL.
    pub host: String,
    /// The port in the base URL.
    pub port: u16,
    /// The provider that `/v1` means there.
    pub provider: String,
    /// Whether the app needs a client key.
    pub needs_key: bool,
    /// Whether the container has to be told what this machine is called.
    pub extra_hosts: bool,
    /// The socket that a sidecar carries connections to.
    pub socket: Option<PathBuf>,
    /// What the configuration lacks for it.
    pub missing: Option<String>,
    /// What else has to be known.
    pub notes: Vec<String>,
}

/// What a container's network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// As the user says when the container is started.
    Chosen,
    /// One that a compose file makes, with addresses that are not known before.
    Compose,
    /// None to this machine: a sidecar carries connections to a Unix socket.
    Socket,
}

/// How an app gets from `place` to one of these doors.
///
/// `is_bare` tells that the configuration has no `[[listen]]`.
pub fn find(place: Origin, network: Network, doors: &[Door], is_bare: bool) -> AppWay {
    let mut way = match place {
        _ if network == Network::Socket => by_socket(doors),
        Origin::Here => bare(doors),
        Origin::Docker => docker(doors),
        Origin::Podman => podman(doors, network),
        Origin::DockerDesktop => docker_desktop(doors),
    };
    if is_bare {
        way.missing = way.missing.map(|lines| default_door_too(&lines));
    }
    way
}

/// Its port, where it is on loopback.
fn loopback(door: &Door) -> Option<u16> {
    let address = door.ip()?;
    address.ip().is_loopback().then(|| address.port())
}

/// Its port, where it is on every IPv4 address.
fn wildcard(door: &Door) -> Option<u16> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = door.ip()?;
    (address.ip() == everywhere).then(|| address.port())
}

/// Its port, where it is on this bridge, by the interface's name or its usual address.
fn at_bridge(door: &Door, bridge: &str, usual: IpAddr) -> Option<u16> {
    let port = match &door.address {
        ListenAddress::Interface { name, port } if name == bridge => *port,
        ListenAddress::Ip(address) if address.ip() == usual => address.port(),
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => 0,
    };
    (port != 0).then_some(port)
}

/// A door without a key first.
fn easiest(doors: &[Door], port: impl Fn(&Door) -> Option<u16>) -> Option<(&Door, u16)> {
    let found = doors.iter().filter_map(|door| Some((door, port(door)?)));
    found.min_by_key(|(door, _)| door.needs_key)
}

fn bare(doors: &[Door]) -> AppWay {
    let found = easiest(doors, loopback)
        .or_else(|| easiest(doors, |door| Some(door.seen_from_here()?.port())));
    let Some((door, port)) = found else {
        let lines = format!("[[listen]]\naddress = \"127.0.0.1:{DEFAULT_PORT}\"\n");
        let way = AppWay::to("127.0.0.1", DEFAULT_PORT, default_provider(doors), false);
        return way.lacking(lines);
    };
    let ip = door
        .seen_from_here()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |it| it.ip());
    let host = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    AppWay::to(&host, port, &door.provider, door.needs_key)
}

fn docker(doors: &[Door]) -> AppWay {
    let bridge = easiest(doors, |door| at_bridge(door, "docker0", DOCKER_BRIDGE));
    if let Some((door, port)) = bridge.or_else(|| easiest(doors, wildcard)) {
        return AppWay {
            extra_hosts: true,
            ..AppWay::to(DOCKER, port, &door.provider, true)
        };
    }
    // An address of this machine's in another network; containers get there as others do.
    if let Some((door, port)) = easiest(doors, outside_port)
        && let Some(address) = door.seen_from_here()
    {
        return AppWay::to(&address.ip().to_string(), port, &door.provider, true);
    }
    if doors.iter().any(|door| door.socket().is_some()) {
        return by_socket(doors);
    }
    let port = loopback_port(doors);
    let way = AppWay {
        extra_hosts: true,
        ..AppWay::to(DOCKER, port, default_provider(doors), true)
    };
    let lines = format!("[[listen]]\naddress = \"docker0:{port}\"\n");
    way.lacking(lines).noting(
        "A firewall such as ufw must let containers in: sudo ufw allow from 172.16.0.0/12 to any \
         port PORT proto tcp. To avoid an open port, run the same command with --socket."
            .replace("PORT", &port.to_string()),
    )
}

fn podman(doors: &[Door], network: Network) -> AppWay {
    let bridge = easiest(doors, |door| at_bridge(door, "podman0", PODMAN_BRIDGE));
    if let Some((door, port)) = bridge.or_else(|| easiest(doors, wildcard)) {
        return AppWay::to(PODMAN, port, &door.provider, true);
    }
    // No network of a compose file leads to this machine's loopback.
    let loopback = easiest(doors, loopback).filter(|_| network != Network::Compose);
    let Some((door, port)) = loopback else {
        return by_socket(doors);
    };
    AppWay::to(PASTA, port, &door.provider, true)
        .noting(format!(
            "Rootless Podman (5.3 or newer): run the container with \
             `--network pasta:--map-host-loopback,{PASTA}`."
        ))
        .noting(format!(
            "Podman as root: add a [[listen]] with address = \"podman0:{port}\", restart \
             hermes-proxyd, and run this again."
        ))
}

fn docker_desktop(doors: &[Door]) -> AppWay {
    let found = easiest(doors, loopback).or_else(|| easiest(doors, wildcard));
    let Some((door, port)) = found else {
        let lines = format!("[[listen]]\naddress = \"127.0.0.1:{DEFAULT_PORT}\"\n");
        let way = AppWay::to(DOCKER, DEFAULT_PORT, default_provider(doors), true);
        return way.lacking(lines);
    };
    // The name is not known to mean this machine, so a key is needed in any case.
    AppWay::to(DOCKER, port, &door.provider, true)
}

/// By a sidecar in the app's compose file.
fn by_socket(doors: &[Door]) -> AppWay {
    let found = doors.iter().filter_map(|door| Some((door, door.socket()?)));
    // The name of the sidecar is on nobody's list of hosts, so a key is needed in any case.
    let way = |provider: &str| AppWay::to("hermes-proxyd", DEFAULT_PORT, provider, true);
    if let Some((door, socket)) = found.min_by_key(|(door, _)| !door.needs_key) {
        return AppWay {
            socket: Some(socket.to_owned()),
            ..way(&door.provider)
        };
    }
    let path = "~/.local/state/hermes-proxyd/apps/proxy.sock";
    let lines = format!("[[listen]]\nunix = \"{path}\"\nauth = \"keys\"\n");
    AppWay {
        socket: Some(PathBuf::from(path.replace('~', "${HOME}"))),
        ..way(default_provider(doors)).lacking(lines)
    }
}

fn outside_port(door: &Door) -> Option<u16> {
    let address = door.ip()?;
    let ip = address.ip();
    (ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified()).then(|| address.port())
}

fn loopback_port(doors: &[Door]) -> u16 {
    easiest(doors, loopback).map_or(DEFAULT_PORT, |(_, port)| port)
}

fn default_provider(doors: &[Door]) -> &str {
    doors
        .first()
        .map_or(DEFAULT_PROVIDER, |door| &door.provider)
}

/// A first `[[listen]]` takes the place of the default one, which has to be written down then.
fn default_door_too(lines: &str) -> String {
    let default = format!("[[listen]]\naddress = \"127.0.0.1:{DEFAULT_PORT}\"\n");
    if lines.contains(&default) {
        return lines.to_owned();
    }
    format!("# The default; once a listener is set, list this one too.\n{default}\n{lines}")
}

impl AppWay {
    fn to(host: &str, port: u16, provider: &str, needs_key: bool) -> Self {
        Self {
            host: host.to_owned(),
            port,
            provider: provider.to_owned(),
            needs_key,
            extra_hosts: false,
            socket: None,
            missing: None,
            notes: Vec::new(),
        }
    }

    fn lacking(self, lines: String) -> Self {
        Self {
            missing: Some(lines),
            ..self
        }
    }

    fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::doors::read_address;
    use super::*;

    fn door(address: &str, needs_key: bool) -> Door {
        Door {
            address: read_address(address).unwrap(),
            provider: "nous".to_owned(),
            needs_key,
            is_there: true,
        }
    }

    fn network(socket: bool) -> Network {
        if socket {
            Network::Socket
        } else {
            Network::Chosen
        }
    }

    /// Host and port, whether with a key, and what the configuration lacks.
    fn told(place: Origin, socket: bool, doors: &[Door]) -> (String, bool, Option<String>) {
        let way = find(place, network(socket), doors, false);
        (
            format!("{}:{}", way.host, way.port),
            way.needs_key,
            way.missing,
        )
    }

    fn reached(place: Origin, doors: &[Door]) -> (String, bool) {
        let (address, key, missing) = told(place, false, doors);
        assert_eq!(missing, None, "{address}");
        (address, key)
    }

    #[test]
    fn an_app_on_this_machine_takes_a_door_without_a_key_if_there_is_one() {
        let free = door("127.0.0.1:8645", false);
        let locked = door("127.0.0.1:1", true);
        let everywhere = door("0.0.0.0:2", true);
        let ours = door("[::1]:3", false);
        for (doors, address, key) in [
            (vec![free.clone()], "127.0.0.1:8645", false),
            (vec![locked.clone(), free], "127.0.0.1:8645", false),
            (vec![everywhere.clone(), locked], "127.0.0.1:1", true),
            (vec![everywhere], "127.0.0.1:2", true),
            (vec![ours], "[::1]:3", false),
        ] {
            assert_eq!(reached(Origin::Here, &doors), (address.to_owned(), key));
        }
        let (address, _, missing) = told(Origin::Here, false, &[door("unix:/run/x", true)]);
        assert_eq!(address, "127.0.0.1:8645");
        assert!(missing.unwrap().contains("127.0.0.1:8645"));
    }

    #[test]
    fn a_container_of_docker_takes_the_bridge_then_any_address_then_the_socket() {
        let loopback = door("127.0.0.1:8645", false);
        for (more, address) in [
            ("docker0:8645", "host.docker.internal:8645"),
            ("172.17.0.1:8646", "host.docker.internal:8646"),
            ("0.0.0.0:1", "host.docker.internal:1"),
            ("192.168.1.5:2", "192.168.1.5:2"),
            ("unix:/run/x/proxy.sock", "hermes-proxyd:8645"),
        ] {
            let doors = [loopback.clone(), door(more, true)];
            let way = find(Origin::Docker, Network::Chosen, &doors, false);
            assert_eq!(reached(Origin::Docker, &doors), (address.to_owned(), true));
            assert_eq!(way.extra_hosts, address.contains("docker"), "{more}");
            assert_eq!(way.socket.is_some(), more.starts_with("unix"), "{more}");
        }
    }

    #[test]
    fn what_is_lacking_comes_with_the_default_door_where_the_file_names_none() {
        let default = [door("127.0.0.1:8645", false)];
        let unix = "unix = \"~/.local/state/hermes-proxyd/apps/proxy.sock\"";
        for (place, socket, line) in [
            (Origin::Docker, false, "address = \"docker0:8645\""),
            (Origin::Docker, true, unix),
            (Origin::Podman, true, unix),
        ] {
            let missing = |is_bare| {
                find(place, network(socket), &default, is_bare)
                    .missing
                    .unwrap()
            };
            let named = missing(false);
            assert!(
                named.starts_with(&format!("[[listen]]\n{line}\n")),
                "{named}"
            );
            assert!(!named.contains("127.0.0.1"), "{named}");
            let both = missing(true);
            assert!(
                both.contains("[[listen]]\naddress = \"127.0.0.1:8645\"\n"),
                "{both}"
            );
            assert!(both.ends_with(&named), "{both}");
        }
        let elsewhere = [door("127.0.0.1:9", true)];
        let way = find(Origin::Docker, Network::Chosen, &elsewhere, false);
        assert_eq!(
            way.missing.unwrap(),
            "[[listen]]\naddress = \"docker0:9\"\n"
        );
        let way = find(
            Origin::Here,
            Network::Chosen,
            &[door("unix:/run/x", true)],
            true,
        );
        assert_eq!(
            way.missing.unwrap(),
            "[[listen]]\naddress = \"127.0.0.1:8645\"\n"
        );
    }

    #[test]
    fn a_socket_that_is_wanted_wins_and_is_described_if_it_is_not_there() {
        let doors = [door("docker0:8645", true), door("unix:/a/b.sock", false)];
        let way = find(Origin::Docker, Network::Socket, &doors, false);
        assert_eq!((&*way.host, way.needs_key), ("hermes-proxyd", true));
        assert_eq!(way.socket.unwrap(), Path::new("/a/b.sock"));
        let way = find(Origin::Podman, Network::Socket, &doors[..1], false);
        assert!(way.missing.unwrap().contains("auth = \"keys\""));
    }

    #[test]
    fn a_container_of_podman_takes_the_bridge_else_pasta() {
        let loopback = door("127.0.0.1:8645", false);
        let doors = [loopback.clone(), door("podman0:8645", true)];
        let expected = ("host.containers.internal:8645".to_owned(), true);
        assert_eq!(reached(Origin::Podman, &doors), expected);
        let way = find(Origin::Podman, Network::Compose, &doors, false);
        assert_eq!((&*way.host, way.port), ("host.containers.internal", 8645));
        let doors = [loopback];
        let way = find(Origin::Podman, Network::Compose, &doors, false);
        assert_eq!((&*way.host, way.socket.is_some()), ("hermes-proxyd", true));
        let way = find(Origin::Podman, Network::Chosen, &doors, false);
        assert_eq!((&*way.host, way.needs_key), ("169.254.1.3", true));
        assert!(
            way.notes
                .concat()
                .contains("--map-host-loopback,169.254.1.3")
        );
    }

    #[test]
    fn docker_desktop_reaches_loopback() {
        for needs_key in [false, true] {
            let found = reached(Origin::DockerDesktop, &[door("127.0.0.1:8645", needs_key)]);
            assert_eq!(found, ("host.docker.internal:8645".to_owned(), true));
        }
    }
}

//! The three ways from a container to the service: which one works with the listeners that there
//! are, and what makes the others work. Pure.

use std::net::IpAddr;

use super::{Door, EngineKind, Firewall, Surroundings};
use crate::config::ListenAddress;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which one.
    pub kind: WayKind,
    /// Whether it works now.
    pub reach: Reach,
    /// What to do: to use it where it works, else to make it work.
    pub steps: Vec<Step>,
}

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayKind {
    /// The container has no network of its own.
    HostNetwork,
    /// The service listens at the host's address in the container's network.
    Bridge,
    /// The container mounts the service's Unix socket, and a sidecar carries TCP to it.
    Socket,
}

/// Whether a way works, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Works {
        /// With which address, in words.
        how: String,
        /// The base URL for an app in a container.
        base_url: String,
        /// Whether the app needs a client key.
        needs_key: bool,
    },
    /// It would, but for this.
    Blocked(String),
    /// It is not set up.
    NotSetUp(String),
    /// No engine here has such networks.
    Impossible(String),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A command to run, on one line.
    Run(String),
    /// Lines for the configuration file.
    Configure(Vec<String>),
    /// What no line can do.
    Advice(String),
}

/// The three ways, as the listeners at `places` stand.
///
/// `port` is what a new listener would get. `is_bare` tells that the configuration file has no
/// `[[listen]]`, so that the default listener has to be written down beside a new one.
pub fn ways(
    places: &[Door],
    surroundings: &Surroundings,
    (port, is_bare): (u16, bool),
) -> [Way; 3] {
    let hand = Hand { port, is_bare };
    [
        host_network(places, surroundings, hand),
        bridge(places, surroundings, hand),
        socket(places, hand),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Hand {
    port: u16,
    is_bare: bool,
}

impl Hand {
    /// The lines of one more listener.
    fn listener(self, lines: &[&str]) -> Step {
        let mut text = Vec::new();
        if self.is_bare {
            text.push("[[listen]]".to_owned());
            text.push(format!("address = \"127.0.0.1:{}\"", self.port));
            text.push(String::new());
        }
        text.push("[[listen]]".to_owned());
        text.extend(lines.iter().map(|line| (*line).to_owned()));
        Step::Configure(text)
    }
}

fn host_network(places: &[Door], surroundings: &Surroundings, hand: Hand) -> Way {
    let kind = WayKind::HostNetwork;
    let desktop_only = surroundings.engines.len() == 1
        && surroundings
            .engines
            .iter()
            .any(|engine| engine.kind == EngineKind::DockerDesktop);
    let local = places.iter().find_map(|place| match place.address {
        ListenAddress::Ip(address) if address.ip().is_loopback() => Some((address, place)),
        ListenAddress::Ip(address) if address.ip().is_unspecified() => Some((address, place)),
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => None,
    });
    let Some((address, place)) = local else {
        let lines = format!("address = \"127.0.0.1:{}\"", hand.port);
        return Way {
            kind,
            reach: Reach::NotSetUp("no listener is on 127.0.0.1".to_owned()),
            steps: vec![
                Hand {
                    is_bare: false,
                    ..hand
                }
                .listener(&[&lines]),
            ],
        };
    };
    let port = address.port();
    let (name, how) = if desktop_only {
        ("host.docker.internal", "Docker Desktop forwards to it")
    } else if address.is_ipv6() && !address.ip().is_unspecified() {
        ("[::1]", "in the host's own network")
    } else {
        ("127.0.0.1", "in the host's own network")
    };
    let steps = if desktop_only {
        Vec::new()
    } else {
        vec![Step::Advice(
            "Start the container with `--network host` (compose: `network_mode: host`).".to_owned(),
        )]
    };
    Way {
        kind,
        reach: Reach::Works {
            how: how.to_owned(),
            base_url: format!("http://{name}:{port}/v1"),
            // Docker Desktop's name for this machine is on no list.
            needs_key: place.needs_key || desktop_only,
        },
        steps,
    }
}

fn bridge(places: &[Door], surroundings: &Surroundings, hand: Hand) -> Way {
    let kind = WayKind::Bridge;
    for bridge in &surroundings.bridges {
        for address in &bridge.addresses {
            let Some((place, port)) = listening(places, &bridge.name, *address) else {
                continue;
            };
            return reached(surroundings, &bridge.name, (*address, port), place);
        }
    }
    let usual = surroundings
        .engines
        .iter()
        .find_map(|engine| engine.kind.usual_bridge());
    let first = surroundings.bridges.first();
    let named = first.map(|bridge| bridge.name.as_str()).or(usual);
    let Some(name) = named else {
        let why = match surroundings.engines.first() {
            Some(engine) => format!(
                "the networks of {} have no address of this machine",
                engine.kind.as_str()
            ),
            None => "no container engine was found".to_owned(),
        };
        return Way {
            kind,
            reach: Reach::Impossible(why),
            steps: Vec::new(),
        };
    };
    let waits = places.iter().any(
        |place| matches!(&place.address, ListenAddress::Interface { name: own, .. } if own == name),
    );
    if waits {
        let why =
            format!("the listener at {name} waits for its interface, which does not exist yet");
        return Way {
            kind,
            reach: Reach::Blocked(why),
            steps: vec![Step::Advice(
                "The engine creates it with its first container; then the listener opens within 3 \
                 s."
                .to_owned(),
            )],
        };
    }
    let address = first.and_then(|bridge| bridge.addresses.first());
    let why = match address {
        Some(address) => format!("nothing listens at {name} ({address})"),
        None => format!("nothing listens at {name}"),
    };
    let line = format!("address = \"{name}:{}\"", hand.port);
    let mut steps = vec![
        hand.listener(&[&line]),
        Step::Run("hermesctl clients add my-app".to_owned()),
    ];
    steps.extend(open_firewall(surroundings, name, hand.port));
    Way {
        kind,
        reach: Reach::NotSetUp(why),
        steps,
    }
}

/// A listener is at the bridge's address.
fn reached(
    surroundings: &Surroundings,
    name: &str,
    (address, port): (IpAddr, u16),
    place: &Door,
) -> Way {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut steps: Vec<Step> = open_firewall(surroundings, name, port).collect();
    if name == "docker0" {
        steps.push(Step::Advice(format!(
            "In a container with `--add-host host.docker.internal:host-gateway` (compose: \
             `extra_hosts`) it is http://host.docker.internal:{port}/v1 too."
        )));
    }
    Way {
        kind: WayKind::Bridge,
        reach: Reach::Works {
            how: format!("at the host's address in {name}"),
            base_url: format!("http://{host}:{port}/v1"),
            needs_key: place.needs_key,
        },
        steps,
    }
}

/// The listener that a container in this network reaches at this address.
fn listening<'p>(places: &'p [Door], bridge: &str, address: IpAddr) -> Option<(&'p Door, u16)> {
    places.iter().find_map(|place| match &place.address {
        ListenAddress::Ip(own) if own.ip() == address => Some((place, own.port())),
        ListenAddress::Ip(own)
            if own.ip().is_unspecified() && (own.is_ipv6() || address.is_ipv4()) =>
        {
            Some((place, own.port()))
        }
        ListenAddress::Interface { name, port } if name == bridge => Some((place, *port)),
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => None,
    })
}

fn open_firewall(surroundings: &Surroundings, name: &str, port: u16) -> impl Iterator<Item = Step> {
    surroundings
        .firewalls
        .iter()
        .map(move |firewall| match firewall {
            Firewall::Ufw => Step::Run(format!(
                "sudo ufw allow in on {name} to any port {port} proto tcp"
            )),
            Firewall::Firewalld => Step::Advice(format!(
                "firewalld is running: {name} must be in a zone that lets containers through, such \
                 as `trusted` or `docker`."
            )),
            Firewall::Nftables => Step::Advice(format!(
                "nftables drops everything without a rule: allow tcp port {port} on {name}."
            )),
        })
}

fn socket(places: &[Door], hand: Hand) -> Way {
    let kind = WayKind::Socket;
    let found = places.iter().find_map(|place| match &place.address {
        ListenAddress::Unix { path, .. } => Some((place, path, place.is_there)),
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } => None,
    });
    let Some((place, path, is_there)) = found else {
        let lines = [
            "unix = \"~/.local/state/hermes-proxyd/apps/proxy.sock\"",
            "auth = \"keys\"",
        ];
        return Way {
            kind,
            reach: Reach::NotSetUp("no listener is a Unix socket".to_owned()),
            steps: vec![
                hand.listener(&lines),
                Step::Run("hermesctl clients add my-app".to_owned()),
                sidecar("~/.local/state/hermes-proxyd/apps", "proxy.sock"),
            ],
        };
    };
    let folder = path.parent().unwrap_or(path).display().to_string();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let missing = Way {
        kind,
        reach: Reach::Blocked(format!("the socket {} does not exist", path.display())),
        steps: Vec::new(),
    };
    if !is_there {
        return missing;
    }
    Way {
        kind,
        reach: Reach::Works {
            how: format!("through {}", path.display()),
            base_url: "http://SIDECAR:8645/v1".to_owned(),
            needs_key: place.needs_key,
        },
        steps: vec![sidecar(&folder, &name)],
    }
}

fn sidecar(folder: &str, socket: &str) -> Step {
    Step::Advice(format!(
        "Mount the folder {folder} at /apps into a sidecar that runs `hermes-proxyd bridge --to \
         /apps/{socket}`; its neighbours reach it by the sidecar's name, at port 8645."
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Bridge, Engine, EngineState};
    use super::*;

    fn docker(firewalls: Vec<Firewall>) -> Surroundings {
        Surroundings {
            engines: vec![Engine {
                kind: EngineKind::Docker,
                state: EngineState::Ready,
                found: "/run/docker.sock".into(),
            }],
            bridges: vec![Bridge {
                name: "docker0".to_owned(),
                addresses: vec!["172.17.0.1".parse().unwrap()],
            }],
            firewalls,
        }
    }

    fn place(address: &str) -> Door {
        let (name, port) = address.rsplit_once(':').unwrap();
        let address = match address.parse() {
            Ok(address) => ListenAddress::Ip(address),
            Err(_) => ListenAddress::Interface {
                name: name.to_owned(),
                port: port.parse().unwrap(),
            },
        };
        Door {
            address,
            provider: "nous".to_owned(),
            needs_key: true,
            is_there: true,
        }
    }

    fn works(way: &Way) -> Option<&str> {
        match &way.reach {
            Reach::Works { base_url, .. } => Some(base_url),
            Reach::Blocked(_) | Reach::NotSetUp(_) | Reach::Impossible(_) => None,
        }
    }

    #[test]
    fn a_loopback_listener_serves_the_hosts_network_only() {
        let places = [place("127.0.0.1:8645")];
        let [host, bridge, socket] = ways(&places, &docker(Vec::new()), (8645, true));
        assert_eq!(works(&host), Some("http://127.0.0.1:8645/v1"));
        assert_eq!(works(&bridge), None);
        assert_eq!(works(&socket), None);
        // The default listener is written down too, else the new one would replace it.
        let lines = Step::Configure(
            [
                "[[listen]]",
                "address = \"127.0.0.1:8645\"",
                "",
                "[[listen]]",
                "address = \"docker0:8645\"",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        assert_eq!(bridge.steps.first(), Some(&lines));
    }

    #[test]
    fn every_kind_of_listener_at_the_bridge_works() {
        for address in [
            "172.17.0.1:8645",
            "docker0:8645",
            "0.0.0.0:8645",
            "[::]:8645",
        ] {
            let places = [place("127.0.0.1:1"), place(address)];
            let [_, bridge, _] = ways(&places, &docker(Vec::new()), (8645, false));
            let url = Some("http://172.17.0.1:8645/v1");
            assert_eq!(works(&bridge), url, "{address}");
        }
        let [_, bridge, _] = ways(
            &[place("10.0.0.1:8645")],
            &docker(Vec::new()),
            (8645, false),
        );
        assert_eq!(works(&bridge), None);
    }

    #[test]
    fn ufw_has_to_be_told() {
        let places = [place("docker0:8645")];
        let [_, bridge, _] = ways(&places, &docker(vec![Firewall::Ufw]), (8645, false));
        let rule = "sudo ufw allow in on docker0 to any port 8645 proto tcp";
        assert!(bridge.steps.contains(&Step::Run(rule.to_owned())));
    }

    #[test]
    fn an_interface_that_comes_later_is_waited_for() {
        let surroundings = Surroundings {
            bridges: Vec::new(),
            ..docker(Vec::new())
        };
        let [_, bridge, _] = ways(&[place("docker0:8645")], &surroundings, (8645, false));
        assert!(matches!(bridge.reach, Reach::Blocked(_)), "{bridge:?}");
    }

    #[test]
    fn rootless_networks_have_no_bridge_here() {
        let mut surroundings = docker(Vec::new());
        surroundings.bridges.clear();
        for engine in &mut surroundings.engines {
            engine.kind = EngineKind::PodmanRootless;
        }
        let [_, bridge, _] = ways(&[place("127.0.0.1:8645")], &surroundings, (8645, true));
        assert!(matches!(bridge.reach, Reach::Impossible(_)), "{bridge:?}");
    }
}

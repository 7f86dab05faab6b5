use super::super::listen_endpoints::read_address;
use super::super::{BridgeInterface, Engine, EngineState, Firewall};
use super::*;

/// An endpoint by its address: a leading `!` means that it waits, a trailing `+` that it needs a key.
fn door(text: &str) -> ListenEndpoint {
    let text_of = text.trim_start_matches('!').trim_end_matches('+');
    ListenEndpoint {
        address: read_address(text_of).unwrap(),
        provider: "nous".to_owned(),
        needs_key: text.ends_with('+'),
        is_open: !text.starts_with('!'),
    }
}

fn engine(kind: EngineKind) -> Engine {
    Engine {
        kind,
        state: EngineState::Ready,
        found: "/run/x.sock".into(),
    }
}

fn bridge_named(name: &str, address: &str) -> BridgeInterface {
    BridgeInterface {
        name: name.to_owned(),
        addresses: vec![address.parse().unwrap()],
    }
}

/// A machine by a word.
fn machine(name: &str) -> Surroundings {
    use EngineKind as Kind;
    let (engines, bridges): (&[EngineKind], &[(&str, &str)]) = match name {
        "nothing" => (&[], &[]),
        "docker" => (&[Kind::Docker], &[("docker0", "172.17.0.1")]),
        "docker, idle" => (&[Kind::Docker], &[]),
        "docker, elsewhere" => (&[Kind::Docker], &[("docker0", "10.200.0.1")]),
        "docker, compose" => (
            &[Kind::Docker],
            &[("docker0", "172.17.0.1"), ("br-0123456789ab", "172.18.0.1")],
        ),
        "rootless docker" => (&[Kind::DockerRootless], &[]),
        "desktop" => (&[Kind::DockerDesktop], &[]),
        "podman" => (&[Kind::Podman], &[("podman0", "10.88.0.1")]),
        "rootless podman" => (&[Kind::PodmanRootless], &[]),
        _ => panic!("{name}"),
    };
    let bridges = bridges.iter();
    Surroundings {
        engines: engines.iter().copied().map(engine).collect(),
        bridges: bridges.map(|(name, ip)| bridge_named(name, ip)).collect(),
        firewalls: Vec::new(),
    }
}

/// What is decided, in a line: the kind, whether it works, and the base URL.
fn told(way: &AccessPath) -> String {
    let (sign, why) = match &way.reach {
        Reachability::Works(_) => ("+", String::new()),
        Reachability::Blocked(why) => ("!", format!(": {why}")),
        Reachability::NotSetUp(why) => ("-", format!(": {why}")),
        Reachability::Impossible(why) => return format!("0 {:?}: {why}", way.kind),
    };
    let target = &way.target;
    let hosts = if target.extra_hosts { ", told" } else { "" };
    let key = if target.needs_key { "" } else { ", no key" };
    let url = target.base_url();
    let url = url.trim_start_matches("http://").trim_end_matches("/v1");
    format!("{sign} {:?} {url}{hosts}{key}{why}", way.kind)
}

fn decided(name: &str, doors: &str, origin: AppOrigin, network: Network) -> AccessPath {
    let doors: Vec<_> = doors.split_whitespace().map(door).collect();
    let world = World {
        doors: &doors,
        surroundings: &machine(name),
        is_bare: false,
    };
    way(world, origin, network)
}

use AppOrigin::{Docker, DockerDesktop, Here, Podman};
use Network::{Chosen, Compose, Socket};

const LOCAL: &str = "127.0.0.1:8645";
const DOCKER0: &str = "- Bridge host.docker.internal:8645, told: nothing listens at docker0";
const NO_SOCKET: &str = "- Socket hermes-proxyd:8645: no listener is a Unix socket";
const ANY: &str = "+ Bridge host.docker.internal:8645, told";

/// The machine, its endpoints, where the app runs, its container's network, and the access path.
const WAYS: &[(&str, &str, AppOrigin, Network, &str)] = &[
    // On this machine: loopback and without a key first, and open before all.
    (
        "nothing",
        LOCAL,
        Here,
        Chosen,
        "+ HostNetwork 127.0.0.1:8645, no key",
    ),
    (
        "nothing",
        "127.0.0.1:1+ 127.0.0.1:2",
        Here,
        Chosen,
        "+ HostNetwork 127.0.0.1:2, no key",
    ),
    (
        "nothing",
        "0.0.0.0:2+ 127.0.0.1:1+",
        Here,
        Chosen,
        "+ HostNetwork 127.0.0.1:1",
    ),
    (
        "nothing",
        "0.0.0.0:2+",
        Here,
        Chosen,
        "+ HostNetwork 127.0.0.1:2",
    ),
    (
        "nothing",
        "[::1]:3",
        Here,
        Chosen,
        "+ HostNetwork [::1]:3, no key",
    ),
    (
        "nothing",
        "!127.0.0.1:1 127.0.0.1:2",
        Here,
        Chosen,
        "+ HostNetwork 127.0.0.1:2, no key",
    ),
    (
        "nothing",
        "unix:/run/x",
        Here,
        Chosen,
        "- HostNetwork 127.0.0.1:8645, no key: no listener is on 127.0.0.1",
    ),
    // Docker: the bridge, all addresses, another address, the socket.
    (
        "docker",
        "127.0.0.1:8645 docker0:8645+",
        Docker,
        Compose,
        ANY,
    ),
    (
        "docker",
        "127.0.0.1:8645 172.17.0.1:8646+",
        Docker,
        Compose,
        "+ Bridge host.docker.internal:8646, told",
    ),
    (
        "nothing",
        "127.0.0.1:8645 172.17.0.1:8646+",
        Docker,
        Compose,
        "+ Bridge host.docker.internal:8646, told",
    ),
    // That name means the usual bridge, wherever it is.
    (
        "docker, elsewhere",
        "10.200.0.1:1+",
        Docker,
        Compose,
        "+ Bridge host.docker.internal:1, told",
    ),
    (
        "docker, elsewhere",
        "172.17.0.1:1+",
        Docker,
        Compose,
        "+ Bridge 172.17.0.1:1",
    ),
    (
        "docker, compose",
        "br-0123456789ab:1+",
        Docker,
        Compose,
        "+ Bridge 172.18.0.1:1",
    ),
    ("docker", "0.0.0.0:8645+", Docker, Compose, ANY),
    ("docker", "[::]:8645+", Docker, Compose, ANY),
    (
        "docker",
        "127.0.0.1:8645 192.168.1.5:2+",
        Docker,
        Compose,
        "+ Bridge 192.168.1.5:2",
    ),
    (
        "docker",
        "127.0.0.1:8645 unix:/x/proxy.sock+",
        Docker,
        Compose,
        "+ Socket hermes-proxyd:8645",
    ),
    (
        "docker",
        "127.0.0.1:8645 docker0:8645+ unix:/x/proxy.sock",
        Docker,
        Socket,
        "+ Socket hermes-proxyd:8645",
    ),
    (
        "docker",
        LOCAL,
        Docker,
        Compose,
        "- Bridge host.docker.internal:8645, told: nothing listens at docker0 (172.17.0.1)",
    ),
    ("nothing", LOCAL, Docker, Compose, DOCKER0),
    (
        "nothing",
        "127.0.0.1:9+",
        Docker,
        Compose,
        "- Bridge host.docker.internal:9, told: nothing listens at docker0",
    ),
    ("nothing", LOCAL, Docker, Socket, NO_SOCKET),
    // What waits does not work, and what does is taken in its place.
    (
        "docker, idle",
        "127.0.0.1:8645 docker0:8645+",
        Docker,
        Compose,
        "! Bridge host.docker.internal:8645, told: the listener at docker0 waits for its \
             interface, which does not exist yet",
    ),
    (
        "docker",
        "!172.17.0.1:8645+",
        Docker,
        Compose,
        "! Bridge host.docker.internal:8645, told: the listener at 172.17.0.1:8645 waits for \
             its address, which this machine does not have yet",
    ),
    (
        "docker, idle",
        "docker0:8645+ unix:/x/proxy.sock+",
        Docker,
        Compose,
        "+ Socket hermes-proxyd:8645",
    ),
    (
        "docker",
        "!unix:/x/proxy.sock+",
        Docker,
        Socket,
        "! Socket hermes-proxyd:8645: the socket /x/proxy.sock does not exist",
    ),
    // No network of a rootless engine leads to this machine.
    (
        "rootless docker",
        "127.0.0.1:8645 docker0:8645+",
        Docker,
        Compose,
        NO_SOCKET,
    ),
    (
        "rootless docker",
        "0.0.0.0:8645+",
        Docker,
        Compose,
        NO_SOCKET,
    ),
    // Podman: the bridge of root's, a mapped loopback for single containers, the socket.
    (
        "podman",
        "127.0.0.1:8645 podman0:8645+",
        Podman,
        Compose,
        "+ Bridge host.containers.internal:8645",
    ),
    (
        "rootless podman",
        "0.0.0.0:8645+",
        Podman,
        Compose,
        "+ Bridge host.containers.internal:8645",
    ),
    (
        "rootless podman",
        LOCAL,
        Podman,
        Chosen,
        "+ MappedLoopback 169.254.1.3:8645",
    ),
    ("rootless podman", LOCAL, Podman, Compose, NO_SOCKET),
    (
        "podman",
        LOCAL,
        Podman,
        Chosen,
        "+ MappedLoopback 169.254.1.3:8645",
    ),
    (
        "rootless podman",
        "192.168.1.5:2+",
        Podman,
        Compose,
        NO_SOCKET,
    ),
    // Docker Desktop forwards to loopback, and its name needs a key.
    (
        "desktop",
        LOCAL,
        DockerDesktop,
        Compose,
        "+ Desktop host.docker.internal:8645",
    ),
    (
        "desktop",
        "0.0.0.0:1+",
        DockerDesktop,
        Compose,
        "+ Desktop host.docker.internal:1",
    ),
    (
        "desktop",
        "unix:/x",
        DockerDesktop,
        Compose,
        "- Desktop host.docker.internal:8645: no listener is on 127.0.0.1",
    ),
];

#[test]
fn an_app_gets_the_way_that_works_from_where_it_runs() {
    for (name, doors, origin, network, expected) in WAYS.iter().copied() {
        let way = decided(name, doors, origin, network);
        assert_eq!(
            told(&way),
            expected,
            "{name}: {doors} {origin:?} {network:?}"
        );
    }
}

/// What `doctor` shows of a machine is what `connect` uses there.
#[test]
fn the_ways_of_a_machine_are_those_that_its_apps_get() {
    let worlds = [
        "127.0.0.1:8645",
        "127.0.0.1:8645 docker0:8645+",
        "127.0.0.1:8645 podman0:8645+",
        "0.0.0.0:8645+",
        "127.0.0.1:8645 192.168.1.5:2+",
        "127.0.0.1:8645 !unix:/x/proxy.sock+",
        "127.0.0.1:8645 unix:/x/proxy.sock+",
        "unix:/x/proxy.sock+",
    ];
    for (name, origin) in [
        ("docker", Docker),
        ("docker, idle", Docker),
        ("docker, compose", Docker),
        ("rootless docker", Docker),
        ("desktop", DockerDesktop),
        ("podman", Podman),
        ("rootless podman", Podman),
    ] {
        for doors in worlds {
            let doors_of: Vec<_> = doors.split_whitespace().map(door).collect();
            let world = World {
                doors: &doors_of,
                surroundings: &machine(name),
                is_bare: false,
            };
            let shown = ways(world);
            for (origin, network) in [
                (Here, Network::Chosen),
                (origin, Network::Chosen),
                (origin, Network::Compose),
                (origin, Network::Socket),
            ] {
                if name == "desktop" && origin == Here {
                    // There a container's way is shown in its place.
                    continue;
                }
                let used = way(world, origin, network);
                let same = shown.iter().find(|way| way.kind == used.kind);
                // Root's Podman is not asked for a mapped loopback.
                let Some(same) = same else {
                    assert_eq!((name, used.kind), ("podman", WayKind::MappedLoopback));
                    continue;
                };
                assert_eq!(
                    told(same),
                    told(&used),
                    "{name}: {doors} {origin:?} {network:?}"
                );
                assert_eq!(same.lines(), used.lines());
                let is_shown = |step| same.steps.contains(step);
                assert!(used.steps.iter().all(is_shown), "{used:?} {same:?}");
            }
        }
    }
}

#[test]
fn what_is_lacking_comes_with_the_default_listener_where_the_file_names_none() {
    let doors = [door("127.0.0.1:8645")];
    let unix = "unix = \"~/.local/state/hermes-proxyd/apps/proxy.sock\"";
    for (origin, network, line) in [
        (
            AppOrigin::Docker,
            Network::Compose,
            "address = \"docker0:8645\"",
        ),
        (AppOrigin::Docker, Network::Socket, unix),
        (AppOrigin::Podman, Network::Compose, unix),
    ] {
        let lines = |is_bare| {
            let surroundings = &machine("nothing");
            let world = World {
                doors: &doors,
                surroundings,
                is_bare,
            };
            way(world, origin, network).lines().unwrap().to_vec()
        };
        let named = lines(false);
        assert_eq!(named[..2], ["[[listen]]", line]);
        let both = lines(true);
        assert_eq!(
            both[..4],
            [
                "# The default; once a listener is set, list this one too.",
                "[[listen]]",
                "address = \"127.0.0.1:8645\"",
                ""
            ]
        );
        assert_eq!(both[4..], named);
    }
    // The default one itself is not doubled.
    let world = World {
        doors: &[door("unix:/run/x+")],
        surroundings: &machine("nothing"),
        is_bare: true,
    };
    let here = way(world, AppOrigin::Here, Network::Chosen);
    let default = ["[[listen]]", "address = \"127.0.0.1:8645\""].map(str::to_owned);
    assert_eq!(here.lines(), Some(&default[..]));
}

#[test]
fn a_firewall_has_to_be_told() {
    let rules = |name: &str, doors: &str, origin| {
        let doors: Vec<_> = doors.split_whitespace().map(door).collect();
        let surroundings = Surroundings {
            firewalls: vec![Firewall::Ufw],
            ..machine(name)
        };
        let world = World {
            doors: &doors,
            surroundings: &surroundings,
            is_bare: false,
        };
        let steps = way(world, origin, Network::Compose).steps;
        let rules = steps.into_iter().filter_map(|step| match step {
            ConnectStep::Run(rule) => Some(rule),
            ConnectStep::Configure(_) | ConnectStep::Advice(_) => None,
        });
        rules.collect::<Vec<_>>()
    };
    let docker = "sudo ufw allow from 172.16.0.0/12 to any port 8645 proto tcp";
    for doors in ["127.0.0.1:8645", "docker0:8645+", "0.0.0.0:8645+"] {
        assert_eq!(
            rules("docker", doors, AppOrigin::Docker),
            [docker],
            "{doors}"
        );
    }
    assert_eq!(
        rules("nothing", "127.0.0.1:8645", AppOrigin::Docker),
        [docker]
    );
    assert_eq!(
        rules("docker, elsewhere", "docker0:8645+", AppOrigin::Docker),
        ["sudo ufw allow in on docker0 to any port 8645 proto tcp"]
    );
    assert_eq!(
        rules("podman", "podman0:8645+", AppOrigin::Podman),
        ["sudo ufw allow from 10.88.0.0/15 to any port 8645 proto tcp"]
    );
    let none: [&str; 0] = [];
    assert_eq!(rules("docker", "127.0.0.1:8645", AppOrigin::Here), none);
    assert_eq!(rules("podman", "unix:/x+", AppOrigin::Podman), none);
}

#[test]
fn what_is_done_by_hand_is_told_with_the_ways_of_a_machine() {
    let told = |name: &str, doors: &str| -> String {
        let doors: Vec<_> = doors.split_whitespace().map(door).collect();
        let world = World {
            doors: &doors,
            surroundings: &machine(name),
            is_bare: false,
        };
        format!("{:?}", ways(world))
    };
    let docker = told("docker", "127.0.0.1:8645");
    for part in [
        "--network host",
        "hermesctl clients add my-app",
        "--add-host=host.docker.internal:host-gateway",
        "Mount the folder ~/.local/state/hermes-proxyd/apps at /apps",
    ] {
        assert!(docker.contains(part), "{part}: {docker}");
    }
    let podman = told("rootless podman", "127.0.0.1:8645");
    assert!(
        podman.contains("--map-host-loopback,169.254.1.3"),
        "{podman}"
    );
    assert!(!podman.contains("docker"), "{podman}");
    let desktop = told("desktop", "127.0.0.1:8645");
    assert!(!desktop.contains("--network host"), "{desktop}");
    assert!(
        desktop.contains("have no address of this machine"),
        "{desktop}"
    );
}

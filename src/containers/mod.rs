//! How an app reaches the service, from this machine or from a container: the installed engines, their
//! networks in which the host has an address, and the way from there to a listener.
//!
//! It only looks: no engine is asked to do anything, and nothing here needs root.

mod access_paths;
mod engines;
mod firewall;
mod listen_endpoints;
mod networks;

use std::net::IpAddr;
use std::path::PathBuf;

pub use self::access_paths::{
    AccessPath, AppTarget, ConnectStep, Network, Reachability, WayKind, World, local, way, ways,
};
pub use self::listen_endpoints::ListenEndpoint;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct HostMachine {
    /// What stands for `/`.
    pub root: PathBuf,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// The user's runtime folder.
    pub runtime: Option<PathBuf>,
    /// The folders of `PATH`.
    pub programs: Vec<PathBuf>,
    /// Whether the user is root.
    pub is_root: bool,
}

/// The engines, networks and firewalls of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The engines.
    pub engines: Vec<Engine>,
    /// The engines' networks that the host itself has an address in.
    pub bridges: Vec<BridgeInterface>,
    /// Firewalls that may keep containers from the host.
    pub firewalls: Vec<Firewall>,
}

/// A container engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Which one.
    pub kind: EngineKind,
    /// Whether it can be used now.
    pub state: EngineState,
    /// The file that shows it.
    pub found: PathBuf,
}

/// The kinds of engines, as far as their networks differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKind {
    /// Docker as root's service; its networks are bridges of the host.
    Docker,
    /// Docker as the user's own service; its networks are not the host's.
    DockerRootless,
    /// Docker in a virtual machine.
    DockerDesktop,
    /// Podman as root; its networks are bridges of the host.
    Podman,
    /// Podman as the user; its networks are not the host's.
    PodmanRootless,
}

/// Whether an engine can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineState {
    /// It answers, or needs no service.
    Ready,
    /// It answers, but not to this user.
    Forbidden,
    /// Only its program is installed.
    Stopped,
}

/// A network interface of an engine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeInterface {
    /// Its name, `docker0`.
    pub name: String,
    /// The host's addresses in it, the one to use first.
    pub addresses: Vec<IpAddr>,
}

/// A firewall that filters what containers send to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// ufw, which refuses what no rule allows.
    Ufw,
    /// firewalld; the engines' own interfaces are in zones that let them through.
    Firewalld,
    /// Rules of the administrator's own for nftables, loaded at the start.
    Nftables,
}

/// Where an app runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppOrigin {
    /// On this machine, without a container.
    Here,
    /// In a container of Docker's.
    Docker,
    /// In a container of Podman's.
    Podman,
    /// In a container of Docker Desktop's.
    DockerDesktop,
}

/// Looks around.
pub fn look(machine: &HostMachine) -> Surroundings {
    Surroundings {
        engines: engines::find(machine),
        bridges: networks::bridges(),
        firewalls: firewall::find(machine),
    }
}

impl EngineKind {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::DockerRootless => "rootless Docker",
            Self::DockerDesktop => "Docker Desktop",
            Self::Podman => "Podman",
            Self::PodmanRootless => "rootless Podman",
        }
    }

    /// Where its containers run.
    pub fn origin(self) -> AppOrigin {
        match self {
            // On other systems it runs in a virtual machine, whatever its name.
            Self::Docker if !cfg!(target_os = "linux") => AppOrigin::DockerDesktop,
            Self::Docker | Self::DockerRootless => AppOrigin::Docker,
            Self::DockerDesktop => AppOrigin::DockerDesktop,
            Self::Podman | Self::PodmanRootless => AppOrigin::Podman,
        }
    }
}

impl Firewall {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::Nftables => "nftables",
        }
    }
}

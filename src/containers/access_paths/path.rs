//! A way from an app to the service, and what the app is configured with. Pure.

use std::path::PathBuf;

use crate::config::DEFAULT_PORT;

/// The address under which pasta shows a container this machine's loopback, if asked to.
pub(super) const PASTA: &str = "169.254.1.3";

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

    pub(super) fn new(kind: WayKind, reach: Reachability, target: AppTarget) -> Self {
        Self {
            kind,
            reach,
            target,
            steps: Vec::new(),
        }
    }

    pub(super) fn with(mut self, steps: impl IntoIterator<Item = ConnectStep>) -> Self {
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

    pub(super) fn new(host: &str, port: u16, provider: &str) -> Self {
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

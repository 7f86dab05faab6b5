//! Container engines, detected by their sockets and programs.

use std::path::{Path, PathBuf};

use super::{AppOrigin, HostMachine};

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

/// The engines, each once.
pub(super) fn find(machine: &HostMachine) -> Vec<Engine> {
    let mut engines = Vec::new();
    for (kind, socket) in sockets(machine) {
        if engines.iter().any(|known: &Engine| known.kind == kind) {
            continue;
        }
        if let Some(state) = platform::state(&socket) {
            let found = socket;
            engines.push(Engine { kind, state, found });
        }
    }
    let docker = engines.iter().any(|engine| is_docker(engine.kind));
    if let Some(found) = program(machine, "docker").filter(|_| !docker) {
        let kind = if prefers_desktop(machine) {
            EngineKind::DockerDesktop
        } else {
            EngineKind::Docker
        };
        let state = EngineState::Stopped;
        engines.push(Engine { kind, state, found });
    }
    // Podman needs no service: each user's program is the engine.
    let kind = if machine.is_root {
        EngineKind::Podman
    } else {
        EngineKind::PodmanRootless
    };
    if let Some(found) = program(machine, "podman") {
        engines.retain(|engine| engine.kind != kind);
        let state = EngineState::Ready;
        engines.push(Engine { kind, state, found });
    }
    engines.sort_by_key(|engine| engine.kind);
    engines
}

/// The paths of the engines' sockets, the most likely first.
fn sockets(machine: &HostMachine) -> Vec<(EngineKind, PathBuf)> {
    let mut sockets = Vec::new();
    if let Some(home) = &machine.home {
        let docker = home.join(".docker");
        sockets.push((
            EngineKind::DockerDesktop,
            docker.join("desktop/docker.sock"),
        ));
        sockets.push((EngineKind::DockerDesktop, docker.join("run/docker.sock")));
    }
    if let Some(runtime) = &machine.runtime {
        sockets.push((EngineKind::DockerRootless, runtime.join("docker.sock")));
        let podman = runtime.join("podman/podman.sock");
        sockets.push((EngineKind::PodmanRootless, podman));
    }
    sockets.push((EngineKind::Docker, machine.root.join("var/run/docker.sock")));
    sockets.push((EngineKind::Docker, machine.root.join("run/docker.sock")));
    sockets.push((
        EngineKind::Podman,
        machine.root.join("run/podman/podman.sock"),
    ));
    sockets
}

fn is_docker(kind: EngineKind) -> bool {
    match kind {
        EngineKind::Docker | EngineKind::DockerRootless | EngineKind::DockerDesktop => true,
        EngineKind::Podman | EngineKind::PodmanRootless => false,
    }
}

/// Whether the docker program talks to Docker Desktop.
fn prefers_desktop(machine: &HostMachine) -> bool {
    let config = machine
        .home
        .as_ref()
        .map(|home| home.join(".docker/config.json"));
    let text = config.and_then(|file| std::fs::read_to_string(file).ok());
    let config: Option<serde_json::Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    let context = config
        .as_ref()
        .and_then(|config| config.get("currentContext")?.as_str());
    context.is_some_and(|context| context.starts_with("desktop"))
}

fn program(machine: &HostMachine, name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let mut places = machine.programs.iter().map(|folder| folder.join(&name));
    places.find(|path: &PathBuf| Path::is_file(path))
}

#[cfg(unix)]
mod platform {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use super::EngineState;

    /// How an engine's socket behaves; `None` when it is not there, or a file that was left.
    pub(super) fn state(socket: &Path) -> Option<EngineState> {
        match UnixStream::connect(socket) {
            Ok(_) => Some(EngineState::Ready),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Some(EngineState::Forbidden)
            }
            Err(_) => None,
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::path::Path;

    use super::EngineState;

    /// Engines are found by their programs there.
    pub(super) fn state(_: &Path) -> Option<EngineState> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests;

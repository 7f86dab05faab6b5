//! Where an app runs.

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

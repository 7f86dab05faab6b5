//! How an app reaches the service, from this machine or from a container: the installed engines, their
//! networks in which the host has an address, and the way from there to a listener.
//!
//! It only looks: no engine is asked to do anything, and nothing here needs root.

mod access_paths;
mod app_origin;
mod engines;
mod firewall;
mod host_machine;
mod listen_endpoints;
mod networks;
mod surroundings;

pub use self::access_paths::{
    AccessPath, AppTarget, ConnectStep, Network, Reachability, WayKind, World, local, way, ways,
};
pub use self::app_origin::AppOrigin;
pub use self::engines::{Engine, EngineKind, EngineState};
pub use self::firewall::Firewall;
pub use self::host_machine::HostMachine;
pub use self::listen_endpoints::ListenEndpoint;
pub use self::networks::BridgeInterface;
pub use self::surroundings::{Surroundings, look};

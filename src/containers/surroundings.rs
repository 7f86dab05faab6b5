//! What of containers there is on this machine.

use super::{BridgeInterface, Engine, Firewall, HostMachine, engines, firewall, networks};

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

/// Looks around.
pub fn look(machine: &HostMachine) -> Surroundings {
    Surroundings {
        engines: engines::find(machine),
        bridges: networks::bridges(),
        firewalls: firewall::find(machine),
    }
}

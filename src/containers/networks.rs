//! The engines' networks in which the host has an address.

use std::net::IpAddr;

/// A network interface of an engine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeInterface {
    /// Its name, `docker0`.
    pub name: String,
    /// The host's addresses in it, the one to use first.
    pub addresses: Vec<IpAddr>,
}

/// The engines' bridges with the host's addresses in them, `docker0` and its like first.
pub(super) fn bridges() -> Vec<BridgeInterface> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut bridges: Vec<BridgeInterface> = Vec::new();
    for interface in interfaces {
        if !is_an_engines(&interface.name) || interface.is_link_local() {
            continue;
        }
        let address = interface.ip();
        match bridges
            .iter_mut()
            .find(|known| known.name == interface.name)
        {
            Some(known) => known.addresses.push(address),
            None => bridges.push(BridgeInterface {
                name: interface.name,
                addresses: vec![address],
            }),
        }
    }
    for bridge in &mut bridges {
        bridge.addresses.sort_by_key(IpAddr::is_ipv6);
    }
    bridges.sort_by_key(|bridge| (bridge.name.starts_with("br-"), bridge.name.clone()));
    bridges
}

/// Whether an engine gives its networks such names: Docker `docker0` and `br-` with the first
/// twelve digits of the network's id, Podman `podman0` and on, CNI `cni-podman0`.
fn is_an_engines(name: &str) -> bool {
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let hexadecimal = |rest: &str| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    numbered("docker")
        || numbered("podman")
        || name.starts_with("cni-")
        || name.strip_prefix("br-").is_some_and(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_names() {
        for name in [
            "docker0",
            "podman0",
            "podman12",
            "cni-podman0",
            "br-0123456789ab",
        ] {
            assert!(is_an_engines(name), "{name}");
        }
        for name in [
            "eth0",
            "lo",
            "br0",
            "virbr0",
            "br-lan",
            "docker_gwbridge",
            "podman",
        ] {
            assert!(!is_an_engines(name), "{name}");
        }
    }
}

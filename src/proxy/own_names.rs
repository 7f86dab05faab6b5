//! The names that containers have for this machine, if they are true here.
//!
//! Docker and Podman give their containers these names. Elsewhere, this machine's DNS decides their
//! meaning, and could let a web page rebind them (see [`super::guard`]). If the hosts file maps one
//! to this machine, no DNS is asked.

use std::net::IpAddr;
use std::path::PathBuf;

use super::interface;

const NAMES: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// The names that this machine's hosts file has for one of its own addresses, and for no other.
pub fn own_names() -> Vec<String> {
    let text = std::fs::read_to_string(hosts_file()).unwrap_or_default();
    let own = NAMES.iter();
    let own = own.filter(|name| means_us(&text, name, interface::is_here));
    own.map(|name| (*name).to_owned()).collect()
}

fn hosts_file() -> PathBuf {
    if cfg!(windows) {
        let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
        return PathBuf::from(root).join(r"System32\drivers\etc\hosts");
    }
    PathBuf::from("/etc/hosts")
}

fn means_us(hosts: &str, name: &str, is_here: impl Fn(IpAddr) -> bool) -> bool {
    let lines = hosts.lines();
    let lines = lines.map(|line| line.split('#').next().unwrap_or_default());
    let addresses = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then(|| address.parse::<IpAddr>())
    });
    let mut known = false;
    for address in addresses {
        let Ok(address) = address else { return false };
        if address.is_unspecified() || !is_here(address) {
            return false;
        }
        known = true;
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_hosts_file_says_of_this_machine_counts() {
        let is_here =
            |address: IpAddr| address.is_loopback() || address == IpAddr::from([192, 168, 1, 5]);
        for (hosts, known) in [
            ("", false),
            ("127.0.0.1 localhost\n", false),
            ("192.168.1.5 host.docker.internal\n", true),
            ("# a\r\n192.168.1.5\tx Host.Docker.Internal # b\r\n", true),
            (
                "127.0.0.1 host.docker.internal\n::1 host.docker.internal",
                true,
            ),
            ("#127.0.0.1 host.docker.internal\n", false),
            ("127.0.0.1 # host.docker.internal\n", false),
            ("127.0.0.1 xhost.docker.internal\n", false),
            // A container's own file, or an address that this machine had once.
            ("172.17.0.1 host.docker.internal\n", false),
            (
                "127.0.0.1 host.docker.internal\n10.0.0.1 host.docker.internal",
                false,
            ),
            ("0.0.0.0 host.docker.internal\n", false),
            ("x host.docker.internal\n", false),
        ] {
            assert_eq!(means_us(hosts, NAMES[0], is_here), known, "{hosts}");
        }
    }
}

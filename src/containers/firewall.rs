//! Firewalls, as far as their files show without root.

use std::path::Path;

use super::HostMachine;

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

/// The firewalls that are switched on.
pub(super) fn find(machine: &HostMachine) -> Vec<Firewall> {
    let root = &machine.root;
    let mut firewalls = Vec::new();
    if is_ufw_enabled(root) {
        firewalls.push(Firewall::Ufw);
    }
    // The service's control group exists while it runs.
    let groups = ["system.slice", "systemd/system.slice"];
    let runs = |group: &str| {
        let folder = root.join("sys/fs/cgroup").join(group);
        folder.join("firewalld.service").is_dir()
    };
    if groups.into_iter().any(runs) {
        firewalls.push(Firewall::Firewalld);
    }
    if is_nftables_loaded(root) {
        firewalls.push(Firewall::Nftables);
    }
    firewalls
}

fn is_ufw_enabled(root: &Path) -> bool {
    let text = std::fs::read_to_string(root.join("etc/ufw/ufw.conf")).unwrap_or_default();
    let mut settings = text.lines().filter_map(|line| line.trim().split_once('='));
    settings.any(|(key, value)| {
        key.trim() == "ENABLED" && value.trim().trim_matches('"').eq_ignore_ascii_case("yes")
    })
}

/// Whether `nftables.service` is enabled with rules that drop by default.
fn is_nftables_loaded(root: &Path) -> bool {
    let units = root.join("etc/systemd/system");
    let enabled = ["sysinit.target.wants", "multi-user.target.wants"]
        .into_iter()
        .any(|target| {
            let link = units.join(target).join("nftables.service");
            link.symlink_metadata().is_ok()
        });
    let rules = std::fs::read_to_string(root.join("etc/nftables.conf")).unwrap_or_default();
    let mut lines = rules
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    enabled && lines.any(|line| line.contains("hook input") && line.contains("policy drop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firewalls_are_known_by_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let machine = HostMachine {
            root: dir.path().to_owned(),
            ..HostMachine::default()
        };
        let write = |path: &str, text: &str| {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        assert_eq!(find(&machine), []);
        write("etc/ufw/ufw.conf", "# ENABLED=yes\nENABLED=no\n");
        assert_eq!(find(&machine), []);
        write("etc/ufw/ufw.conf", "ENABLED=yes\n");
        assert_eq!(find(&machine), [Firewall::Ufw]);
        write(
            "sys/fs/cgroup/system.slice/firewalld.service/cgroup.procs",
            "",
        );
        assert_eq!(find(&machine), [Firewall::Ufw, Firewall::Firewalld]);
        write(
            "etc/nftables.conf",
            "chain input { type filter hook input priority 0; policy drop; }\n",
        );
        assert_eq!(find(&machine).len(), 2);
        write(
            "etc/systemd/system/sysinit.target.wants/nftables.service",
            "",
        );
        assert_eq!(find(&machine).len(), 3);
    }
}

//! `hermesctl version`: both sides' versions, whether or not a daemon runs.

use serde::Serialize;

use crate::control::protocol::DaemonHello;

use super::connection::connect;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::text::{Style, inline};

/// Who builds a package may name the commit; the same environment makes the same program.
const COMMIT: Option<&str> = option_env!("HERMES_PROXYD_COMMIT");

/// Both sides' versions; `None` where no daemon runs.
#[derive(Serialize)]
pub(super) struct Versions {
    pub(super) hermesctl: &'static str,
    /// What this program was built from, where that is known.
    pub(super) commit: Option<&'static str>,
    pub(super) target: String,
    pub(super) daemon: Option<DaemonHello>,
    /// Whether the daemon that runs is of a version before ours.
    pub(super) daemon_is_older: bool,
}

/// Shows the versions of hermesctl and of the running daemon.
pub(super) async fn version(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let daemon = match connect().await {
        Ok(client) => Some(client.daemon().clone()),
        Err(failure) if failure.exit == Exit::NotRunning => None,
        Err(failure) => return Err(failure),
    };
    let ours = env!("CARGO_PKG_VERSION");
    let versions = Versions {
        hermesctl: ours,
        commit: COMMIT,
        target: target(),
        daemon_is_older: daemon
            .as_ref()
            .is_some_and(|daemon| is_older(&daemon.version, ours)),
        daemon,
    };
    output.answer(&versions, shown)?;
    Ok(Exit::Ok)
}

/// Both sides' versions.
pub(super) fn shown(versions: &Versions, style: Style) -> String {
    let daemon = versions.daemon.as_ref().map_or_else(
        || "not running".to_owned(),
        |daemon| format!("{} (pid {})", inline(&daemon.version), daemon.pid),
    );
    let commit = versions.commit.map(|commit| format!(", {commit}"));
    let (ours, target) = (versions.hermesctl, &versions.target);
    let text = format!(
        "hermesctl     {ours} ({target}{})\nhermes-proxyd {daemon}\n",
        commit.unwrap_or_default()
    );
    if !versions.daemon_is_older {
        return text;
    }
    let advice =
        "The running hermes-proxyd is older than hermesctl. Restart it: `hermesctl proxy restart`.";
    text + &style.prose(advice)
}

/// What this program was built for.
fn target() -> String {
    let libc = if cfg!(target_env = "musl") {
        "-musl"
    } else {
        ""
    };
    format!("{}-{}{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Whether the first version comes before the second: numbers first, then `-alpha` before none.
fn is_older(version: &str, than: &str) -> bool {
    let parts = |version: &str| {
        let (numbers, pre) = version.split_once('-').unwrap_or((version, ""));
        let numbers = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let numbers: Option<Vec<_>> = numbers.collect();
        numbers.map(|numbers| (numbers, pre.is_empty(), pre.to_owned()))
    };
    match (parts(version), parts(than)) {
        (Some(version), Some(than)) => version < than,
        _ => false,
    }
}

#[cfg(test)]
impl Versions {
    /// Of a daemon that runs.
    pub(super) fn sample() -> Self {
        let daemon = DaemonHello {
            protocol: 1,
            version: "0.1.0".to_owned(),
            pid: 4242,
        };
        Self {
            hermesctl: "0.1.0",
            commit: None,
            target: "x86_64-linux".to_owned(),
            daemon: Some(daemon),
            daemon_is_older: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_is_told_from_others() {
        for (version, than) in [
            ("0.1.0", "0.2.0"),
            ("0.9.9", "0.10.0"),
            ("1.0.0-rc1", "1.0.0"),
            ("1.14.1", "1.15.0"),
        ] {
            assert!(is_older(version, than), "{version} {than}");
            assert!(!is_older(than, version), "{version} {than}");
        }
        assert!(!is_older("0.1.0", "0.1.0"));
        assert!(!is_older("tomorrow", "0.1.0"));
    }

    #[test]
    fn an_older_daemon_is_said_with_what_mends_it() {
        let versions = |version: &str| Versions {
            hermesctl: "0.2.0",
            commit: Some("abc1234"),
            target: "x86_64-linux".to_owned(),
            daemon_is_older: is_older(version, "0.2.0"),
            daemon: Some(DaemonHello {
                protocol: 1,
                version: version.to_owned(),
                pid: 7,
            }),
        };
        let old = shown(&versions("0.1.0"), Style::PLAIN);
        assert!(
            old.starts_with(
                "hermesctl     0.2.0 (x86_64-linux, abc1234)\nhermes-proxyd 0.1.0 (pid 7)\n"
            ),
            "{old}"
        );
        assert!(old.contains("`hermesctl proxy restart`"));
        assert_eq!(shown(&versions("0.2.0"), Style::PLAIN).lines().count(), 2);
    }
}

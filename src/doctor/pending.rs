//! What a running daemon has not applied of its configuration file. Reads the file; otherwise pure.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{self, Config, ListenAddress, Listener, LogFormat, Overrides};
use crate::control::judge::ConfigDrift;
use crate::control::protocol::{CommandLine, ListenerStatus, Status};
use crate::paths::Environment;

/// The changes that are not applied yet; `None` if the daemon has the whole file.
pub fn pending(status: &Status, env: &Environment) -> Option<ConfigDrift> {
    let daemon = &status.daemon;
    if daemon.config_file.is_some() && daemon.config_digest.is_none() {
        // An old daemon does not report what it has read.
        return None;
    }
    let usual = env.config_file();
    // Only the file at the usual place may be missing.
    let named = daemon.config_file.as_deref();
    let named = named.filter(|file| Some(*file) != usual.as_deref());
    let Ok(loaded) = config::load(named, env) else {
        return Some(ConfigDrift::Broken);
    };
    let waits = || {
        let keys = daemon.needs_restart.clone();
        (!keys.is_empty()).then_some(ConfigDrift::Restart(keys))
    };
    let is_in_force = match &daemon.config_file {
        Some(_) => daemon.config_digest == loaded.digest,
        None => loaded.file.is_none(),
    };
    if is_in_force {
        return waits();
    }
    if loaded.file.is_none() {
        return Some(ConfigDrift::Gone);
    }
    if listens_otherwise(&with_flags(loaded.config, &daemon.command_line), status) {
        return Some(ConfigDrift::Restart(vec!["listen".to_owned()]));
    }
    waits().or(Some(ConfigDrift::Reload))
}

/// The configuration with the flags of the running daemon, as far as they fit it.
pub fn with_flags(config: Config, line: &CommandLine) -> Config {
    let format = |name: &String| {
        let mut names = LogFormat::NAMES.iter();
        let found = names.find(|(known, _)| known == name);
        found.map(|(_, format)| *format)
    };
    let overrides = Overrides {
        provider: line.provider.clone(),
        host: line.host.clone(),
        port: line.port,
        log_level: line.log_level.clone(),
        log_format: line.log_format.as_ref().and_then(format),
    };
    config.clone().with_overrides(&overrides).unwrap_or(config)
}

/// Whether the configuration has other listeners than the daemon, which takes new ones only at its
/// start.
pub fn listens_otherwise(config: &Config, status: &Status) -> bool {
    let is_served = |listener: &Listener| {
        let provider = listener.provider.as_ref().map(ToString::to_string);
        status.listeners.iter().any(|served| {
            served.needs_key == listener.needs_key()
                && provider
                    .as_ref()
                    .is_none_or(|name| *name == served.provider)
                && is_at(&listener.address, served)
        })
    };
    config.listeners.len() != status.listeners.len() || !config.listeners.iter().all(is_served)
}

/// Whether a listener of the configuration is this one of the daemon's; any port will do where the
/// system chose it.
pub(super) fn is_at(address: &ListenAddress, served: &ListenerStatus) -> bool {
    match address {
        ListenAddress::Ip(address) if address.port() == 0 => {
            let served: Option<SocketAddr> = served.address.parse().ok();
            served.is_some_and(|served| served.ip() == address.ip())
        }
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => {
            address.to_string() == served.address
        }
    }
}

/// Whether both paths lead to one file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolve(one) == resolve(other)
}

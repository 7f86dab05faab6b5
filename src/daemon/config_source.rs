//! Where the configuration comes from, and whether the daemon can start with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clients;
use super::providers::{FleetError, ServedProviders};
use super::start_error::StartError;
use crate::clients::Registry;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, ConfigError, Loaded, Overrides, Problem};
use crate::credentials::{Initiative, StoreFiles};
use crate::paths::Environment;

/// Where the configuration comes from, at the start and at each reload.
#[derive(Debug, Clone)]
pub(super) struct ConfigSource {
    pub(super) environment: Environment,
    pub(super) file: Option<PathBuf>,
    pub(super) overrides: Overrides,
}

impl ConfigSource {
    /// Reads and validates it.
    pub(super) fn load(&self) -> Result<Loaded, StartError> {
        let loaded = config::load(self.file.as_deref(), &self.environment)?;
        let config = loaded.config.with_overrides(&self.overrides)?;
        Ok(Loaded {
            config: config.without_own_listeners()?,
            ..loaded
        })
    }
}

/// Builds all that the configuration names, looks whether there are the client keys that it asks for,
/// and starts nothing.
pub(super) fn check(origin: &ConfigSource, loaded: &Loaded) -> Result<(), StartError> {
    let files = store_files(&origin.environment, &loaded.config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clients = Registry::open(clients::file(&files), clock.clone())?;
    let fleet =
        ServedProviders::new(files, clock, Initiative::Waits, None).for_clients(clients.clone());
    let checked = fleet.check(&loaded.config);
    checked.map_err(|error| placed(error, loaded.file.as_deref(), &loaded.lines))?;
    check_keys(loaded.config.listeners.iter(), &clients)
}

/// A mistake in the file that only shows with the providers built, with its line.
pub(super) fn placed(
    error: FleetError,
    file: Option<&Path>,
    lines: &BTreeMap<String, usize>,
) -> StartError {
    match (error, file) {
        (FleetError::Route { key, message }, Some(file)) => {
            let table = key.rsplit_once('[').map_or(key.as_str(), |(list, _)| list);
            let line = lines.get(table).copied().unwrap_or_default();
            let problem = Problem {
                line,
                key,
                message,
                suggestion: None,
            };
            StartError::Config(ConfigError {
                file: file.to_owned(),
                problems: vec![problem],
            })
        }
        (error, _) => error.into(),
    }
}

pub(super) fn store_files(
    environment: &Environment,
    config: &Config,
) -> Result<StoreFiles, StartError> {
    let home = config
        .hermes_home
        .clone()
        .or_else(|| environment.hermes_home());
    let home = home.ok_or(StartError::NoHome)?;
    let state = environment.state_dir();
    let state = state.unwrap_or_else(|| home.join("hermes-proxyd"));
    Ok(StoreFiles::locate(environment, &home, &state))
}

/// A listener that requires keys would refuse every request if there are none.
pub(super) fn check_keys<'l>(
    mut listeners: impl Iterator<Item = &'l config::Listener>,
    clients: &Registry,
) -> Result<(), StartError> {
    match listeners.find(|listener| listener.needs_key()) {
        Some(listener) if clients.is_empty() => Err(StartError::NoKeys {
            address: listener.address.clone(),
        }),
        Some(_) | None => Ok(()),
    }
}

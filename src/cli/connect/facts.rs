//! The facts behind a connection: the daemon, running or not, and this machine.

use std::path::{Path, PathBuf};

use super::super::args::Connect;
use super::super::connection::{ask, connect};
use super::super::output::{CommandFailure, Exit};
use crate::config::{Loaded, Routing, load};
use crate::containers::{ListenEndpoint, Surroundings, World};
use crate::control::protocol::Providers;
use crate::control::protocol::calls;
use crate::doctor;
use crate::paths::Environment;

/// Facts about the daemon and this machine.
pub(super) struct ConnectFacts {
    pub(super) environment: Environment,
    /// The configuration file, which may not exist.
    pub(super) file: Option<PathBuf>,
    /// Whether it has no `[[listen]]`.
    pub(super) is_bare: bool,
    /// The addresses on which the daemon listens, or would.
    pub(super) endpoints: Vec<ListenEndpoint>,
    /// The addresses after a restart, if the configuration can be read.
    pub(super) planned: Vec<ListenEndpoint>,
    /// The names of the providers.
    pub(super) providers: Vec<String>,
    /// What each of them serves; `None` if the daemon can't be asked.
    pub(super) served: Option<Providers>,
    /// Which requests at `/v1` go elsewhere than to their address's provider.
    pub(super) routing: Option<Routing>,
    /// Providers that serve only apps with a client key.
    pub(super) keyed: Vec<String>,
    /// The daemon's process, if it runs.
    pub(super) pid: Option<u32>,
    /// Container engines, their networks, and firewalls.
    pub(super) surroundings: Surroundings,
}

impl ConnectFacts {
    /// Asks the daemon, or reads the configuration if none is running, and inspects this machine.
    pub(super) async fn gather(config: Option<&Path>) -> Result<Self, CommandFailure> {
        let environment = Environment::from_process();
        let around = environment.clone();
        let around = tokio::task::spawn_blocking(move || doctor::surroundings(&around));
        let mut facts = Self::of_daemon(config, environment).await?;
        facts.surroundings = around.await.unwrap_or_default();
        Ok(facts)
    }

    async fn of_daemon(
        config: Option<&Path>,
        environment: Environment,
    ) -> Result<Self, CommandFailure> {
        match connect().await {
            Ok(mut client) => {
                let status = client.call(calls::Status).await?;
                let served = client.call(calls::Providers).await.ok();
                let names = status.providers.iter().map(|one| one.name.clone());
                let listeners = status.listeners.iter();
                let file = status.daemon.config_file;
                // The file may have changed since, and may have mistakes now.
                let loaded = load(file.as_deref(), &environment).ok();
                Ok(Self {
                    file: file.or_else(|| environment.config_file()),
                    is_bare: loaded.as_ref().is_none_or(|it| !it.names_listeners()),
                    endpoints: listeners.filter_map(ListenEndpoint::of_status).collect(),
                    planned: loaded
                        .as_ref()
                        .map(ListenEndpoint::all_of_config)
                        .unwrap_or_default(),
                    providers: names.collect(),
                    served,
                    routing: loaded.as_ref().map(|it| it.config.routing.clone()),
                    keyed: loaded.as_ref().map(keyed).unwrap_or_default(),
                    pid: Some(status.daemon.pid),
                    surroundings: Surroundings::default(),
                    environment,
                })
            }
            Err(failure) if failure.exit == Exit::NotRunning => {
                let facts = Self::of_config(config, environment)?;
                let served = ask(config, async |client| client.call(calls::Providers).await).await;
                Ok(Self {
                    served: served.ok(),
                    ..facts
                })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether the daemon runs.
    pub(super) fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// Whether the provider that the app is for, `default` unless the user names one, serves only apps with a
    /// client key.
    pub(super) fn is_keyed(&self, flags: &Connect, default: &str) -> bool {
        let provider = flags.provider.as_deref().unwrap_or(default);
        self.keyed.iter().any(|name| name == provider)
    }

    /// What decides on the access paths to these endpoints.
    pub(super) fn world<'w>(&'w self, endpoints: &'w [ListenEndpoint]) -> World<'w> {
        World {
            doors: endpoints,
            surroundings: &self.surroundings,
            is_bare: self.is_bare,
        }
    }

    fn of_config(file: Option<&Path>, environment: Environment) -> Result<Self, CommandFailure> {
        let loaded = load(file, &environment).map_err(|error| {
            CommandFailure::new(error.to_string()).with_code(Exit::InvalidConfig, "config_invalid")
        })?;
        let providers = loaded.config.providers.keys();
        Ok(Self {
            is_bare: !loaded.names_listeners(),
            endpoints: ListenEndpoint::all_of_config(&loaded),
            planned: Vec::new(),
            providers: providers.map(ToString::to_string).collect(),
            served: None,
            routing: Some(loaded.config.routing.clone()),
            keyed: keyed(&loaded),
            pid: None,
            surroundings: Surroundings::default(),
            file: loaded.file.or_else(|| environment.config_file()),
            environment,
        })
    }
}

/// The providers that serve only apps with a client key.
fn keyed(loaded: &Loaded) -> Vec<String> {
    let providers = loaded.config.providers.iter();
    let keyed = providers.filter(|(_, provider)| provider.kind.needs_client_key());
    keyed.map(|(name, _)| name.to_string()).collect()
}

//! A whole configuration, and the keys at the file's top level; pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::form::{Optional, Path, Text, Wait};
use super::table::table;
use super::tables::OPTIONAL_WAIT;
use super::{
    Guard, Hook, Limits, Listener, Log, Provider, ProviderKind, ProviderName, Routing, Timeouts,
    Usage, values,
};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The provider that `/v1` means on a listener that names none.
    pub default_provider: ProviderName,
    /// Hermes Agent's home, where the credential store is; `None` is `$HERMES_HOME`, else
    /// the platform's default.
    pub hermes_home: Option<PathBuf>,
    /// How long a provider's list of models is answered from memory; zero: never.
    pub models_cache: Duration,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Which hosts and origins may ask.
    pub guard: Guard,
    /// Sizes and counts.
    pub limits: Limits,
    /// Durations after which a wait ends.
    pub timeouts: Timeouts,
    /// What is logged, and how.
    pub log: Log,
    /// Counting who used how much.
    pub usage: Usage,
    /// The hooks, in the file's order.
    pub hooks: Vec<Hook>,
    /// Where requests at `/v1` go, when not to the provider of their address.
    pub routing: Routing,
    /// The providers that are served, by name; holds `default_provider`.
    pub providers: BTreeMap<ProviderName, Provider>,
}

table! {
    /// The keys above the file's first table, except those of [`Routing`].
    pub(super) struct Top {
        /// The provider that is served at `http://127.0.0.1:8645/v1`.
        pub(super) default_provider: ProviderName = Text("nous", values::provider_name), or ProviderName::nous(), on reload;
        /// Hermes Agent's home, where its login is stored. Without this key: `$HERMES_HOME`, else `~/.hermes`
        /// (Windows: `%LOCALAPPDATA%\hermes`).
        pub(super) hermes_home: Option<PathBuf> = Optional(Path("~/.hermes", values::path)), or None, on restart;
        /// How long a provider's list of models is answered from memory. An app that asks later gets the same list
        /// while the next one is fetched; "0s" forwards each request for it.
        pub(super) models_cache: Duration = Wait(OPTIONAL_WAIT), or Duration::from_mins(10), on reload;
    }
}

impl Config {
    pub(super) fn top(&self) -> Top {
        Top {
            default_provider: self.default_provider.clone(),
            hermes_home: self.hermes_home.clone(),
            models_cache: self.models_cache,
        }
    }

    /// The kinds of the providers.
    pub fn kinds(&self) -> impl Iterator<Item = &ProviderKind> {
        self.providers.values().map(|provider| &provider.kind)
    }

    /// What of the routes, aliases and default model is allowed and can't be meant, each with its key.
    pub fn routing_warnings(&self) -> Vec<(String, String)> {
        let named: Vec<_> = self.providers.keys().map(ProviderName::as_str).collect();
        self.routing.warnings(&named)
    }
}

impl Default for Config {
    fn default() -> Self {
        let Top {
            default_provider,
            hermes_home,
            models_cache,
        } = Top::default();
        Self {
            default_provider,
            hermes_home,
            models_cache,
            listeners: vec![Listener::default()],
            guard: Guard::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            log: Log::default(),
            usage: Usage::default(),
            hooks: Vec::new(),
            routing: Routing::default(),
            providers: BTreeMap::from([(ProviderName::nous(), Provider::nous())]),
        }
    }
}

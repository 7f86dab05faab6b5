//! The configuration: all settings of the daemon, with their defaults.
//!
//! [`Config`] holds only valid values: addresses, URLs and durations, never the strings of the
//! file. [`load()`] turns a file into it and reports every mistake at once; [`diff()`] says what a
//! reload can apply.

mod allowed_path;
mod changes;
mod diff;
mod environment;
mod error;
#[cfg(test)]
mod example;
mod file;
mod form;
mod hook;
mod listen;
mod load;
mod oauth2;
mod overrides;
mod own;
mod provider;
mod reader;
mod reference;
mod report;
mod routing;
mod schema;
mod shape;
mod table;
mod tables;
mod takes;
#[cfg(test)]
mod tests;
mod units;
mod values;
mod variables;
mod writer;
mod written;
mod wrong;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use self::form::{AsText, Optional, Path, Text, Wait};
use self::table::table;
use self::tables::OPTIONAL_WAIT;

pub use self::allowed_path::{AllowedPath, BodyKind};
pub use self::diff::{Diff, diff};
pub use self::environment::{
    CODEX_BASE_URL, CODEX_TOKEN_TIMEOUT, ENV_SETTINGS, EnvSetting, Lookup, XAI_BASE_URL,
    XAI_TOKEN_TIMEOUT, env_setting_names, is_xai, seconds,
};
pub use self::error::{ConfigError, Problem};
pub use self::file::parse;
pub use self::hook::{Hook, HookAction, HookEvent};
pub use self::listen::{ListenAddress, Listener, ListenerAuth};
pub use self::load::{Loaded, digest_of, load};
pub use self::oauth2::{Flow, OAuth2};
pub use self::overrides::{OverrideError, Overrides};
pub use self::own::OwnListenerError;
pub use self::provider::kind::{
    KeySource, ProviderKind, login_meant, login_needs_key, login_providers, login_table,
};
pub use self::provider::{HttpVersion, PoolStrategy, Provider, UserAgent};
pub use self::reference::{EXAMPLE, ReferenceEntry, ReferenceTable, notation, reference, tables};
pub use self::routing::{
    ByPath, ChosenBy, Destination, ModelGlob, RouteRule, Routing, is_at_or_below,
};
pub use self::schema::schema;
pub use self::shape::shape;
pub use self::tables::{Guard, Limits, Log, LogFormat, Timeouts, Usage};
pub use self::takes::{ConfigKey, Takes};
pub use self::values::{KEY_FIELDS, base_url_flaw, is_private};
pub use self::variables::Variables;
pub use self::writer::Setting;
pub use self::written::{settings, to_toml};

/// Whether `guard.allowed_hosts` may name this host.
pub fn can_allow_host(name: &str) -> bool {
    values::host_name(name).is_ok()
}

/// Whether `guard.allowed_origins` may name this origin.
pub fn can_allow_origin(origin: &str) -> bool {
    values::origin(origin).is_ok()
}

/// The value of an environment variable, without the blanks and quotes around it that shells, unit
/// files and `.env` files leave there; `None` if nothing remains.
pub fn unquoted(value: &str) -> Option<&str> {
    let value = value.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    (!value.is_empty()).then_some(value)
}

/// The port of the original `hermes proxy`, which apps are configured for.
pub const DEFAULT_PORT: u16 = 8645;

/// The provider that is served where nothing else is said.
pub const DEFAULT_PROVIDER: &str = "nous";

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

/// A provider's name as used in paths, on the command line and in the file: lower-case
/// letters, digits, `-` and `_`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);

table! {
    /// The keys above the file's first table, except those of [`Routing`].
    struct Top {
        /// The provider that is served at `http://127.0.0.1:8645/v1`.
        default_provider: ProviderName = Text("nous", values::provider_name), or ProviderName::nous(), on reload;
        /// Hermes Agent's home, where its login is stored. Without this key: `$HERMES_HOME`, else `~/.hermes`
        /// (Windows: `%LOCALAPPDATA%\hermes`).
        hermes_home: Option<PathBuf> = Optional(Path("~/.hermes", values::path)), or None, on restart;
        /// How long a provider's list of models is answered from memory. An app that asks later gets the same list
        /// while the next one is fetched; "0s" forwards each request for it.
        models_cache: Duration = Wait(OPTIONAL_WAIT), or Duration::from_mins(10), on reload;
    }
}

impl Config {
    fn top(&self) -> Top {
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

impl ProviderName {
    /// The name in its normal form: trimmed and in lower case. `None` if a character is not
    /// allowed.
    pub fn new(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let mut bytes = name.bytes();
        let first = bytes.next()?;
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let valid = first.is_ascii_lowercase() || first.is_ascii_digit();
        (valid && bytes.all(rest)).then_some(Self(name))
    }

    /// The name `nous`.
    pub fn nous() -> Self {
        Self(DEFAULT_PROVIDER.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

impl AsText for ProviderName {
    fn as_text(&self) -> String {
        self.to_string()
    }
}

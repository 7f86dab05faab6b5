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
mod provider_name;
mod reader;
mod reference;
mod report;
mod root;
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

pub use self::allowed_path::{AllowedPath, BodyKind};
pub use self::diff::{Diff, diff};
pub use self::environment::{
    CODEX_BASE_URL, CODEX_TOKEN_TIMEOUT, ENV_SETTINGS, EnvSetting, Lookup, XAI_BASE_URL,
    XAI_TOKEN_TIMEOUT, env_setting_names, is_xai, seconds,
};
pub use self::error::{ConfigError, Problem};
pub use self::file::parse;
pub use self::hook::{Hook, HookAction, HookEvent};
pub use self::listen::{DEFAULT_PORT, ListenAddress, Listener, ListenerAuth};
pub use self::load::{Loaded, digest_of, load};
pub use self::oauth2::{Flow, OAuth2};
pub use self::overrides::{OverrideError, Overrides};
pub use self::own::OwnListenerError;
pub use self::provider::kind::{
    KeySource, ProviderKind, login_meant, login_needs_key, login_providers, login_table,
};
pub use self::provider::{HttpVersion, PoolStrategy, Provider, UserAgent};
pub use self::provider_name::{DEFAULT_PROVIDER, ProviderName};
pub use self::reference::{EXAMPLE, ReferenceEntry, ReferenceTable, notation, reference, tables};
pub use self::root::Config;
pub use self::routing::{
    ByPath, ChosenBy, Destination, ModelGlob, RouteRule, Routing, is_at_or_below,
};
pub use self::schema::schema;
pub use self::shape::shape;
pub use self::tables::{
    Guard, Limits, Log, LogFormat, Timeouts, Usage, can_allow_host, can_allow_origin,
};
pub use self::takes::{ConfigKey, Takes};
pub use self::values::{KEY_FIELDS, base_url_flaw, is_private};
pub use self::variables::{Variables, unquoted};
pub use self::writer::Setting;
pub use self::written::{settings, to_toml};

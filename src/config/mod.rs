//! The configuration: all settings of the daemon, with their defaults.
//!
//! [`Config`] holds only valid values: addresses, URLs and durations, never the strings of the
//! file. [`load()`] turns a file into it and reports every mistake at once; [`diff()`] says what a
//! reload can apply.

mod allowed_path;
mod diff;
mod environment;
mod error;
mod file;
mod listen;
mod load;
mod oauth2;
mod overrides;
mod own;
mod reader;
mod reference;
mod report;
mod routing;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod units;
mod values;
mod variables;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use url::Url;

pub use self::allowed_path::{AllowedPath, BodyKind};
pub use self::diff::{Diff, diff};
pub use self::environment::{
    CODEX_BASE_URL, CODEX_TOKEN_TIMEOUT, ENV_SETTINGS, EnvSetting, Lookup, XAI_BASE_URL,
    XAI_TOKEN_TIMEOUT, env_setting_names, is_xai, seconds,
};
pub use self::error::{ConfigError, Problem};
pub use self::file::{login_meant, login_needs_key, login_providers, login_table, parse};
pub use self::listen::{Auth, ListenAddress, Listener};
pub use self::load::{Loaded, digest_of, load};
pub use self::oauth2::{Flow, OAuth2};
pub use self::overrides::{OverrideError, Overrides};
pub use self::own::OwnListenerError;
pub use self::reference::{EXAMPLE, Entry, Table, notation, reference, tables};
pub use self::routing::{By, ByPath, Destination, ModelGlob, RouteRule, Routing, is_at_or_below};
pub use self::schema::schema;
pub use self::shape::{Key, Takes, shape};
pub use self::values::{base_url_flaw, is_private};
pub use self::variables::Variables;
pub use self::written::{Setting, settings, to_toml};

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

/// Who may ask: which `Host` and `Origin` values are accepted besides loopback's own, and whether
/// other users of this machine are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Whether a client on loopback must run as our own user or root, unless it has a key (Linux).
    pub peer_check: bool,
    /// Host names without a port, compared case-insensitively.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages (`https://app.example`), compared exactly.
    pub allowed_origins: Vec<String>,
}

/// Sizes in bytes, and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request's body.
    pub body: u64,
    /// A request's header block.
    pub headers: usize,
    /// Client connections open at once, over all listeners.
    pub connections: usize,
    /// How much of one request's body is kept for the one replay after an upstream 401.
    pub replay_body: usize,
    /// Bytes for replays and translated bodies, of all requests and answers together.
    pub replay_total: usize,
    /// How much of one request's body is read to find its model, where where it goes depends on that.
    pub route_body: usize,
}

/// When a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A client's header block must have come within this time.
    pub headers: Duration,
    /// How long a client's connection stays open without a request.
    pub keep_alive: Duration,
    /// The longest silence while a client sends its body.
    pub body: Duration,
    /// Name look-up, TCP and TLS to the provider together.
    pub connect: Duration,
    /// How long a connection to the provider is used for new requests; then its name is looked up
    /// again.
    pub reuse: Duration,
    /// From the request's last byte to the provider's response head.
    pub response_head: Duration,
    /// The longest silence between two pieces of the provider's answer.
    pub idle: Duration,
    /// How long a request waits for a token that is being refreshed after it has expired.
    pub credential: Duration,
    /// How long a shutdown lets running requests finish.
    pub drain: Duration,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written, or a list of `level` and `target=level`
    /// (`info,hermes_proxy::credentials=debug`), as `tracing_subscriber`'s `Targets` reads it.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// Counting who used how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Whether requests are counted.
    pub enabled: bool,
    /// For how many days counts are kept, today being one.
    pub keep_days: u32,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// journald when systemd started us, else pretty.
    Auto,
    /// Fields to the journal.
    Journald,
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A program or web address that is told about changes of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The events that it gets; at least one.
    pub events: Vec<NoticeKind>,
    /// How it is called.
    pub action: HookAction,
    /// The limit for telling it once, with all attempts.
    pub timeout: Duration,
}

/// How a hook is called.
#[derive(Clone, PartialEq, Eq)]
pub enum HookAction {
    /// A program with its arguments, run without a shell; at least one.
    Command(Vec<String>),
    /// Where the notice is posted to.
    Url(Url),
}

/// An event of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// It is dead: only the user can renew it.
    LoginEnded,
    /// It will end soon, and nothing renews it.
    LoginEndsSoon,
    /// It works again.
    LoginRestored,
    /// It was renewed and could not be written to the disk.
    LoginNotSaved,
    /// Its file can't be read.
    LoginUnreadable,
    /// A window of its quota is used to four fifths.
    QuotaLow,
    /// A window of its quota is used up.
    QuotaSpent,
    /// That window has room again.
    QuotaFree,
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Which protocol it speaks.
    pub kind: ProviderKind,
    /// Whether no setting asks for it: it is not in the file, no listener names it, and it is not
    /// the default provider. Then it exists once it has a login.
    pub implied: bool,
    /// Where requests go instead of the provider's own base URL. The operator's word: not
    /// checked against the provider's hosts.
    pub base_url: Option<Url>,
    /// Paths that are forwarded besides the provider's own.
    pub extra_paths: Vec<AllowedPath>,
    /// Request headers that are forwarded besides the standard ones.
    pub forward_headers: Vec<HeaderName>,
    /// Which `User-Agent` the provider sees.
    pub user_agent: UserAgent,
    /// Whether an event stream that ends after a `finish_reason`, but without the `data: [DONE]`
    /// that SDKs wait for, gets one.
    pub append_done: bool,
    /// After how long a silence between two events an event stream gets an SSE comment, so that a reverse proxy
    /// doesn't cut it; zero for never.
    pub keep_alive_comment: Duration,
    /// Whether bodies are turned into what the provider takes, and back: by the provider's own rules, and from one
    /// wire of OpenAI's API to the other where it lacks the one that an app speaks.
    pub translate: bool,
    /// PEM certificates that are trusted for this provider besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The limit for one request to the token endpoint. At its default, [`ProviderKind::token_timeout`],
    /// the environment decides.
    pub token_timeout: Duration,
    /// About how long before its expiry a token is refreshed (up to a tenth more, at random); a
    /// short-lived token is refreshed after some 80 % of its life.
    pub refresh_lead: Duration,
    /// Which of several logins a request goes with.
    pub pool: PoolStrategy,
}

/// Which of several logins of one provider a request goes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PoolStrategy {
    /// The first one by priority that is not cooling down.
    #[default]
    FillFirst,
    /// One after the other.
    RoundRobin,
}

/// The protocol of a provider, with the settings that only it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// Nous Portal, with the login of Hermes Agent's store.
    Nous {
        /// Where tokens are refreshed instead of the portal's own URL. The operator's word.
        portal_url: Option<Url>,
    },
    /// xAI Grok, with the login of Hermes Agent's store.
    Xai {
        /// The issuer that replaces xAI's own, to discover the endpoints of its logins. It is
        /// trusted as the operator's word.
        issuer_url: Option<Url>,
    },
    /// OpenAI Codex, with the login of Hermes Agent's store.
    Codex {
        /// Where the login is made and tokens are refreshed instead of OpenAI's own issuer. The operator's
        /// word.
        issuer_url: Option<Url>,
    },
    /// Any provider that speaks OAuth 2.0, with a login in our own store.
    OAuth2(Box<OAuth2>),
    /// A fixed API key, never refreshed.
    Static {
        /// Where the key is read from.
        api_key: KeySource,
    },
}

impl ProviderKind {
    /// The limit for one request to the token endpoint where nothing else is said: Hermes Agent's own.
    pub fn token_timeout(&self) -> Duration {
        match self {
            Self::Xai { .. } | Self::Codex { .. } => Duration::from_secs(20),
            Self::OAuth2(_) | Self::Nous { .. } | Self::Static { .. } => Duration::from_secs(15),
        }
    }

    /// Whether each of its requests needs a client key, at every listener.
    pub fn needs_client_key(&self) -> bool {
        match self {
            Self::Codex { .. } => true,
            Self::Nous { .. } | Self::Xai { .. } | Self::OAuth2(_) | Self::Static { .. } => false,
        }
    }

    /// Where a fixed API key is read from; `None` where a login takes its place.
    pub fn api_key(&self) -> Option<&KeySource> {
        match self {
            Self::Static { api_key } => Some(api_key),
            Self::Nous { .. } | Self::Xai { .. } | Self::Codex { .. } | Self::OAuth2(_) => None,
        }
    }
}

/// Where a static API key is stored; the key itself is never in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that holds the key on its first line.
    File(PathBuf),
    /// An environment variable's name.
    Env(String),
    /// The name of a credential that systemd hands to the service (`LoadCredential=`).
    Credential(String),
    /// Nowhere: the server takes requests without a key.
    Unneeded,
}

/// Which `User-Agent` the provider sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAgent {
    /// `hermes-proxyd/<version>`.
    Own,
    /// The client's, unchanged.
    Client,
}

impl Config {
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

impl Hook {
    /// A hook of this kind with every other setting at its default.
    pub fn of_action(action: HookAction) -> Self {
        Self {
            events: NoticeKind::NAMES.map(|(_, kind)| kind).to_vec(),
            action,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A URL's path and query, and a program's arguments, may hold a token.
impl fmt::Debug for HookAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(line) => write!(f, "Command({:?})", line.first()),
            Self::Url(url) => write!(f, "Url({:?})", url.host_str()),
        }
    }
}

impl NoticeKind {
    /// The kinds by the names that the file and the notices use.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("login_ended", Self::LoginEnded),
        ("login_ends_soon", Self::LoginEndsSoon),
        ("login_restored", Self::LoginRestored),
        ("login_not_saved", Self::LoginNotSaved),
        ("login_unreadable", Self::LoginUnreadable),
        ("quota_low", Self::QuotaLow),
        ("quota_spent", Self::QuotaSpent),
        ("quota_free", Self::QuotaFree),
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoginEnded => "login_ended",
            Self::LoginEndsSoon => "login_ends_soon",
            Self::LoginRestored => "login_restored",
            Self::LoginNotSaved => "login_not_saved",
            Self::LoginUnreadable => "login_unreadable",
            Self::QuotaLow => "quota_low",
            Self::QuotaSpent => "quota_spent",
            Self::QuotaFree => "quota_free",
        }
    }
}

impl LogFormat {
    /// The formats by the names that the file and the command line use.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("journald", Self::Journald),
        ("pretty", Self::Pretty),
        ("json", Self::Json),
    ];
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_provider: ProviderName::nous(),
            hermes_home: None,
            models_cache: Duration::from_mins(10),
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

impl Default for Guard {
    fn default() -> Self {
        Self {
            peer_check: true,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 * 1024 * 1024,
            headers: 64 * 1024,
            connections: 1024,
            replay_body: 1024 * 1024,
            replay_total: 64 * 1024 * 1024,
            route_body: 16 * 1024 * 1024,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body: Duration::from_mins(1),
            connect: Duration::from_secs(10),
            reuse: Duration::from_mins(5),
            response_head: Duration::from_mins(15),
            idle: Duration::from_mins(10),
            credential: Duration::from_secs(10),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            enabled: true,
            keep_days: 400,
        }
    }
}

impl Provider {
    /// Nous Portal with every setting at its default.
    pub fn nous() -> Self {
        Self::of_kind(ProviderKind::Nous { portal_url: None })
    }

    /// A provider of this kind with every other setting at its default.
    pub fn of_kind(kind: ProviderKind) -> Self {
        Self {
            append_done: matches!(kind, ProviderKind::Nous { .. }),
            keep_alive_comment: Duration::ZERO,
            translate: matches!(kind, ProviderKind::Codex { .. }),
            implied: false,
            token_timeout: kind.token_timeout(),
            kind,
            base_url: None,
            extra_paths: Vec::new(),
            forward_headers: Vec::new(),
            user_agent: UserAgent::Own,
            ca_file: None,
            refresh_lead: Duration::from_mins(5),
            pool: PoolStrategy::FillFirst,
        }
    }
}

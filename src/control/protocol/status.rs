//! The state of the daemon and its providers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::provider::{CredentialKind, ProviderState, QuotaStatus, RefreshReport};
use super::time::Timestamp;
use crate::control::pools::PoolStatus;

/// The state of the daemon and its providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's wall clock at the time of the reply; relative times refer to it.
    pub now: Timestamp,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// The addresses on which it listens.
    pub listeners: Vec<ListenerStatus>,
    /// The providers, the default one first.
    pub providers: Vec<ProviderStatus>,
    /// Requests refused since the daemon started, before any provider was asked; `None` if there were none, or from an
    /// old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RequestFailures>,
    /// The part of those refusals that an app may notice, without requests that browsers and monitors make on their own
    /// and those of other sites' pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_apps: Option<RequestFailures>,
    /// How many apps have a client key; `None` from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
    /// Why the latest read of the client keys' file failed; the former keys stay in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_fault: Option<String>,
    /// The command that makes the file readable again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_command: Option<String>,
    /// Why the latest save of the usage failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_fault: Option<String>,
    /// The problems, the most severe first, as [`judge`](crate::control::judge) finds them; empty if all is well,
    /// `None` from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
}

/// A login whose renewals are suspended, because a renewed one could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsavableLogin {
    /// Since when.
    pub at: Timestamp,
    /// The reason, with the file's name.
    pub reason: String,
    /// The command that fixes it, if there is one.
    pub command: Option<String>,
}

/// A login whose file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableLogin {
    /// Since when.
    pub at: Timestamp,
    /// The reason, with the file's name.
    pub reason: String,
    /// The command that makes it usable again, if there is one.
    pub command: Option<String>,
    /// Whether the copy for Hermes Agent's profiles holds the complete login and is used instead.
    pub copied: bool,
}

/// Requests that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFailures {
    /// How many failed.
    pub count: u64,
    /// When the latest one ended.
    pub at: Timestamp,
    /// Its error code, `answer_cut`, or `http_` followed by the provider's status.
    pub code: String,
    /// Its id, as in the log.
    pub request_id: String,
    /// The app's name or address, where relevant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The host, web page or user that was refused, if it was one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The package version.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// The time since then.
    pub uptime_seconds: u64,
    /// The configuration file in force; `None` if there is no file and defaults apply.
    pub config_file: Option<PathBuf>,
    /// A digest of the file as it was read, to detect later changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// Keys of the file whose new values need a restart, such as `listen[0].address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
    /// Flags that override the file.
    #[serde(default, skip_serializing_if = "CommandLine::is_empty")]
    pub command_line: CommandLine,
    /// Proxies from its environment: the variable, and `host:port` from its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proxies: BTreeMap<String, String>,
    /// Whether a service manager started it; only then can it be restarted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
}

/// The daemon's flags that override its file; `None` for a flag that was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandLine {
    /// `--provider`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `--host`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `--port`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `--log-level`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// `--log-format`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
}

impl CommandLine {
    /// Whether no flag was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An address on which the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// The address: `127.0.0.1:8645`, `docker0:8645` or `unix:/run/…`.
    pub address: String,
    /// The base URL for apps, `http://127.0.0.1:8645/v1`; for a Unix socket its address.
    pub url: String,
    /// The provider that `/v1` refers to there.
    pub provider: String,
    /// Open connections.
    pub connections: u64,
    /// Whether apps must present a client key there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_key: bool,
    /// Whether the machine does not have the address yet, or the Unix socket was removed and can't be restored yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Further addresses of the same listener: `[::1]:8645` with 127.0.0.1:8645.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl ListenerStatus {
    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.address.starts_with("unix:")
    }
}

/// One provider and its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// Whether `/v1` refers to it on listeners that name no provider.
    pub default: bool,
    /// Whether it can serve requests.
    pub state: ProviderState,
    /// Where requests are sent, once known.
    pub base_url: Option<String>,
    /// The kind of credential in use.
    pub credential: Option<CredentialKind>,
    /// When the credential expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub expires_in_seconds: Option<i64>,
    /// The latest renewal, or attempt at one.
    pub last_refresh: Option<RefreshReport>,
    /// When the next renewal is due.
    pub next_refresh_at: Option<Timestamp>,
    /// The time until then.
    pub next_refresh_in_seconds: Option<i64>,
    /// The latest error.
    pub last_error: Option<ErrorReport>,
    /// Whether a rotated token could not be saved: it works now and is lost on a restart.
    pub unsaved: bool,
    /// Requests since the daemon started.
    pub requests: RequestCounts,
    /// The command that logs in, if a login would help.
    pub login_command: Option<String>,
    /// Consecutive failed requests up to now; `None` if the latest one succeeded, or from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<RequestFailures>,
    /// The login in use; `None` without a login, with a fixed key, or from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginStatus>,
    /// Why the login's file can't be read, if so. An earlier credential or a copy may still serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<UnreadableLogin>,
    /// Why renewals are suspended, if a renewed login could not be saved. The credential in use serves until it
    /// expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsavable: Option<UnsavableLogin>,
    /// How far this machine's clock is ahead of the provider's, by its latest answer; negative if it is behind, `None`
    /// until an answer shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// How much of the account's quota is used, by the provider's latest report; `None` if it reports nothing, or from
    /// an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStatus>,
    /// What its several logins allow; `None` with a single login, or from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolStatus>,
    /// How many client keys may use it, if all its requests need one; `None` if not, or from an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
}

/// The login that a provider's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// The file with the login.
    pub store: PathBuf,
    /// Whether the login is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// When the user logged in, if known.
    pub since: Option<Timestamp>,
    /// When the grant ends and the user must log in again, if known.
    pub ends_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub ends_in_seconds: Option<i64>,
    /// Whether that is so soon that the user should log in again now.
    pub ends_soon: bool,
    /// Whether a renewal was interrupted and may have used up its refresh token.
    pub may_be_spent: bool,
}

/// An error that occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// When it occurred.
    pub at: Timestamp,
    /// The kind of error, for programs.
    pub code: String,
    /// The text for people.
    pub message: String,
}

/// Requests since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that ended with the provider's complete answer, whatever its status.
    pub served: u64,
    /// Requests that ended with an error of the daemon, a truncated answer, or a disconnected client.
    pub failed: u64,
}

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
    /// The daemon's wall clock when it answered; what all relative times refer to.
    pub now: Timestamp,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Its providers, the default one first.
    pub providers: Vec<ProviderStatus>,
    /// Requests that were refused before any provider was asked, since the daemon started; `None`
    /// where there was none, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RequestFailures>,
    /// Of these, those that an app may miss: what a browser or a monitor asks for by itself and pages
    /// of other sites are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_apps: Option<RequestFailures>,
    /// How many apps have a client key; `None` with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
    /// Why their file could not be read when it was read last; the keys of before are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_fault: Option<String>,
    /// The command that makes it readable again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_command: Option<String>,
    /// Why usage could not be saved when that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_fault: Option<String>,
    /// What is wrong, the worst first, as [`judge`](crate::control::judge) finds it; empty where all is well,
    /// `None` with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
}

/// A login that can't be renewed, because the renewed one could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsavableLogin {
    /// Since when.
    pub at: Timestamp,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that fixes it, where one does.
    pub command: Option<String>,
}

/// A login whose file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableLogin {
    /// Since when.
    pub at: Timestamp,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that makes it usable again, where one does.
    pub command: Option<String>,
    /// Whether the copy for Hermes Agent's profiles holds the login whole and serves.
    pub copied: bool,
}

/// Requests that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFailures {
    /// How many.
    pub count: u64,
    /// When the last one ended.
    pub at: Timestamp,
    /// The code of its error, `answer_cut`, or `http_` and the provider's status.
    pub code: String,
    /// Its number, as the log has it.
    pub request_id: String,
    /// The app's name or its address, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The host, the web page or the user that was refused, where it is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The package version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it has run.
    pub uptime_seconds: u64,
    /// The configuration that is in force; `None` when there is no file and defaults apply.
    pub config_file: Option<PathBuf>,
    /// Tells that file's text, when it was read, from what stands in it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// The keys of that file whose new values wait for a restart, such as `listen[0].address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
    /// The flags that win over the file.
    #[serde(default, skip_serializing_if = "CommandLine::is_empty")]
    pub command_line: CommandLine,
    /// The proxies of its environment: the variable, and `host:port` of its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proxies: BTreeMap<String, String>,
    /// Whether a service manager started it, which alone can restart it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
}

/// The flags of the daemon that win over its file; `None` where one was not given.
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
    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One address that the daemon listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// The address, `127.0.0.1:8645`, `docker0:8645` or `unix:/run/…`.
    pub address: String,
    /// What an app is configured with, `http://127.0.0.1:8645/v1`; the address of a Unix socket.
    pub url: String,
    /// The provider that `/v1` means there.
    pub provider: String,
    /// Connections that are open.
    pub connections: u64,
    /// Whether apps must show a client key there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_key: bool,
    /// Whether the machine does not have the address yet, or the Unix socket was removed and can't be
    /// restored yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// What it holds beside its address: `[::1]:8645` with 127.0.0.1:8645.
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
    /// Whether `/v1` means it where a listener names none.
    pub default: bool,
    /// Whether requests can be served.
    pub state: ProviderState,
    /// Where requests go, once it is known.
    pub base_url: Option<String>,
    /// The kind of the credential in use.
    pub credential: Option<CredentialKind>,
    /// When the credential expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub expires_in_seconds: Option<i64>,
    /// The last time that the credential was renewed, or was to be.
    pub last_refresh: Option<RefreshReport>,
    /// When the next renewal is due.
    pub next_refresh_at: Option<Timestamp>,
    /// The time until then.
    pub next_refresh_in_seconds: Option<i64>,
    /// What went wrong last.
    pub last_error: Option<ErrorReport>,
    /// Whether a rotated token could not be saved: it works now and is lost at the next start.
    pub unsaved: bool,
    /// Requests since the daemon started.
    pub requests: RequestCounts,
    /// The command that logs in, where a login is what helps.
    pub login_command: Option<String>,
    /// Requests that the provider failed, one after another until now; `None` where the last one
    /// went well, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<RequestFailures>,
    /// The login in use; `None` without one, with a fixed key, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginStatus>,
    /// Why its file can't be read, if it can't be; an earlier credential or a copy may serve all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<UnreadableLogin>,
    /// Why a renewed login could not be saved, so that none is asked for; the credential in use serves
    /// for as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsavable: Option<UnsavableLogin>,
    /// How far this machine's clock is ahead of the provider's, by its last answer; negative where it
    /// is behind, `None` before an answer that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// How much of the account's quota is used, as the provider said last; `None` where it does not say,
    /// and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStatus>,
    /// What its several logins allow; `None` with one login, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolStatus>,
    /// How many client keys may ask it, where each of its requests needs one; `None` where none is needed, and with an
    /// old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
}

/// The login that a provider's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// The file that holds it.
    pub store: PathBuf,
    /// Whether it is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// When the user logged in, as far as that is known.
    pub since: Option<Timestamp>,
    /// When the grant ends and the user must log in again, as far as that is known.
    pub ends_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub ends_in_seconds: Option<i64>,
    /// Whether that is so near that the user should log in again now.
    pub ends_soon: bool,
    /// A renewal was cut off, and its refresh token may have been spent.
    pub may_be_spent: bool,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// When.
    pub at: Timestamp,
    /// What a program branches on.
    pub code: String,
    /// What a person reads.
    pub message: String,
}

/// Requests since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Under way.
    pub in_flight: u64,
    /// Ended with the provider's whole answer, whatever its status.
    pub served: u64,
    /// Ended with an error of the daemon's, a broken answer, or the client's leaving.
    pub failed: u64,
}

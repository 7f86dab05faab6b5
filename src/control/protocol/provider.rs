//! Providers, their credentials and their quotas.

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::time::Timestamp;
use crate::control::chat_apis::{ChatApis, PathEntry};

/// The configured providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// The providers, the default one first.
    pub providers: Vec<ProviderEntry>,
    /// Built-in providers that are not set up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<AvailableProvider>,
}

/// A built-in provider that is not set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableProvider {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// The command that sets it up.
    pub command: String,
}

/// A provider, without the state of its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another field of the answer"
)]
pub struct ProviderEntry {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// Whether `/v1` refers to it on listeners that name no provider.
    pub default: bool,
    /// Where requests are sent, once known.
    pub base_url: Option<String>,
    /// Whether it has a readable login or API key.
    pub logged_in: bool,
    /// Its most severe problem, as in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Whether it uses a fixed API key instead of a login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_key: bool,
    /// Whether its server needs no key. `api_key` then requires nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_key: bool,
    /// The base URL for its apps, while a listener is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// The paths that are forwarded.
    pub paths: Vec<PathEntry>,
    /// Which chat APIs those paths are; missing from older daemons.
    #[serde(default, skip_serializing_if = "ChatApis::is_empty")]
    pub wires: ChatApis,
    /// The ids of its models, if an app has asked for them recently.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// Whether a provider can serve requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// The credential has not been read yet.
    Starting,
    /// The credential is valid.
    Ready,
    /// The credential is being renewed; requests wait only if the old one has expired.
    Refreshing,
    /// The credential has expired and the token endpoint can't be reached; the renewal is retried.
    Unavailable,
    /// The user must act: the login is missing, or the provider has revoked it.
    LoginNeeded,
    /// The credential store can't be read.
    StoreUnreadable,
    /// A state of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

impl ProviderState {
    /// The state in words, for people.
    pub fn in_words(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Refreshing => "trying to renew the expired token",
            Self::Unavailable => "unavailable",
            Self::LoginNeeded => "login needed",
            Self::StoreUnreadable => "login unreadable",
            Self::Other(name) => name,
        }
    }
}

/// The kind of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A fixed API key.
    ApiKey,
    /// No credential: the server needs no key.
    #[serde(rename = "none")]
    NoKey,
    /// The result of a login, in the provider's own term.
    #[serde(untagged)]
    OfLogin(String),
}

/// The latest renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReport {
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub result: RefreshResult,
    /// Details, for people.
    pub detail: Option<String>,
}

/// How a renewal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshResult {
    /// The provider issued a new credential.
    Refreshed,
    /// Another program had already renewed it, and its credential was adopted.
    Adopted,
    /// A temporary failure; the renewal is retried.
    Failed,
    /// The provider rejected it; the user must log in.
    Rejected,
    /// No login exists.
    NoLogin,
    /// The login can't be renewed and ends with its token.
    NotRenewable,
    /// A result of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// An account's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// When the provider reported it.
    pub at: Timestamp,
    /// The quota's windows, the shortest first.
    pub windows: Vec<QuotaWindow>,
}

/// One window of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// The provider's name for it.
    pub name: String,
    /// The percentage used.
    pub used_percent: u64,
    /// The window's length, if the provider reports it.
    pub length_seconds: Option<u64>,
    /// When the window resets, if the provider reports it.
    pub resets_at: Option<Timestamp>,
    /// The time until then.
    pub resets_in_seconds: Option<i64>,
    /// The window's total, in requests or tokens, if the provider reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What is left of that total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

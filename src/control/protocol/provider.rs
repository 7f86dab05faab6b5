//! Providers, their credentials and their quotas.

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::time::Timestamp;
use crate::control::chat_apis::{ChatApis, PathEntry};

/// Which providers are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// The default one first.
    pub providers: Vec<ProviderEntry>,
    /// Those that are built in and not set up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<AvailableProvider>,
}

/// A provider that is built in and not set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableProvider {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What sets it up.
    pub command: String,
}

/// One provider, without the state of its credential.
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
    /// Whether `/v1` means it where a listener names none.
    pub default: bool,
    /// Where requests go, once it is known.
    pub base_url: Option<String>,
    /// Whether there is a login, or the fixed API key, that can be read.
    pub logged_in: bool,
    /// The worst that is wrong with it, as in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Whether it takes a fixed API key in place of a login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_key: bool,
    /// Whether its server asks for no key, and `api_key` for nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_key: bool,
    /// The base URL of its apps, while a port is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// What is forwarded.
    pub paths: Vec<PathEntry>,
    /// Which APIs for chats these are; an older daemon does not say.
    #[serde(default, skip_serializing_if = "ChatApis::is_empty")]
    pub wires: ChatApis,
    /// The ids of its models, as far as an app has asked for them lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// Whether a provider can serve requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// The credential is not yet read.
    Starting,
    /// The credential is valid.
    Ready,
    /// The credential is being renewed; requests wait for it if the old one has expired.
    Refreshing,
    /// The credential has expired and the token endpoint can't be reached; it is tried again.
    Unavailable,
    /// Only a person can help: there is no login, or the provider has revoked it.
    LoginNeeded,
    /// The credential store can't be read.
    StoreUnreadable,
    /// A state of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

impl ProviderState {
    /// As a person reads it.
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
    /// A fixed key.
    ApiKey,
    /// Nothing: the server asks for no key.
    #[serde(rename = "none")]
    NoKey,
    /// What a login gave, in the provider's own word.
    #[serde(untagged)]
    OfLogin(String),
}

/// One renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReport {
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub result: RefreshResult,
    /// More about it, for people.
    pub detail: Option<String>,
}

/// How a renewal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshResult {
    /// The provider gave a new credential.
    Refreshed,
    /// Another program had renewed it, and its credential was taken over.
    Adopted,
    /// It failed in a way that may pass; it is tried again.
    Failed,
    /// The provider refused it; a login is needed.
    Rejected,
    /// There is no login to renew.
    NoLogin,
    /// The login has nothing that renews it: it ends with its token.
    NotRenewable,
    /// A result of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// An account's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// When the provider said so.
    pub at: Timestamp,
    /// Its windows, the shortest first.
    pub windows: Vec<QuotaWindow>,
}

/// A window of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// The provider's name for it.
    pub name: String,
    /// How much of it is used.
    pub used_percent: u64,
    /// How long it is, if the provider says so.
    pub length_seconds: Option<u64>,
    /// When it begins again, if the provider says so.
    pub resets_at: Option<Timestamp>,
    /// The time until then.
    pub resets_in_seconds: Option<i64>,
    /// What it has in all, in requests or tokens, if the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What is left of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

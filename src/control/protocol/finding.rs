//! What is wrong, as [`judge`](crate::control::judge) finds it.

use serde::{Deserialize, Serialize};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What a program branches on.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: Severity,
    /// What a person reads; no full stop.
    pub text: String,
    /// What fixes it or shows more, where a command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The provider that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The listener's address that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The provider's requests can't be served, now or once the token in use expires: `/readyz`
    /// answers with 503.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocks: bool,
}

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It works, but needs attention.
    Attention,
    /// Apps get errors, or will when the token in use expires.
    Bad,
    /// A severity of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// What a [`Finding`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// No daemon runs.
    NotRunning,
    /// The daemon did not answer as it should.
    NoAnswer,
    /// It listens on no address.
    ListensNowhere,
    /// The machine does not have a listener's address.
    AddressMissing,
    /// A listener's Unix socket was removed and can't be restored yet.
    SocketMissing,
    /// A listener requires a client key, and none exists.
    NoClientKeys,
    /// The file of client keys can't be read.
    ClientKeysUnreadable,
    /// There is no login, or no API key.
    LoginNeeded,
    /// The login's file can't be read.
    StoreUnreadable,
    /// A renewed login could not be saved, so none is asked for.
    StoreUnusable,
    /// The token has expired and can't be renewed.
    Unavailable,
    /// The login was not read yet.
    Starting,
    /// The provider fails requests.
    RequestsFail,
    /// An app was refused a moment ago.
    RequestsRefused,
    /// The login works, but can't be kept fresh.
    LoginTrouble,
    /// A renewed login could not be saved.
    Unsaved,
    /// The grant ends soon, or has ended.
    LoginEndsSoon,
    /// A renewal was cut off, and its refresh token may have been spent.
    LoginMayBeSpent,
    /// One of several logins has nothing left for a while; the others serve.
    LoginCoolingDown,
    /// All of several logins have nothing left for a while.
    LoginsCoolingDown,
    /// One of several logins has ended; the others serve.
    LoginEnded,
    /// The quota of the only login is used up.
    QuotaSpent,
    /// This machine's clock differs from the provider's.
    ClockWrong,
    /// What is counted of usage can't be saved.
    UsageUnsaved,
    /// The configuration file can't be used.
    ConfigBroken,
    /// The configuration file is gone.
    ConfigMissing,
    /// Changed settings wait for a restart.
    RestartNeeded,
    /// A reload applies the configuration file.
    ConfigChanged,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

impl FindingCode {
    /// The code as it is in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotRunning => "not_running",
            Self::NoAnswer => "no_answer",
            Self::ListensNowhere => "listens_nowhere",
            Self::AddressMissing => "address_missing",
            Self::SocketMissing => "socket_missing",
            Self::NoClientKeys => "no_client_keys",
            Self::ClientKeysUnreadable => "client_keys_unreadable",
            Self::LoginNeeded => "login_needed",
            Self::StoreUnreadable => "store_unreadable",
            Self::StoreUnusable => "store_unusable",
            Self::Unavailable => "unavailable",
            Self::Starting => "starting",
            Self::RequestsFail => "requests_fail",
            Self::RequestsRefused => "requests_refused",
            Self::LoginTrouble => "login_trouble",
            Self::Unsaved => "unsaved",
            Self::LoginEndsSoon => "login_ends_soon",
            Self::LoginMayBeSpent => "login_may_be_spent",
            Self::LoginCoolingDown => "login_cooling_down",
            Self::LoginsCoolingDown => "logins_cooling_down",
            Self::QuotaSpent => "quota_spent",
            Self::LoginEnded => "login_ended",
            Self::ClockWrong => "clock_wrong",
            Self::UsageUnsaved => "usage_unsaved",
            Self::ConfigBroken => "config_broken",
            Self::ConfigMissing => "config_missing",
            Self::RestartNeeded => "restart_needed",
            Self::ConfigChanged => "config_changed",
            Self::Other(code) => code,
        }
    }
}

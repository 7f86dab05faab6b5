//! Problems, as [`judge`](crate::control::judge) finds them.

use serde::{Deserialize, Serialize};

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of problem, for programs.
    pub code: FindingCode,
    /// How urgent it is.
    pub severity: Severity,
    /// The text for people, without a full stop.
    pub text: String,
    /// A command that fixes it or shows more, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The provider concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The listener's address concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Whether the provider's requests can't be served, now or once the current token expires. `/readyz` then answers
    /// 503.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocks: bool,
}

/// How urgent a [`Finding`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Works, but needs attention.
    Attention,
    /// Apps get errors, or will once the current token expires.
    Bad,
    /// A severity of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// The kinds of [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// The daemon is not running.
    NotRunning,
    /// The daemon did not answer properly.
    NoAnswer,
    /// The daemon listens on no address.
    ListensNowhere,
    /// The machine does not have a listener's address.
    AddressMissing,
    /// A listener's Unix socket was removed and can't be restored yet.
    SocketMissing,
    /// A listener requires a client key, and none exists.
    NoClientKeys,
    /// The file of client keys can't be read.
    ClientKeysUnreadable,
    /// The provider has no login or API key.
    LoginNeeded,
    /// The login's file can't be read.
    StoreUnreadable,
    /// A renewed login could not be saved, so no further renewal is attempted.
    StoreUnusable,
    /// The token has expired and can't be renewed at the moment.
    Unavailable,
    /// The login has not been read yet.
    Starting,
    /// Requests to the provider fail.
    RequestsFail,
    /// An app's request was refused a moment ago.
    RequestsRefused,
    /// The login works, but its renewal fails.
    LoginTrouble,
    /// A renewed login could not be saved.
    Unsaved,
    /// The grant ends soon or has ended.
    LoginEndsSoon,
    /// A renewal was interrupted and may have used up its refresh token.
    LoginMayBeSpent,
    /// One of several logins is out of quota for a while; the others serve.
    LoginCoolingDown,
    /// All of several logins are out of quota for a while.
    LoginsCoolingDown,
    /// One of several logins has ended; the others serve.
    LoginEnded,
    /// The only login's quota is used up.
    QuotaSpent,
    /// This machine's clock differs from the provider's.
    ClockWrong,
    /// Usage counts can't be saved.
    UsageUnsaved,
    /// The configuration file can't be used.
    ConfigBroken,
    /// The configuration file is missing.
    ConfigMissing,
    /// Changed settings need a restart.
    RestartNeeded,
    /// The configuration file has changed; a reload applies it.
    ConfigChanged,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

impl FindingCode {
    /// The code as written in JSON.
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

//! The messages about the several logins of a provider: plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::protocol::provider::{ProviderState, QuotaStatus};
use super::protocol::time::Timestamp;

/// Which of a provider's logins are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginChoice {
    /// The provider's name; `None` means the default provider.
    pub provider: Option<String>,
    /// The login's label, or its row's id; `None` means all of the provider's.
    pub label: Option<String>,
}

/// Every login of every provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginList {
    /// The daemon's wall clock when it answered; what all relative times refer to.
    pub now: Timestamp,
    /// By provider, the default one first, and in the order in which requests use them.
    pub logins: Vec<LoginEntry>,
}

/// One login. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginEntry {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The login's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The id of its row in the credential pool; `None` for the provider's own block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Where it came from, in Hermes Agent's words, such as `device_code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Whether it is the daemon's own, so that Hermes Agent does not use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,
    /// Whether it can serve requests, cooldowns aside.
    pub state: ProviderState,
    /// Whether the next request goes with it, as far as is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
    /// Why its quota is used up, and until when; `None` while it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Cooldown>,
    /// When its credential expires, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<i64>,
    /// How much of its account's quota is used, where the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStatus>,
    /// What went wrong with it last, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A login that is not used for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// When it ends.
    pub until: Timestamp,
    /// The time until then.
    pub in_seconds: i64,
    /// The status of the answer that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's code for it, where it is more than the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How often the same answer has come in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a reset did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginResetReport {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The logins that were cooling down and are used again, by their labels.
    pub reset: Vec<String>,
}

/// What is to be known of a provider's several logins without asking for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// How many there are.
    pub logins: u64,
    /// Those that are cooling down, by their labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cooling_down: Vec<String>,
    /// Those that have ended, by their labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
    /// The command that logs in again, where one has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_command: Option<String>,
    /// When the first one is used again, where all that could serve are cooling down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_again_at: Option<Timestamp>,
}

impl PoolStatus {
    /// The report on logins that have ended while others of the provider serve.
    pub fn told_of_ended(&self, provider: &str) -> String {
        format!(
            "Login ended: {} ({} of {} logins of {provider})",
            self.ended.join(", "),
            self.ended.len(),
            self.logins
        )
    }
}

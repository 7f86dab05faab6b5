//! The messages about usage: plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is asked of the counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageQuery {
    /// What a row is about.
    pub by: UsageBy,
    /// The first day, such as `2026-11-24`, in the time zone of the daemon's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Without such a day: this many days, including today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// The app that asked: the name of its client key, else what it calls itself.
    #[default]
    Client,
    /// The model that the provider was asked for.
    Model,
    /// The provider.
    Provider,
    /// The login that they went with, where a provider has several.
    Login,
    /// What they asked for, such as `/chat/completions`.
    Path,
    /// The day in the time zone of the daemon's machine.
    Day,
}

/// Who used how much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Whether the configuration has requests counted.
    pub enabled: bool,
    /// What a row is about.
    pub by: UsageBy,
    /// The first day that is counted.
    pub from: String,
    /// The last one, which is today.
    pub to: String,
    /// Days in their order, all else with the most tokens first.
    pub rows: Vec<UsageRow>,
    /// All together.
    pub total: UsageSums,
    /// Names beyond those in `rows`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// Why the last requests are not saved, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Requests since the daemon's start that could not be counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

/// The requests of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The name; empty where there is none.
    pub name: String,
    /// Its sums.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Requests, bytes and tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSums {
    /// All requests.
    pub requests: u64,
    /// Those without a whole answer of success.
    pub failed: u64,
    /// Failures by their kinds: a code of ours, `http_` and the provider's status, `client_left` or `answer_cut`.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of the requests' bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
    /// Tokens that were sent, with those that were cached.
    pub prompt_tokens: u64,
    /// Tokens that were made.
    pub completion_tokens: u64,
    /// The part of `prompt_tokens` that was cached.
    pub cached_tokens: u64,
    /// Tokens of reasoning; most providers count them in `completion_tokens`, too.
    pub reasoning_tokens: u64,
    /// The providers' own sums.
    pub total_tokens: u64,
    /// Requests that succeeded without a token count.
    pub without_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

//! The messages about requests in flight: plain data.

use serde::{Deserialize, Serialize};

use super::protocol::time::Timestamp;

/// The most requests in a reply, whatever the query asks for.
pub const MOST: u32 = 200;

/// Which requests in flight are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InFlightQuery {
    /// How many are listed; [`MOST`] where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// Those that began last, in place of those that take longest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub newest: bool,
}

/// The requests in flight, and those of the last hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightReport {
    /// The daemon's wall clock when it answered.
    pub now: Timestamp,
    /// Requests in flight, in the order that was asked for.
    pub requests: Vec<RequestInFlight>,
    /// How many more there are.
    #[serde(default)]
    pub unlisted: u64,
    /// How many of all, listed or not, have an event stream as their answer; `None` from an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
    /// The last hour.
    #[serde(default)]
    pub last_hour: LastHour,
    /// Whether usage is counted: where it is not, neither models nor the names of apps without a key are known.
    #[serde(default)]
    pub usage_counted: bool,
}

/// The requests of the last hour, a number for each minute, the present one last. A minute before the daemon's start
/// has 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastHour {
    /// Those that began.
    pub requests: Vec<u32>,
    /// Those that failed. Clients that left don't count.
    pub failed: Vec<u32>,
}

/// One request in flight. Holds nothing of what was asked or answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestInFlight {
    /// Its number, as the log has it.
    pub id: String,
    /// Since its head came.
    pub age_ms: u64,
    /// The app: the name of its client key, else what it calls itself.
    pub client: String,
    /// The model that the provider is asked for; `None` where it is not known, or not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider's name.
    pub provider: String,
    /// The path as the provider lists it, such as `/chat/completions`.
    pub path: String,
    /// The login that it went with, where the provider has several and has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// What it is at.
    pub phase: RequestPhase,
    /// The status of the answer, once that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From its head to the first byte of the answer, once that has gone out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Events of the provider's stream; 0 for other answers and compressed ones.
    #[serde(default)]
    pub events: u64,
    /// Completion tokens, where the provider has told of some so far. Most tell them at the end of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
}

/// What a request is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestPhase {
    /// Its body comes.
    Sending,
    /// Its body has come, and the answer has not begun.
    Waiting,
    /// Its answer passes, an event stream.
    Streaming,
    /// Its answer passes, of another kind.
    Answering,
    /// A phase of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

//! The daemon's process: its end, a reload, its log, and what marks its own requests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::IssuedKey;

/// What a request on the port shows in `x-hermes-own`, so that it counts as no app's. It is known to
/// this user alone and good until the daemon ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMarkValue {
    /// The field's value.
    pub mark: IssuedKey,
}

/// The daemon is about to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopNotice {
    /// Requests under way, which may finish first.
    pub in_flight: u64,
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Keys of the configuration whose new value is in force.
    pub applied: Vec<String>,
    /// Keys whose new value takes a restart.
    pub needs_restart: Vec<String>,
    /// Providers that were told to read their credential again.
    pub providers_reloaded: Vec<String>,
    /// Those whose login or API key could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_unreadable: Vec<String>,
    /// Providers whose login is still being renewed with the former settings. Requests go by the new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_finishing: Vec<String>,
}

/// Which lines of the log are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFrom {
    /// From this number on; 0 is all that there are.
    pub from: u64,
}

/// The last lines of the log, as far as the daemon keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// Where they are written.
    pub place: LogPlace,
    /// The number that the next line will have.
    pub next: u64,
    /// The lines, the last one last; none where the journal has them.
    pub lines: Vec<String>,
}

/// Where the log is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// The journal.
    Journal,
    /// The file that `--log-file` names.
    File(PathBuf),
    /// Standard error.
    StandardError,
    /// A place of a newer daemon.
    #[serde(untagged)]
    Other(Value),
}

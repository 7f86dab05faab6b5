//! The daemon's process: stopping, reloading, its log, and the mark of its user's own requests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::IssuedKey;

/// The value of `x-hermes-own` that keeps a request on the port out of any app's counts. Known only to this user, and
/// valid until the daemon ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMarkValue {
    /// The header's value.
    pub mark: IssuedKey,
}

/// The daemon is about to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopNotice {
    /// Requests in flight, which may finish first.
    pub in_flight: u64,
}

/// The result of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Configuration keys whose new value is now in force.
    pub applied: Vec<String>,
    /// Configuration keys whose new value needs a restart.
    pub needs_restart: Vec<String>,
    /// Providers whose credential is read again.
    pub providers_reloaded: Vec<String>,
    /// Providers whose login or API key could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_unreadable: Vec<String>,
    /// Providers whose login is still being renewed with the former settings. Requests already follow the new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_finishing: Vec<String>,
}

/// A range of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFrom {
    /// The first line's number; 0 asks for all lines that are kept.
    pub from: u64,
}

/// The last lines of the log, as far as the daemon keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// Where the log is written.
    pub place: LogPlace,
    /// The number of the next line to come.
    pub next: u64,
    /// The lines in order; empty if the journal keeps them.
    pub lines: Vec<String>,
}

/// Where the log is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// The systemd journal.
    Journal,
    /// The file given with `--log-file`.
    File(PathBuf),
    /// Standard error.
    StandardError,
    /// A destination of a newer daemon.
    #[serde(untagged)]
    Other(Value),
}

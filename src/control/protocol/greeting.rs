//! The first lines of a connection.

use serde::{Deserialize, Serialize};

use super::error::ControlError;

/// The protocol's own version; it has nothing to do with the package's.
pub const VERSION: u32 = 1;

/// The client's first line: `{"hello":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Who calls.
    pub hello: ClientHello,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The version that the client speaks.
    pub protocol: u32,
    /// Name and version for the log, such as `hermesctl 0.1.0`.
    pub client: String,
}

/// The daemon's first line: `{"hello":{…}}`, or `{"error":{…}}` before it closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Welcome {
    /// The client may ask.
    Hello(DaemonHello),
    /// The client is turned away.
    Error(ControlError),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonHello {
    /// The version that the daemon speaks.
    pub protocol: u32,
    /// The daemon's package version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
}

//! The first lines of a connection.

use serde::{Deserialize, Serialize};

use super::error::ControlError;

/// The protocol's version, independent of the package's.
pub const VERSION: u32 = 1;

/// The client's first line: `{"hello":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The client's introduction.
    pub hello: ClientHello,
}

/// The client's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The protocol version that the client speaks.
    pub protocol: u32,
    /// Name and version for the log, such as `hermesctl 0.1.0`.
    pub client: String,
}

/// The daemon's first line: `{"hello":{…}}`, or `{"error":{…}}` before it closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Welcome {
    /// The daemon accepts requests now.
    Hello(DaemonHello),
    /// The daemon turns the client away.
    Error(ControlError),
}

/// The daemon's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonHello {
    /// The protocol version that the daemon speaks.
    pub protocol: u32,
    /// The daemon's package version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
}

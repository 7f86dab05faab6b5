//! What came of a stop or a restart.

use serde::Serialize;

/// What `hermesctl proxy stop` and `restart` print.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct StopOutput {
    /// The process that was asked.
    pub(in crate::cli) pid: u32,
    /// Requests that were under way.
    pub(in crate::cli) in_flight: u64,
    /// The process that runs now; `null` after a stop.
    pub(in crate::cli) running: Option<u32>,
}

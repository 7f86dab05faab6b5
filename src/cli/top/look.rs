//! One look at the daemon.

use serde::Serialize;

use crate::control::in_flight::InFlightReport;
use crate::control::protocol::Status;

/// The result of a poll, as `hermesctl top --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct TopOutput {
    /// Requests in flight, listed or not.
    pub(super) in_flight: u64,
    /// Open connections on all listeners.
    pub(super) connections: u64,
    #[serde(flatten)]
    pub(super) flights: InFlightReport,
    #[serde(skip)]
    pub(super) status: Status,
}

impl TopOutput {
    /// Combines the daemon's replies.
    pub(in crate::cli) fn of(status: Status, flights: InFlightReport) -> Self {
        let listed = u64::try_from(flights.requests.len()).unwrap_or(u64::MAX);
        let listeners = status.listeners.iter();
        Self {
            in_flight: listed.saturating_add(flights.unlisted),
            connections: listeners.map(|listener| listener.connections).sum(),
            flights,
            status,
        }
    }
}

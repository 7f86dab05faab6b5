//! What the connections of all listeners share.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::admission::ConnectionSlots;
use super::super::gateway::Gateway;

/// What the connections of all listeners share.
#[derive(Debug, Clone)]
pub struct ConnectionService {
    /// The rules in force.
    pub gateway: Arc<Gateway>,
    /// Places for connections, over all listeners.
    pub places: Arc<ConnectionSlots>,
    /// No new connections and requests; those that run may finish.
    pub drain: CancellationToken,
    /// Everything ends at once.
    pub abort: CancellationToken,
    /// `notify_waiters` has Unix sockets checked at once.
    pub look: Arc<Notify>,
    /// Waits for every task of the port.
    pub tracker: TaskTracker,
}

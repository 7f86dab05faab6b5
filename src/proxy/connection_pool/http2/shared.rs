//! The state shared by a connection in the pool, its streams and its task, and what that task tells the pool.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::life::Http2Liveness;

/// A connection that is silent for this long while a request is in flight is probed, and closed if no sign of life
/// comes within [`PONG`].
pub(super) const PING: Duration = Duration::from_secs(15);
pub(super) const PONG: Duration = Duration::from_secs(10);
/// How long a connection without further work has to close in order.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);
/// h2's stream limit until the peer's settings have arrived. Ours is one.
pub(super) const UNSETTLED: usize = 1_000_003;

/// The owner of connections.
pub(in crate::proxy::connection_pool) trait Http2Owner:
    fmt::Debug + Send + Sync
{
    /// Handles a connection that has proved that it lives, or is in doubt.
    fn may_have_changed(self: Arc<Self>);

    /// Handles a new stream limit of a connection.
    fn learned(self: Arc<Self>, limit: usize);

    /// Handles the end of a connection.
    fn lost(self: Arc<Self>, shared: &Arc<Http2Shared>);
}

/// The state shared by a connection in the pool, its streams and its task.
#[derive(Debug)]
pub(in crate::proxy::connection_pool) struct Http2Shared {
    pub(super) life: Arc<Http2Liveness>,
    pub(super) born: Instant,
    pub(super) streams: AtomicUsize,
    pub(super) limit: AtomicUsize,
    pub(super) settled: AtomicBool,
    pub(super) suspect: AtomicBool,
    pub(super) check_wanted: AtomicBool,
    /// Whether the pool has released it, so that it accepts no more requests.
    pub(super) left: AtomicBool,
    pub(super) idle_since: Mutex<Instant>,
    pub(super) driver: AtomicWaker,
    pub(super) tasks: TaskTracker,
}

impl Http2Shared {
    pub(super) fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    pub(super) fn idle_since(&self) -> Instant {
        *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

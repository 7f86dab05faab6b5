//! The right to send one request on a connection.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::Instant;

use super::shared::{Http2Owner, Http2Shared};

/// One of the streams that the peer allows.
#[derive(Debug)]
pub(in crate::proxy::connection_pool) struct StreamPermit {
    pub(super) sender: Option<SendRequest<Bytes>>,
    pub(super) shared: Arc<Http2Shared>,
    /// The connection has answered, or was there before the request: its end may have come meanwhile.
    pub(super) is_kept: bool,
    pub(super) origin: Weak<dyn Http2Owner>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if self.shared.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut idle_since = self
                .shared
                .idle_since
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *idle_since = Instant::now();
        }
        if let Some(origin) = self.origin.upgrade() {
            origin.may_have_changed();
        }
    }
}

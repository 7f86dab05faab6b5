//! What a request is sent on.

use super::http1;
use super::http2;

/// The right to send one request on a connection. Dropped unused, it returns to the pool.
#[derive(Debug)]
pub(super) enum Checkout {
    Http1(http1::Http1Checkout),
    Http2(http2::StreamPermit),
}

impl Checkout {
    /// The connection was there before the request: its end may have come unseen, whatever it was opened for.
    pub(super) fn has_idled(&mut self) {
        match self {
            Self::Http1(idle) => idle.has_idled(),
            Self::Http2(permit) => permit.has_idled(),
        }
    }
}

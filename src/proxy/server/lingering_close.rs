//! How a connection ends: in order, so that the client gets everything that was written, or so that a cut answer
//! does not look complete.

use std::time::Duration;

use bytes::BytesMut;

use super::super::socket::{ReadHalf, WriteHalf};

/// How long the client may go on sending, and how much.
const LINGER: Duration = Duration::from_secs(5);
const DISCARD: usize = 256 * 1024 * 1024;
/// Bytes read at once of what is thrown away.
const PIECE: usize = 16 * 1024;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseMode {
    /// Nothing is under way.
    InOrder,
    /// The same, and the client may still be sending bytes that will not be read.
    Lingering,
    /// In the middle of an answer, to a client that knows an end from a cut.
    Cut,
    /// The same where it knows it by a reset only.
    Reset,
}

/// Reads and throws away what the client is still sending, for a time. Closing at once would reset
/// the connection, and take our answer with it.
pub(super) async fn linger(mut read: ReadHalf, write: &mut WriteHalf) {
    if write.shutdown().await.is_err() {
        return;
    }
    let reading = async {
        let mut piece = BytesMut::with_capacity(PIECE);
        let mut left = DISCARD;
        while left > 0 {
            piece.clear();
            match std::future::poll_fn(|cx| read.poll_read(cx, &mut piece)).await {
                Ok(0) | Err(_) => return,
                Ok(size) => left = left.saturating_sub(size),
            }
        }
    };
    tokio::time::timeout(LINGER, reading).await.ok();
}

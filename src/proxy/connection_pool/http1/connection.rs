//! A connection, between requests and within one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::connector::Transport;

/// The owner of connections.
pub(in crate::proxy::connection_pool) trait Http1Owner:
    fmt::Debug + Send + Sync
{
    /// Takes back a connection that may serve another request.
    fn give_back(self: Arc<Self>, connection: Http1Connection);
}

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(in crate::proxy::connection_pool) struct Http1Connection {
    pub(super) stream: Transport,
    /// Whether it has answered before, or existed before the request, so that it may have been closed unnoticed.
    pub(super) is_kept: bool,
    /// Counts the connection while it exists.
    _open: Arc<()>,
}

impl Http1Connection {
    /// A new connection, counted by a clone of `open`. `is_wanted`: a request is waiting for it.
    pub(in crate::proxy::connection_pool) fn new(
        stream: Transport,
        open: &Arc<()>,
        is_wanted: bool,
    ) -> Self {
        Self {
            stream,
            is_kept: !is_wanted,
            _open: open.clone(),
        }
    }

    /// Whether nothing unexpected has arrived, the connection's end included. TLS consumes its own records.
    pub(in crate::proxy::connection_pool) fn is_quiet(&mut self) -> bool {
        self.has_nothing() && !self.stream.has_unread()
    }

    /// The same, including data that the runtime has not reported yet; that may be meant for TLS, like a new
    /// connection's session tickets.
    pub(super) async fn is_quiet_at_once(&mut self) -> bool {
        let mut has_nothing = self.has_nothing();
        if has_nothing && self.stream.has_unread() {
            tokio::task::yield_now().await;
            has_nothing = self.has_nothing();
        }
        has_nothing && !self.stream.has_unread()
    }

    /// Whether nothing can be read, as far as the runtime knows.
    fn has_nothing(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut byte);
        read.is_pending()
    }

    /// Closes the sending side.
    pub(super) fn part(&mut self) {
        // TLS has a closing message, sent if it can be written at once.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_shutdown(&mut cx) {
            tracing::trace!(%error, "a connection to a provider was gone before it was closed");
        }
    }
}

impl Drop for Http1Connection {
    fn drop(&mut self) {
        self.part();
    }
}

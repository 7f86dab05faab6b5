//! Why a request got no answer from a connection.

use std::sync::Arc;

use super::http1;
use crate::proxy::connector::ConnectError;

/// Why a request got no answer from a connection.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamFailure {
    pub(in crate::proxy) cause: UpstreamCause,
    /// No byte of the request was sent.
    pub(in crate::proxy) unsent: bool,
    /// The connection was there before the request.
    pub(in crate::proxy) reused: bool,
    /// Nothing came back that can be a part of an answer to this request.
    pub(in crate::proxy) unheard: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum UpstreamCause {
    #[error("no connection")]
    Connect(#[source] Arc<ConnectError>),
    #[error("HTTP/1.1")]
    Http1(#[source] http1::Error),
    #[error("HTTP/2")]
    Http2(#[source] h2::Error),
    #[error("too many interim answers")]
    Interim,
    #[error("the client's body broke off")]
    Upload,
    #[error("no request can be sent there")]
    Target,
    #[error("the connection is gone")]
    Gone,
}

impl UpstreamFailure {
    /// Nothing was sent, and nothing is known of a connection.
    pub(in crate::proxy) fn none_sent(cause: UpstreamCause) -> Self {
        Self {
            cause,
            unsent: true,
            reused: false,
            unheard: true,
        }
    }
}

//! Why a request got no answer from a connection.

use std::io;
use std::sync::Arc;

use crate::proxy::connector::ConnectError;
use crate::proxy::framing::Violation;

/// Why a request got no answer from a connection.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamFailure {
    pub(in crate::proxy) cause: UpstreamCause,
    /// Whether no byte of the request was sent.
    pub(in crate::proxy) unsent: bool,
    /// Whether the connection existed before the request.
    pub(in crate::proxy) reused: bool,
    /// Whether nothing came back that can be part of an answer to this request.
    pub(in crate::proxy) unheard: bool,
}

/// Why a connection delivered no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Http1Error {
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the connection ended before an answer")]
    Ended,
    #[error("the answer is malformed: {0:?}")]
    Malformed(Violation),
}

#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum UpstreamCause {
    #[error("no connection")]
    Connect(#[source] Arc<ConnectError>),
    #[error("HTTP/1.1")]
    Http1(#[source] Http1Error),
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
    /// Nothing was sent, and no connection was involved.
    pub(in crate::proxy) fn none_sent(cause: UpstreamCause) -> Self {
        Self {
            cause,
            unsent: true,
            reused: false,
            unheard: true,
        }
    }
}

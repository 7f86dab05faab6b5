//! The loop alone, for comparison with other servers.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Body;
use tokio_util::sync::CancellationToken;

use super::super::admission::ConnectionSlots;
use super::super::framing::Head;
use super::super::socket::Socket;
use super::refusal::RefusalReporter;
use super::{ConnectionContext, ConnectionLimits, RequestBody, Stop, drive};
use crate::config::Timeouts;

/// Answers every request by this function, with heads of at most this many bytes.
#[doc(hidden)]
pub async fn serve_alone<F, B>(
    stream: tokio::net::UnixStream,
    head: usize,
    answer: impl Fn(Head, RequestBody) -> F,
) where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    let stop = Stop {
        drain: CancellationToken::new(),
        abort: CancellationToken::new(),
    };
    let limits = ConnectionLimits {
        head,
        timeouts: Timeouts::default(),
    };
    let place = ConnectionSlots::new(1).take().await;
    let reporter = RefusalReporter {
        ledger: Arc::default(),
        from: "alone".into(),
        gateway: None,
    };
    let socket = Socket::Unix(stream);
    let context = ConnectionContext::new(limits, stop, place, reporter);
    drive(socket, context, answer).await;
}

//! An answer's body, over either protocol, with an end that tells the truth.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;

use super::http1::InUse;
use super::http2::{StreamPermit, UploadTask};

/// The answer's body broke off; nobody reads why.
#[derive(Debug, thiserror::Error)]
#[error("the provider's answer broke off")]
pub(in crate::proxy) struct BrokeOff;

/// The body of a provider's answer. Dropped before its end, it cancels the request.
#[derive(Debug)]
pub(in crate::proxy) struct Answer(Kind);

#[derive(Debug)]
enum Kind {
    Http1 {
        body: Incoming,
        used: Option<InUse>,
    },
    Http2 {
        stream: h2::RecvStream,
        /// Bytes that are still to come.
        left: Option<u64>,
        /// All data has come; what may follow are trailers.
        has_all: bool,
        held: Option<(StreamPermit, Option<UploadTask>)>,
    },
}

impl Answer {
    pub(super) fn http1(body: Incoming, used: InUse) -> Self {
        let mut answer = Self(Kind::Http1 {
            body,
            used: Some(used),
        });
        answer.let_go_at_end();
        answer
    }

    pub(super) fn http2(
        stream: h2::RecvStream,
        head: &HeaderMap,
        held: (StreamPermit, Option<UploadTask>),
    ) -> Self {
        let left = length(head).or_else(|| stream.is_end_stream().then_some(0));
        let mut answer = Self(Kind::Http2 {
            stream,
            left,
            has_all: false,
            held: Some(held),
        });
        answer.let_go_at_end();
        answer
    }

    /// The connection or the stream may serve others once nothing more can come.
    fn let_go_at_end(&mut self) {
        match &mut self.0 {
            Kind::Http1 { body, used } => {
                if body.is_end_stream()
                    && let Some(used) = used.take()
                {
                    used.has_served();
                }
            }
            Kind::Http2 { stream, held, .. } => {
                if stream.is_end_stream() {
                    drop(held.take());
                }
            }
        }
    }
}

/// The length that a head announces, if it does so in one way.
fn length(head: &HeaderMap) -> Option<u64> {
    let mut lengths = head.get_all(CONTENT_LENGTH).iter();
    let parse = |value: &hyper::header::HeaderValue| value.to_str().ok()?.parse::<u64>().ok();
    let first = parse(lengths.next()?)?;
    lengths
        .all(|other| parse(other) == Some(first))
        .then_some(first)
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        let frame = match &mut this.0 {
            Kind::Http1 { body, used } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if frame.is_none()
                    && let Some(used) = used.take()
                {
                    used.has_served();
                }
                frame.map(|frame| frame.map_err(|_| BrokeOff))
            }
            Kind::Http2 {
                stream,
                left,
                has_all,
                held,
            } => ready!(poll_stream(stream, (left, has_all), cx)).or_else(|| {
                drop(held.take());
                None
            }),
        };
        this.let_go_at_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1 { body, .. } => body.is_end_stream(),
            Kind::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1 { body, .. } => body.size_hint(),
            Kind::Http2 { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Data as it comes. A reset is an error whatever its reason is: the peer has ended in order when
/// its `END_STREAM` was seen, which h2 tells apart.
fn poll_stream(
    stream: &mut h2::RecvStream,
    (left, has_all): (&mut Option<u64>, &mut bool),
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
    if !*has_all {
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                stream.flow_control().release_capacity(data.len()).ok();
                if let Some(left) = left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(BrokeOff))),
            None => *has_all = true,
        }
    }
    // Trailers concern one connection: they don't pass. Only with them is the end in order.
    match ready!(stream.poll_trailers(cx)) {
        Ok(_) => Poll::Ready(None),
        Err(_) => Poll::Ready(Some(Err(BrokeOff))),
    }
}

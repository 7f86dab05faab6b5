//! An answer's body over either protocol, which never reports a cut as an end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use tokio::time::timeout;

use super::broke_off::BrokeOff;
use super::http1::Incoming;
use super::http2::StreamPermit;
use super::upload_task::UploadTask;

/// The body of a provider's answer. Dropping it early cancels the request.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamBody {
    kind: UpstreamBodyKind,
    /// The part that was read before the client asked for it.
    ahead: Option<Box<Ahead>>,
}

/// The beginning of a body, passed on piece by piece as it arrived.
#[derive(Debug, Default)]
struct Ahead {
    start: Vec<u8>,
    pieces: VecDeque<Bytes>,
    /// Whether the body was cut off after these pieces.
    broke: bool,
    /// Whether the body ended after these pieces.
    is_whole: bool,
}

#[derive(Debug)]
enum UpstreamBodyKind {
    Http1(Box<Incoming>),
    Http2(Http2Body),
}

/// A body over HTTP/2.
#[derive(Debug)]
struct Http2Body {
    stream: h2::RecvStream,
    /// The bytes that remain, if known.
    left: Option<u64>,
    /// Whether all data has arrived, so that only trailers may follow.
    has_all: bool,
    /// Until nothing more can arrive.
    held: Option<HeldStream>,
}

/// What a stream takes while it is open.
#[derive(Debug)]
struct HeldStream {
    _permit: StreamPermit,
    /// Sends the rest of the request.
    _upload: Option<UploadTask>,
}

impl UpstreamBody {
    pub(super) fn http1(body: Incoming) -> Self {
        Self::of(UpstreamBodyKind::Http1(Box::new(body)))
    }

    pub(super) fn http2(
        stream: h2::RecvStream,
        head: &HeaderMap,
        permit: StreamPermit,
        upload: Option<UploadTask>,
    ) -> Self {
        let left = length(head).or_else(|| stream.is_end_stream().then_some(0));
        let mut body = Http2Body {
            stream,
            left,
            has_all: false,
            held: Some(HeldStream {
                _permit: permit,
                _upload: upload,
            }),
        };
        body.let_go_at_end();
        Self::of(UpstreamBodyKind::Http2(body))
    }

    fn of(kind: UpstreamBodyKind) -> Self {
        Self { kind, ahead: None }
    }

    /// Reads until `most` bytes have arrived, the body has ended, or `limit` has passed. The pieces still reach the
    /// client unchanged.
    pub(in crate::proxy) async fn read_ahead(&mut self, most: usize, limit: Duration) {
        let mut ahead = Ahead::default();
        let reading = async {
            while ahead.start.len() < most {
                match poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data() {
                            ahead.start.extend_from_slice(&piece);
                            ahead.pieces.push_back(piece);
                        }
                    }
                    Some(Err(BrokeOff)) => {
                        ahead.broke = true;
                        return;
                    }
                    None => {
                        ahead.is_whole = true;
                        return;
                    }
                }
            }
        };
        timeout(limit, reading).await.ok();
        self.ahead = Some(Box::new(ahead));
    }

    /// The part that was read ahead; `None` before that.
    pub(in crate::proxy) fn start(&self) -> Option<&[u8]> {
        self.ahead.as_ref().map(|ahead| &*ahead.start)
    }

    /// Whether that part is the complete body.
    pub(in crate::proxy) fn is_whole(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.is_whole)
    }
}

impl Http2Body {
    /// Frees the stream once nothing more can arrive.
    fn let_go_at_end(&mut self) {
        if self.stream.is_end_stream() {
            drop(self.held.take());
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let frame = ready!(self.poll_stream(cx));
        if frame.is_none() {
            drop(self.held.take());
        }
        self.let_go_at_end();
        Poll::Ready(frame)
    }

    /// Passes data on as it arrives. Every reset is an error, whatever its reason: h2 reports an `END_STREAM` separately.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        if !self.has_all {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let flow = self.stream.flow_control();
                    flow.release_capacity(data.len()).ok();
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(BrokeOff))),
                None => self.has_all = true,
            }
        }
        // Trailers concern one connection and are dropped, but only with them the end is in order.
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(_) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(Err(BrokeOff))),
        }
    }
}

/// The length that a head declares, if unambiguous.
fn length(head: &HeaderMap) -> Option<u64> {
    let mut lengths = head.get_all(CONTENT_LENGTH).iter();
    let parse = |value: &hyper::header::HeaderValue| value.to_str().ok()?.parse::<u64>().ok();
    let first = parse(lengths.next()?)?;
    lengths
        .all(|other| parse(other) == Some(first))
        .then_some(first)
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        if let Some(ahead) = &mut this.ahead {
            if let Some(piece) = ahead.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if std::mem::take(&mut ahead.broke) {
                return Poll::Ready(Some(Err(BrokeOff)));
            }
        }
        let frame = match &mut this.kind {
            UpstreamBodyKind::Http1(body) => {
                ready!(body.poll_piece(cx)).map(|piece| piece.map(Frame::data))
            }
            UpstreamBodyKind::Http2(body) => ready!(body.poll_frame(cx)),
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let has_more = |ahead: &Ahead| ahead.broke || !ahead.pieces.is_empty();
        if self.ahead.as_deref().is_some_and(has_more) {
            return false;
        }
        match &self.kind {
            UpstreamBodyKind::Http1(body) => body.is_over(),
            UpstreamBodyKind::Http2(body) => body.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.kind {
            UpstreamBodyKind::Http1(body) => body.left(),
            UpstreamBodyKind::Http2(body) => body.left,
        };
        let rest = left.map_or_else(SizeHint::default, SizeHint::with_exact);
        let Some(ahead) = &self.ahead else {
            return rest;
        };
        let pieces: u64 = ahead.pieces.iter().map(|piece| piece.len() as u64).sum();
        rest.exact().map_or_else(SizeHint::default, |rest| {
            SizeHint::with_exact(rest.saturating_add(pieces))
        })
    }
}

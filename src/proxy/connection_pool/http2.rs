//! HTTP/2: a connection carries as many requests as the peer allows. Its task drives it and detects whether the peer is
//! alive.

mod driver;
mod life;
mod permit;
mod shared;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use self::driver::Driver;
use self::life::Lived;
pub(super) use self::permit::StreamPermit;
use self::shared::UNSETTLED;
pub(super) use self::shared::{Http2Owner, Http2Shared};
use super::answer::UpstreamBody;
use super::ask::Ask;
use super::failure::{UpstreamCause, UpstreamFailure};
use super::limits::{FRESH, HEAD, IDLE, MOST_INTERIM, SETTLED, SILENCE};
use super::upload_task::UploadTask;
use crate::proxy::connector::{ConnectError, Transport};
use crate::proxy::upload::UploadBody;

/// The receive window of a stream. The window of the connection is only bounded by HTTP/2 itself (RFC 9113 §6.9.1):
/// with a smaller one, some clients that don't read would hold back all others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// The send buffer of a stream.
const SEND_BUFFER: usize = 256 * 1024;
/// A connection that accepts requests. Once dropped, it ends with its last stream.
#[derive(Debug)]
pub(super) struct Http2Connection {
    sender: SendRequest<Bytes>,
    shared: Arc<Http2Shared>,
}

/// Sends a client's body.
struct Pipe {
    body: UploadBody,
    stream: SendStream<Bytes>,
    /// Data read but not sent yet, and whether it is the last.
    waiting: Bytes,
    is_last: bool,
}

/// Why an upload ended early.
enum PipeEnd {
    /// Reading the client's body failed.
    Upload,
    /// The peer wants no more of it; its answer gives the reason.
    Refused,
}

impl Http2Connection {
    pub(super) async fn start(
        stream: Transport,
        origin: Weak<dyn Http2Owner>,
        drivers: &TaskTracker,
    ) -> Result<Self, ConnectError> {
        let stream = Lived::new(stream);
        let life = stream.life().clone();
        let mut builder = h2::client::Builder::new();
        builder
            .initial_max_send_streams(UNSETTLED)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let failed = |error: h2::Error| ConnectError::Tcp(error.into());
        let (sender, mut connection) = builder.handshake(stream).await.map_err(failed)?;
        let now = Instant::now();
        let shared = Arc::new(Http2Shared {
            life,
            born: now,
            streams: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            settled: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            check_wanted: AtomicBool::new(false),
            left: AtomicBool::new(false),
            idle_since: Mutex::new(now),
            driver: AtomicWaker::new(),
            tasks: drivers.clone(),
        });
        let driver = Driver {
            ping: connection.ping_pong(),
            connection,
            shared: shared.clone(),
            origin,
            pinged: None,
            unanswered: false,
            left_at: None,
            timer: Box::pin(sleep_until(now + SETTLED)),
        };
        drivers.spawn(driver);
        Ok(Self { sender, shared })
    }

    pub(super) fn is(&self, shared: &Arc<Http2Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Whether the connection accepts no more requests: it has ended, the peer sent a GOAWAY, or its stream ids are
    /// used up.
    pub(super) fn is_over(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    pub(super) fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Whether it is alive and will have capacity once other requests end.
    pub(super) fn will_have_room(&self) -> bool {
        let limit = self.shared.limit.load(Ordering::Relaxed);
        limit > 0 && !self.shared.suspect.load(Ordering::Relaxed)
    }

    /// Whether something arrived from the peer recently. A connection that has served no request may be silent for
    /// longer.
    pub(super) fn is_known_alive(&self, now: Instant) -> bool {
        let limit = if self.shared.life.has_answered() {
            SILENCE
        } else {
            FRESH
        };
        now.saturating_duration_since(self.shared.life.heard_at()) < limit
    }

    /// How many requests it carries.
    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed)
    }

    pub(super) fn is_trusted(&self) -> bool {
        !self.shared.suspect.load(Ordering::Relaxed)
    }

    pub(super) fn check_liveness(&self) {
        if !self.shared.check_wanted.swap(true, Ordering::Relaxed) {
            self.shared.driver.wake();
        }
    }

    /// Whether the peer's settings have not arrived yet.
    pub(super) fn is_unsettled(&self, now: Instant) -> bool {
        !self.shared.settled.load(Ordering::Relaxed)
            && now.saturating_duration_since(self.shared.born) < SETTLED
    }

    /// When it will have been idle for too long.
    pub(super) fn idle_until(&self) -> Option<Instant> {
        (!self.shared.has_streams()).then(|| self.shared.idle_since() + IDLE)
    }

    /// Takes one of its streams; `None` if it accepts no more requests.
    pub(super) fn permit(&mut self, origin: Weak<dyn Http2Owner>) -> Option<StreamPermit> {
        if self.is_over() {
            return None;
        }
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        Some(StreamPermit {
            sender: Some(self.sender.clone()),
            shared: self.shared.clone(),
            is_kept: self.shared.life.has_answered(),
            origin,
        })
    }
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        self.shared.left.store(true, Ordering::Relaxed);
        // h2 does not notice by itself that nothing more will be sent.
        self.shared.driver.wake();
    }
}

impl StreamPermit {
    /// The connection was there before the request, though perhaps it has answered none.
    pub(super) fn has_idled(&mut self) {
        self.is_kept = true;
    }

    /// Sends a request and waits for the head of its answer. Dropping the future cancels the stream.
    pub(super) async fn send(
        mut self,
        ask: &Ask<'_>,
        body: UploadBody,
    ) -> Result<Response<UpstreamBody>, UpstreamFailure> {
        let Some(head) = wire_form(ask, &body) else {
            return Err(UpstreamFailure::none_sent(UpstreamCause::Target));
        };
        let life = self.shared.life.clone();
        let (reused, written) = (self.is_kept || life.has_answered(), life.written());
        let failed = |cause| UpstreamFailure {
            unsent: life.written() == written,
            reused,
            // What arrived may belong to other requests.
            unheard: true,
            cause,
        };
        let is_whole = body.is_end_stream();
        let Some(mut sender) = self.sender.take() else {
            return Err(UpstreamFailure::none_sent(UpstreamCause::Gone));
        };
        let sent = sender.send_request(head, is_whole);
        drop(sender);
        let (mut response, stream) = sent.map_err(|error| UpstreamFailure {
            unsent: true,
            ..failed(UpstreamCause::Http2(error))
        })?;
        let mut pipe = (!is_whole).then(|| Pipe {
            body,
            stream,
            waiting: Bytes::new(),
            is_last: false,
        });
        let mut interim = 0;
        let answer = poll_fn(|cx| {
            if let Some(sending) = &mut pipe {
                match sending.poll(cx) {
                    Poll::Ready(Err(PipeEnd::Upload)) => {
                        return Poll::Ready(Err(UpstreamCause::Upload));
                    }
                    Poll::Ready(Ok(()) | Err(PipeEnd::Refused)) => pipe = None,
                    Poll::Pending => {}
                }
            }
            poll_head(&mut response, &mut interim, cx)
        })
        .await
        .map_err(failed)?;
        life.answered();
        // If the answer arrives before the upload is complete, the rest may still be wanted.
        let upload = pipe.map(|mut pipe| {
            let rest = async move { poll_fn(|cx| pipe.poll(cx)).await.ok() };
            UploadTask::new(self.shared.tasks.spawn(rest).abort_handle())
        });
        let (head, stream) = answer.into_parts();
        let body = UpstreamBody::http2(stream, &head.headers, self, upload);
        Ok(Response::from_parts(head, body))
    }
}

fn poll_head(
    response: &mut ResponseFuture,
    interim: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, UpstreamCause>> {
    while let Poll::Ready(Some(Ok(_))) = response.poll_informational(cx) {
        *interim += 1;
        if *interim > MOST_INTERIM {
            return Poll::Ready(Err(UpstreamCause::Interim));
        }
    }
    Pin::new(response).poll(cx).map_err(UpstreamCause::Http2)
}

/// The head in HTTP/2's form (RFC 9113 §8.2.2): our fields contain none that concern a connection.
fn wire_form(ask: &Ask<'_>, body: &UploadBody) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = ask.base_url.join(ask.path, ask.query)?;
    *request.headers_mut() = ask.fields.map();
    let has_meaning = matches!(*ask.method, Method::POST | Method::PUT | Method::PATCH);
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || has_meaning)
    {
        let length = HeaderValue::from(length);
        let fields = request.headers_mut();
        fields.entry(CONTENT_LENGTH).or_insert(length);
    }
    Some(request)
}

impl Pipe {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeEnd>> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(PipeEnd::Refused));
            }
            if !self.waiting.is_empty() {
                ready!(self.poll_waiting(cx))?;
                if self.is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.waiting = frame.into_data().unwrap_or_default();
                    self.is_last = self.body.is_end_stream();
                    if self.waiting.is_empty() && self.is_last {
                        return Poll::Ready(self.send(Bytes::new(), true));
                    }
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(PipeEnd::Upload));
                }
                None => return Poll::Ready(self.send(Bytes::new(), true)),
            }
        }
    }

    /// Sends queued data as far as the peer allows.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeEnd>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Err(PipeEnd::Refused)),
                }
            }
            let part = self.stream.capacity().min(self.waiting.len());
            let part = self.waiting.split_to(part);
            let is_last = self.is_last && self.waiting.is_empty();
            self.send(part, is_last)?;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, data: Bytes, is_last: bool) -> Result<(), PipeEnd> {
        self.stream
            .send_data(data, is_last)
            .map_err(|_| PipeEnd::Refused)
    }
}

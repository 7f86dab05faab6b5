//! What a client sends: heads for the connection's own task, and a body for the task that forwards it. Both read the
//! socket themselves, so no byte waits for another task.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::super::admission::SlotUse;
use super::super::buffers;
use super::super::framing::{BodyPiece, Head, Length, RequestHead, RequestReader, Violation};
use super::super::socket::ReadHalf;

/// A client's bytes, shared by its connection and the current body.
#[derive(Debug)]
pub(super) struct Inbound(Mutex<InboundState>);

#[derive(Debug)]
struct InboundState {
    /// `None` once the connection has ended.
    socket: Option<ReadHalf>,
    reader: RequestReader,
    seat: Arc<SlotUse>,
    /// The number of the request whose body may be read. A new number ends any body that is still held.
    turn: u64,
    /// Whether a task holds that body.
    is_held: bool,
    /// Whether the client waits for `100 Continue`.
    expects_continue: bool,
    /// Whether a task wants the body that the client holds back.
    wants_continue: bool,
    /// The connection's task, to be woken for that.
    task: Option<Waker>,
}

/// A client's body.
#[derive(Debug)]
pub struct RequestBody(InboundKind);

#[derive(Debug)]
enum InboundKind {
    Empty,
    /// Arrived together with its head.
    Whole(Bytes),
    Coming(Coming),
}

impl RequestBody {
    /// Whether it has arrived completely, so that the next bytes are another request.
    pub(in crate::proxy) fn has_come(&self) -> bool {
        match &self.0 {
            InboundKind::Empty | InboundKind::Whole(_) => true,
            InboundKind::Coming(coming) => coming.is_over,
        }
    }
}

/// A body that did not arrive completely with its head.
#[derive(Debug)]
struct Coming {
    inbound: Arc<Inbound>,
    turn: u64,
    left: Option<u64>,
    is_over: bool,
}

/// Why a client's body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client disconnected, or its connection ended.
    #[error("the client's body broke off")]
    Broken,
    /// Its framing is ambiguous or invalid.
    #[error("the client's body is malformed: {0}")]
    Malformed(Violation),
}

/// The form that the answer to a request must have.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseForm {
    pub(super) to_head: bool,
    pub(super) http10: bool,
    pub(super) persists: bool,
}

/// The result of waiting for a head.
pub(super) enum HeadOutcome {
    Request(Box<(Head, RequestBody, ResponseForm)>),
    Violation(Violation),
    End,
}

impl Inbound {
    pub(super) fn new(socket: ReadHalf, limit: usize, seat: Arc<SlotUse>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(InboundState {
            socket: Some(socket),
            reader: RequestReader::new(limit),
            seat,
            turn: 0,
            is_held: false,
            expects_continue: false,
            wants_continue: false,
            task: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, InboundState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request, as soon as its head is complete.
    pub(super) fn poll_request(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<HeadOutcome> {
        let mut state = self.state();
        loop {
            match state.reader.head() {
                Err(violation) => return Poll::Ready(HeadOutcome::Violation(violation)),
                Ok(Some(head)) => {
                    state.seat.holds_head(0, state.reader.limit());
                    let request = Box::new(state.request(head, self));
                    return Poll::Ready(HeadOutcome::Request(request));
                }
                Ok(None) => {
                    let (size, limit) = (state.reader.head_size(), state.reader.limit());
                    state.seat.holds_head(size, limit);
                }
            }
            match state.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(HeadOutcome::End),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The state of an incomplete head: whether it has begun, and whether it is the connection's first.
    pub(super) fn head_under_way(&self) -> (bool, bool) {
        let state = self.state();
        (state.reader.is_in_head(), state.reader.requests() == 0)
    }

    /// Whether to send `100 Continue` now. Until then the task is woken when a body is wanted.
    pub(super) fn is_to_continue(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.expects_continue {
            state.task = Some(cx.waker().clone());
        }
        std::mem::take(&mut state.wants_continue)
    }

    /// Discards what has arrived of a body that is no longer needed; returns whether that was all of it.
    pub(super) fn skip_body(&self) -> bool {
        let mut state = self.state();
        // A task that still holds the body receives no more of it.
        state.turn += 1;
        state.is_held = false;
        !state.lacks_body()
    }

    /// Whether part of the current body has not arrived, or has not been read by the task that holds it.
    pub(super) fn lacks_body(&self) -> bool {
        self.state().lacks_body()
    }

    /// Releases the buffer, because nothing will be read for a while.
    pub(super) fn is_quiet(&self) {
        self.state().give_back_buffer();
    }

    /// Whether the client has sent more than was read, as far as known.
    pub(super) fn has_more(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.state();
        state.reader.is_unfinished() || matches!(state.poll_fill(cx), Poll::Ready(Ok(1..)))
    }

    /// Reads facts of a refused head, for the answer to it.
    pub(super) fn of_refused<T>(&self, read: impl FnOnce(&RequestReader) -> T) -> T {
        read(&self.state().reader)
    }

    /// Ends all reading and returns the socket's read half.
    pub(super) fn close(&self) -> Option<ReadHalf> {
        let mut state = self.state();
        state.turn += 1;
        state.task = None;
        state.give_back_buffer();
        state.socket.take()
    }
}

impl InboundState {
    /// Reads what has arrived. Holds no buffer while nothing has.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Ok(0));
        };
        if self.reader.has_no_buffer() {
            self.reader.lend(buffers::to_read());
        }
        let result = socket.poll_read(cx, self.reader.room());
        if result.is_pending() {
            self.give_back_buffer();
        }
        result
    }

    fn lacks_body(&mut self) -> bool {
        if !self.is_held {
            while let Ok(BodyPiece::Data(_)) = self.reader.body() {}
        }
        self.reader.is_in_body()
    }

    fn give_back_buffer(&mut self) {
        if let Some(buffer) = self.reader.give_back() {
            buffers::has_read(buffer);
        }
    }

    fn request(
        &mut self,
        head: RequestHead,
        inbound: &Arc<Inbound>,
    ) -> (Head, RequestBody, ResponseForm) {
        self.seat.begins_body();
        self.turn += 1;
        self.expects_continue = head.expects_continue;
        self.wants_continue = false;
        let here = self.reader.waiting();
        let left = match head.length {
            Length::Known(length) => Some(length),
            Length::Empty | Length::Chunked => None,
        };
        if head.length != Length::Empty && here > 0 {
            self.seat.gets_body(here);
        }
        let kind = match left {
            _ if head.length == Length::Empty => InboundKind::Empty,
            Some(left) if left <= here as u64 && !head.expects_continue => {
                match self.reader.body() {
                    Ok(BodyPiece::Data(data)) => InboundKind::Whole(data),
                    Ok(BodyPiece::Lacking | BodyPiece::End) | Err(_) => InboundKind::Empty,
                }
            }
            left => {
                self.is_held = true;
                InboundKind::Coming(Coming {
                    inbound: inbound.clone(),
                    turn: self.turn,
                    left,
                    is_over: false,
                })
            }
        };
        let asked = ResponseForm {
            to_head: head.head.method == hyper::Method::HEAD,
            http10: head.head.version == hyper::Version::HTTP_10,
            persists: head.persists,
        };
        (head.head, RequestBody(kind), asked)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if std::mem::take(&mut self.expects_continue) {
            self.wants_continue = true;
            if let Some(task) = self.task.take() {
                task.wake();
            }
        }
        loop {
            match self.reader.body() {
                Ok(BodyPiece::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(BodyPiece::End) => return Poll::Ready(None),
                Err(violation) => {
                    return Poll::Ready(Some(Err(BodyError::Malformed(violation))));
                }
                Ok(BodyPiece::Lacking) => {}
            }
            let filled = self.poll_fill(cx);
            if filled.is_pending() {
                self.seat.lacks_body();
            }
            match ready!(filled) {
                Ok(size @ 1..) => self.seat.gets_body(size),
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyError::Broken))),
            }
        }
    }
}

impl Coming {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut state = self.inbound.state();
        if state.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::Broken)));
        }
        let piece = ready!(state.poll_body(cx));
        self.is_over = match &piece {
            None => true,
            Some(Ok(_)) => !state.reader.is_in_body(),
            Some(Err(_)) => false,
        };
        if let (Some(Ok(data)), Some(left)) = (&piece, &mut self.left) {
            *left -= data.len() as u64;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut state = self.inbound.state();
        if state.turn == self.turn {
            state.is_held = false;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            InboundKind::Empty => Poll::Ready(None),
            InboundKind::Whole(data) => {
                let data = std::mem::take(data);
                this.0 = InboundKind::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            InboundKind::Coming(coming) => coming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            InboundKind::Empty => true,
            InboundKind::Whole(_) => false,
            InboundKind::Coming(coming) => coming.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            InboundKind::Empty => SizeHint::with_exact(0),
            InboundKind::Whole(data) => SizeHint::with_exact(data.len() as u64),
            InboundKind::Coming(coming) => {
                let left = coming.left;
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

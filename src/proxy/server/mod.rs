//! HTTP/1.1 to clients: one connection's requests, one after the other, its limits, and how it ends.
//!
//! [`ServerConnection::run`] is the whole of it: read a head, have it answered, write the answer, next. A body is read by
//! the task that sends it on ([`RequestBody`]), so there is nothing here to copy. In each phase the loop hears what ends
//! it from outside ([`disconnect`]): a shutdown, a newcomer that needs the place, the client's leaving. A client that has
//! closed its side gets what is answered at once; whatever has to wait for something is dropped.

mod date;
mod deadline_timer;
mod disconnect;
mod handle;
mod inbound;
mod lingering_close;
mod outbound;
mod refusal;
mod sending;
#[cfg(unix)]
pub(super) mod standalone;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::Response;
use hyper::body::Body;
use tokio::time::Instant;

use self::deadline_timer::Alarm;
pub(super) use self::disconnect::Stop;
use self::disconnect::{ConnectionEvent, EventSubscription};
pub(super) use self::handle::ConnectionHandle;
pub use self::inbound::{BodyError, RequestBody};
use self::inbound::{HeadOutcome, Inbound, ResponseForm};
use self::lingering_close::CloseMode;
use self::outbound::Outbound;
use self::refusal::RefusalReporter;
use super::admission::{ConnectionSlot, EvictionReason};
use super::answer_body::AnswerBody;
use super::error::{ErrorKind, ProxyError};
use super::framing::Head;
use super::gateway::Gateway;
use super::handler::{self, IncomingClient, IncomingRequest};
use super::socket::Socket;
use crate::config::Timeouts;

/// Bytes that wait in the kernel for a client that does not read. It also makes a slow reader one
/// that takes something now and then: the kernel says that there is room again when a third of it
/// is free.
const SEND_BUFFER: usize = 256 * 1024;
/// After a shutdown's grace, and where a newcomer needs the place, answers have this long for their last word.
const LAST_WORD: Duration = Duration::from_millis(500);
/// At a shutdown, a connection that was accepted has this long for its first request to come: where
/// another process goes on at the same socket, no connection is to be lost in between.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// What is allowed on a connection: the largest head, in bytes, and how long its waits may be.
#[derive(Debug, Clone, Copy)]
struct ConnectionLimits {
    head: usize,
    timeouts: Timeouts,
}

/// What belongs to a connection besides its socket.
struct ConnectionContext {
    limits: ConnectionLimits,
    stop: Stop,
    place: ConnectionSlot,
    handle: ConnectionHandle,
    /// Reports bytes that are not a request.
    reporter: RefusalReporter,
}

impl ConnectionContext {
    fn new(
        limits: ConnectionLimits,
        stop: Stop,
        place: ConnectionSlot,
        reporter: RefusalReporter,
    ) -> Self {
        Self {
            handle: ConnectionHandle::new(place.seat()),
            limits,
            stop,
            place,
            reporter,
        }
    }
}

/// Serves one client until it leaves or `stop` ends it.
pub(super) async fn serve(
    socket: Socket,
    gateway: Arc<Gateway>,
    entry: Arc<IncomingClient>,
    stop: Stop,
    place: ConnectionSlot,
) {
    let rules = gateway.rules();
    let limits = ConnectionLimits {
        head: rules.limits.headers,
        timeouts: rules.timeouts,
    };
    drop(rules);
    let reporter = RefusalReporter {
        ledger: gateway.ledger().clone(),
        from: entry.from.clone(),
        gateway: Some(gateway.clone()),
    };
    let context = ConnectionContext::new(limits, stop, place, reporter);
    let handle = context.handle.clone();
    let answer = move |head, body| {
        let request = IncomingRequest { head, body };
        handler::handle(gateway.clone(), entry.clone(), handle.clone(), request)
    };
    drive(socket, context, answer).await;
}

/// The same with another function that answers the requests.
async fn drive<F, B>(
    socket: Socket,
    context: ConnectionContext,
    answer: impl Fn(Head, RequestBody) -> F,
) where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    let ConnectionContext {
        limits,
        stop,
        place,
        handle,
        reporter,
    } = context;
    socket.set_nodelay();
    socket.set_send_buffer(SEND_BUFFER);
    let (read, mut write) = socket.split();
    let inbound = Inbound::new(read, limits.head, place.seat());
    let serving = async {
        let mut connection = ServerConnection {
            inbound: inbound.clone(),
            outbound: Outbound::new(&write),
            news: EventSubscription::new(&stop, &place, &write),
            alarm: Alarm::default(),
            limits,
            place: &place,
            handle: &handle,
            since: Instant::now(),
            head_since: None,
            draining: None,
            cut_at: None,
            hung_up: false,
        };
        connection.run(&answer, &reporter).await
    };
    // The log has a defect already; the answer must not look complete.
    let ending = AssertUnwindSafe(serving).catch_unwind().await;
    let read = inbound.close();
    match (ending.unwrap_or(CloseMode::Reset), read) {
        (CloseMode::Reset, _) => write.reset(),
        (CloseMode::Lingering, Some(read)) => {
            // From now on only for the client's sake, so a newcomer goes first.
            place.seat().waits();
            // Boxed, so that a connection keeps no room for its end.
            let lingering = Box::pin(lingering_close::linger(read, &mut write));
            tokio::select! {
                () = lingering => {}
                _ = place.asked_to_leave() => {}
                () = stop.abort.cancelled() => {}
            }
        }
        (CloseMode::InOrder | CloseMode::Cut | CloseMode::Lingering, _) => {}
    }
}

/// A connection that is served.
struct ServerConnection<'c> {
    inbound: Arc<Inbound>,
    outbound: Outbound<'c>,
    news: EventSubscription<'c>,
    alarm: Alarm,
    limits: ConnectionLimits,
    place: &'c ConnectionSlot,
    handle: &'c ConnectionHandle,
    /// Since when a head is waited for.
    since: Instant,
    /// Since when the head under way comes.
    head_since: Option<Instant>,
    /// Since when no new requests are taken.
    draining: Option<Instant>,
    /// When answers have had their last word.
    cut_at: Option<Instant>,
    /// The client has closed its side.
    hung_up: bool,
}

/// What comes next on a connection.
enum NextRequest {
    Request(Box<(Head, RequestBody, ResponseForm)>),
    /// The bytes are not a request.
    Refuse(ProxyError),
    Nothing(CloseMode),
}

impl ServerConnection<'_> {
    async fn run<F, B>(
        &mut self,
        answer: &impl Fn(Head, RequestBody) -> F,
        reporter: &RefusalReporter,
    ) -> CloseMode
    where
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let (head, body, asked) = match self.next().await {
                NextRequest::Request(request) => *request,
                NextRequest::Refuse(error) => return self.refuse(&error, reporter).await,
                NextRequest::Nothing(ending) => return ending,
            };
            // On the heap and gone with the answer's head, so that a stream keeps no room for it.
            let answering = Box::pin(answer(head, body));
            let response = match self.answer(answering, asked).await {
                Ok(response) => response,
                Err(ending) => return ending,
            };
            match self.send(response, asked).await {
                Ok(true) if self.inbound.skip_body() => {}
                Ok(_) => return self.ending().await,
                Err(ending) => return ending,
            }
        }
    }

    /// Waits for a head.
    async fn next(&mut self) -> NextRequest {
        self.place.seat().waits();
        self.since = Instant::now();
        self.head_since = None;
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextRequest> {
        if let Err(ending) = self.hear(cx) {
            return Poll::Ready(NextRequest::Nothing(ending));
        }
        match self.inbound.poll_request(cx) {
            Poll::Ready(HeadOutcome::Request(request)) => {
                return Poll::Ready(NextRequest::Request(request));
            }
            Poll::Ready(HeadOutcome::Violation(violation)) => {
                return Poll::Ready(NextRequest::Refuse(violation.error()));
            }
            Poll::Ready(HeadOutcome::End) => {
                return Poll::Ready(NextRequest::Nothing(CloseMode::InOrder));
            }
            Poll::Pending => {}
        }
        let (is_in_head, is_first) = self.inbound.head_under_way();
        if self.cut_at.is_some() || (self.draining.is_some() && !is_in_head && !is_first) {
            return Poll::Ready(NextRequest::Nothing(CloseMode::InOrder));
        }
        let timeouts = &self.limits.timeouts;
        let deadline = if is_first {
            self.since + timeouts.headers
        } else if is_in_head {
            *self.head_since.get_or_insert_with(Instant::now) + timeouts.headers
        } else {
            self.since + timeouts.keep_alive
        };
        let deadline = match self.draining {
            Some(since) if !is_in_head => deadline.min(since + FIRST_REQUEST),
            _ => deadline,
        };
        if !self.alarm.is_over(cx, deadline) {
            return Poll::Pending;
        }
        // Without a byte of a head it was an idle connection.
        Poll::Ready(if is_in_head {
            let message = "hermes-proxyd: the request's head arrived too slowly \
                           (`timeouts.headers`)";
            NextRequest::Refuse(ProxyError::new(ErrorKind::RequestTimeout, message))
        } else {
            NextRequest::Nothing(CloseMode::InOrder)
        })
    }

    /// Has a request answered.
    async fn answer<F: Future>(
        &mut self,
        mut answering: Pin<Box<F>>,
        asked: ResponseForm,
    ) -> Result<F::Output, CloseMode> {
        poll_fn(|cx| {
            self.hear(cx)?;
            let is_to_continue = self.inbound.is_to_continue(cx);
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if is_to_continue || self.inbound.is_to_continue(cx) {
                self.outbound.proceed();
            }
            if let Poll::Ready(Err(_)) = self.outbound.poll_flush(cx) {
                return Poll::Ready(Err(CloseMode::Cut));
            }
            if self.hung_up || self.is_past_cut(cx) {
                return Poll::Ready(Err(cut(asked)));
            }
            Poll::Pending
        })
        .await
    }

    async fn refuse(&mut self, error: &ProxyError, reporter: &RefusalReporter) -> CloseMode {
        let refused = self
            .inbound
            .of_refused(|reader| reporter.refuse(error, reader));
        let (response, asked, told) = refused;
        self.handle.refuses();
        let response = response.map(|body| AnswerBody::Whole(Some(body)));
        match self.send(response, asked).await {
            Ok(_) => {
                told.went_out();
                CloseMode::Lingering
            }
            Err(ending) => ending,
        }
    }

    /// How a connection ends that has served its last request.
    async fn ending(&mut self) -> CloseMode {
        let has_more = poll_fn(|cx| Poll::Ready(self.inbound.has_more(cx)));
        if has_more.await {
            CloseMode::Lingering
        } else {
            CloseMode::InOrder
        }
    }

    /// Hears what there is to hear from outside.
    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), CloseMode> {
        while let Poll::Ready(event) = self.news.poll(cx) {
            match event {
                ConnectionEvent::Drain => self.draining = Some(Instant::now()),
                ConnectionEvent::Abort => {
                    self.handle.cut_now();
                    self.cut_soon();
                }
                ConnectionEvent::Leave(EvictionReason::Idle) => return Err(CloseMode::InOrder),
                ConnectionEvent::Leave(EvictionReason::SlowBody) => {
                    self.handle.make_way();
                    self.cut_soon();
                }
                ConnectionEvent::HungUp => self.hung_up = true,
            }
        }
        Ok(())
    }

    fn cut_soon(&mut self) {
        self.cut_at.get_or_insert(Instant::now() + LAST_WORD);
    }

    fn is_past_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut_at
            .is_some_and(|cut_at| self.alarm.is_over(cx, cut_at))
    }
}

/// An answer to HTTP/1.0 ends with its connection (RFC 9112 §6.3), so a connection that is cut
/// must not end in order.
fn cut(asked: ResponseForm) -> CloseMode {
    if asked.http10 {
        CloseMode::Reset
    } else {
        CloseMode::Cut
    }
}

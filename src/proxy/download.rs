//! The answer on its way to the client: bytes as they come, and an end that tells the truth.
//!
//! When the provider breaks off, the client's connection is aborted, so that a cut answer never looks complete. In an
//! event stream, between two events, one error event goes out first, so that SDKs raise it at once. The same happens
//! when a shutdown cuts it. Between the event and the abort there is a pause: `fetch` discards what its reader has
//! not taken yet when a connection is aborted.
//!
//! In the middle of an event nothing can be said: to end the half event would deliver it as if it
//! were whole, and whatever follows it on its line becomes part of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection_pool::{BrokeOff, UpstreamBody};
use super::error::{ErrorFormat, ErrorKind, ProxyError};
use super::events::PassingEvents;
use super::keep_alive::{COMMENT, KeepAlive};
use super::record::{RequestEnd, Underway};
use super::server::ConnectionHandle;
use super::translation::TranslatedStream;
use crate::clock::Clock;
use crate::provider::Adapter;

/// How long a client of an event stream has to read what was sent last, before its connection is aborted. Shorter than
/// what `server` gives to answers at a shutdown.
const PAUSE: Duration = Duration::from_millis(250);
/// A service that was stopped may be back by then.
const RETRY: Duration = Duration::from_secs(5);

/// What the server gets when it asks for the next piece.
pub(super) type NextPiece = Poll<Option<Result<Frame<Bytes>, Aborted>>>;

/// Why an answer's connection is aborted; for debugging only.
#[derive(Debug, thiserror::Error)]
#[error("the provider's answer broke off")]
pub(super) struct Aborted;

/// A provider's answer.
#[derive(Debug)]
pub(super) struct Download {
    /// Until it is given up, and with it the provider.
    incoming: Option<UpstreamBody>,
    /// Until nothing more is sent, so that a pause holds none of its counts and places.
    underway: Option<Box<Underway>>,
    /// The longest silence.
    idle: Duration,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    events: Option<PassingEvents>,
    listener: Option<Box<QuotaListener>>,
    /// What makes another stream of it.
    translated: Option<Box<TranslatedStream>>,
    connection: ConnectionHandle,
    /// What fills its silence.
    keep_alive: Option<Box<KeepAlive>>,
    state: DownloadState,
}

/// Whom the events of a stream tell how much of the account's quota is used.
#[derive(Debug)]
pub(super) struct QuotaListener {
    pub(super) adapter: Arc<dyn Adapter>,
    /// The place of the login that they tell of.
    pub(super) login: usize,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum DownloadState {
    Passing,
    /// The whole answer and its end mark went out.
    Ended,
    /// An event to send before the connection is aborted.
    Parting(Bytes),
    /// What was passed is given one chance to be flushed before the connection is aborted.
    Flushing,
    /// The same, and the time to be read.
    Pausing,
    Aborting,
}

impl Download {
    /// `events`: the position in the event stream, if the answer is one and not encoded.
    pub(super) fn new(
        incoming: UpstreamBody,
        underway: Box<Underway>,
        idle: Duration,
        events: Option<PassingEvents>,
        connection: ConnectionHandle,
    ) -> Box<Self> {
        let is_sized = incoming.size_hint().exact().is_some();
        let events = events.map(|events| if is_sized { events.sized() } else { events });
        Box::new(Self {
            incoming: Some(incoming),
            underway: Some(underway),
            idle,
            last: Instant::now(),
            sleep: None,
            events,
            listener: None,
            translated: None,
            connection,
            keep_alive: None,
            state: DownloadState::Passing,
        })
    }

    /// With a receiver for the quota.
    pub(super) fn tells(&mut self, listener: Option<Box<QuotaListener>>) {
        self.listener = listener;
    }

    /// The same, as a stream of another wire.
    pub(super) fn translates(&mut self, translated: Option<Box<TranslatedStream>>) {
        self.translated = translated;
    }

    /// With comments after so long a silence, if it is an event stream that comments can be put into.
    pub(super) fn kept_alive(&mut self, after: Duration) {
        if self.events.is_some() || self.translated.is_some() {
            self.keep_alive = KeepAlive::new(after);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> NextPiece {
        loop {
            if !matches!(self.state, DownloadState::Aborting)
                && let Some(made) = self.next_made()
            {
                return Poll::Ready(Some(Ok(Frame::data(made))));
            }
            match std::mem::replace(&mut self.state, DownloadState::Aborting) {
                DownloadState::Passing if self.connection.is_cut() => self.cut(),
                DownloadState::Passing if self.connection.is_making_way() => self.make_way(),
                DownloadState::Passing if self.is_reading() => {
                    self.state = DownloadState::Passing;
                    ready!(self.poll_read(cx));
                }
                DownloadState::Passing => match self.poll_incoming(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.state = DownloadState::Passing;
                        // Trailers concern one connection: they don't pass.
                        let Ok(data) = frame.into_data() else {
                            continue;
                        };
                        if self.translated.is_some() {
                            self.crosses(&data);
                            continue;
                        }
                        self.passed(&data);
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Poll::Ready(None) if self.translated.is_some() => self.ends_translated(),
                    Poll::Ready(None) => return self.ended(),
                    Poll::Ready(Some(Err(_))) => self.broke(&broken_off()),
                    Poll::Pending if self.is_silent(cx) => self.broke(&ProxyError::new(
                        ErrorKind::UpstreamTimeout,
                        "hermes-proxyd: the provider was silent for longer than `timeouts.idle`",
                    )),
                    Poll::Pending => {
                        self.state = DownloadState::Passing;
                        return self.poll_comment(cx);
                    }
                },
                DownloadState::Ended => {
                    self.state = DownloadState::Ended;
                    return Poll::Ready(None);
                }
                DownloadState::Parting(event) => {
                    if let Some(mut underway) = self.underway.take() {
                        underway.sent(event.len(), self.last);
                    }
                    self.state = DownloadState::Pausing;
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                DownloadState::Pausing => {
                    let pause = || Box::pin(sleep_until(Instant::now() + PAUSE));
                    let pause = self.sleep.get_or_insert_with(pause);
                    if pause.as_mut().poll(cx).is_pending() {
                        self.state = DownloadState::Pausing;
                        return Poll::Pending;
                    }
                }
                DownloadState::Flushing => {
                    self.state = DownloadState::Aborting;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                DownloadState::Aborting => return Poll::Ready(Some(Err(Aborted))),
            }
        }
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    /// The provider has sent all that it announced, and its end.
    fn has_all(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn ended_as(&mut self, end: RequestEnd) {
        if let Some(underway) = &mut self.underway {
            underway.ended(end);
        }
    }

    /// Waits, and sends a comment when the stream has been silent for so long between two events. Within one it would
    /// become part of it.
    fn poll_comment(&mut self, cx: &mut Context<'_>) -> NextPiece {
        let Some(keep_alive) = &mut self.keep_alive else {
            return Poll::Pending;
        };
        loop {
            ready!(keep_alive.poll_due(cx));
            let is_between = match (&self.translated, &self.events) {
                // Events of ours are whole.
                (Some(translated), _) => !translated.is_over(),
                (None, Some(events)) => events.gap() == Some(""),
                (None, None) => false,
            };
            if is_between {
                if let Some(underway) = &mut self.underway {
                    underway.sent_beside(COMMENT.len());
                }
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))));
            }
        }
    }

    fn sent(&mut self, bytes: usize, now: Instant) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.sent(now);
        }
        if let Some(underway) = &mut self.underway {
            underway.sent(bytes, now);
        }
    }

    fn passed(&mut self, data: &Bytes) {
        self.last = Instant::now();
        self.sent(data.len(), self.last);
        self.read(data);
        self.meter(data);
        if self.is_over() {
            self.ended_as(RequestEnd::Complete);
        }
    }

    /// What the provider's answer tells of its usage.
    fn meter(&mut self, data: &Bytes) {
        if let Some(underway) = &mut self.underway {
            underway.reads(data);
        }
    }

    /// What the provider's events tell.
    fn read(&mut self, data: &Bytes) {
        let Some(events) = &mut self.events else {
            return;
        };
        events.pass(data);
        if let Some(underway) = &mut self.underway {
            underway.events(events.count());
        }
        let blocked = events.blocked();
        if let (Some(code), Some(underway)) = (blocked, &mut self.underway) {
            underway.blocked(code);
        }
        if let Some(listener) = &self.listener
            && let Some(event) = events.told()
        {
            let now = listener.clock.now();
            listener.adapter.hear_event(&event, listener.login, now);
        }
    }

    /// A piece comes that becomes others, or none yet.
    fn crosses(&mut self, data: &Bytes) {
        self.last = Instant::now();
        self.read(data);
        self.meter(data);
        let failure = self
            .translated
            .as_mut()
            .and_then(|translated| translated.pass(data));
        self.after_translating(failure.as_ref());
    }

    /// Whether a long event is being translated elsewhere.
    fn is_reading(&self) -> bool {
        let translated = self.translated.as_ref();
        translated.is_some_and(|translated| translated.is_reading())
    }

    /// Waits for what a long event becomes.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let translated = self.translated.as_mut();
        let failure = match translated.map(|translated| translated.poll_read(cx)) {
            Some(read) => ready!(read),
            None => None,
        };
        self.last = Instant::now();
        self.after_translating(failure.as_ref());
        Poll::Ready(())
    }

    fn after_translating(&mut self, failure: Option<&ProxyError>) {
        if let Some(error) = failure {
            self.broke(error);
        } else if self.is_over() {
            self.ended_as(RequestEnd::Complete);
        }
    }

    /// The next piece of what was made of the provider's events.
    fn next_made(&mut self) -> Option<Bytes> {
        let made = self.translated.as_mut()?.next()?;
        self.last = Instant::now();
        self.sent(made.len(), self.last);
        if matches!(self.state, DownloadState::Passing) && self.is_over() {
            self.ended_as(RequestEnd::Complete);
        }
        Some(made)
    }

    /// The provider's stream has ended: so does the other one, or it is aborted.
    fn ends_translated(&mut self) {
        let end = self.translated.as_mut().map(|translated| translated.end());
        if let Some(Err(error)) = end {
            self.broke(&error);
        } else {
            self.state = DownloadState::Ended;
            self.ended_as(RequestEnd::Complete);
        }
    }

    /// A clean end, with the end mark that is missing.
    fn ended(&mut self) -> NextPiece {
        self.state = DownloadState::Ended;
        self.ended_as(RequestEnd::Complete);
        let missing = self.events.as_ref().and_then(PassingEvents::missing_end);
        if let Some(mark) = missing {
            self.sent(mark.len(), Instant::now());
        }
        Poll::Ready(missing.map(|mark| Ok(Frame::data(Bytes::from_static(mark.as_bytes())))))
    }

    /// How much is still to come, where that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) if self.translated.is_none() => incoming.size_hint(),
            Some(_) | None => SizeHint::default(),
        }
    }

    /// Whether everything has passed that will.
    pub(super) fn is_over(&self) -> bool {
        match self.state {
            DownloadState::Passing => {
                let lacks_end = || {
                    self.events
                        .as_ref()
                        .and_then(PassingEvents::missing_end)
                        .is_some()
                };
                let is_over = || {
                    self.translated
                        .as_ref()
                        .is_none_or(|translated| translated.is_over())
                };
                self.has_all() && !lacks_end() && is_over() && !self.has_more()
            }
            DownloadState::Ended => !self.has_more(),
            DownloadState::Parting(_)
            | DownloadState::Flushing
            | DownloadState::Pausing
            | DownloadState::Aborting => false,
        }
    }

    /// Whether something that was made has not gone out.
    fn has_more(&self) -> bool {
        let translated = self.translated.as_ref();
        translated.is_some_and(|translated| translated.has_more())
    }

    fn broke(&mut self, error: &ProxyError) {
        self.ended_as(RequestEnd::UpstreamBroke);
        self.part(error);
    }

    fn cut(&mut self) {
        self.ended_as(RequestEnd::Cut);
        self.part(&shutting_down());
    }

    fn make_way(&mut self) {
        self.ended_as(RequestEnd::MadeWay);
        self.part(&too_slow_to_stay());
    }

    /// The log has it already.
    pub(super) fn defect(&mut self) -> NextPiece {
        self.ended_as(RequestEnd::Defect);
        self.state = DownloadState::Aborting;
        Poll::Ready(Some(Err(Aborted)))
    }

    /// The last word, where one can be understood.
    fn part(&mut self, error: &ProxyError) {
        self.incoming = None;
        self.sleep = None;
        let format = self
            .underway
            .as_deref()
            .map_or(ErrorFormat::OpenAi, Underway::error_format);
        // A wire with an end for answers that fail has that, and is not aborted: its clients don't read it otherwise.
        if self
            .translated
            .as_mut()
            .is_some_and(|translated| translated.fails(error))
        {
            self.state = DownloadState::Ended;
            return;
        }
        // Events of ours are whole.
        let gap = match &self.translated {
            Some(translated) => Some((!translated.is_over()).then_some("")),
            None => self.events.as_ref().map(PassingEvents::gap),
        };
        self.state = match gap {
            Some(Some(gap)) => {
                DownloadState::Parting([gap.as_bytes(), &error.event(format)].concat().into())
            }
            Some(None) => DownloadState::Pausing,
            None => DownloadState::Flushing,
        };
        if !matches!(self.state, DownloadState::Parting(_)) {
            self.underway = None;
        }
    }

    /// The timer is set once and looks, when it fires, whether something came since.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.last + self.idle;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

fn broken_off() -> ProxyError {
    ProxyError::new(
        ErrorKind::UpstreamUnreachable,
        "hermes-proxyd: the provider cut off its answer",
    )
}

/// What a request gets that a shutdown cuts.
pub(super) fn shutting_down() -> ProxyError {
    ProxyError::new(
        ErrorKind::ShuttingDown,
        "hermes-proxyd is being stopped, and the time for running requests (`timeouts.drain`) is \
         over",
    )
    .retry_after(RETRY)
}

/// What a request gets whose connection makes way for a new one.
pub(super) fn too_slow_to_stay() -> ProxyError {
    ProxyError::new(
        ErrorKind::RequestTimeout,
        "hermes-proxyd: the request body arrived too slowly while all connections were in use \
         (`limits.connections`)",
    )
}

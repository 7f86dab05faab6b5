//! The answer on its way to the client: bytes as they come, and an end that tells the truth.
//!
//! When the provider breaks off, the client's connection is aborted, so that a cut answer never
//! looks complete. In an event stream one error event goes out first, if the stream stands
//! between two events, so that SDKs raise it at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::{ErrorKind, ProxyError};
use super::outcome::{End, Outcome};

/// The body of any answer.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// Made here, whole.
    Whole(Option<Bytes>),
    /// From the provider.
    Stream(Box<Download>),
}

/// Why an answer's connection is aborted; nobody reads it.
#[derive(Debug, thiserror::Error)]
#[error("the provider's answer broke off")]
pub(super) struct Aborted;

/// A provider's answer.
#[derive(Debug)]
pub(super) struct Download {
    incoming: Incoming,
    outcome: Outcome,
    /// The longest silence.
    idle: Duration,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    events: Option<EventBoundary>,
    /// HTTP/2 can end a stream without its end mark (`RST_STREAM` with `NO_ERROR`), which hyper
    /// tells like an end.
    http2: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Passing,
    /// An event to send before the end.
    Parting(Bytes),
    /// What was passed is given one chance to be flushed before the connection is aborted.
    Flushing,
    Aborting,
}

/// Whether an event stream stands between two events: at its start, or behind an empty line.
#[derive(Debug, Default, Clone, Copy)]
struct EventBoundary {
    /// The last bytes, oldest first; zero before the start.
    tail: [u8; 4],
}

impl EventBoundary {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().skip(bytes.len().saturating_sub(4)) {
            self.tail.rotate_left(1);
            if let Some(last) = self.tail.last_mut() {
                *last = *byte;
            }
        }
    }

    fn is_between_events(self) -> bool {
        matches!(
            self.tail,
            [0, 0, 0, 0] | [_, _, b'\n', b'\n'] | [b'\r', b'\n', b'\r', b'\n']
        ) || matches!(self.tail, [_, _, b'\r', b'\r'])
    }
}

impl Download {
    /// `is_events`: the answer is an event stream, not encoded.
    pub(super) fn new(
        incoming: Incoming,
        outcome: Outcome,
        idle: Duration,
        is_events: bool,
    ) -> Self {
        // An event more than the announced length would break the framing.
        let events = is_events && incoming.size_hint().exact().is_none();
        Self {
            incoming,
            outcome,
            idle,
            last: Instant::now(),
            sleep: None,
            events: events.then(EventBoundary::default),
            http2: false,
            state: State::Passing,
        }
    }

    /// The answer came over HTTP/2.
    pub(super) fn over_http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Aborting) {
                State::Passing => match Pin::new(&mut self.incoming).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.state = State::Passing;
                        // Trailers concern one connection: they don't pass.
                        let Ok(data) = frame.into_data() else {
                            continue;
                        };
                        self.passed(&data);
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Poll::Ready(None) if self.http2 && !self.incoming.is_end_stream() => self
                        .broke(
                            ErrorKind::UpstreamUnreachable,
                            "the provider broke off its answer",
                        ),
                    Poll::Ready(None) => {
                        self.state = State::Passing;
                        self.outcome.ended(End::Complete);
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(Err(_))) => {
                        self.broke(
                            ErrorKind::UpstreamUnreachable,
                            "the provider broke off its answer",
                        );
                    }
                    Poll::Pending if self.is_silent(cx) => self.broke(
                        ErrorKind::UpstreamTimeout,
                        "the provider was silent for longer than `timeouts.idle`",
                    ),
                    Poll::Pending => {
                        self.state = State::Passing;
                        return Poll::Pending;
                    }
                },
                State::Parting(event) => {
                    self.state = State::Flushing;
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                State::Flushing => {
                    self.state = State::Aborting;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Aborting => return Poll::Ready(Some(Err(Aborted))),
            }
        }
    }

    fn passed(&mut self, data: &Bytes) {
        self.last = Instant::now();
        self.outcome.sent(data.len(), self.last);
        if let Some(events) = &mut self.events {
            events.pass(data);
        }
        if self.incoming.is_end_stream() {
            self.outcome.ended(End::Complete);
        }
    }

    fn broke(&mut self, kind: ErrorKind, message: &str) {
        self.outcome.ended(End::UpstreamBroke);
        self.state = match self.events {
            Some(events) if events.is_between_events() => {
                State::Parting(ProxyError::new(kind, format!("hermes-proxyd: {message}")).event())
            }
            Some(_) | None => State::Flushing,
        };
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

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(download) => download.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(download) => {
                matches!(download.state, State::Passing) && download.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(download) => download.incoming.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_behind_an_empty_line_however_the_stream_is_cut() {
        for (text, between) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            (": note\n\n", true),
            ("data: 1\n", false),
            ("data: 1", false),
            ("data: 1\r\n", false),
        ] {
            for cut in 1..=text.len().max(1) {
                let mut boundary = EventBoundary::default();
                for piece in text.as_bytes().chunks(cut) {
                    boundary.pass(piece);
                }
                assert_eq!(
                    boundary.is_between_events(),
                    between,
                    "{text:?} cut at {cut}"
                );
            }
        }
    }
}

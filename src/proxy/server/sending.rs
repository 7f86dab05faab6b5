//! An answer under way: available bytes are written at once, and while the client does not take them, no more are
//! requested.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{HeaderMap, Response};
use tokio::time::Instant;

use super::super::framing::give_back;
use super::inbound::ResponseForm;
use super::lingering_close::CloseMode;
use super::{ServerConnection, cut};

/// A client takes something of a refusal within this time, or is cut.
const REFUSAL: Duration = Duration::from_secs(1);

/// What there is of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// Nothing right now.
    Waits,
    HasMore,
}

/// How far an answer's body has been sent.
struct BodyProgress<B> {
    /// What is left of it; `None` where there is no body, or no more of it.
    body: Option<B>,
    /// Whether its end has been written.
    is_ended: bool,
    /// Since when the client has taken nothing.
    blocked: Option<Instant>,
}

/// An answer's body broke off.
#[derive(Debug, PartialEq, Eq)]
struct Broke;

impl ServerConnection<'_> {
    /// Writes an answer; whether another one may follow.
    pub(super) async fn send<B>(
        &mut self,
        response: Response<B>,
        asked: ResponseForm,
    ) -> Result<bool, CloseMode>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = response.into_parts();
        let mut body = (!body.is_end_stream()).then_some(body);
        let hint = body.as_ref().map(Body::size_hint);
        let is_ready = hint.as_ref().is_none_or(|hint| hint.exact().is_some());
        let persists = asked.persists
            && self.draining.is_none()
            && !says_close(&head.headers)
            // The rest of an unread body must not become a request. The client is told, if
            // possible.
            && !(is_ready && self.inbound.lacks_body());
        let asked = ResponseForm { persists, ..asked };
        let announced = self.outbound.begin(&head, asked, hint.as_ref());
        give_back(head.headers);
        if announced.is_bodiless {
            body = None;
        }
        let mut sending = BodyProgress {
            body,
            is_ended: false,
            blocked: None,
        };
        poll_fn(|cx| {
            self.hear(cx)?;
            let sent = self.poll_send(cx, &mut sending);
            sent.map_err(|ending| ending.unwrap_or(cut(asked)))
        })
        .await?;
        Ok(announced.persists)
    }

    /// Writes on. Where it can't go on, says how the connection ends; `None` where that is up to what was
    /// asked.
    fn poll_send<B>(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut BodyProgress<B>,
    ) -> Poll<Result<(), Option<CloseMode>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let filled = self.fill(cx, sending);
            let flushed = self.outbound.poll_flush(cx);
            if self.outbound.has_moved() {
                sending.blocked = None;
            }
            // What had passed was given a chance to go out.
            if filled.is_err() {
                return Poll::Ready(Err(None));
            }
            match flushed {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(None)),
                Poll::Ready(Ok(())) if sending.is_ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if filled == Ok(Filled::Waits) => break,
                Poll::Ready(Ok(())) => {}
                Poll::Pending if self.is_stalled(cx, &mut sending.blocked) => {
                    return Poll::Ready(Err(Some(CloseMode::Reset)));
                }
                Poll::Pending => break,
            }
        }
        if !sending.is_ended {
            self.inbound.is_quiet();
            if self.hung_up {
                return Poll::Ready(Err(None));
            }
        }
        if self.is_past_cut(cx) {
            return Poll::Ready(Err(None));
        }
        Poll::Pending
    }

    /// Takes what there is of an answer's body. `Err`: it broke.
    fn fill<B>(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut BodyProgress<B>,
    ) -> Result<Filled, Broke>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while self.outbound.has_room() && !sending.is_ended {
            let frame = match sending.body.as_mut() {
                None => None,
                Some(body) => match Pin::new(body).poll_frame(cx) {
                    Poll::Pending => return Ok(Filled::Waits),
                    Poll::Ready(frame) => frame,
                },
            };
            match frame {
                Some(Err(_)) => return Err(Broke),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.outbound.put(data).map_err(|_| Broke)?;
                    }
                    if !sending.body.as_ref().is_none_or(Body::is_end_stream) {
                        continue;
                    }
                }
                None => {}
            }
            self.outbound.end().map_err(|_| Broke)?;
            sending.is_ended = true;
            // Its record is entered with the last byte.
            sending.body = None;
        }
        Ok(Filled::HasMore)
    }

    /// Whether the client has taken nothing for too long. For a refusal it has less time.
    fn is_stalled(&mut self, cx: &mut Context<'_>, blocked: &mut Option<Instant>) -> bool {
        let idle = self.limits.timeouts.idle;
        let is_refusing = self.handle.is_refusing();
        let limit = if is_refusing { idle.min(REFUSAL) } else { idle };
        let since = *blocked.get_or_insert_with(Instant::now);
        if !self.alarm.is_over(cx, since + limit) {
            return false;
        }
        if is_refusing {
            tracing::debug!("a client did not read a refusal; its connection is closed");
        } else {
            tracing::info!(
                idle_seconds = idle.as_secs(),
                "a client read nothing of its answer for `timeouts.idle`; its connection is closed"
            );
        }
        true
    }
}

fn says_close(fields: &HeaderMap) -> bool {
    let close = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    fields.get_all(CONNECTION).iter().any(close)
}

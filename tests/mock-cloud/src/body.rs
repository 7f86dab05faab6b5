//! The bodies of answers: whole, in chunks with pauses, echoed, endless, cut.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use sha2::{Digest, Sha256};
use tokio::time::Sleep;

use crate::pattern::Noise;
use crate::record::Log;
use crate::server::Hangup;
use crate::steering::{Cut, Steering};

/// A body with whatever is to go wrong with it.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    source: Source,
    pace: Option<Box<Pace>>,
    watch: Option<Watch>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Chunks(VecDeque<Bytes>),
    Noise(Noise, usize),
    Endless(Bytes),
    Echo(Incoming),
}

/// When the pieces go out, and how they end.
#[derive(Debug, Default)]
struct Pace {
    delay: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Flush between the pieces.
    flush: bool,
    waited: bool,
    sent: u64,
    cut: Option<(u64, Cut)>,
    hang: Option<u64>,
    reset: Arc<AtomicBool>,
}

/// Notes how a request ended when its answer's body is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) log: Arc<Log>,
    pub(crate) number: u64,
    pub(crate) finished: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.log.end(self.number, self.finished);
    }
}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::from(Source::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    pub(crate) fn chunks(chunks: VecDeque<Bytes>) -> Self {
        Self::from(Source::Chunks(chunks))
    }

    pub(crate) fn noise(seed: u64, size: usize, chunk: usize) -> Self {
        Self::from(Source::Noise(Noise::new(seed, size), chunk))
    }

    pub(crate) fn echo(incoming: Incoming) -> Self {
        Self::from(Source::Echo(incoming))
    }

    pub(crate) fn endless(bytes: impl Into<Bytes>) -> Self {
        Self::from(Source::Endless(bytes.into()))
    }

    fn from(source: Source) -> Self {
        Self {
            source,
            pace: None,
            watch: None,
        }
    }

    pub(crate) fn paced(mut self, delay: Duration, flush: bool) -> Self {
        let pace = self.pace.get_or_insert_default();
        pace.delay = delay;
        pace.flush = flush;
        self
    }

    /// Applies what a steering says of the body; the pieces exist already.
    pub(crate) fn steered(mut self, steering: &Steering, reset: Arc<AtomicBool>) -> Self {
        let delay = Duration::from_millis(steering.delay_chunk_ms);
        let cut = steering.cut_after_bytes.map(|bytes| (bytes, steering.cut));
        let chunked = steering.chunk_bytes.is_some();
        if delay.is_zero() && cut.is_none() && steering.hang_after_bytes.is_none() && !chunked {
            return self;
        }
        let hang = steering.hang_after_bytes;
        let pace = Pace {
            delay,
            flush: true,
            cut,
            hang,
            reset,
            ..Pace::default()
        };
        self.pace = Some(Box::new(pace));
        self
    }

    pub(crate) fn watched(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Hangup>>> {
        match &mut self.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Source::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(Ok)),
            Source::Noise(noise, chunk) => Poll::Ready(noise.next(*chunk).map(Ok)),
            Source::Endless(bytes) => Poll::Ready(Some(Ok(bytes.clone()))),
            Source::Echo(incoming) => match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Hangup))),
                Poll::Ready(Some(Ok(frame))) => {
                    Poll::Ready(Some(Ok(frame.into_data().unwrap_or_default())))
                }
            },
        }
    }
}

impl Pace {
    /// Whether the next piece may go.
    fn ready(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.delay.is_zero() && self.sent > 0 {
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.delay)));
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.sleep = None;
        } else if self.flush && !self.waited && self.sent > 0 {
            // hyper flushes when the body has nothing ready.
            self.waited = true;
            cx.waker().wake_by_ref();
            return false;
        }
        self.waited = false;
        true
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Hangup;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        let this = self.get_mut();
        let next = this.paced_next(cx);
        if let Poll::Ready(next) = &next
            && let Some(watch) = &mut this.watch
        {
            watch.finished = match next {
                None => true,
                Some(Ok(_)) => this.source.is_exhausted(),
                Some(Err(_)) => watch.finished,
            };
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Whole(None)) && self.pace.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Noise(noise, _) => SizeHint::with_exact(noise.left() as u64),
            Source::Chunks(_) | Source::Endless(_) | Source::Echo(_) => SizeHint::default(),
        }
    }
}

impl Source {
    fn is_exhausted(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Chunks(chunks) => chunks.is_empty(),
            Self::Noise(noise, _) => noise.left() == 0,
            Self::Endless(_) | Self::Echo(_) => false,
        }
    }
}

impl AnswerBody {
    fn paced_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        let this = self;
        let Some(mut pace) = this.pace.take() else {
            return this
                .next(cx)
                .map(|next| next.map(|next| next.map(Frame::data)));
        };
        if pace.hang.is_some_and(|limit| pace.sent >= limit) {
            this.pace = Some(pace);
            return Poll::Pending;
        }
        let ready = pace.ready(cx);
        let ended = pace.cut.filter(|(limit, _)| pace.sent >= *limit);
        if let Some((_, cut)) = ended.filter(|_| ready) {
            pace.reset.store(cut == Cut::Rst, Ordering::Relaxed);
            this.pace = Some(pace);
            return Poll::Ready(Some(Err(Hangup)));
        }
        let next = if ready { this.next(cx) } else { Poll::Pending };
        let limit = [pace.cut.map(|(limit, _)| limit), pace.hang]
            .into_iter()
            .flatten()
            .min();
        let next = next.map(|next| {
            next.map(|next| {
                next.map(|mut bytes| {
                    let room = limit.map_or(u64::MAX, |limit| limit - pace.sent);
                    bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
                    pace.sent += bytes.len() as u64;
                    Frame::data(bytes)
                })
            })
        });
        this.pace = Some(pace);
        next
    }
}

/// Reads a request's body whole, noting it as it comes.
pub(crate) async fn read(
    incoming: &mut Incoming,
    log: &Log,
    number: u64,
) -> Result<Vec<u8>, Hangup> {
    let mut body = Vec::new();
    let mut hash = Sha256::new();
    while let Some(frame) = http_body_util::BodyExt::frame(incoming).await {
        let Ok(data) = frame.map_err(|_| Hangup)?.into_data() else {
            continue;
        };
        log.body(number, &data);
        hash.update(&data);
        body.extend_from_slice(&data);
    }
    log.body_ended(number, hash);
    Ok(body)
}

//! The client's body on its way to the provider.
//!
//! Its first part is kept while it passes, so that one replay is possible after the provider
//! refused the credential; once the provider has answered anything else, that memory is released.
//! The body is shared between the attempts: a replay sends the kept part and then continues to read
//! from the client.

mod naming;
mod search;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::Violation;
use super::model_field::{AmbiguousModel, ModelSearch};
use super::server::{BodyError, RequestBody};

use self::naming::ModelNaming;

/// Pieces below this size are copied to be kept.
const SMALL: usize = 4096;
/// A kept piece's size in addition to its bytes.
const PIECE: usize = 64;

/// What limits an upload.
#[derive(Debug, Clone)]
pub(super) struct UploadLimits {
    /// Bytes in all.
    pub(super) size: u64,
    /// The longest silence.
    pub(super) silence: Duration,
    /// Bytes kept for a replay.
    pub(super) replay: usize,
    /// Bytes kept for replays by all requests, with those that are kept now.
    pub(super) replay_total: usize,
    pub(super) replay_used: Arc<AtomicUsize>,
}

/// Why a client's body ended too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the request body is larger than the limit")]
    TooLarge,
    #[error("the client was silent for too long in its body")]
    TooSlow,
    #[error("the client's body broke off")]
    Broken,
    #[error("the client's body is malformed: {0}")]
    Malformed(Violation),
    #[error("the model that the client's body names is unclear: {0}")]
    Unclear(AmbiguousModel),
    #[error("the body was taken over by a replay")]
    Superseded,
}

impl UploadError {
    fn of(error: BodyError) -> Self {
        match error {
            BodyError::Broken => Self::Broken,
            BodyError::Malformed(violation) => Self::Malformed(violation),
        }
    }
}

/// Why a body's model is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    /// The body ended too soon, or its model is ambiguous.
    Upload(UploadError),
    /// It is not within the first part that may be read ahead.
    TooFar,
    /// All requests together keep as much as they may.
    NoRoom,
}

/// A client's body, shared by the attempts to send it.
#[derive(Debug, Clone)]
pub(super) struct Upload(Arc<Mutex<BodySource>>);

#[derive(Debug)]
struct BodySource {
    incoming: RequestBody,
    limits: UploadLimits,
    kept: VecDeque<Bytes>,
    /// How many of the kept pieces the present attempt has sent.
    sent: usize,
    kept_bytes: usize,
    /// What they take of memory, and so of the limits.
    kept_memory: usize,
    /// Whether everything that passed is kept.
    replayable: bool,
    /// Whether a piece went to an attempt and is kept no longer.
    lost: bool,
    /// Looks for the body's model, and for a second one, where where it goes depends on that.
    scanner: Option<Box<ModelSearch>>,
    /// Hears its model, where that is counted.
    naming: Option<ModelNaming>,
    whose: Whose,
    received: u64,
    last: Instant,
    failure: Option<UploadError>,
    finished: bool,
    attempt: usize,
}

/// Whose bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Client,
    /// What is kept is the whole body, in the place of the client's.
    Ours,
}

/// One attempt's view of the body.
#[derive(Debug)]
pub(super) struct UploadBody {
    upload: Option<Upload>,
    attempt: usize,
    hint: SizeHint,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    pub(super) fn new(incoming: RequestBody, limits: UploadLimits) -> Self {
        let finished = incoming.is_end_stream();
        Self(Arc::new(Mutex::new(BodySource {
            incoming,
            replayable: limits.replay > 0,
            whose: Whose::Client,
            limits,
            kept: VecDeque::new(),
            sent: 0,
            kept_bytes: 0,
            kept_memory: 0,
            lost: false,
            scanner: None,
            naming: None,
            received: 0,
            last: Instant::now(),
            failure: None,
            finished,
            attempt: 0,
        })))
    }

    /// The body for one more attempt; earlier ones get nothing more.
    pub(super) fn body(&self) -> UploadBody {
        let mut source = self.source();
        source.attempt += 1;
        source.sent = 0;
        let hint = source.incoming.size_hint();
        let kept = source.kept_bytes as u64;
        // What has been read already comes on top of what is still to come.
        let hint = match hint
            .exact()
            .or_else(|| (source.whose == Whose::Ours).then_some(0))
        {
            Some(left) => SizeHint::with_exact(left + kept),
            None => SizeHint::default(),
        };
        UploadBody {
            upload: Some(self.clone()),
            attempt: source.attempt,
            hint,
            sleep: None,
        }
    }

    /// From now on `body` is sent, as often as needed. The client's own has been read to its end.
    pub(super) fn put_whole(&self, body: Bytes) {
        let mut source = self.source();
        let memory = body.len() + PIECE;
        source
            .limits
            .replay_used
            .fetch_add(memory, Ordering::Relaxed);
        source.kept_bytes += body.len();
        source.kept_memory += memory;
        source.kept.push_back(body);
        source.replayable = true;
        source.whose = Whose::Ours;
        source.lost = false;
        source.finished = true;
    }

    /// Whether everything that was sent so far can be sent again.
    pub(super) fn can_replay(&self) -> bool {
        let source = self.source();
        source.replayable && source.failure.is_none()
    }

    /// Whether another connection can be given all of it: no attempt was given any of it yet, or all of that is
    /// kept.
    pub(super) fn can_go_elsewhere(&self) -> bool {
        let source = self.source();
        !source.lost && source.failure.is_none()
    }

    /// No replay will happen: gives back what was kept.
    pub(super) fn forget(&self) {
        self.source().forget();
    }

    /// What went wrong on the client's side.
    pub(super) fn failure(&self) -> Option<UploadError> {
        self.source().failure
    }

    /// Bytes received from the client.
    pub(super) fn received(&self) -> u64 {
        self.source().received
    }

    /// Has its model heard as it passes, for [`Self::with_model`].
    pub(super) fn hear_model(&self, search: ModelSearch) {
        self.source().naming = Some(ModelNaming::new(search));
    }

    /// Gives the model that was heard.
    pub(super) fn with_model<T>(&self, work: impl FnOnce(Option<&str>) -> T) -> T {
        let source = self.source();
        work(source.naming.as_ref().and_then(ModelNaming::name))
    }

    /// Whether the whole body has been read.
    pub(super) fn is_finished(&self) -> bool {
        self.source().finished
    }

    /// Whether its body may name no model but one.
    pub(super) fn is_alone(&self) -> bool {
        let source = self.source();
        source
            .scanner
            .as_ref()
            .is_some_and(|scanner| scanner.is_alone())
    }

    /// The most bytes that a client may send.
    pub(super) fn limit(&self) -> u64 {
        self.source().limits.size
    }

    /// The longest silence that a client may keep.
    pub(super) fn silence(&self) -> Duration {
        self.source().limits.silence
    }

    /// When the client sent something last.
    pub(super) fn last_progress(&self) -> Instant {
        self.source().last
    }

    fn source(&self) -> MutexGuard<'_, BodySource> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodySource {
    /// The next piece for the present attempt.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        let piece = ready!(self.receive(cx));
        if let Some(Ok(data)) = &piece {
            self.keep(data);
        }
        Poll::Ready(piece)
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => {
                    self.finished = true;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(self.fail(UploadError::of(error)))));
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers of a request go no further.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.last = Instant::now();
            self.received += data.len() as u64;
            self.finished = self.incoming.is_end_stream();
            if self.received > self.limits.size {
                return Poll::Ready(Some(Err(self.fail(UploadError::TooLarge))));
            }
            if let Some(naming) = &mut self.naming {
                naming.pass(&data);
            }
            if let Some(scanner) = &mut self.scanner
                && let Err(flaw) = scanner.read(&data)
            {
                return Poll::Ready(Some(Err(self.fail(UploadError::Unclear(flaw)))));
            }
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn keep(&mut self, data: &Bytes) {
        if !self.replayable {
            self.lost = true;
            return;
        }
        let total = self.hold(data);
        self.sent += 1;
        if self.keeps_too_much(total) {
            self.forget();
        }
    }

    /// Keeps a piece; what all requests keep then.
    fn hold(&mut self, data: &Bytes) -> usize {
        // A small piece would hold on to the whole buffer that it was read into.
        let piece = if data.len() < SMALL {
            Bytes::copy_from_slice(data)
        } else {
            data.clone()
        };
        let memory = data.len() + PIECE;
        let used = &self.limits.replay_used;
        let total = used.fetch_add(memory, Ordering::Relaxed) + memory;
        self.kept_bytes += data.len();
        self.kept_memory += memory;
        self.kept.push_back(piece);
        total
    }

    /// Whether a replay would take more than it may.
    fn keeps_too_much(&self, total: usize) -> bool {
        let limit = self.limits.replay;
        self.kept_bytes > limit || self.has_many_pieces(limit) || total > self.limits.replay_total
    }

    fn has_many_pieces(&self, limit: usize) -> bool {
        self.kept_memory > limit.saturating_mul(2).saturating_add(SMALL)
    }

    /// No replay will happen: what the present attempt has sent is given back, the rest goes out
    /// piece by piece.
    fn forget(&mut self) {
        self.replayable = false;
        for _ in 0..std::mem::take(&mut self.sent) {
            self.next_kept();
        }
    }

    /// The first kept piece, which is kept no longer.
    fn next_kept(&mut self) -> Option<Bytes> {
        let piece = self.kept.pop_front()?;
        self.lost = true;
        let memory = piece.len() + PIECE;
        self.kept_bytes -= piece.len();
        self.kept_memory -= memory;
        self.limits.replay_used.fetch_sub(memory, Ordering::Relaxed);
        Some(piece)
    }

    fn has_unsent(&self) -> bool {
        self.kept.len() > self.sent
    }

    /// The next kept piece that the present attempt has not sent.
    fn unsent(&mut self) -> Option<Bytes> {
        if !self.replayable {
            return self.next_kept();
        }
        let piece = self.kept.get(self.sent).cloned()?;
        self.sent += 1;
        Some(piece)
    }

    fn fail(&mut self, error: UploadError) -> UploadError {
        self.failure = Some(error);
        error
    }
}

impl Drop for BodySource {
    fn drop(&mut self) {
        self.limits
            .replay_used
            .fetch_sub(self.kept_memory, Ordering::Relaxed);
    }
}

impl UploadBody {
    /// No body at all.
    pub(super) fn empty() -> Self {
        Self {
            upload: None,
            attempt: 0,
            hint: SizeHint::with_exact(0),
            sleep: None,
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        let Some(upload) = &this.upload else {
            return Poll::Ready(None);
        };
        let mut source = upload.source();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if let Some(failure) = source.failure {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(piece) = source.unsent() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Poll::Ready(result) = source.poll(cx) {
            return Poll::Ready(result.map(|result| result.map(Frame::data)));
        }
        // The timer is set once and looks, when it fires, whether there was progress since.
        let silence = source.limits.silence;
        let sleep = this
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(source.last + silence)));
        while sleep.as_mut().poll(cx).is_ready() {
            let deadline = source.last + silence;
            if deadline <= Instant::now() {
                return Poll::Ready(Some(Err(source.fail(UploadError::TooSlow))));
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let Some(upload) = &self.upload else {
            return true;
        };
        let source = upload.source();
        source.finished && !source.has_unsent() && source.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

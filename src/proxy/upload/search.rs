//! A body's beginning, read ahead until its model is known, and sent on with another model in its
//! place.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BodySource, NotFound, PIECE, Upload, UploadError};
use crate::proxy::model_field::{ModelSearch, RequestedModel};
use crate::proxy::translation::RESERVE;

impl Upload {
    /// Reads the body until its model is known, at most this much of it, and keeps what it has read for the attempts to
    /// send it. What comes later is looked through as it passes.
    ///
    /// # Errors
    /// [`NotFound`]; then nothing of the body may be sent.
    pub(in crate::proxy) async fn find_model(
        &self,
        search: ModelSearch,
        most: usize,
    ) -> Result<RequestedModel, NotFound> {
        self.source().scanner = Some(Box::new(search));
        let mut sleep = None;
        let found = poll_fn(|cx| self.source().search(cx, most, &mut sleep)).await;
        let mut source = self.source();
        match &found {
            Ok(_) => source.is_found(),
            Err(_) => source.forget_all(),
        }
        found
    }

    /// Puts a text in the place of these bytes, which were read ahead.
    pub(in crate::proxy) fn replace(&self, place: &Range<u64>, text: String) {
        let mut source = self.source();
        let mut pieces = VecDeque::with_capacity(source.kept.len() + 2);
        let (mut at, mut text) = (0, Some(Bytes::from(text)));
        for piece in std::mem::take(&mut source.kept) {
            let end = at + piece.len() as u64;
            let cut = |place: u64| usize::try_from(place.clamp(at, end) - at).unwrap_or_default();
            let before = piece.slice(..cut(place.start));
            let behind = piece.slice(cut(place.end)..);
            let here = (at..end).contains(&place.start);
            let text = if here { text.take() } else { None };
            let parts = [Some(before), text, Some(behind)];
            pieces.extend(parts.into_iter().flatten().filter(|part| !part.is_empty()));
            at = end;
        }
        let memory = |piece: &Bytes| piece.len() + PIECE;
        let memory: usize = pieces.iter().map(memory).sum();
        let used = &source.limits.replay_used;
        used.fetch_add(memory, Ordering::Relaxed);
        used.fetch_sub(source.kept_memory, Ordering::Relaxed);
        source.kept_memory = memory;
        source.kept_bytes = pieces.iter().map(Bytes::len).sum();
        source.kept = pieces;
    }

    /// The length of what goes out, where it is known.
    pub(in crate::proxy) fn length(&self) -> Option<u64> {
        let source = self.source();
        let left = source.incoming.size_hint().exact()?;
        Some(left + source.kept_bytes as u64)
    }
}

impl BodySource {
    fn search(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        sleep: &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<Result<RequestedModel, NotFound>> {
        loop {
            if let Some(model) = self.scanner.as_ref().and_then(|scanner| scanner.model()) {
                return Poll::Ready(Ok(model.clone()));
            }
            match self.receive(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    let total = self.hold(&data);
                    if self.kept_bytes > most || self.has_many_pieces(most) {
                        return Poll::Ready(Err(NotFound::TooFar));
                    }
                    if total > self.limits.replay_total && self.kept_bytes > RESERVE {
                        return Poll::Ready(Err(NotFound::NoRoom));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(NotFound::Upload(error))),
                Poll::Ready(None) => {
                    let ended = self
                        .scanner
                        .as_ref()
                        .map(|scanner| scanner.finish().cloned());
                    return Poll::Ready(match ended {
                        Some(Ok(model)) => Ok(model),
                        Some(Err(flaw)) => {
                            Err(NotFound::Upload(self.fail(UploadError::Unclear(flaw))))
                        }
                        None => Err(NotFound::Upload(UploadError::Broken)),
                    });
                }
                Poll::Pending => break,
            }
        }
        // Set once: it looks, when it fires, whether there was progress since.
        let silence = self.limits.silence;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(self.last + silence)));
        while sleep.as_mut().poll(cx).is_ready() {
            let deadline = self.last + silence;
            if deadline <= Instant::now() {
                let error = self.fail(UploadError::TooSlow);
                return Poll::Ready(Err(NotFound::Upload(error)));
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// What was read ahead goes out; it is kept for a replay where that is allowed.
    fn is_found(&mut self) {
        let total = self.limits.replay_used.load(Ordering::Relaxed);
        self.replayable = self.replayable && !self.keeps_too_much(total);
    }

    /// Nothing will be sent.
    fn forget_all(&mut self) {
        self.replayable = false;
        while self.next_kept().is_some() {}
    }
}

//! A provider's answer, made into the one that the client expects.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::time::timeout;

use super::super::blocking::run_blocking;
use super::super::connection_pool::UpstreamBody;
use super::super::error::{ErrorKind, ProxyError};
use super::fields::{EVENTS, becomes_json, is_encoded, is_events};
use super::fold::{AnswerFold, FoldOutcome};
use super::memory::{BodyMemory, MemoryReservation, Side};
use crate::provider::ReadError;
use crate::provider::dialect::ModelList;
use crate::sse::Tokenizer;

/// No list of models is larger.
const LARGEST_LIST: usize = 8 * 1024 * 1024;

/// No answer that is folded from a stream is larger.
pub(super) const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// What becomes of the answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) enum AnswerTreatment {
    /// It passes.
    AsItCame,
    /// Its stream becomes a whole answer.
    Fold,
    /// Its list becomes OpenAI's.
    Models(&'static ModelList),
}

/// An answer that was made whole.
#[derive(Debug)]
pub(in crate::proxy) struct WholeAnswer {
    pub(in crate::proxy) response: Response<Bytes>,
    /// Why the provider refuses the account, where the stream said so.
    pub(in crate::proxy) blocked: Option<&'static str>,
    /// An event with quota usage.
    pub(in crate::proxy) told: Option<Vec<u8>>,
}

/// How an answer is read whole.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct WholeReading<'r> {
    /// The longest silence.
    pub(in crate::proxy) idle: Duration,
    pub(in crate::proxy) memory: &'r BodyMemory,
    /// What reads of an error why the account is refused.
    pub(in crate::proxy) reads: Option<ReadError>,
    /// The mark of an event with quota usage.
    pub(in crate::proxy) quota: Option<&'static str>,
}

impl AnswerTreatment {
    /// Whether the answer may become another one.
    pub(in crate::proxy) fn is_another(self) -> bool {
        !matches!(self, Self::AsItCame)
    }

    /// Whether the answer is made of an event stream.
    pub(in crate::proxy) fn reads_events(self) -> bool {
        matches!(self, Self::Fold)
    }

    /// Whether this answer has to be read whole: a success in the form that is expected.
    pub(in crate::proxy) fn reads_whole(self, answer: &Response<UpstreamBody>) -> bool {
        answer.status() == StatusCode::OK
            && !is_encoded(answer.headers().get_all(CONTENT_ENCODING))
            && match self {
                Self::AsItCame => false,
                Self::Fold => is_events(answer.headers()),
                Self::Models(_) => true,
            }
    }

    /// What the head of an answer says of a body that becomes another one.
    pub(in crate::proxy) fn clean(self, fields: &mut HeaderMap) {
        if self.is_another() {
            fields.remove(CONTENT_LENGTH);
        }
    }
}

/// Reads an answer and makes a whole one of it. One that breaks off is an error.
pub(in crate::proxy) async fn whole(
    turn: AnswerTreatment,
    answer: Response<UpstreamBody>,
    reading: WholeReading<'_>,
) -> Result<WholeAnswer, ProxyError> {
    let (mut head, body) = answer.into_parts();
    let (mut blocked, mut told) = (None, None);
    let body = match turn {
        AnswerTreatment::Fold => {
            let ((mut fold, ()), held) = fold_stream(body, reading, ()).await?;
            told = fold.told();
            blocked = fold.error().and_then(|error| reading.reads?(error));
            if fold.lacks_items() {
                return Err(cut_off());
            }
            match fold.outcome() {
                Some(FoldOutcome::Response(body)) => held.keep(body),
                Some(FoldOutcome::Failed(status, body)) => {
                    head.status = status;
                    held.keep(body)
                }
                None => return Err(cut_off()),
            }
        }
        AnswerTreatment::Models(list) => {
            let (body, held) = read_whole(body, reading, LARGEST_LIST, too_large_list).await?;
            let length = body.len();
            let read = move || ((list.read)(&body), body, held);
            let (made, body, held) = run_blocking(length, read).await;
            let Some(made) = made else {
                // An answer that is not such a list passes unchanged, with its own type.
                head.headers.remove(TRANSFER_ENCODING);
                return Ok(WholeAnswer {
                    response: Response::from_parts(head, held.keep(body)),
                    blocked,
                    told,
                });
            };
            held.keep(made)
        }
        AnswerTreatment::AsItCame => Bytes::new(),
    };
    becomes_json(&mut head.headers);
    Ok(WholeAnswer {
        response: Response::from_parts(head, body),
        blocked,
        told,
    })
}

/// Calls an event stream one where its head does not: it is known by its beginning.
pub(in crate::proxy) async fn name_events(answer: &mut Response<UpstreamBody>) {
    const BEGINNINGS: [&[u8]; 3] = [b"event:", b"data:", b":"];
    /// The longest of them.
    const LENGTH: usize = 6;
    /// A longer silence means that the head decides.
    const LIMIT: Duration = Duration::from_secs(2);
    let fields = answer.headers();
    if answer.status() != StatusCode::OK
        || is_events(fields)
        || is_encoded(fields.get_all(CONTENT_ENCODING))
    {
        return;
    }
    if answer.body().start().is_none() {
        answer.body_mut().read_ahead(LENGTH, LIMIT).await;
    }
    let start = answer.body().start().unwrap_or_default();
    if BEGINNINGS.iter().any(|known| start.starts_with(known)) {
        let events = HeaderValue::from_static(EVENTS);
        answer.headers_mut().insert(CONTENT_TYPE, events);
    }
}

/// What hears the pieces of a stream that is folded, too.
pub(super) trait Beside: Send + 'static {
    fn pass(&mut self, piece: &[u8]) -> Result<(), ProxyError>;
    /// The bytes that it holds.
    fn size(&self) -> usize;
}

impl Beside for () {
    fn pass(&mut self, _: &[u8]) -> Result<(), ProxyError> {
        Ok(())
    }

    fn size(&self) -> usize {
        0
    }
}

pub(super) async fn fold_stream<B: Beside>(
    mut body: UpstreamBody,
    reading: WholeReading<'_>,
    mut beside: B,
) -> Result<((AnswerFold, B), MemoryReservation), ProxyError> {
    let (mut lines, mut fold) = (Tokenizer::default(), AnswerFold::new(reading.quota));
    let mut held = MemoryReservation::new(reading.memory, Side::Answer);
    while !fold.is_over() {
        let Some(piece) = next_piece(&mut body, reading.idle).await? else {
            break;
        };
        let size = fold.size() + piece.len();
        if size > LARGEST_ANSWER {
            return Err(too_large_to_fold());
        }
        held.takes(size + beside.size())?;
        // An event is read where its end comes.
        let ends = memchr::memchr2(b'\n', b'\r', &piece).is_some();
        let bytes = if ends { size } else { 0 };
        let passed;
        (lines, fold, beside, passed) = run_blocking(bytes, move || {
            lines.pass(&piece, &mut fold);
            let passed = beside.pass(&piece);
            (lines, fold, beside, passed)
        })
        .await;
        // An error of the provider's says more.
        if fold.error().is_none() {
            passed?;
        }
    }
    Ok(((fold, beside), held))
}

/// Reads an answer's whole body, up to this size.
pub(super) async fn read_whole(
    mut body: UpstreamBody,
    reading: WholeReading<'_>,
    most: usize,
    too_large: fn() -> ProxyError,
) -> Result<(Vec<u8>, MemoryReservation), ProxyError> {
    let (mut whole, mut held) = (
        Vec::new(),
        MemoryReservation::new(reading.memory, Side::Answer),
    );
    while let Some(piece) = next_piece(&mut body, reading.idle).await? {
        held.takes(whole.len() + piece.len())?;
        whole.extend_from_slice(&piece);
        if whole.len() > most {
            return Err(too_large());
        }
    }
    Ok((whole, held))
}

fn too_large_list() -> ProxyError {
    let message = "hermes-proxyd: the provider's list of models is too large to be read";
    ProxyError::new(ErrorKind::UpstreamUnreachable, message)
}

/// The next piece of an answer's body; `None` at its end.
async fn next_piece(body: &mut UpstreamBody, idle: Duration) -> Result<Option<Bytes>, ProxyError> {
    loop {
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        match timeout(idle, next).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
            Ok(Some(Err(_))) => return Err(cut_off()),
            Err(_) => {
                let message =
                    "hermes-proxyd: the provider was silent for longer than `timeouts.idle`";
                return Err(ProxyError::new(ErrorKind::UpstreamTimeout, message));
            }
        }
    }
}

/// Asking again would cost the same once more, and come to the same.
pub(super) fn too_large_to_fold() -> ProxyError {
    let message = format!(
        "hermes-proxyd: the provider's answer is larger than {} MiB, which is too large to be sent whole; \
         ask for a stream (`\"stream\": true`)",
        LARGEST_ANSWER / (1024 * 1024)
    );
    ProxyError::new(ErrorKind::AnswerTooLarge, message)
}

pub(super) fn cut_off() -> ProxyError {
    let message = "hermes-proxyd: the provider cut off its answer";
    ProxyError::new(ErrorKind::UpstreamUnreachable, message)
}

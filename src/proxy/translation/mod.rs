//! The translation stage: for a provider that deviates from OpenAI's API, a request's body is changed to what the
//! provider accepts, and its answer to what the client expects. Only this stage rewrites bodies, and nothing runs
//! through it if the adapter names no [`Dialect`] for the path.
//!
//! `request` and `fold` are pure; `memory` counts what is held whole. `bridge` serves a path by another one, with
//! [`crate::translate`]: its request goes through that stage first. `crossed` is a stream on its way back.

mod bridge;
mod crossed;
mod fold;
mod memory;
mod request;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue,
    LAST_MODIFIED, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode, Uri};
use tokio::time::timeout;

pub(super) use self::bridge::Translated;
pub use self::bridge::{PathBridge, bridges};
pub(super) use self::crossed::Crossed;
use self::fold::{AnswerFold, FoldOutcome};
pub(super) use self::memory::{BodyMemory, RESERVE, of_requests};
use self::memory::{MemoryReservation, Side};
use super::aside::aside;
use super::error::{ErrorKind, ProxyError};
use super::pool::UpstreamBody;
use super::upload::{Upload, UploadError};
use crate::provider::dialect::{BodyRules, ModelList};
use crate::provider::{Dialect, ReadError};
use crate::sse::Tokenizer;

const EVENTS: &str = "text/event-stream";

/// No list of models is larger.
const LARGEST_LIST: usize = 8 * 1024 * 1024;

/// No answer that is folded from a stream is larger.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// What becomes of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnswerTreatment {
    /// It passes.
    AsItCame,
    /// Its stream becomes a whole answer.
    Fold,
    /// Its list becomes OpenAI's.
    Models(&'static ModelList),
}

/// Why a request can't be translated.
#[derive(Debug)]
pub(super) enum TranslationFailure {
    Upload(UploadError),
    Ours(ProxyError),
}

/// An answer that was made whole.
#[derive(Debug)]
pub(super) struct WholeAnswer {
    pub(super) response: Response<Bytes>,
    /// Why the provider refuses the account, where the stream said so.
    pub(super) blocked: Option<&'static str>,
    /// An event with quota usage.
    pub(super) told: Option<Vec<u8>>,
}

/// How an answer is read whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct WholeReading<'r> {
    /// The longest silence.
    pub(super) idle: Duration,
    pub(super) memory: &'r BodyMemory,
    /// What reads of an error why the account is refused.
    pub(super) reads: Option<ReadError>,
    /// The mark of an event with quota usage.
    pub(super) quota: Option<&'static str>,
}

/// Turns a request into what the provider takes. A body that is encoded, or no JSON object, passes as it came.
pub(super) async fn request(
    dialect: Dialect,
    head: &mut Parts,
    upload: Option<&Upload>,
    memory: &BodyMemory,
) -> Result<AnswerTreatment, TranslationFailure> {
    match (dialect, upload) {
        (Dialect::Models(list), _) => Ok(ask_for_models(head, list)),
        (Dialect::Streamed(rules), Some(upload)) => {
            let wants_stream = translate(rules, head, upload, memory).await?;
            if wants_stream {
                return Ok(AnswerTreatment::AsItCame);
            }
            head.headers
                .insert(ACCEPT, HeaderValue::from_static(EVENTS));
            Ok(AnswerTreatment::Fold)
        }
        (Dialect::Whole(rules), Some(upload)) => {
            translate(rules, head, upload, memory).await?;
            Ok(AnswerTreatment::AsItCame)
        }
        (Dialect::Streamed(_) | Dialect::Whole(_), None) => Ok(AnswerTreatment::AsItCame),
    }
}

/// Translates the body; whether the client asked for a stream, which it is taken to have where the body is not read.
async fn translate(
    rules: &'static BodyRules,
    head: &mut Parts,
    upload: &Upload,
    memory: &BodyMemory,
) -> Result<bool, TranslationFailure> {
    if is_encoded(&head.headers) {
        return Ok(true);
    }
    let mut held = MemoryReservation::new(memory, Side::Request);
    let body = read_upload(upload, &mut held).await?;
    // What is held stays counted also when the client leaves meanwhile.
    let length = body.len();
    let work = move || (request::turn(&body, rules), body, held);
    let (turned, body, mut held) = aside(length, work).await;
    let Some(turned) = turned else {
        upload.put_whole(body.into());
        return Ok(true);
    };
    if let Some((name, why)) = turned.refused {
        let error = ProxyError::new(
            ErrorKind::NotTranslatable,
            format!("hermes-proxyd: `{name}` {why}"),
        );
        return Err(TranslationFailure::Ours(error.param(name)));
    }
    // During the change both exist, and one is counted.
    let length = turned.body.as_ref().map_or(body.len(), Vec::len);
    held.takes(length).map_err(TranslationFailure::Ours)?;
    upload.put_whole(turned.body.unwrap_or(body).into());
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(turned.wants_stream)
}

async fn read_upload(
    upload: &Upload,
    held: &mut MemoryReservation,
) -> Result<Vec<u8>, TranslationFailure> {
    upload.forget();
    let (mut pieces, mut whole) = (upload.body(), Vec::new());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut pieces).poll_frame(cx)).await {
        if let Ok(piece) = frame.map_err(TranslationFailure::Upload)?.into_data() {
            let length = whole.len() + piece.len();
            if length > held.most() {
                return Err(TranslationFailure::Ours(too_large_to_turn(held.most())));
            }
            held.takes(length).map_err(TranslationFailure::Ours)?;
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole)
}

/// A client that sends the provider's own parameter wants the provider's own list.
fn ask_for_models(head: &mut Parts, list: &'static ModelList) -> AnswerTreatment {
    let (name, value) = list.query;
    let query = head.uri.query().unwrap_or_default();
    let is_it = |pair: &str| pair.split('=').next() == Some(name);
    if query.split('&').any(is_it) {
        return AnswerTreatment::AsItCame;
    }
    let and = if query.is_empty() { "" } else { "&" };
    let path = head.uri.path();
    let asked = format!("{path}?{query}{and}{name}={value}");
    match Uri::try_from(asked) {
        Ok(asked) => {
            head.uri = asked;
            AnswerTreatment::Models(list)
        }
        Err(_) => AnswerTreatment::AsItCame,
    }
}

impl AnswerTreatment {
    /// Whether the answer may become another one.
    pub(super) fn is_another(self) -> bool {
        !matches!(self, Self::AsItCame)
    }

    /// Whether the answer is made of an event stream.
    pub(super) fn reads_events(self) -> bool {
        matches!(self, Self::Fold)
    }

    /// Whether this answer has to be read whole: a success in the form that is expected.
    pub(super) fn reads_whole(self, answer: &Response<UpstreamBody>) -> bool {
        answer.status() == StatusCode::OK
            && !is_encoded(answer.headers())
            && match self {
                Self::AsItCame => false,
                Self::Fold => is_events(answer.headers()),
                Self::Models(_) => true,
            }
    }

    /// What the head of an answer says of a body that becomes another one.
    pub(super) fn clean(self, fields: &mut HeaderMap) {
        if self.is_another() {
            fields.remove(CONTENT_LENGTH);
        }
    }
}

/// Reads an answer and makes a whole one of it. One that breaks off is an error.
pub(super) async fn whole(
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
            let (body, held) = read_whole(body, reading, (LARGEST_LIST, too_large_list)).await?;
            let length = body.len();
            let read = move || ((list.read)(&body), body, held);
            let (made, body, held) = aside(length, read).await;
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

/// The head of an answer with a new body.
fn becomes_json(fields: &mut HeaderMap) {
    becomes_another(fields);
    let json = HeaderValue::from_static("application/json");
    fields.insert(CONTENT_TYPE, json);
}

/// Removes the fields about the original body.
fn becomes_another(fields: &mut HeaderMap) {
    for name in [
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        ETAG,
        LAST_MODIFIED,
        ACCEPT_RANGES,
    ] {
        fields.remove(name);
    }
}

/// Whether an answer says that it is an event stream.
fn is_events(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = kind.unwrap_or_default().get(..EVENTS.len());
    start.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS.as_bytes()))
}

/// Calls an event stream one where its head does not: it is known by its beginning.
pub(super) async fn name_events(answer: &mut Response<UpstreamBody>) {
    const BEGINNINGS: [&[u8]; 3] = [b"event:", b"data:", b":"];
    /// The longest of them.
    const LENGTH: usize = 6;
    /// A longer silence means that the head decides.
    const LIMIT: Duration = Duration::from_secs(2);
    let fields = answer.headers();
    if answer.status() != StatusCode::OK || is_events(fields) || is_encoded(fields) {
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
trait Beside: Send + 'static {
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

async fn fold_stream<B: Beside>(
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
        (lines, fold, beside, passed) = aside(bytes, move || {
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
async fn read_whole(
    mut body: UpstreamBody,
    reading: WholeReading<'_>,
    (most, too_large): (usize, fn() -> ProxyError),
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

/// A body that takes more alone than all together may: asking again comes to the same.
fn too_large_to_turn(most: usize) -> ProxyError {
    let message = format!(
        "hermes-proxyd: the request body has to be read whole for this provider, and is larger than {most} bytes \
         (`limits.replay_total`)"
    );
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}

/// Asking again would cost the same once more, and come to the same.
fn too_large_to_fold() -> ProxyError {
    let message = format!(
        "hermes-proxyd: the provider's answer is larger than {} MiB, which is too large to be sent whole; \
         ask for a stream (`\"stream\": true`)",
        LARGEST_ANSWER / (1024 * 1024)
    );
    ProxyError::new(ErrorKind::AnswerTooLarge, message)
}

fn cut_off() -> ProxyError {
    let message = "hermes-proxyd: the provider cut off its answer";
    ProxyError::new(ErrorKind::UpstreamUnreachable, message)
}

/// Whether a body is encoded, which is never decoded here: it could become any size.
pub(super) fn is_encoded(fields: &HeaderMap) -> bool {
    let mut encodings = fields.get_all(CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

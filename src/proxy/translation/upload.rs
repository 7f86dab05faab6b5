//! A request's body, changed to what the provider accepts.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::Uri;
use hyper::body::Body;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH};

use super::super::blocking::run_blocking;
use super::super::error::{ErrorKind, ProxyError};
use super::super::framing::Head;
use super::super::upload::{Upload, UploadError};
use super::answer::AnswerTreatment;
use super::fields::{EVENTS, is_encoded};
use super::memory::{BodyMemory, MemoryReservation, Side, too_large_to_turn};
use super::request::turn;
use crate::provider::Dialect;
use crate::provider::dialect::{BodyRules, ModelList};

/// Why a request can't be translated.
#[derive(Debug)]
pub(in crate::proxy) enum TranslationFailure {
    Upload(UploadError),
    Ours(ProxyError),
}

/// Turns a request into what the provider takes. A body that is encoded, or no JSON object, passes as it came.
pub(in crate::proxy) async fn request(
    dialect: Dialect,
    head: &mut Head,
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
            head.headers.put(ACCEPT, EVENTS);
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
    head: &mut Head,
    upload: &Upload,
    memory: &BodyMemory,
) -> Result<bool, TranslationFailure> {
    if is_encoded(head.headers.all(&CONTENT_ENCODING)) {
        return Ok(true);
    }
    let mut held = MemoryReservation::new(memory, Side::Request);
    let body = read_upload(upload, &mut held).await?;
    // What is held stays counted also when the client leaves meanwhile.
    let length = body.len();
    let work = move || (turn(&body, rules), body, held);
    let (turned, body, mut held) = run_blocking(length, work).await;
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
    head.headers.put(CONTENT_LENGTH, length.to_string());
    Ok(turned.wants_stream)
}

pub(super) async fn read_upload(
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
fn ask_for_models(head: &mut Head, list: &'static ModelList) -> AnswerTreatment {
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

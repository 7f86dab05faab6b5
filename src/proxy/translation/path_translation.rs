//! A path that the provider lacks, served by one that it has: the app's wire of OpenAI's API is translated to the
//! other ([`crate::translate`]), and its answer comes back.

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue,
};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::super::blocking::{run_blocking, run_blocking_while_wanted};
use super::super::connection_pool::UpstreamBody;
use super::super::error::{ErrorKind, ProxyError};
use super::super::framing::Head;
use super::super::upload::Upload;
use super::answer::{
    Beside, LARGEST_ANSWER, WholeAnswer, WholeReading, cut_off, fold_stream, read_whole,
    too_large_to_fold,
};
use super::fields::{becomes_another, becomes_json, is_encoded, is_events};
use super::fold::FoldOutcome;
use super::memory::{BodyMemory, MemoryReservation, Side, too_large_to_turn};
use super::request;
use super::translated_stream::{StreamTranslator, TranslatedStream, unreadable};
use super::upload::{TranslationFailure, read_upload};
use crate::config::AllowedPath;
use crate::provider::Dialect;
use crate::translate::{
    self, EchoedFields, StillWanted, chat_on_responses as chat, responses_on_chat as responses,
};

/// On answers that were translated: from which wire to which.
const TRANSLATED: HeaderName = HeaderName::from_static("x-hermes-translated");
/// What one answer may hold while it is translated.
const MOST: usize = 16 * 1024 * 1024;
const CHAT: &str = "/chat/completions";
const RESPONSES: &str = "/responses";

/// Beside an answer that was translated: from which wire to which. It becomes a field once those of the provider that
/// have our names are gone.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Translated(&'static str);

impl Translated {
    pub(in crate::proxy) fn tell(self, fields: &mut HeaderMap) {
        fields.insert(TRANSLATED, HeaderValue::from_static(self.0));
    }
}

/// What an app speaks, and what its provider serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ApiPair {
    ChatToResponses,
    ResponsesToChat,
}

/// A path that is served in terms of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathTranslation {
    wires: ApiPair,
    /// The other path: its place in the provider's list.
    pub(in crate::proxy) target: usize,
}

/// Adds the path that a provider lacks to those that it serves, where `translates` says so: how each path is translated.
pub fn path_translations(
    paths: &mut Vec<AllowedPath>,
    translates: bool,
) -> Vec<Option<PathTranslation>> {
    let find = |name: &str| {
        let is_it = |path: &AllowedPath| path.path == name && path.methods.contains(&Method::POST);
        paths.iter().position(is_it)
    };
    let missing = match (find(CHAT), find(RESPONSES)) {
        (None, Some(target)) => Some((CHAT, ApiPair::ChatToResponses, target)),
        (Some(target), None) => Some((RESPONSES, ApiPair::ResponsesToChat, target)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    let mut path_translations = vec![None; paths.len()];
    let Some((path, wires, target)) = missing.filter(|_| translates) else {
        return path_translations;
    };
    // A path that is listed with other methods alone gets no second meaning.
    if !paths.iter().any(|known| known.path == path) {
        paths.push(AllowedPath::new(path, &[Method::POST]));
        path_translations.push(Some(PathTranslation { wires, target }));
    }
    path_translations
}

/// A request that went over, for its answer's way back.
#[derive(Debug)]
pub(in crate::proxy) struct TranslatedExchange {
    wires: ApiPair,
    pub(in crate::proxy) asked: EchoedFields,
    wants_stream: bool,
}

impl ApiPair {
    /// Bytes for parsing a request, in addition to its text.
    fn weight(self, body: &[u8]) -> usize {
        match self {
            Self::ChatToResponses => chat::weight(body),
            Self::ResponsesToChat => responses::weight(body),
        }
    }

    /// The body that the other path takes, and what the provider does; without one where that is the same.
    fn turn(
        self,
        dialect: Option<Dialect>,
        body: Vec<u8>,
        mut held: MemoryReservation,
        wanted: StillWanted<'_>,
    ) -> Result<(translate::TranslatedRequest, Vec<u8>), TranslationFailure> {
        // What is read of it takes more than its text.
        let most = held.most();
        let takes = body.len() + self.weight(&body);
        if takes > most {
            return Err(TranslationFailure::Ours(too_large_to_turn(most)));
        }
        held.takes(takes).map_err(TranslationFailure::Ours)?;
        let turned = match self {
            Self::ChatToResponses => chat::request_while(&body, wanted),
            Self::ResponsesToChat => responses::request_while(&body, wanted),
        };
        let mut turned = turned.map_err(|refused| {
            let message = format!("hermes-proxyd: {refused} (this request is translated)");
            let error = ProxyError::new(ErrorKind::NotTranslatable, message);
            TranslationFailure::Ours(error.param(&refused.field))
        })?;
        // Both exist for a moment.
        held.takes(body.len() + turned.body.len())
            .map_err(TranslationFailure::Ours)?;
        drop(body);
        let made = match dialect {
            Some(Dialect::Streamed(rules) | Dialect::Whole(rules)) => {
                request::turn(&turned.body, rules).and_then(|turned| turned.body)
            }
            Some(Dialect::Models(_)) | None => None,
        };
        let made = made.unwrap_or_else(|| std::mem::take(&mut turned.body));
        Ok((turned, made))
    }
}

impl PathTranslation {
    /// Turns a request's body into what the other path takes, and that into what the provider does.
    pub(in crate::proxy) async fn request(
        self,
        dialect: Option<Dialect>,
        head: &mut Head,
        upload: &Upload,
        memory: &BodyMemory,
    ) -> Result<TranslatedExchange, TranslationFailure> {
        if is_encoded(head.headers.all(&CONTENT_ENCODING)) {
            let message = "hermes-proxyd: a compressed request body can't be translated; switch \
                           request compression off in the app";
            let error = ProxyError::new(ErrorKind::UnsupportedMediaType, message);
            return Err(TranslationFailure::Ours(error));
        }
        let mut held = MemoryReservation::new(memory, Side::Request);
        let body = read_upload(upload, &mut held).await?;
        let (wires, length) = (self.wires, body.len());
        let work = move |wanted: StillWanted<'_>| wires.turn(dialect, body, held, wanted);
        let (turned, made) = run_blocking_while_wanted(length, work).await?;
        let fields = &mut head.headers;
        fields.put(CONTENT_LENGTH, made.len().to_string());
        fields.put(CONTENT_TYPE, "application/json");
        // What is compressed can't be translated.
        fields.remove(ACCEPT_ENCODING);
        if turned.wants_stream || matches!(dialect, Some(Dialect::Streamed(_))) {
            fields.put(ACCEPT, "text/event-stream");
        }
        upload.put_whole(made.into());
        Ok(TranslatedExchange {
            wires: self.wires,
            wants_stream: turned.wants_stream,
            asked: EchoedFields {
                model: turned.model,
                includes_usage: turned.includes_usage,
                namespaces: turned.namespaces,
                now: 0,
            },
        })
    }
}

impl TranslatedExchange {
    /// Whether this answer goes back as a stream.
    pub(in crate::proxy) fn is_stream(&self, answer: &Response<UpstreamBody>) -> bool {
        self.wants_stream
            && answer.status().is_success()
            && is_events(answer.headers())
            && !is_encoded(answer.headers().get_all(CONTENT_ENCODING))
    }

    /// Says of an answer that it was translated.
    pub(in crate::proxy) fn mark<B>(&self, answer: &mut Response<B>) {
        let wires = match self.wires {
            ApiPair::ChatToResponses => "chat-to-responses",
            ApiPair::ResponsesToChat => "responses-to-chat",
        };
        becomes_another(answer.headers_mut());
        answer.extensions_mut().insert(Translated(wires));
    }

    /// The answer's stream on its way back.
    pub(in crate::proxy) fn stream(&self, memory: &BodyMemory) -> TranslatedStream {
        let stream = match self.wires {
            ApiPair::ChatToResponses => {
                StreamTranslator::Chat(Box::new(chat::ChatStream::new(&self.asked, MOST)))
            }
            ApiPair::ResponsesToChat => StreamTranslator::Responses(Box::new(
                responses::ResponsesStream::new(&self.asked, MOST),
            )),
        };
        TranslatedStream::new(stream, MemoryReservation::new(memory, Side::Answer))
    }

    /// Reads an answer, and makes the one of it that the app asked for.
    pub(in crate::proxy) async fn whole(
        &self,
        answer: Response<UpstreamBody>,
        reading: WholeReading<'_>,
    ) -> Result<WholeAnswer, ProxyError> {
        if is_encoded(answer.headers().get_all(CONTENT_ENCODING)) {
            let message =
                "hermes-proxyd: the provider compressed its answer, so it can't be translated";
            return Err(ProxyError::new(ErrorKind::UpstreamUnreachable, message));
        }
        let is_success = answer.status().is_success();
        let is_stream = is_success && is_events(answer.headers());
        if is_stream && self.wires == ApiPair::ChatToResponses {
            return self.folded(answer, reading).await;
        }
        let (head, body) = answer.into_parts();
        let (body, held) = read_whole(body, reading, LARGEST_ANSWER, too_large_to_fold).await?;
        let mut made = WholeAnswer {
            response: Response::from_parts(head, held.keep(body)),
            blocked: None,
            told: None,
        };
        let response = &mut made.response;
        let read = response.body().clone();
        let is_answer = is_success;
        let (wires, asked) = (self.wires, self.asked.clone());
        let wants_stream = self.wants_stream;
        let mut reads = MemoryReservation::new(reading.memory, Side::Answer);
        let work = move || {
            reads.takes(translate::weight(&read))?;
            if !is_answer {
                return Ok((StatusCode::OK, translate::error(&read)));
            }
            let made = if wants_stream && !is_stream {
                wires.stream_of(&read, &asked)
            } else {
                wires.answer(&read, &asked, is_stream)
            };
            Ok(match made? {
                translate::WholeTranslation::Answer(body) => (StatusCode::OK, body),
                translate::WholeTranslation::Failed(body) => (StatusCode::BAD_GATEWAY, body),
            })
        };
        let (status, body) = run_blocking(response.body().len(), work).await?;
        if status != StatusCode::OK {
            *response.status_mut() = status;
        }
        let mut held = MemoryReservation::new(reading.memory, Side::Answer);
        held.takes(body.len())?;
        *response.body_mut() = held.keep(body);
        becomes_json(response.headers_mut());
        if wants_stream && is_answer && status == StatusCode::OK {
            let events = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, events);
        }
        self.mark(response);
        Ok(made)
    }

    /// A chat's whole answer out of a stream of Responses: the words as a stream has them, and of an error what a whole
    /// response has of one.
    async fn folded(
        &self,
        answer: Response<UpstreamBody>,
        reading: WholeReading<'_>,
    ) -> Result<WholeAnswer, ProxyError> {
        let (mut head, body) = answer.into_parts();
        let over = chat::ChatFold::new(&self.asked, MOST);
        let ((mut fold, over), mut held) = fold_stream(body, reading, over).await?;
        let told = fold.told();
        let blocked = fold.error().and_then(|error| reading.reads?(error));
        let body = match (fold.outcome(), over) {
            (None, _) => return Err(cut_off()),
            (Some(FoldOutcome::Failed(status, body)), _) => {
                head.status = status;
                body
            }
            (Some(FoldOutcome::Response(_)), over) => match over.end().map_err(unreadable)? {
                translate::WholeTranslation::Answer(body) => body,
                translate::WholeTranslation::Failed(body) => {
                    head.status = StatusCode::BAD_GATEWAY;
                    body
                }
            },
        };
        becomes_json(&mut head.headers);
        held.takes(body.len())?;
        let mut response = Response::from_parts(head, held.keep(body));
        self.mark(&mut response);
        Ok(WholeAnswer {
            response,
            blocked,
            told,
        })
    }
}

/// A chat under way, with the response that it is made of.
impl Beside for chat::ChatFold {
    fn pass(&mut self, piece: &[u8]) -> Result<(), ProxyError> {
        Self::pass(self, piece).map_err(unreadable)
    }

    fn size(&self) -> usize {
        self.held()
    }
}

impl ApiPair {
    /// The whole answer that is made of a success.
    fn answer(
        self,
        body: &[u8],
        asked: &EchoedFields,
        is_stream: bool,
    ) -> Result<translate::WholeTranslation, ProxyError> {
        let made = match self {
            Self::ChatToResponses => chat::answer(body, asked),
            Self::ResponsesToChat if is_stream => {
                let mut fold = responses::ResponsesFold::new(asked, MOST);
                fold.pass(body).and_then(|()| fold.end())
            }
            Self::ResponsesToChat => responses::answer(body, asked),
        };
        made.map_err(unreadable)
    }

    /// The stream that is made of a success that came whole.
    fn stream_of(
        self,
        body: &[u8],
        asked: &EchoedFields,
    ) -> Result<translate::WholeTranslation, ProxyError> {
        let made = match self {
            Self::ChatToResponses => chat::stream_of(body, asked),
            Self::ResponsesToChat => responses::stream_of(body, asked),
        };
        made.map_err(unreadable)
    }
}

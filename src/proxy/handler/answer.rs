//! The client's answer: the provider's, one made from it, or one of ours.

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode, Version};

use super::super::answer_body::AnswerBody;
use super::super::connection_pool::UpstreamBody;
use super::super::download::{Download, QuotaListener};
use super::super::error::{ErrorKind, ProxyError, REQUEST_ID};
use super::super::events::PassingEvents;
use super::super::gateway::Upstream;
use super::super::headers;
use super::super::record::{RequestEnd, RequestId, Underway};
use super::super::translation::{Translated, TranslatedStream, WholeAnswer, is_encoded};
use super::admitted::AdmittedRequest;
use super::exchange::{Blocked, With};

/// The provider's answer, its bytes untouched.
pub(super) fn pass(
    request: &AdmittedRequest<'_>,
    upstream: &Upstream,
    answer: Response<UpstreamBody>,
    underway: Box<Underway>,
) -> Response<AnswerBody> {
    passed(request, upstream, answer, underway, None)
}

/// The provider's event stream on another wire.
pub(super) fn pass_translated(
    request: &AdmittedRequest<'_>,
    upstream: &Upstream,
    answer: Response<UpstreamBody>,
    underway: Box<Underway>,
    translated: Box<TranslatedStream>,
) -> Response<AnswerBody> {
    passed(request, upstream, answer, underway, Some(translated))
}

fn passed(
    request: &AdmittedRequest<'_>,
    upstream: &Upstream,
    answer: Response<UpstreamBody>,
    mut underway: Box<Underway>,
    translated: Option<Box<TranslatedStream>>,
) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    if let Some(Blocked(code)) = head.extensions.get() {
        underway.blocked(code);
    }
    clean(&mut head);
    underway.answered(head.status);
    underway.begins(head.status, &head.headers);
    identify(&mut head.headers, underway.id());
    let is_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    });
    if is_stream {
        headers::not_held_back(&mut head.headers);
        underway.streams();
    }
    let is_events = is_stream && !is_encoded(head.headers.get_all(CONTENT_ENCODING));
    if body.is_end_stream() && translated.is_none() {
        underway.ended(RequestEnd::Complete);
    }
    let ends = upstream.append_done && head.status == StatusCode::OK && translated.is_none();
    let quota = upstream.adapter.quota_event();
    let reads = upstream.adapter.reads_errors().map(|reads| (reads, quota));
    let events = is_events.then(|| PassingEvents::new(ends, reads));
    let login = head.extensions.get::<With>().copied().unwrap_or_default();
    let listener = quota.filter(|_| is_events).map(|_| QuotaListener {
        adapter: upstream.adapter.clone(),
        login: login.0,
        clock: upstream.client.clock(),
    });
    let idle = request.rules.timeouts.idle;
    let connection = request.connection.clone();
    let mut download = Download::new(body, underway, idle, events, connection);
    download.tells(listener.map(Box::new));
    download.translates(translated);
    download.kept_alive(upstream.keep_alive_comment);
    Response::from_parts(head, AnswerBody::Stream(download))
}

/// The head of the provider's answer to a GET, for a client that asked with HEAD.
pub(super) fn pass_head(
    answer: Response<UpstreamBody>,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let (mut head, _) = answer.into_parts();
    clean(&mut head);
    underway.answered(head.status);
    underway.ended(RequestEnd::Complete);
    identify(&mut head.headers, underway.id());
    Response::from_parts(head, AnswerBody::Whole(None))
}

/// An answer that the translation stage has made.
pub(super) fn pass_whole(made: WholeAnswer, mut underway: Box<Underway>) -> Response<AnswerBody> {
    if let Some(code) = made.blocked {
        underway.blocked(code);
    }
    let (mut head, body) = made.response.into_parts();
    clean(&mut head);
    // It tells the usage of the one that it was made of.
    underway.begins(head.status, &head.headers);
    underway.reads(&body);
    whole(
        Response::from_parts(head, body),
        underway,
        RequestEnd::Complete,
    )
}

/// The head as the client gets it.
fn clean(head: &mut hyper::http::response::Parts) {
    headers::to_client(&mut head.headers);
    if let Some(translated) = head.extensions.get::<Translated>() {
        translated.tell(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// An error of ours. If the client may still be sending its body, or its bytes may be ambiguous,
/// the connection ends with this answer, so that nothing of it becomes the next request;
/// `connection` ensures that the client gets the answer.
pub(super) fn refuse(
    error: &ProxyError,
    underway: Box<Underway>,
    is_over: bool,
) -> Response<AnswerBody> {
    let end = RequestEnd::Refused(error.kind.code());
    let mut response = whole(error.response(underway.error_format()), underway, end);
    // A request for another host may be meant for another server, and so may the bytes after it. A
    // client without the right to ask gets one answer per connection: otherwise pipelined requests
    // would cause thousands, which keeps others waiting.
    let doubtful = matches!(
        error.kind,
        ErrorKind::BadRequest
            | ErrorKind::HostNotAllowed
            | ErrorKind::PeerNotAllowed
            | ErrorKind::InvalidClientKey
    );
    if !is_over || doubtful {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(super) fn whole(
    response: Response<Bytes>,
    mut underway: Box<Underway>,
    end: RequestEnd,
) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    underway.answered(head.status);
    underway.sent(body.len(), tokio::time::Instant::now());
    underway.ended(end);
    identify(&mut head.headers, underway.id());
    Response::from_parts(head, AnswerBody::Whole((!body.is_empty()).then_some(body)))
}

pub(super) fn identify(fields: &mut HeaderMap, id: RequestId) {
    if let Ok(id) = HeaderValue::from_bytes(&id.digits()) {
        fields.insert(REQUEST_ID, id);
    }
}

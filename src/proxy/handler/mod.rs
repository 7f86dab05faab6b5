//! One request, step by step.

mod admitted;
mod answer;
mod authorization;
mod by_model;
mod errors;
mod exchange;
mod forward;
mod incoming;
mod list;
mod quota_blame;
mod request;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::Response;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderValue, ORIGIN, UPGRADE, WWW_AUTHENTICATE};

use self::admitted::AdmittedRequest;
use self::answer::{identify, refuse, whole};
use self::authorization::{Decision, decide, limited, take_places};
pub(super) use self::exchange::{Exchange, no_credential, no_login};
use self::forward::forward;
pub(super) use self::incoming::IncomingClient;
use self::list::{from_list, is_kept, of_list};
use self::request::ForwardableRequest;
pub(super) use self::request::IncomingRequest;
use super::answer_body::AnswerBody;
use super::api_key;
use super::error::{ErrorFormat, ErrorKind, ProxyError};
use super::fields::Fields;
use super::framing::Head;
use super::gateway::{Gateway, Upstream};
use super::local::LocalRequest;
use super::models::{self, ModelsQuery};
use super::record::{RequestEnd, RequestId, Underway};
use super::route::Local;
use super::server::ConnectionHandle;
use super::{guard, headers, local, page, route};
use crate::OWN_REQUEST;
use crate::clients::Client;

/// Answers a request. Every path out of here writes one log line with the true outcome.
pub(super) async fn handle(
    gateway: Arc<Gateway>,
    entry: Arc<IncomingClient>,
    connection: ConnectionHandle,
    request: IncomingRequest,
) -> Response<AnswerBody> {
    let id = RequestId::draw();
    let head = &request.head;
    let fields = &head.headers;
    // A listed page may read every answer, including a refusal.
    let origin = fields.has(ORIGIN).then(|| gateway.rules());
    let origin = origin.and_then(|rules| {
        let origin = guard::listed_origin(fields, &rules.guard)?;
        HeaderValue::from_bytes(origin).ok()
    });
    // Another protocol is never offered (RFC 9110 §7.8). Bytes that follow may belong to it.
    let is_last = fields.has(UPGRADE);
    let format = route::error_format(head.uri.path());
    let answer = respond(gateway, entry, connection, id, request);
    let mut answer = unharmed(id, format, answer).await;
    if let Some(origin) = origin {
        headers::allow_origin(answer.headers_mut(), &origin);
    }
    if is_last {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}

/// A panic in one request costs only that request: it gets a 500.
pub(super) fn unharmed(
    id: RequestId,
    format: ErrorFormat,
    answer: impl Future<Output = Response<AnswerBody>>,
) -> impl Future<Output = Response<AnswerBody>> {
    // What the request held is dropped, and nothing else has seen it in between. An `async fn` would store the answer's
    // future twice.
    let answer = AssertUnwindSafe(answer).catch_unwind();
    answer.map(move |answer| {
        answer.unwrap_or_else(|_| {
            let message = format!(
                "hermes-proxyd: an internal error; see the log. Please report it. Request {id}"
            );
            let (mut head, text) = ProxyError::new(ErrorKind::Internal, message)
                .response(format)
                .into_parts();
            identify(&mut head.headers, id);
            // The request's body may be unread.
            let close = HeaderValue::from_static("close");
            head.headers.insert(CONNECTION, close);
            Response::from_parts(head, AnswerBody::Whole(Some(text)))
        })
    })
}

async fn respond(
    gateway: Arc<Gateway>,
    entry: Arc<IncomingClient>,
    connection: ConnectionHandle,
    id: RequestId,
    request: IncomingRequest,
) -> Response<AnswerBody> {
    let IncomingRequest { mut head, body } = request;
    let rules = gateway.rules();
    let mut underway = Underway::new(gateway.ledger(), id, head.method.clone(), head.uri.clone());
    let is_own = takes_mark(&mut head.headers, &gateway);
    if is_own {
        underway.is_own();
    }
    let (presented, client) = api_key::find(&head.headers, |key| gateway.clients.look_up(key));
    if let Some(client) = &client {
        underway.asked_by(client);
    }
    let request = AdmittedRequest {
        gateway: &gateway,
        rules: &rules,
        entry: &entry,
        connection: &connection,
        presented,
        client: client.as_ref(),
        is_own,
    };
    let decision = decide(&request, presented, &head, &body).and_then(|decision| {
        let goes_on = matches!(
            decision,
            Decision::Forward(_) | Decision::Models(..) | Decision::ByModel(..)
        );
        if goes_on {
            take_places(&request, &mut underway)?;
        }
        Ok(decision)
    });
    match decision {
        Err(error) => turned_away(&request, &error, &head, body.has_come(), underway),
        Ok(Decision::Answer(response)) => whole(response, underway, RequestEnd::Complete),
        Ok(Decision::Local(path, upstream)) => {
            underway.is_probe(request.is_stranger());
            let answer = answer_here(&request, &head.headers, path, upstream).await;
            whole(answer, underway, RequestEnd::Complete)
        }
        Ok(Decision::Models(to, wanted)) => {
            by_model::goes_to(&mut underway, to, &head);
            let reply = Box::pin(from_list(&request, &head, to.upstream, &wanted)).await;
            of_list(reply, underway)
        }
        Ok(Decision::Forward(to)) => {
            by_model::goes_to(&mut underway, to, &head);
            if !is_own && let Some(error) = limited(to.upstream, &head.method) {
                return refuse(&error, underway, body.has_come());
            }
            if !is_own && is_kept(&rules, to, &head) && body.is_end_stream() {
                let reply =
                    Box::pin(from_list(&request, &head, to.upstream, &ModelsQuery::All)).await;
                if !matches!(reply, models::ModelsReply::Forward) {
                    return of_list(reply, underway);
                }
            }
            let upload = request.upload(body);
            if let Some(upload) = &upload {
                underway.uploads(upload);
            }
            let is_limited = |client: &Arc<Client>| client.is_for_models();
            if client.as_ref().is_some_and(is_limited)
                && (upload.is_some() || !by_model::only_looks(&head.method))
            {
                let forwarded = ForwardableRequest { head, upload };
                // Boxed because it is rare: every request's future would grow by it.
                let answer = by_model::check_and_forward(request, to, forwarded, underway);
                return Box::pin(answer).await;
            }
            if let Some(upload) = &upload {
                by_model::hear(&underway, to, &head, upload);
            }
            forward(&request, to, ForwardableRequest { head, upload }, underway).await
        }
        Ok(Decision::ByModel(allowed, default)) => {
            let incoming = IncomingRequest { head, body };
            // Boxed because it is rare: every request's future would grow by it.
            let answer = by_model::find_and_forward(request, allowed, default, incoming, underway);
            Box::pin(answer).await
        }
    }
}

/// The answer to a request that is refused or has no destination.
fn turned_away(
    request: &AdmittedRequest<'_>,
    error: &ProxyError,
    head: &Head,
    is_read: bool,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    request.turns_away(error, head, &mut underway);
    request.connection.refuses();
    let mut refused = refuse(error, underway, is_read);
    if page::asks_for_key(error, head) {
        let asks = HeaderValue::from_static(page::ASKS_FOR_KEY);
        refused.headers_mut().insert(WWW_AUTHENTICATE, asks);
    }
    refused
}

/// Answers without a provider: the status page, or the service's health.
async fn answer_here(
    request: &AdmittedRequest<'_>,
    fields: &Fields,
    path: Local,
    upstream: Option<&Arc<Upstream>>,
) -> Response<Bytes> {
    if page::is_meant(path, fields) {
        // Boxed because it is rare: every request's future would grow by it.
        return Box::pin(show(request, fields, path, upstream)).await;
    }
    let upstream = upstream.filter(|upstream| request.is_open(upstream));
    let upstream = upstream.or_else(|| {
        request
            .rules
            .upstreams
            .iter()
            .find(|one| request.is_open(one))
    });
    local::answer(path, fields, &local_request(request, upstream))
}

/// What an answer of our own depends on.
fn local_request<'r>(
    request: &AdmittedRequest<'r>,
    upstream: Option<&'r Arc<Upstream>>,
) -> LocalRequest<'r> {
    LocalRequest {
        gateway: request.gateway,
        rules: request.rules,
        upstream: upstream.map(|upstream| &**upstream),
        client: request.client.map(|client| &**client),
        is_stranger: request.is_stranger(),
    }
}

/// The status page, or its JSON.
async fn show(
    request: &AdmittedRequest<'_>,
    fields: &Fields,
    path: Local,
    upstream: Option<&Arc<Upstream>>,
) -> Response<Bytes> {
    let Some(pages) = request.gateway.pages() else {
        return local::answer(path, fields, &local_request(request, upstream));
    };
    let reader = page::PageReader {
        client: request.client.cloned(),
        origin: page::origin(fields),
        provider: upstream.map(|upstream| upstream.name.to_string()),
        needs_key: request.entry.needs_key,
    };
    if path == Local::StatusJson {
        return page::json(pages.json(reader).await);
    }
    page::response(pages.html(reader).await)
}

/// Removes the mark of hermesctl's own requests; returns whether it was the right one.
fn takes_mark(fields: &mut Fields, gateway: &Gateway) -> bool {
    let Some(mark) = fields.get(OWN_REQUEST) else {
        return false;
    };
    let is_own = gateway.own_mark().is_some_and(|own| own.is(mark));
    fields.remove(OWN_REQUEST);
    is_own
}

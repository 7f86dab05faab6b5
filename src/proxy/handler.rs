//! One request, step by step.

mod by_model;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode, Version};

use super::api_key::{self, Presented};
use super::download::{AnswerBody, Download, shutting_down, too_slow_to_stay};
use super::error::{ErrorKind, ProxyError, REQUEST_ID};
use super::events::Events;
use super::gateway::{Gateway, Rules, Upstream};
use super::guard::{Arrival, Peer};
use super::headers::{self, Passing};
use super::models::{self, Wanted, merged};
use super::pool::Answer;
use super::presence::Presence;
use super::record::{End, Refusal, RequestId, Underway};
use super::route::{self, Choice, Local, Route};
use super::translation::{self, Memory, Reading, Turn, Whole, is_encoded};
use super::upload::{Upload, UploadBody, UploadError, UploadLimits};
use super::upstream::SendError;
use super::{guard, local, peer, want};
use crate::OWN_REQUEST;
use crate::clients::{Client, Full};
use crate::clock;
use crate::config::{AllowedPath, BodyKind, ProviderName};
use crate::credentials::{Lease, NotReplaced, Refusal as NoCredential};
use crate::provider::{Dialect, Heard, Reply, Verdict};

/// So much of an answer's body is enough to know what it is about.
const START: usize = 8 * 1024;
/// And so long it is waited for.
const START_LIMIT: Duration = Duration::from_secs(2);
/// When it may be worth another try, where a limit of ours is reached.
const PAUSE: Duration = Duration::from_secs(1);
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a client connected, and what the system tells of it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Both ends of a TCP connection: the client's address and ours.
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
    /// The client's address as text, or `unix socket`.
    pub(super) from: Arc<str>,
    /// The provider that `/v1` means there.
    pub(super) provider: Option<ProviderName>,
    /// Whether a client key is needed there.
    pub(super) needs_key: bool,
    /// Whose process the client is, once it was asked for.
    pub(super) peer: OnceLock<Peer>,
}

impl Entry {
    /// What the guard needs to know of a request of this connection.
    ///
    /// # Errors
    /// 503 where it can't be found out right now.
    fn arrival(&self, peer_check: bool, presented: Presented) -> Result<Arrival, ProxyError> {
        let has_key = presented == Presented::Valid;
        let peer = match self.ends {
            Some(ends) if peer_check && !has_key => self.peer(ends)?,
            _ => Peer::Ours,
        };
        Ok(Arrival {
            local: self.ends.map(|(_, local)| local.ip().to_canonical()),
            peer,
            needs_key: self.needs_key,
            presented,
        })
    }

    /// Whose process the client is. The answer is kept; where there is none, the connection's next
    /// request asks again.
    fn peer(&self, (remote, local): (SocketAddr, SocketAddr)) -> Result<Peer, ProxyError> {
        if let Some(peer) = self.peer.get() {
            return Ok(*peer);
        }
        let Some(peer) = peer::of_connection(remote, local) else {
            return Err(want::error(
                "the owner of the client program can't be looked up",
            ));
        };
        if peer != Peer::Untold {
            self.peer.set(peer).ok();
        }
        Ok(peer)
    }
}

/// What a request is to be done with, decided from its head alone.
enum Decision<'r> {
    Answer(Response<Bytes>),
    Local(Local, Option<&'r Arc<Upstream>>),
    Forward(&'r Arc<Upstream>, usize),
    Models(&'r Arc<Upstream>, usize, Wanted),
    /// Its model decides, which has to be read from the body; with its path as a provider lists it, and the provider
    /// of the address.
    ByModel(&'r AllowedPath, Option<usize>),
}

/// A request that was let in, and what it goes by.
#[derive(Debug, Clone, Copy)]
struct Request<'r> {
    gateway: &'r Gateway,
    rules: &'r Rules,
    entry: &'r Entry,
    presence: &'r Presence,
    /// What it presents as its API key.
    presented: Presented,
    client: Option<&'r Arc<Client>>,
    /// Whether it is hermesctl's own.
    is_own: bool,
}

/// Why the provider refuses the account, beside its answer.
#[derive(Debug, Clone, Copy)]
struct Blocked(&'static str);

/// One request to one provider, ready to be sent as often as needed.
pub(super) struct Exchange<'r> {
    pub(super) upstream: &'r Upstream,
    /// As it is listed.
    pub(super) allowed: &'r AllowedPath,
    /// As the provider is asked for it.
    pub(super) path: &'r str,
    pub(super) method: Method,
    pub(super) head: &'r Parts,
    pub(super) upload: Option<Upload>,
}

/// Answers a request. Every way out has one log line and says truthfully how it ended.
pub(super) async fn handle(
    gateway: Arc<Gateway>,
    entry: Arc<Entry>,
    presence: Presence,
    request: hyper::Request<Incoming>,
) -> Response<AnswerBody> {
    let id = RequestId::draw();
    let fields = request.headers();
    // A listed page may read every answer, also why it was refused.
    let origin = fields.contains_key(ORIGIN).then(|| gateway.rules());
    let origin = origin.and_then(|rules| guard::listed_origin(fields, &rules.guard).cloned());
    // Another protocol is not offered (RFC 9110 §7.8). What follows may be meant in that one.
    let is_last = fields.contains_key(UPGRADE);
    let answer = respond(gateway, entry, (presence, id), request);
    let mut answer = unharmed(id, answer).await;
    if let Some(origin) = origin {
        headers::allow_origin(answer.headers_mut(), &origin);
    }
    if is_last {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}

/// A defect in one request costs that request only: it gets a 500.
pub(super) fn unharmed(
    id: RequestId,
    answer: impl Future<Output = Response<AnswerBody>>,
) -> impl Future<Output = Response<AnswerBody>> {
    // What the request held is dropped, and nobody else has seen it in between. An `async fn` would
    // hold the answer's future twice.
    let answer = AssertUnwindSafe(answer).catch_unwind();
    answer.map(move |answer| {
        answer.unwrap_or_else(|_| {
            let message = format!(
                "hermes-proxyd: an internal error; see the log. Please report it. Request {id}"
            );
            let (mut head, text) = ProxyError::new(ErrorKind::Internal, message)
                .response()
                .into_parts();
            identify(&mut head.headers, id);
            // Its body may not have been read.
            let close = HeaderValue::from_static("close");
            head.headers.insert(CONNECTION, close);
            Response::from_parts(head, AnswerBody::Whole(Some(text)))
        })
    })
}

async fn respond(
    gateway: Arc<Gateway>,
    entry: Arc<Entry>,
    (presence, id): (Presence, RequestId),
    request: hyper::Request<Incoming>,
) -> Response<AnswerBody> {
    let rules = gateway.rules();
    let (mut head, body) = request.into_parts();
    let mut underway = Underway::new(gateway.ledger(), id, head.method.clone(), head.uri.clone());
    let is_own = takes_mark(&mut head.headers, &gateway);
    if is_own {
        underway.is_own();
    }
    let (presented, client) = api_key::find(&head.headers, |key| gateway.clients.look_up(key));
    if let Some(client) = &client {
        underway.asked_by(client);
    }
    let request = Request {
        gateway: &gateway,
        rules: &rules,
        entry: &entry,
        presence: &presence,
        presented,
        client: client.as_ref(),
        is_own,
    };
    let decision = decide(&request, presented, &head, &body).and_then(|decision| {
        let goes_on = matches!(
            decision,
            Decision::Forward(..) | Decision::Models(..) | Decision::ByModel(..)
        );
        if let (true, Some(client)) = (goes_on, &client) {
            let visit = underway.visits(client, &entry.from);
            visit.map_err(|full| busy(&full))?;
        }
        Ok(decision)
    });
    match decision {
        Err(error) => {
            request.turns_away(&error, &head, &mut underway);
            presence.refuses();
            refuse(&error, underway, body.is_end_stream())
        }
        Ok(Decision::Answer(response)) => whole(response, underway, End::Complete),
        Ok(Decision::Local(path, upstream)) => {
            let response = local::answer(
                path,
                (&gateway, &rules),
                upstream.map(|upstream| &**upstream),
            );
            whole(response, underway, End::Complete)
        }
        Ok(Decision::Models(upstream, path, wanted)) => {
            if let Some(label) = upstream.labels.get(path) {
                underway.routed(&upstream.label, label, &upstream.counters);
            }
            let reply = Box::pin(from_list(&request, &head, upstream, &wanted)).await;
            of_list(reply, underway)
        }
        Ok(Decision::Forward(upstream, path)) => {
            if let Some(label) = upstream.labels.get(path) {
                underway.routed(&upstream.label, label, &upstream.counters);
            }
            if !is_own && let Some(error) = limited(upstream, &head.method) {
                return refuse(&error, underway, body.is_end_stream());
            }
            if !is_own && is_kept(&rules, upstream, path, &head) && body.is_end_stream() {
                let reply = Box::pin(from_list(&request, &head, upstream, &Wanted::All)).await;
                if !matches!(reply, models::Reply::Forward) {
                    return of_list(reply, underway);
                }
            }
            let upload = request.upload(body);
            if let Some(upload) = &upload {
                underway.uploads(upload);
            }
            forward(&request, (upstream, path), (head, upload), underway).await
        }
        Ok(Decision::ByModel(allowed, default)) => {
            let parts = (head, body);
            // Rare, so not a part of every request's future.
            let answer = by_model::find_and_forward(request, (allowed, default), parts, underway);
            Box::pin(answer).await
        }
    }
}

impl Request<'_> {
    /// Enters a refusal for the apps' owner.
    fn turns_away(&self, error: &ProxyError, head: &Parts, underway: &mut Underway) {
        if self.is_own {
            return;
        }
        let app = self
            .client
            .map_or(&*self.entry.from, |client| client.name());
        let error = about_peer(error, self.entry);
        let is_listed = guard::listed_origin(&head.headers, &self.rules.guard).is_some();
        underway.refused(Refusal {
            kind: error.kind,
            from: app.into(),
            about: error.about.as_deref().map(Into::into),
            matters: matters(head, error.kind, is_listed),
        });
    }

    /// The memory that bodies take which are held whole.
    fn memory(&self) -> Memory {
        Memory {
            total: self.rules.limits.replay_total,
            used: self.gateway.replay_used.clone(),
        }
    }

    /// Its body, if it has one.
    fn upload(&self, body: Incoming) -> Option<Upload> {
        let limits = &self.rules.limits;
        (!body.is_end_stream()).then(|| {
            Upload::new(
                body,
                UploadLimits {
                    size: limits.body,
                    silence: self.rules.timeouts.body,
                    replay: limits.replay_body,
                    replay_total: limits.replay_total,
                    replay_used: self.gateway.replay_used.clone(),
                },
            )
        })
    }
}

/// Whether a request is for a list that everyone gets.
fn is_kept(rules: &Rules, upstream: &Upstream, path: usize, head: &Parts) -> bool {
    head.method != Method::POST
        && models::is_list(upstream, path)
        && (!rules.models_cache.is_zero() || merges(rules, head))
        && models::is_plain(head, upstream)
}

/// Whether the path means the models of all providers.
fn merges(rules: &Rules, head: &Parts) -> bool {
    merged::is_wanted(rules) && !route::names_provider(head.uri.path(), &rules.upstreams)
}

/// Answers from a provider's list of models, or from that of all.
async fn from_list(
    request: &Request<'_>,
    head: &Parts,
    upstream: &Arc<Upstream>,
    wanted: &Wanted,
) -> models::Reply {
    let (rules, gateway) = (request.rules, request.gateway);
    let reply = async {
        if merges(rules, head) {
            let own = (rules, &gateway.merged);
            merged::reply(own, upstream, request.client, wanted).await
        } else {
            models::reply(upstream, wanted, rules.models_cache).await
        }
    };
    tokio::select! {
        biased;
        reply = reply => reply,
        () = request.presence.cut() => models::Reply::Error(shutting_down()),
    }
}

/// The answer, which says of the provider only what it has just done.
fn of_list(reply: models::Reply, underway: Underway) -> Response<AnswerBody> {
    let (response, end) = match reply {
        models::Reply::Answer { response, is_new } => {
            let end = if is_new { End::Complete } else { End::Kept };
            (response, end)
        }
        models::Reply::Error(error) => {
            let end = if error.kind == ErrorKind::ModelNotFound {
                End::Kept
            } else {
                End::Refused(error.kind.code())
            };
            (error.response(), end)
        }
        models::Reply::Forward => {
            let error = defect();
            (error.response(), End::Refused(error.kind.code()))
        }
    };
    whole(response, underway, end)
}

/// Takes the mark of hermesctl's own requests out of a request; whether it is the right one.
fn takes_mark(fields: &mut HeaderMap, gateway: &Gateway) -> bool {
    let mark = fields.remove(OWN_REQUEST);
    mark.is_some_and(|mark| {
        let own = gateway.own_mark();
        own.is_some_and(|own| own.is(mark.as_bytes()))
    })
}

/// The error with what it is about, where only the connection knows it.
fn about_peer<'e>(error: &'e ProxyError, entry: &Entry) -> Cow<'e, ProxyError> {
    match entry.peer.get() {
        Some(Peer::Stranger(Some(uid))) if error.kind == ErrorKind::PeerNotAllowed => {
            Cow::Owned(error.clone().about(&format!("uid {uid}")))
        }
        _ => Cow::Borrowed(error),
    }
}

/// Whether an app may miss what is refused. Nobody misses what a browser or a monitor asks for by
/// itself, and a web page that is not listed is no app of the user's.
fn matters(head: &Parts, kind: ErrorKind, is_listed_page: bool) -> bool {
    let has = |name: &HeaderName| head.headers.contains_key(name);
    let is_page = has(&ORIGIN) || has(&SEC_FETCH_SITE);
    let is_of_path = matches!(
        kind,
        ErrorKind::PathNotAllowed | ErrorKind::UnknownProvider | ErrorKind::MethodNotAllowed
    );
    // Every base URL of an app ends in `/v1`; browsers look for icons, scanners for anything.
    let is_stray = is_of_path
        && head.method == Method::GET
        && !head.uri.path().split('/').any(|segment| segment == "v1");
    let is_foreign_page = is_page && !is_listed_page;
    !(head.method == Method::HEAD || is_stray || is_foreign_page)
}

/// Guard and route, and what the head alone gives away.
fn decide<'r>(
    request: &Request<'r>,
    presented: Presented,
    head: &Parts,
    body: &Incoming,
) -> Result<Decision<'r>, ProxyError> {
    let Request { rules, entry, .. } = *request;
    let arrival = entry.arrival(rules.guard.peer_check, presented)?;
    let admitted = guard::admit(&head.method, &head.headers, &arrival, &rules.guard)?;
    if admitted.is_preflight {
        // Whoever names a listed page gets that far, so it protects no place.
        request.presence.refuses();
        return Ok(Decision::Answer(preflight(&head.headers)));
    }
    request.presence.is_let_in();
    let default = rules.default_for(entry.provider.as_ref());
    let (path, upstreams) = (head.uri.path(), &rules.upstreams);
    let choice = match &rules.routing {
        None => route::find(&head.method, path, upstreams, default).map(Choice::Settled),
        Some(routing) => route::find_by_routes(&head.method, path, upstreams, default, routing),
    };
    if admitted.is_link && !matches!(choice, Ok(Choice::Settled(Route::Local(_)))) {
        return Err(guard::foreign_page());
    }
    let (provider, path, is_settled) = match choice? {
        Choice::Settled(Route::Local(local)) => {
            return Ok(Decision::Local(
                local,
                default.and_then(|at| upstreams.get(at)),
            ));
        }
        Choice::Settled(Route::Model {
            provider,
            path,
            before,
        }) => {
            let upstream = upstreams.get(provider).ok_or_else(defect)?;
            has_key(upstream, presented)?;
            not_our_own(head, rules)?;
            if let Some(client) = request.client {
                permitted(client, upstream, path)?;
            }
            let id = route::model(head.uri.path(), before).ok_or_else(defect)?;
            return Ok(Decision::Models(upstream, path, Wanted::One(id)));
        }
        Choice::Settled(Route::Forward { provider, path }) => (provider, path, true),
        Choice::ByModel { provider, path } => (provider, path, false),
    };
    let upstream = upstreams.get(provider).ok_or_else(defect)?;
    if is_settled {
        has_key(upstream, presented)?;
    }
    not_our_own(head, rules)?;
    cut_would_show(head, entry)?;
    if let (true, Some(client)) = (is_settled, request.client) {
        permitted(client, upstream, path)?;
    }
    let allowed = upstream.paths.get(path).ok_or_else(defect)?;
    acceptable_body(head, body, rules, allowed.body)?;
    if is_settled {
        return Ok(Decision::Forward(upstream, path));
    }
    Ok(Decision::ByModel(allowed, default))
}

/// Whether a request shows the key that its provider demands.
fn has_key(upstream: &Upstream, presented: Presented) -> Result<(), ProxyError> {
    if upstream.needs_key && presented != Presented::Valid {
        return Err(guard::key_of_provider(presented, upstream.name.as_str()));
    }
    Ok(())
}

/// Whether an app's key is good for what it asks for.
fn permitted(client: &Client, upstream: &Upstream, path: usize) -> Result<(), ProxyError> {
    let name = client.name();
    if !client.allows_provider(upstream.name.as_str()) {
        let message = format!(
            "hermes-proxyd: the client key {name} is not for the provider {}; `hermesctl clients \
             list` shows what it is for",
            upstream.name
        );
        return Err(ProxyError::new(ErrorKind::UnknownProvider, message));
    }
    let path = upstream
        .paths
        .get(path)
        .map_or("", |allowed| allowed.path.as_str());
    if !client.allows_path(path) {
        let message = format!(
            "hermes-proxyd: the client key {name} is not for the path {path}; `hermesctl clients \
             list` shows what it is for"
        );
        return Err(ProxyError::new(ErrorKind::PathNotAllowed, message));
    }
    Ok(())
}

/// An app has as many requests under way as its key may.
fn busy(full: &Full) -> ProxyError {
    let message = format!("hermes-proxyd: {full}; `hermesctl clients list` shows it");
    ProxyError::new(ErrorKind::TooManyRequests, message).retry_after(PAUSE)
}

/// Why an inference request is not sent while the provider has said that it is of no use. What hermesctl
/// asks goes out all the same, and its success ends this.
fn limited(upstream: &Upstream, method: &Method) -> Option<ProxyError> {
    if *method != Method::POST {
        return None;
    }
    let now = upstream.client.now();
    let until = upstream.adapter.limited(now)?;
    if upstream.credentials.is_separate() {
        return None;
    }
    let message = format!(
        "hermes-proxyd: {} has said that the account's rate limit is used up until {}, so it is not \
         asked before; `hermesctl proxy test` asks it at once",
        upstream.display_name,
        until.format("%H:%M:%S UTC")
    );
    let error = ProxyError::new(ErrorKind::UpstreamRateLimited, message);
    Some(error.retry_after(clock::until(until, now)))
}

fn not_our_own(head: &Parts, rules: &Rules) -> Result<(), ProxyError> {
    if !headers::has_mark(&head.headers, &rules.mark) {
        return Ok(());
    }
    let message = "hermes-proxyd: a request that this service sent to a provider came back: \
                   `base_url` of a provider in the configuration, or NOUS_INFERENCE_BASE_URL, \
                   points here instead of to the provider";
    Err(ProxyError::new(ErrorKind::LoopDetected, message))
}

/// An answer to HTTP/1.0 may end with its connection only, and a Unix socket has no reset that
/// would tell a cut from an end. The answer to a HEAD ends with its head.
fn cut_would_show(head: &Parts, entry: &Entry) -> Result<(), ProxyError> {
    let is_shown = entry.ends.is_some() || head.method == Method::HEAD;
    if head.version != Version::HTTP_10 || is_shown {
        return Ok(());
    }
    let message = "hermes-proxyd: HTTP/1.0 is not served over a Unix socket, because a cut answer \
                   would look complete there; use HTTP/1.1 (nginx: `proxy_http_version 1.1;`)";
    Err(ProxyError::new(ErrorKind::HttpVersionNotSupported, message))
}

fn acceptable_body(
    head: &Parts,
    body: &Incoming,
    rules: &Rules,
    taken: BodyKind,
) -> Result<(), ProxyError> {
    let limit = rules.limits.body;
    if body.is_end_stream() {
        return Ok(());
    }
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let mut kinds = head.headers.get_all(CONTENT_TYPE).iter();
    if !(guard::may_be_a_page(&head.headers) && kinds.any(guard::needs_no_preflight)) {
        return Ok(());
    }
    let is_listed = || guard::listed_origin(&head.headers, &rules.guard).is_some();
    if headers::keeps_type(&head.headers, taken) && is_listed() {
        return Ok(());
    }
    let message = "hermes-proxyd: a web page must send its request body with the content type \
                   application/json";
    Err(ProxyError::new(ErrorKind::UnsupportedMediaType, message))
}

fn too_large(limit: u64) -> ProxyError {
    let message =
        format!("hermes-proxyd: the request body is larger than {limit} bytes (`limits.body`)");
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}

fn defect() -> ProxyError {
    ProxyError::new(
        ErrorKind::Internal,
        "hermes-proxyd: a request could not be built",
    )
}

/// Tells a listed page's browser that it may send what it asked for (Fetch standard).
fn preflight(client: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let fields = response.headers_mut();
    fields.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = client.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

async fn forward(
    request: &Request<'_>,
    (upstream, path): (&Arc<Upstream>, usize),
    (mut head, upload): (Parts, Option<Upload>),
    underway: Underway,
) -> Response<AnswerBody> {
    let Request {
        rules, presence, ..
    } = *request;
    let Some(allowed) = upstream.paths.get(path) else {
        return refuse(&defect(), underway, upload.is_none());
    };
    let mut turn = Turn::AsItCame;
    if let Some(dialect) = upstream.dialect(path) {
        let translating = translate(request, dialect, &mut head, upload.as_ref());
        match unless_cut(presence, Box::pin(translating)).await {
            Ok(turned) => turn = turned,
            Err(error) => {
                let is_over = upload.as_ref().is_none_or(Upload::is_finished);
                return refuse(&error, underway, is_over);
            }
        }
    }
    let exchange = Exchange {
        upstream,
        allowed,
        path: &route::path_upstream(allowed, head.uri.path()),
        method: route::method_upstream(&head.method, allowed),
        head: &head,
        upload,
    };
    if turn.is_another() {
        let turning = answer_turned(&exchange, turn, request, underway);
        return Box::pin(turning).await;
    }
    let answer = tokio::select! {
        biased;
        answer = exchange.run() => answer,
        () = presence.cut() => Err(shutting_down()),
        () = presence.makes_way() => Err(too_slow_to_stay()),
    };
    match answer {
        Ok(answer) if head.method != exchange.method => pass_head(answer, underway),
        Ok(answer) => pass(answer, underway, (rules, upstream), presence),
        Err(error) => match exchange.upload {
            Some(upload) => refuse(&error, underway, upload.is_finished()),
            None => whole(error.response(), underway, End::Refused(error.kind.code())),
        },
    }
}

/// Turns a request into what its provider takes.
async fn translate(
    request: &Request<'_>,
    dialect: Dialect,
    head: &mut Parts,
    upload: Option<&Upload>,
) -> Result<Turn, ProxyError> {
    let turned = translation::request(dialect, head, upload, &request.memory()).await;
    turned.map_err(|failure| match (failure, upload) {
        (translation::Failure::Ours(error), _) => error,
        (translation::Failure::Upload(error), Some(upload)) => upload_error(error, upload),
        (translation::Failure::Upload(_), None) => defect(),
    })
}

/// Sends a request whose answer becomes another one.
async fn answer_turned(
    exchange: &Exchange<'_>,
    turn: Turn,
    request: &Request<'_>,
    underway: Underway,
) -> Response<AnswerBody> {
    let Request {
        rules, presence, ..
    } = *request;
    let upstream = exchange.upstream;
    let is_over = || exchange.upload.as_ref().is_none_or(Upload::is_finished);
    let mut answer = match unless_cut(presence, Box::pin(exchange.run())).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&error, underway, is_over()),
    };
    if exchange.head.method != exchange.method {
        turn.clean(answer.headers_mut());
        return pass_head(answer, underway);
    }
    if !turn.reads_whole(&answer) {
        return pass(answer, underway, (rules, upstream), presence);
    }
    let reading = Reading {
        idle: rules.timeouts.idle,
        memory: &request.memory(),
        reads: upstream.adapter.reads_errors(),
    };
    let whole = translation::whole(turn, answer, reading);
    match unless_cut(presence, Box::pin(whole)).await {
        Ok(made) => pass_whole(made, underway),
        Err(error) => refuse(&error, underway, is_over()),
    }
}

/// What `work` comes to, unless a shutdown cuts it, or its connection is needed for another. On the heap: it is not a
/// part of every request's future.
async fn unless_cut<T>(
    presence: &Presence,
    work: Pin<Box<impl Future<Output = Result<T, ProxyError>>>>,
) -> Result<T, ProxyError> {
    tokio::select! {
        biased;
        done = work => done,
        () = presence.cut() => Err(shutting_down()),
        () = presence.makes_way() => Err(too_slow_to_stay()),
    }
}

impl Exchange<'_> {
    /// Sends the request, and once more with another credential when the provider refused this
    /// one, nothing of the answer went out and the body can be sent again. When the replay comes
    /// to nothing, the first answer stands. After many renewals in a row it is sent with the same
    /// credential before that is replaced: the provider may refuse at random.
    pub(super) async fn run(&self) -> Result<Response<Answer>, ProxyError> {
        let lease = self.upstream.credentials.lease().await;
        let lease = lease.map_err(no_credential)?;
        let first = self.send(&lease).await?;
        match self.judge(&first) {
            // Rare, so not a part of every request's future.
            Verdict::ReadOn | Verdict::RenewAndRetry => {
                Box::pin(self.reconsider(lease, first)).await
            }
            verdict @ (Verdict::Pass | Verdict::NextLogin { .. } | Verdict::Blocked(_)) => {
                let mut first = self.passes(&lease, first, verdict);
                note(&mut first, verdict);
                Ok(first)
            }
        }
    }

    /// An answer that may have refused the credential.
    async fn reconsider(
        &self,
        lease: Lease,
        mut first: Response<Answer>,
    ) -> Result<Response<Answer>, ProxyError> {
        let verdict = self.verdict(&mut first).await;
        if verdict != Verdict::RenewAndRetry {
            return Ok(self.passes(&lease, first, verdict));
        }
        // The refresh happens whether or not this request can be replayed.
        let credentials = &self.upstream.credentials;
        let mut replacement = credentials.replacement(&lease, &self.allowed.path).await;
        let replayable = || self.upload.as_ref().is_none_or(Upload::can_replay);
        if matches!(replacement, Err(NotReplaced::Paced)) && replayable() {
            let Ok(mut second) = self.send(&lease).await else {
                self.forget();
                return Ok(first);
            };
            let verdict = self.verdict(&mut second).await;
            if verdict != Verdict::RenewAndRetry {
                return Ok(self.passes(&lease, second, verdict));
            }
            first = second;
            replacement = credentials
                .replacement_at_last(&lease, &self.allowed.path)
                .await;
        }
        let (Ok(lease), true) = (replacement, replayable()) else {
            return Ok(first);
        };
        let replay = credentials.replay(&self.allowed.path, &lease);
        let second = self.send(&lease).await;
        self.forget();
        match second {
            Ok(mut second) => {
                let verdict = self.verdict(&mut second).await;
                if verdict == Verdict::RenewAndRetry {
                    replay.refused();
                } else {
                    credentials.judged(&lease, verdict, second.status().is_success());
                }
                Ok(second)
            }
            Err(_) => Ok(first),
        }
    }

    fn passes(
        &self,
        lease: &Lease,
        answer: Response<Answer>,
        verdict: Verdict,
    ) -> Response<Answer> {
        let is_success = answer.status().is_success();
        self.upstream.credentials.judged(lease, verdict, is_success);
        self.forget();
        answer
    }

    /// What the answer says of its credential, as far as it is known.
    fn judge(&self, answer: &Response<Answer>) -> Verdict {
        self.upstream.adapter.verdict(&Reply {
            status: answer.status(),
            fields: answer.headers(),
            start: answer.body().start(),
            is_whole: answer.body().is_whole(),
        })
    }

    /// The same; where the head does not tell, the beginning of the body is waited for, for a moment.
    async fn verdict(&self, answer: &mut Response<Answer>) -> Verdict {
        let verdict = self.judge(answer);
        if verdict != Verdict::ReadOn {
            return verdict;
        }
        let most = if is_encoded(answer.headers()) {
            0
        } else {
            START
        };
        answer.body_mut().read_ahead(most, START_LIMIT).await;
        let verdict = self.judge(answer);
        note(answer, verdict);
        verdict
    }

    async fn send(&self, lease: &Lease) -> Result<Response<Answer>, ProxyError> {
        let credential = lease.credential();
        let target = credential
            .base_url
            .join(self.path, self.head.uri.query())
            .ok_or_else(defect)?;
        let build = || {
            let body = self
                .upload
                .as_ref()
                .map_or_else(UploadBody::empty, Upload::body);
            let mut request = hyper::Request::new(body);
            *request.method_mut() = self.method.clone();
            *request.uri_mut() = target.clone();
            let (extra, agent) = (&self.upstream.forward_headers, self.upstream.user_agent);
            let passing = Passing {
                extra,
                agent,
                body: self.allowed.body,
            };
            *request.headers_mut() = headers::to_upstream(&self.head.headers, &passing);
            if let Some(prefix) = self.upstream.forward_prefix {
                headers::forward_prefixed(request.headers_mut(), &self.head.headers, prefix);
            }
            if self.upstream.adapter.reads_errors().is_some() {
                headers::ask_for_plain(request.headers_mut());
            }
            if let Some(own) = &self.upstream.own_mark {
                headers::mark(request.headers_mut(), &self.head.headers, own);
            }
            headers::authorize(request.headers_mut(), credential);
            request
        };
        let limited = self.upstream.adapter.limited(self.upstream.client.now());
        let mut answer = self
            .upstream
            .client
            .send(build, self.upload.as_ref())
            .await
            .map_err(|error| match error {
                SendError::Upstream(error) => error,
                SendError::Upload(error) => match &self.upload {
                    Some(upload) => upload_error(error, upload),
                    None => defect(),
                },
            })?;
        if self.method == Method::POST {
            let reply = Reply {
                status: answer.status(),
                fields: answer.headers(),
                start: None,
                is_whole: false,
            };
            let heard = Heard {
                at: self.upstream.client.now(),
                while_limited: limited.is_some(),
            };
            let shared = || !self.upstream.credentials.is_separate();
            self.upstream.adapter.hear(&reply, heard, &shared);
        }
        if answer.status().is_redirection() {
            headers::keep_own_location(answer.headers_mut(), &credential.base_url);
        }
        Ok(answer)
    }

    fn forget(&self) {
        if let Some(upload) = &self.upload {
            upload.forget();
        }
    }
}

/// What a client is told whose body ended too soon.
fn upload_error(error: UploadError, upload: &Upload) -> ProxyError {
    match error {
        UploadError::TooLarge => too_large(upload.limit()),
        UploadError::TooSlow => ProxyError::new(
            ErrorKind::RequestTimeout,
            "hermes-proxyd: the request body arrived too slowly (`timeouts.body`)",
        ),
        UploadError::Malformed(violation) => violation.error(),
        UploadError::Unclear(flaw) => by_model::unclear(flaw),
        UploadError::Broken | UploadError::Superseded => ProxyError::new(
            ErrorKind::BadRequest,
            "hermes-proxyd: the request body was cut off",
        ),
    }
}

/// Puts down beside an answer why the provider refuses the account.
fn note(answer: &mut Response<Answer>, verdict: Verdict) {
    let code = match verdict {
        Verdict::Blocked(code) => Some(code),
        Verdict::NextLogin { code, .. } => code,
        Verdict::Pass | Verdict::RenewAndRetry | Verdict::ReadOn => None,
    };
    if let Some(code) = code {
        answer.extensions_mut().insert(Blocked(code));
    }
}

pub(super) fn no_credential(refusal: NoCredential) -> ProxyError {
    match refusal {
        NoCredential::LoginNeeded { message } => {
            ProxyError::new(ErrorKind::UpstreamAuthFailed, message)
        }
        NoCredential::Unavailable {
            message,
            retry_after,
        } => ProxyError::new(ErrorKind::CredentialsUnavailable, message).retry_after(retry_after),
    }
}

/// The head of the provider's answer to a GET, for a client that asked with HEAD.
fn pass_head(answer: Response<Answer>, mut underway: Underway) -> Response<AnswerBody> {
    let (mut head, _) = answer.into_parts();
    clean(&mut head);
    underway.answered(head.status);
    underway.ended(End::Complete);
    identify(&mut head.headers, underway.id());
    Response::from_parts(head, AnswerBody::Whole(None))
}

/// An answer that the translation stage has made.
fn pass_whole(made: Whole, mut underway: Underway) -> Response<AnswerBody> {
    if let Some(code) = made.blocked {
        underway.blocked(code);
    }
    let (mut head, body) = made.response.into_parts();
    clean(&mut head);
    whole(Response::from_parts(head, body), underway, End::Complete)
}

/// The head as the client gets it.
fn clean(head: &mut hyper::http::response::Parts) {
    headers::to_client(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// The provider's answer, its bytes untouched.
fn pass(
    answer: Response<Answer>,
    mut underway: Underway,
    (rules, upstream): (&Rules, &Upstream),
    presence: &Presence,
) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    if let Some(Blocked(code)) = head.extensions.get() {
        underway.blocked(code);
    }
    clean(&mut head);
    underway.answered(head.status);
    identify(&mut head.headers, underway.id());
    let is_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    });
    if is_stream {
        headers::not_held_back(&mut head.headers);
    }
    let is_events = is_stream && !is_encoded(&head.headers);
    if body.is_end_stream() {
        underway.ended(End::Complete);
    }
    let ends = upstream.append_done && head.status == StatusCode::OK;
    let reads = upstream.adapter.reads_errors();
    let events = is_events.then(|| Events::new(ends, reads));
    let idle = rules.timeouts.idle;
    let download = Download::new(body, underway, idle, events, presence.clone());
    Response::from_parts(head, AnswerBody::Stream(Box::new(download)))
}

/// An error of ours. When the client may still be sending its body, or may mean something else by
/// what it sends, the connection ends with this answer, so that nothing of it becomes the next
/// request; `connection` sees to it that the client gets the answer.
fn refuse(error: &ProxyError, underway: Underway, is_over: bool) -> Response<AnswerBody> {
    let end = End::Refused(error.kind.code());
    let mut response = whole(error.response(), underway, end);
    // Whoever names another host may be meant for another server, and so may be what follows.
    // A client without the right to ask gets one answer for each connection: pipelined requests would
    // otherwise have it make thousands, which keeps others waiting.
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

fn whole(response: Response<Bytes>, mut underway: Underway, end: End) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    underway.answered(head.status);
    underway.sent(body.len(), tokio::time::Instant::now());
    underway.ended(end);
    identify(&mut head.headers, underway.id());
    Response::from_parts(head, AnswerBody::Whole((!body.is_empty()).then_some(body)))
}

fn identify(fields: &mut HeaderMap, id: RequestId) {
    if let Ok(id) = HeaderValue::from_bytes(&id.digits()) {
        fields.insert(REQUEST_ID, id);
    }
}

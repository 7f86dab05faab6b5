//! What a request may do, decided from its head: its client, its path, its provider, and whether
//! that is allowed.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Response, StatusCode, Version};

use super::super::api_key::Presented;
use super::super::error::{ErrorKind, ProxyError};
use super::super::fields::Fields;
use super::super::framing::Head;
use super::super::gateway::{GatewayRules, Upstream, UpstreamPath};
use super::super::models::ModelsQuery;
use super::super::record::Underway;
use super::super::route::{self, Local, Route, RouteChoice};
use super::super::server::RequestBody;
use super::super::{guard, headers};
use super::IncomingClient;
use super::admitted::AdmittedRequest;
use super::errors::{PAUSE, defect, too_large};
use super::list::merges;
use crate::clients::{Client, LimitReached};
use crate::clock;
use crate::config::{AllowedPath, BodyKind};

/// What a request is to be done with, decided from its head alone.
pub(super) enum Decision<'r> {
    Answer(Response<Bytes>),
    Local(Local, Option<&'r Arc<Upstream>>),
    Forward(UpstreamPath<'r>),
    Models(UpstreamPath<'r>, ModelsQuery),
    /// Its model decides, which has to be read from the body; with its path as a provider lists it, and the provider
    /// of the address.
    ByModel(&'r AllowedPath, Option<usize>),
}

/// Guard and route, and what the head alone gives away.
pub(super) fn decide<'r>(
    request: &AdmittedRequest<'r>,
    presented: Presented,
    head: &Head,
    body: &RequestBody,
) -> Result<Decision<'r>, ProxyError> {
    let AdmittedRequest { rules, entry, .. } = *request;
    let arrival = entry.arrival(rules.guard.peer_check, presented, head)?;
    let admitted = guard::admit(&head.method, &head.headers, &arrival, &rules.guard)?;
    if admitted.is_preflight {
        // Every client can name a listed page, so this does not protect the slot.
        request.connection.refuses();
        return Ok(Decision::Answer(preflight(&head.headers)));
    }
    if request.is_stranger() {
        // A probe. Every client may send one, so it does not protect the slot either.
        request.connection.refuses();
    } else {
        request.connection.is_let_in();
    }
    let default = rules.default_for(entry.provider.as_ref());
    let (path, upstreams) = (head.uri.path(), &rules.upstreams);
    let choice = match &rules.routing {
        None => route::find(&head.method, path, upstreams, default).map(RouteChoice::Settled),
        Some(routing) => route::find_by_routes(&head.method, path, upstreams, default, routing),
    };
    if admitted.is_link && !matches!(choice, Ok(RouteChoice::Settled(Route::Local(_)))) {
        return Err(guard::foreign_page());
    }
    let choice = choice.map_err(|error| request.told_of_its_own(error, head, default))?;
    let (provider, index, is_settled) = match choice {
        RouteChoice::Settled(Route::Local(local)) => {
            return Ok(Decision::Local(
                local,
                default.and_then(|at| upstreams.get(at)),
            ));
        }
        RouteChoice::Settled(Route::Model {
            provider,
            path,
            before,
        }) => {
            let upstream = upstreams.get(provider).ok_or_else(defect)?;
            let to = UpstreamPath {
                upstream,
                index: path,
            };
            not_our_own(head, rules)?;
            if !merges(rules, head) {
                request.may_ask(to, head)?;
            }
            let id = route::model(head.uri.path(), before).ok_or_else(defect)?;
            return Ok(Decision::Models(to, ModelsQuery::One(id)));
        }
        RouteChoice::Settled(Route::Forward { provider, path }) => (provider, path, true),
        RouteChoice::ByModel { provider, path } => (provider, path, false),
    };
    let upstream = upstreams.get(provider).ok_or_else(defect)?;
    let to = UpstreamPath { upstream, index };
    // The list of all providers has the key's models, whatever the address's provider.
    if is_settled && !request.lists_all(to, head, body) {
        request.may_ask(to, head)?;
    }
    not_our_own(head, rules)?;
    cut_would_show(head, entry)?;
    let allowed = to.allowed().ok_or_else(defect)?;
    acceptable_body(head, body, rules, allowed.body)?;
    if is_settled {
        return Ok(Decision::Forward(to));
    }
    Ok(Decision::ByModel(allowed, default))
}

impl AdmittedRequest<'_> {
    /// Whether it comes without a key where one is needed, and was let in as a probe (`entry::is_probe`).
    pub(super) fn is_stranger(&self) -> bool {
        self.entry.needs_key && self.presented != Presented::Valid
    }

    /// Whether a request may ask this provider for this path.
    pub(super) fn may_ask(&self, to: UpstreamPath<'_>, head: &Head) -> Result<(), ProxyError> {
        let upstream = to.upstream;
        has_key(upstream, self.presented)?;
        let Some(client) = self.client else {
            return Ok(());
        };
        if !client.allows_provider(upstream.name.as_str()) {
            return Err(not_for(client, self.rules, head));
        }
        has_path(client, to)
    }

    /// Why a request goes nowhere, in words that tell an app nothing of providers that its key is not for: neither their
    /// names nor a way to them.
    pub(super) fn told_of_its_own(
        &self,
        error: ProxyError,
        head: &Head,
        default: Option<usize>,
    ) -> ProxyError {
        let all = &self.rules.upstreams;
        let is_open = |one: &&Arc<Upstream>| self.is_open(one);
        if all.iter().all(|one| is_open(&one)) {
            return error;
        }
        let open: Vec<_> = all.iter().filter(is_open).cloned().collect();
        let at = default.and_then(|at| all.get(at));
        let at = at.and_then(|at| open.iter().position(|one| Arc::ptr_eq(one, at)));
        let path = head.uri.path();
        // An address whose provider the key is not for has no other answer.
        let is_told = match route::provider_named(path, all) {
            Some(named) => all.get(named).is_some_and(|one| is_open(&one)),
            None => at.is_some(),
        };
        let found = is_told.then(|| route::find(&head.method, path, &open, at));
        match (found, self.client) {
            (Some(Err(error)), _) => error,
            // A route leads to another provider, which lacks the path.
            (_, Some(client)) => not_for(client, self.rules, head),
            (_, None) => error,
        }
    }
}

/// Requests for the status page: whether it is meant, the facts about the reader, and the head of
/// the answer. Every client that the guard accepts may read it.
fn has_key(upstream: &Upstream, presented: Presented) -> Result<(), ProxyError> {
    if upstream.needs_key && presented != Presented::Valid {
        return Err(guard::key_of_provider(presented, upstream.name.as_str()));
    }
    Ok(())
}

/// An app's key is not for the provider that its request goes to, which is named where the app has named it.
fn not_for(client: &Client, rules: &GatewayRules, head: &Head) -> ProxyError {
    let name = client.name();
    let named = route::provider_named(head.uri.path(), &rules.upstreams);
    let which = match named.and_then(|at| rules.upstreams.get(at)) {
        Some(upstream) => upstream.name.as_str(),
        None => "that this request goes to",
    };
    let message = format!(
        "hermes-proxyd: the client key {name} is not for the provider {which}; `hermesctl clients \
         list` shows what it is for"
    );
    ProxyError::new(ErrorKind::UnknownProvider, message)
}

/// Whether an app's key is good for the path that it asks for.
fn has_path(client: &Client, to: UpstreamPath<'_>) -> Result<(), ProxyError> {
    let name = client.name();
    let path = to.allowed().map_or("", |allowed| allowed.path.as_str());
    if client.allows_path(path) {
        return Ok(());
    }
    let message = format!(
        "hermes-proxyd: the client key {name} is not for the path {path}; `hermesctl clients \
         list` shows what it is for"
    );
    Err(ProxyError::new(ErrorKind::PathNotAllowed, message))
}

/// Takes the slots for a request to a provider: one of its key's and one of all. hermesctl's own requests take none of
/// those that apps share.
pub(super) fn take_places(
    request: &AdmittedRequest<'_>,
    underway: &mut Underway,
) -> Result<(), ProxyError> {
    if !request.is_own {
        let share = request.connection.share();
        if let Some(client) = request.client
            && client.has_its_share(share)
        {
            return Err(beyond_share(client, share));
        }
        underway.asks(request.connection.asks().ok_or_else(all_ask)?);
    }
    let Some(client) = request.client else {
        return Ok(());
    };
    let visit = underway.visits(client, &request.entry.from);
    visit.map_err(|full| busy(&full))
}

/// An app has as many requests under way as its key may, or has used it as much as it may.
fn busy(full: &LimitReached) -> ProxyError {
    let message = format!("hermes-proxyd: {full}; `hermesctl clients list` shows it");
    let wait = full.wait().unwrap_or(PAUSE);
    ProxyError::new(ErrorKind::TooManyRequests, message).retry_after(wait)
}

/// Whether an app's key is for one of these names of a model: the app's own, and the provider's where a route replaces it.
pub(super) fn may_use<'n>(
    client: Option<&Arc<Client>>,
    mut names: impl Iterator<Item = &'n str> + Clone,
) -> Result<(), ProxyError> {
    let Some(client) = client.filter(|client| client.is_for_models()) else {
        return Ok(());
    };
    if names.clone().any(|name| client.allows_model(name)) {
        return Ok(());
    }
    let which = match names.next() {
        Some(name) => format!("not for the model {}", shown(name)),
        None => "for some models alone, and this request names none".to_owned(),
    };
    let models = client.models().join(", ");
    let message = format!(
        "hermes-proxyd: the client key {} is {which}; its models are: {models}",
        client.name()
    );
    Err(ProxyError::new(ErrorKind::ModelNotAllowed, message))
}

/// A name as an error repeats it.
fn shown(name: &str) -> String {
    name.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}

/// The same, where the key has no number of its own.
fn beyond_share(client: &Client, share: u32) -> ProxyError {
    let message = format!(
        "hermes-proxyd: the client key {} has {share} requests in flight, which is a quarter of \
         `limits.connections`; a key that is made with `hermesctl clients add NAME --in-flight N` may have more",
        client.name()
    );
    ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE)
}

/// All slots are taken except those that are kept for requests answered here.
fn all_ask() -> ProxyError {
    let message = "hermes-proxyd: as many requests are in flight as `limits.connections` allows";
    ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE)
}

/// Why an inference request is not sent while the provider has reported it as useless. hermesctl's
/// requests are still sent, and their success ends this.
pub(super) fn limited(upstream: &Upstream, method: &Method) -> Option<ProxyError> {
    if *method != Method::POST {
        return None;
    }
    let now = upstream.client.now();
    let until = upstream.adapter.limited(now)?;
    // With several logins each has limits of its own.
    if upstream.credentials.has_rows() || upstream.credentials.is_separate() {
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

fn not_our_own(head: &Head, rules: &GatewayRules) -> Result<(), ProxyError> {
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
fn cut_would_show(head: &Head, entry: &IncomingClient) -> Result<(), ProxyError> {
    let is_shown = entry.ends.is_some() || head.method == Method::HEAD;
    if head.version != Version::HTTP_10 || is_shown {
        return Ok(());
    }
    let message = "hermes-proxyd: HTTP/1.0 is not served over a Unix socket, because a cut answer \
                   would look complete there; use HTTP/1.1 (nginx: `proxy_http_version 1.1;`)";
    Err(ProxyError::new(ErrorKind::HttpVersionNotSupported, message))
}

fn acceptable_body(
    head: &Head,
    body: &RequestBody,
    rules: &GatewayRules,
    taken: BodyKind,
) -> Result<(), ProxyError> {
    let limit = rules.limits.body;
    if body.is_end_stream() {
        return Ok(());
    }
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let mut kinds = head.headers.all(&CONTENT_TYPE);
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

/// Tells a listed page's browser that it may send what it asked for (Fetch standard).
fn preflight(client: &Fields) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let fields = response.headers_mut();
    fields.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    let wanted = client.get(ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(Ok(wanted)) = wanted.map(HeaderValue::from_bytes) {
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    response
}

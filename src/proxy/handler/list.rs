//! A request for models, answered from memory.

use std::sync::Arc;

use hyper::body::Body as _;
use hyper::{Method, Response};

use super::super::answer_body::AnswerBody;
use super::super::download::shutting_down;
use super::super::error::ErrorKind;
use super::super::framing::Head;
use super::super::gateway::{GatewayRules, Upstream, UpstreamPath};
use super::super::models::merged::MergedListRequest;
use super::super::models::{self, ModelsQuery, merged};
use super::super::record::{RequestEnd, Underway};
use super::super::route::{self, Serves};
use super::super::server::RequestBody;
use super::admitted::AdmittedRequest;
use super::answer::whole;
use super::errors::defect;
use crate::clients::Client;

/// Whether a request is for a list that everyone gets.
pub(super) fn is_kept(rules: &GatewayRules, to: UpstreamPath<'_>, head: &Head) -> bool {
    head.method != Method::POST
        && models::is_list(to.upstream, to.index)
        && (!rules.models_cache.is_zero() || merges(rules, head))
        && models::is_plain(head, to.upstream)
}

impl AdmittedRequest<'_> {
    /// Whether a request for this provider's list gets that of all providers, from memory.
    pub(super) fn lists_all(&self, to: UpstreamPath<'_>, head: &Head, body: &RequestBody) -> bool {
        self.rules.routing.is_some()
            && !self.is_own
            && merges(self.rules, head)
            && is_kept(self.rules, to, head)
            && body.is_end_stream()
    }
}

/// Whether the path means the models of all providers.
pub(super) fn merges(rules: &GatewayRules, head: &Head) -> bool {
    merged::is_wanted(rules) && !route::names_provider(head.uri.path(), &rules.upstreams)
}

/// Answers from a provider's list of models, or from that of all.
pub(super) async fn from_list(
    request: &AdmittedRequest<'_>,
    head: &Head,
    upstream: &Arc<Upstream>,
    wanted: &ModelsQuery,
) -> models::ModelsReply {
    let (rules, gateway) = (request.rules, request.gateway);
    let reply = async {
        if merges(rules, head) {
            let list = upstream
                .paths
                .iter()
                .position(|allowed| allowed.path == models::PATH);
            let list = list.map(|index| UpstreamPath { upstream, index });
            let asked = MergedListRequest {
                home: upstream,
                refused: list.and_then(|list| request.may_ask(list, head).err()),
                client: request.client,
                wanted,
            };
            merged::reply(rules, &gateway.merged, asked).await
        } else {
            models::reply(upstream, wanted, rules.models_cache).await
        }
    };
    let reply = tokio::select! {
        biased;
        reply = reply => reply,
        () = request.connection.cut() => models::ModelsReply::Error(shutting_down()),
    };
    match request.client.filter(|client| client.is_for_models()) {
        Some(client) if !request.is_own => {
            let allows = |name: &str| allows(client, request.rules, head, name);
            models::only(reply, wanted, allows)
        }
        Some(_) | None => reply,
    }
}

/// Whether an app's key is for the model of this name, or for the one that a route puts in its place.
fn allows(client: &Client, rules: &GatewayRules, head: &Head, name: &str) -> bool {
    let routing = rules.routing.as_ref();
    let is_routed = !route::names_provider(head.uri.path(), &rules.upstreams);
    let renamed = routing.filter(|_| is_routed).and_then(|routing| {
        let is_provider = |name: &str| rules.upstreams.iter().any(|one| one.name() == name);
        let found = routing.find(models::CHAT, Some(name), is_provider);
        found.model.map(String::from)
    });
    client.allows_model(name) || renamed.is_some_and(|name| client.allows_model(&name))
}

/// The answer, which says of the provider only what it has just done.
pub(super) fn of_list(reply: models::ModelsReply, underway: Box<Underway>) -> Response<AnswerBody> {
    let format = underway.error_format();
    let (response, end) = match reply {
        models::ModelsReply::Answer { response, is_new } => {
            let end = if is_new {
                RequestEnd::Complete
            } else {
                RequestEnd::Kept
            };
            (response, end)
        }
        models::ModelsReply::Error(error) => {
            let end = if error.kind == ErrorKind::ModelNotFound {
                RequestEnd::Kept
            } else {
                RequestEnd::Refused(error.kind.code())
            };
            (error.response(format), end)
        }
        models::ModelsReply::Forward => {
            let error = defect();
            (
                error.response(format),
                RequestEnd::Refused(error.kind.code()),
            )
        }
    };
    whole(response, underway, end)
}

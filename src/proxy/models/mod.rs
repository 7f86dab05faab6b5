//! `GET /v1/models` from memory.
//!
//! Apps ask for it every second and wait for it at their start, so a provider's list is kept and renewed in the
//! background, and is in a file for the next start. The kept list is the provider's own bytes. A request that may get a
//! different answer, by its query or its fields, is forwarded like any other.

mod cache;
mod disk;
mod fetch;
mod list;
mod lookup;
pub(super) mod merged;
mod merged_list;
mod query;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use hyper::{Method, Response, StatusCode};

pub use self::cache::ModelListCache;
use self::lookup::ListLookup;
pub use self::lookup::know_models;
pub(super) use self::merged_list::MergedList;
pub(super) use self::query::{CHAT, ModelsQuery, PATH};
use super::error::{ErrorKind, ProxyError};
use super::fields::text;
use super::framing::Head;
use super::gateway::Upstream;
use crate::config::UserAgent;

/// Anthropic's clients ask for another shape.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// What a request for models gets.
#[derive(Debug)]
pub(super) enum ModelsReply {
    Answer {
        response: Response<Bytes>,
        /// Whether the provider has just sent it.
        is_new: bool,
    },
    /// An error of ours.
    Error(ProxyError),
    /// What the provider says to the request itself.
    Forward,
}

/// Whether the list is kept that this path of the provider gives.
pub(super) fn is_list(upstream: &Upstream, path: usize) -> bool {
    let path = upstream.paths.get(path);
    path.is_some_and(|allowed| allowed.path == PATH)
}

/// Whether a request for the list asks for what everyone gets.
pub(super) fn is_plain(head: &Head, upstream: &Upstream) -> bool {
    let fields = &head.headers;
    let takes_json = |accept: &[u8]| {
        let accept = text(accept).unwrap_or_default();
        accept.contains("json") || accept.contains("*/*")
    };
    matches!(head.method, Method::GET | Method::HEAD)
        && head.uri.query().is_none()
        && upstream.user_agent == UserAgent::Own
        && !fields.has(ANTHROPIC_VERSION)
        && !upstream.forward_headers.iter().any(|name| fields.has(name))
        && fields.all(&ACCEPT).all(takes_json)
}

/// Answers a request for the provider's models. A list is good for as long as `fresh`; where that is
/// nothing, none is kept.
pub(super) async fn reply(
    upstream: &Arc<Upstream>,
    wanted: &ModelsQuery,
    fresh: Duration,
) -> ModelsReply {
    let (list, stale, is_new) = match lookup::find(upstream, fresh).await {
        ListLookup::List {
            list,
            stale,
            is_new,
        } => (list, stale, is_new),
        // What the provider says itself is more than what is known here.
        ListLookup::Nothing(_) if *wanted == ModelsQuery::All => return ModelsReply::Forward,
        ListLookup::Nothing(error) | ListLookup::NoLogin(error) => {
            return ModelsReply::Error(error);
        }
        ListLookup::TooSlow => return ModelsReply::Error(too_slow(upstream)),
    };
    let response = match wanted {
        ModelsQuery::All => list.response(stale),
        ModelsQuery::One(id) => match list::model_in(&list.body, &list.index, id).await {
            Some(model) => json(model, stale),
            None => return ModelsReply::Error(unknown(id, &upstream.display_name)),
        },
    };
    ModelsReply::Answer { response, is_new }
}

/// What an app gets of this that may use some models alone.
pub(super) fn only(
    reply: ModelsReply,
    wanted: &ModelsQuery,
    allows: impl Fn(&str) -> bool,
) -> ModelsReply {
    match (reply, wanted) {
        (ModelsReply::Answer { .. }, ModelsQuery::One(id)) if !allows(id) => {
            ModelsReply::Error(unknown(id, "the models of this client key"))
        }
        (ModelsReply::Answer { response, is_new }, ModelsQuery::All) => {
            let (mut head, body) = response.into_parts();
            let models = list::models_in(&body).filter(|model| allows(&model.id));
            let models: Vec<_> = models.map(|model| model.text).collect();
            let parts = [
                &b"{\"object\":\"list\",\"data\":["[..],
                &models.join(&b","[..]),
                b"]}",
            ];
            // They are about all of it.
            head.headers.remove(ETAG);
            head.headers.remove(LAST_MODIFIED);
            let response = Response::from_parts(head, parts.concat().into());
            ModelsReply::Answer { response, is_new }
        }
        (reply, _) => reply,
    }
}

fn json(body: Bytes, stale: Option<Duration>) -> Response<Bytes> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    list::mark(&mut response, stale);
    response
}

fn unknown(id: &str, whose: &str) -> ProxyError {
    let id: String = id.chars().take(200).collect();
    let message = format!("The model {id} is not in the list of {whose}; GET /v1/models has all");
    ProxyError::new(ErrorKind::ModelNotFound, message)
}

fn too_slow(upstream: &Upstream) -> ProxyError {
    let message = format!(
        "hermes-proxyd: {} did not send its list of models within {} s; it is still asked for",
        upstream.display_name,
        lookup::FIRST.as_secs()
    );
    ProxyError::new(ErrorKind::UpstreamTimeout, message)
}

/// Why the provider's answer is not a list.
fn no_list(upstream: &Upstream, status: StatusCode) -> ProxyError {
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::UpstreamAuthFailed,
        _ => ErrorKind::UpstreamUnreachable,
    };
    let message = format!(
        "hermes-proxyd: {} answered a request for its list of models with status {}; `hermesctl \
         doctor` checks the provider",
        upstream.display_name,
        status.as_u16()
    );
    let message = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if upstream.own_mark.is_some() => {
            format!(
                "{message}, and `providers.{}.base_url` may be wrong",
                upstream.name
            )
        }
        _ => message,
    };
    ProxyError::new(kind, message)
}

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
mod own_list;
mod query;
mod reply;

use hyper::Method;
use hyper::header::ACCEPT;

pub use self::cache::ModelListCache;
pub use self::lookup::know_models;
pub(super) use self::merged_list::MergedList;
pub(super) use self::own_list::{only, reply};
pub(super) use self::query::{CHAT, ModelsQuery, PATH};
pub(super) use self::reply::ModelsReply;
use super::fields::text;
use super::framing::Head;
use super::gateway::Upstream;
use crate::config::UserAgent;

/// Anthropic's clients ask for another shape.
const ANTHROPIC_VERSION: &str = "anthropic-version";

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

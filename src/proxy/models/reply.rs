//! What a request for models gets.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::list;
use crate::proxy::error::{ErrorKind, ProxyError};
use crate::proxy::gateway::Upstream;

/// How long a missing list is awaited. Open WebUI waits for ten seconds.
pub(super) const FIRST: Duration = Duration::from_secs(8);

/// What a request for models gets.
#[derive(Debug)]
pub(in crate::proxy) enum ModelsReply {
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

pub(super) fn json(body: Bytes, stale: Option<Duration>) -> Response<Bytes> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    list::mark(&mut response, stale);
    response
}

pub(super) fn unknown(id: &str, whose: &str) -> ProxyError {
    let id: String = id.chars().take(200).collect();
    let message = format!("The model {id} is not in the list of {whose}; GET /v1/models has all");
    ProxyError::new(ErrorKind::ModelNotFound, message)
}

pub(super) fn too_slow(upstream: &Upstream) -> ProxyError {
    let message = format!(
        "hermes-proxyd: {} did not send its list of models within {} s; it is still asked for",
        upstream.display_name,
        FIRST.as_secs()
    );
    ProxyError::new(ErrorKind::UpstreamTimeout, message)
}

/// Why the provider's answer is not a list.
pub(super) fn no_list(upstream: &Upstream, status: StatusCode) -> ProxyError {
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

//! One request for a provider's list, with the same credentials and the same one replay as an app's.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use hyper::{Method, StatusCode, Version};
use tokio::time::timeout;

use super::cache::FetchOutcome;
use super::list::{FetchedList, LARGEST, has_more_than};
use super::query::PATH;
use super::reply::{no_list, too_slow};
use crate::proxy::blocking::run_blocking;
use crate::proxy::connection_pool::UpstreamBody;
use crate::proxy::error::{ErrorKind, ProxyError};
use crate::proxy::framing::Head;
use crate::proxy::gateway::Upstream;
use crate::proxy::handler::{Exchange, no_login};
use crate::proxy::translation::is_encoded;

/// A list that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(30);
/// A list with more models is not kept: each costs more than its bytes when lists are merged.
const MOST: usize = 20_000;

/// Asks the provider for its list.
pub(super) async fn list(upstream: &Arc<Upstream>) -> FetchOutcome {
    let outcome = timeout(LIMIT, ask(upstream)).await;
    let outcome = outcome.unwrap_or_else(|_| FetchOutcome::Outage(too_slow(upstream)));
    let result = match &outcome {
        FetchOutcome::List(_) => "kept",
        FetchOutcome::Outage(error)
        | FetchOutcome::Refused(error)
        | FetchOutcome::TooLong(error) => error.kind.code(),
    };
    tracing::debug!(provider = %upstream.name, result, "the list of models was asked for");
    outcome
}

async fn ask(upstream: &Arc<Upstream>) -> FetchOutcome {
    let Some(allowed) = upstream.paths.iter().find(|one| one.path == PATH) else {
        return FetchOutcome::Refused(no_list(upstream, StatusCode::NOT_FOUND));
    };
    let Some(head) = head(upstream.adapter.models_query()) else {
        return FetchOutcome::Refused(no_list(upstream, StatusCode::NOT_FOUND));
    };
    let exchange = Exchange {
        upstream,
        allowed,
        path: PATH,
        method: Method::GET,
        head: &head,
        upload: None,
        login: no_login(),
    };
    let (lease, answer) = match exchange.attempts().await {
        Ok(answered) => answered,
        Err(error) => return of_error(error),
    };
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK || is_encoded(head.headers.get_all(CONTENT_ENCODING)) {
        let error = no_list(upstream, head.status);
        let is_outage = head.status.is_server_error()
            || matches!(
                head.status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        return if is_outage {
            FetchOutcome::Outage(error)
        } else {
            FetchOutcome::Refused(error)
        };
    }
    let list = match whole(body).await {
        Ok(body) => {
            let length = body.len();
            let (adapter, fields) = (upstream.adapter.clone(), head.headers);
            let base_url = lease.credential().base_url.clone();
            let is_keyless = lease.credential().authorization.is_empty();
            let bearer = lease.credential().bearer.clone();
            let (stamp, now) = (lease.stamp(), upstream.client.now());
            let read = move || {
                let body = adapter.models(&body).map_or(body, Bytes::from);
                if has_more_than(&body, MOST) {
                    return Err(NotKept::TooLong);
                }
                let list = FetchedList::new(&fields, body.clone(), base_url, stamp, now);
                let list = list.ok_or(NotKept::NoList)?;
                let has_none = |text: &str| is_keyless || !bearer.is_in(text);
                let is_plain = std::str::from_utf8(&body).is_ok_and(has_none);
                Ok(list.kept(is_plain))
            };
            run_blocking(length, read).await
        }
        Err(why) => Err(why),
    };
    match list {
        Ok(list) => FetchOutcome::List(Arc::new(list)),
        Err(NotKept::TooLong) => FetchOutcome::TooLong(too_long(upstream)),
        Err(NotKept::NoList) => FetchOutcome::Outage(no_list(upstream, head.status)),
    }
}

/// Why an answer becomes no list.
enum NotKept {
    /// It breaks off, or is missing.
    NoList,
    TooLong,
}

fn too_long(upstream: &Upstream) -> ProxyError {
    let message = format!(
        "hermes-proxyd: the list of models of {} is too long to look one up in it: it has more than {MOST} models or \
         {} MiB; GET /v1/models has all",
        upstream.display_name,
        LARGEST >> 20
    );
    ProxyError::new(ErrorKind::AnswerTooLarge, message)
}

/// The head that the provider gets, as if an app had asked.
fn head(query: Option<&str>) -> Option<Head> {
    let target = match query {
        Some(query) => format!("{PATH}?{query}"),
        None => PATH.to_owned(),
    };
    let fields = [(ACCEPT, "application/json"), (ACCEPT_ENCODING, "identity")];
    Some(Head {
        method: Method::GET,
        uri: target.parse().ok()?,
        version: Version::HTTP_11,
        headers: fields.into_iter().collect(),
    })
}

fn of_error(error: ProxyError) -> FetchOutcome {
    if error.kind == ErrorKind::UpstreamAuthFailed {
        FetchOutcome::Refused(error)
    } else {
        FetchOutcome::Outage(error)
    }
}

/// The whole body.
async fn whole(mut body: UpstreamBody) -> Result<Bytes, NotKept> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(|_| NotKept::NoList)?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > LARGEST {
            return Err(NotKept::TooLong);
        }
    }
    Ok(bytes.freeze())
}

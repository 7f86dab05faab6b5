//! The answers that we give ourselves: health for people and probes. Never a network call, a
//! refresh or a lock.

use std::fmt::Write;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::gateway::{Rules, Upstream};
use super::route::Local;

/// Answers a local path.
pub(super) fn answer(local: Local, rules: &Rules, upstream: Option<&Upstream>) -> Response<Bytes> {
    let ready = upstream.is_some_and(|upstream| upstream.credentials.is_authenticated());
    match local {
        Local::Root => text(StatusCode::OK, root(rules)),
        Local::Live => text(StatusCode::OK, "alive\n".to_owned()),
        Local::Ready if ready => text(StatusCode::OK, "ready\n".to_owned()),
        Local::Ready => {
            let reason = "not ready: the default provider needs a login; \
                          `hermesctl proxy status` tells more\n";
            text(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())
        }
        Local::Health => {
            let name = upstream.map_or("none", |upstream| &upstream.display_name);
            let health = json!({
                "status": "ok",
                "upstream": name,
                "authenticated": ready,
                "version": env!("CARGO_PKG_VERSION"),
            });
            respond(StatusCode::OK, "application/json", health.to_string())
        }
    }
}

fn root(rules: &Rules) -> String {
    let mut page = format!("hermes-proxyd {} is running.\n", env!("CARGO_PKG_VERSION"));
    for upstream in &rules.upstreams {
        let state = if upstream.credentials.is_authenticated() {
            "logged in"
        } else {
            "login needed"
        };
        writeln!(
            page,
            "{}: {} ({state})",
            upstream.name, upstream.display_name
        )
        .ok();
    }
    page
}

fn text(status: StatusCode, body: String) -> Response<Bytes> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

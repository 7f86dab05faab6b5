//! The answers that we give ourselves: health for people and probes. Never a network call, a
//! refresh or a file.

use std::fmt::Write;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::gateway::{Rules, Upstream};
use super::route::Local;
use crate::credentials::{Hindrance, Unreadable};

/// Answers a local path.
pub(super) fn answer(local: Local, rules: &Rules, upstream: Option<&Upstream>) -> Response<Bytes> {
    let ready = upstream.is_some_and(|upstream| upstream.credentials.is_authenticated());
    if matches!(local, Local::Ready)
        && let Some(unreadable) = unreadable(upstream)
        && !(ready && unreadable.mirrored)
    {
        let reason = format!(
            "not ready: the login can't be read: {}\n",
            told(&unreadable)
        );
        return text(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    if matches!(local, Local::Ready)
        && ready
        && let Some(hindrance) = hindrance(upstream)
    {
        let reason = format!(
            "not ready: the login can't be renewed: {}\n",
            hindrance.told()
        );
        return text(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    match local {
        Local::Nothing => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Local::Root => text(StatusCode::OK, root(rules)),
        Local::Live => text(StatusCode::OK, "alive\n".to_owned()),
        Local::Ready if ready => text(StatusCode::OK, readiness(upstream)),
        Local::Ready => {
            let reason = "not ready: the default provider needs a login; see `hermesctl proxy \
                          status`\n";
            text(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())
        }
        Local::Health => {
            let health = health(ready, upstream);
            respond(StatusCode::OK, "application/json", health.to_string())
        }
    }
}

fn unreadable(upstream: Option<&Upstream>) -> Option<Unreadable> {
    upstream?.credentials.status().unreadable
}

fn hindrance(upstream: Option<&Upstream>) -> Option<Hindrance> {
    upstream?.credentials.status().hindrance
}

/// Why, and what helps. The default provider's matter alone.
fn told(unreadable: &Unreadable) -> String {
    let command = unreadable.command.as_deref();
    let command = command.unwrap_or("hermesctl doctor");
    format!("{}; run `{command}`", unreadable.reason)
}

fn readiness(upstream: Option<&Upstream>) -> String {
    if let Some(unreadable) = unreadable(upstream) {
        return format!(
            "ready, with a copy of the login; the login itself can't be read: {}\n",
            told(&unreadable)
        );
    }
    let login = upstream.and_then(|upstream| upstream.credentials.status().login);
    let ends = login.filter(|login| login.ends_soon);
    match ends.and_then(|login| Some((login.ends_at?, login.own))) {
        Some((end, own)) => format!(
            "ready; the login ends on {}: log in again with `hermesctl auth login{} --force`\n",
            time(end),
            if own { " --separate" } else { "" }
        ),
        None => "ready\n".to_owned(),
    }
}

/// The first fields are the original's; the rest tells of the login.
fn health(ready: bool, upstream: Option<&Upstream>) -> Value {
    let status = upstream.map(|upstream| upstream.credentials.status());
    let login = status.as_ref().and_then(|status| status.login.as_ref());
    let ends_at = login.and_then(|login| login.ends_at);
    json!({
        "status": "ok",
        "upstream": upstream.map_or("none", |upstream| &upstream.display_name),
        "authenticated": ready,
        "version": env!("CARGO_PKG_VERSION"),
        "login": {
            "state": status.as_ref().map_or("login_needed", |status| status.standing.as_str()),
            "token_expires_at": status.as_ref().and_then(|status| status.expires_at).map(time),
            "ends_at": ends_at.map(time),
            "ends_soon": login.is_some_and(|login| login.ends_soon),
            "saved": !status.as_ref().is_some_and(|status| status.unsaved),
            "may_be_spent": status.as_ref().is_some_and(|status| status.may_be_spent),
        },
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn root(rules: &Rules) -> String {
    let mut page = format!("hermes-proxyd {} is running.\n", env!("CARGO_PKG_VERSION"));
    for upstream in rules.upstreams.iter().filter(|one| one.is_there()) {
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

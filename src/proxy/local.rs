//! The answers of our own: health for people and probes, and metrics. Never a network call, a refresh or
//! a file.

use std::fmt::Write;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::fields::Fields;
use super::gateway::{Gateway, GatewayRules, Upstream};
use super::judge::Judgement;
use super::route::Local;
use crate::clients::Client;
use crate::metrics::MetricsFormat;

/// What a local answer depends on.
#[derive(Debug)]
pub(super) struct LocalRequest<'r> {
    pub(super) gateway: &'r Gateway,
    pub(super) rules: &'r GatewayRules,
    /// The provider that it is about.
    pub(super) upstream: Option<&'r Upstream>,
    /// Whose key it has, if any.
    pub(super) client: Option<&'r Client>,
    /// Whether it lacks the key that is needed.
    pub(super) is_stranger: bool,
}

/// Answers a local path. A stranger without a key gets one word.
pub(super) fn answer(local: Local, fields: &Fields, request: &LocalRequest<'_>) -> Response<Bytes> {
    let LocalRequest {
        gateway,
        rules,
        upstream,
        client,
        is_stranger,
    } = *request;
    let judgement = || {
        let alone = client.is_some_and(Client::is_limited);
        let judged = upstream.and_then(|upstream| gateway.judge(upstream.name.as_str(), alone));
        judged.unwrap_or_else(Judgement::unknown)
    };
    match local {
        // Before the page has a maker.
        Local::StatusJson => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Local::Nothing => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Local::Root => text(StatusCode::OK, root(gateway, rules, client)),
        Local::Live => text(StatusCode::OK, "alive\n".to_owned()),
        Local::Ready => readiness(&judgement(), is_stranger),
        Local::Metrics => metrics(gateway, fields, client),
        Local::Health => {
            let health = health(&judgement(), upstream);
            respond(StatusCode::OK, "application/json", health.to_string())
        }
    }
}

fn metrics(gateway: &Gateway, fields: &Fields, client: Option<&Client>) -> Response<Bytes> {
    let Some(exporter) = gateway.exporter() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    };
    let accept = fields.all(&ACCEPT);
    let format = MetricsFormat::accepted(accept);
    let page = exporter.export(format, client);
    let mut response = respond(StatusCode::OK, format.content_type(), page);
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, vary);
    response
}

/// The word, then the fault and its code: `ready; The login of nous ends in 3 d; run `…`
/// (login_ends_soon)`.
fn readiness(judgement: &Judgement, is_stranger: bool) -> Response<Bytes> {
    let (status, word) = if judgement.ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let page = match &judgement.trouble {
        _ if is_stranger => format!("{word}\n"),
        Some(trouble) => {
            let command = trouble.command.as_ref();
            let command = command.map_or_else(String::new, |command| format!("; run `{command}`"));
            format!("{word}: {}{command} ({})\n", trouble.text, trouble.code)
        }
        None if judgement.level == "good" => format!("{word}\n"),
        None => format!(
            "{word}; `hermesctl proxy status` shows what is wrong ({})\n",
            judgement.code
        ),
    };
    text(status, page)
}

/// The first fields are the original's; the rest is about the login.
fn health(judgement: &Judgement, upstream: Option<&Upstream>) -> Value {
    let status = upstream.map(|upstream| upstream.credentials.status());
    let login = status.as_ref().and_then(|status| status.login.as_ref());
    let ends_at = login.and_then(|login| login.ends_at);
    let ready = upstream.is_some_and(|upstream| upstream.credentials.is_authenticated());
    json!({
        "status": "ok",
        "upstream": upstream.map_or("none", |upstream| &upstream.display_name),
        "authenticated": ready,
        "version": env!("CARGO_PKG_VERSION"),
        "verdict": {
            "level": judgement.level,
            "code": judgement.code,
        },
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

/// The providers that the app's key is for; all without one.
fn root(gateway: &Gateway, rules: &GatewayRules, client: Option<&Client>) -> String {
    let mut page = format!("hermes-proxyd {} is running.\n", env!("CARGO_PKG_VERSION"));
    let is_open = |name: &str| client.is_none_or(|client| client.allows_provider(name));
    let there = rules.upstreams.iter().filter(|one| one.is_there());
    for upstream in there.filter(|one| is_open(one.name.as_str())) {
        let judged = gateway.judge(upstream.name.as_str(), false);
        let judged = judged.unwrap_or_else(Judgement::unknown);
        let state = match judged.trouble {
            _ if judged.ready => "ready".to_owned(),
            Some(trouble) => format!("not ready: {}", trouble.text),
            None => "not ready".to_owned(),
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

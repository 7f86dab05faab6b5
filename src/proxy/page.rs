//! Requests for the status page: whether it is meant, the facts about the reader, and the head of the answer. Every
//! client that the guard accepts may read it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::error::{ErrorKind, ProxyError};
use super::fields::{Fields, text};
use super::framing::Head;
use super::route::Local;
use crate::clients::Client;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Who makes the status page. It knows more than the port does.
#[async_trait]
pub trait Pages: fmt::Debug + Send + Sync {
    /// The page for a browser.
    async fn html(&self, reader: PageReader) -> StatusPage;
    /// The same as one flat JSON object.
    async fn json(&self, reader: PageReader) -> String;
}

/// Who reads the page, and from where.
#[derive(Debug, Clone)]
pub struct PageReader {
    /// The app whose key was shown; the page shows nothing about providers that this key is not
    /// for.
    pub client: Option<Arc<Client>>,
    /// Scheme, host and port as the reader wrote them.
    pub origin: String,
    /// The provider that `/v1` means there.
    pub provider: Option<String>,
    /// Whether apps need a client key there.
    pub needs_key: bool,
}

/// A page and the `Content-Security-Policy` that it needs.
#[derive(Debug, Clone)]
pub struct StatusPage {
    /// HTML.
    pub text: String,
    /// The policy.
    pub policy: &'static str,
}

/// Whether a request for this path is answered by [`Pages`]: `/status.json` always, `/` for a browser. Programs get at `/`
/// what they always got.
pub(super) fn is_meant(local: Local, fields: &Fields) -> bool {
    match local {
        Local::StatusJson => true,
        Local::Root => is_browser(fields),
        Local::Health | Local::Live | Local::Ready | Local::Metrics | Local::Nothing => false,
    }
}

/// Whether HTML is asked for by name, and JSON is not.
pub(super) fn is_browser(fields: &Fields) -> bool {
    let ranges = || {
        let values = fields.all(&ACCEPT).filter_map(text);
        values.flat_map(|value| value.split(','))
    };
    let names = |wanted: &str| {
        ranges().any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = parts
                .next()
                .is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
            is_wanted && !parts.any(is_refusal)
        })
    };
    names("text/html") && !names("application/json")
}

/// A weight of zero: not this one (RFC 9110 §12.4.2).
fn is_refusal(parameter: &str) -> bool {
    let weight = parameter.strip_prefix(['q', 'Q']);
    let weight = weight.and_then(|weight| weight.trim_start().strip_prefix('='));
    weight.is_some_and(|weight| weight.trim().parse::<f32>() == Ok(0.0))
}

/// What has a browser ask its user for a name and a password, either of which may be the key.
pub(super) const ASKS_FOR_KEY: &str =
    "Basic realm=\"hermes-proxyd: a client key as the password\", charset=\"UTF-8\"";

/// Whether a browser lacks the key for the page: it knows no other way to send one.
pub(super) fn asks_for_key(error: &ProxyError, head: &Head) -> bool {
    let is_page = matches!(head.uri.path().trim_matches('/'), "" | "status.json");
    error.kind == ErrorKind::InvalidClientKey && is_page && is_browser(&head.headers)
}

/// Scheme, host and port as the reader wrote them, which is also its apps' address. The guard has
/// checked the host.
pub(super) fn origin(fields: &Fields) -> String {
    let host = fields.get(HOST).and_then(text);
    let forwarded = fields.get("x-forwarded-proto");
    let scheme = if forwarded == Some(b"https") {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{}", host.unwrap_or("127.0.0.1"))
}

/// The page as a browser gets it: it may show it, and neither keep it, frame it, nor load anything for it.
pub(super) fn response(page: StatusPage) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(page.text));
    let fields = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        fields.insert(name, HeaderValue::from_static(value));
    };
    set(CONTENT_TYPE, "text/html; charset=utf-8");
    set(CONTENT_SECURITY_POLICY, page.policy);
    set(VARY, "accept");
    harmless(&mut response);
    response
}

/// The flat JSON.
pub(super) fn json(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    harmless(&mut response);
    response
}

fn harmless(response: &mut Response<Bytes>) {
    let fields = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_from_programs_by_what_it_accepts() {
        for (accept, is) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("TEXT/HTML ; level=1", true),
            ("text/html, text/plain, */*;q=0.01", true),
            ("*/*", false),
            ("text/*", false),
            ("", false),
            ("application/json, text/html", false),
            ("application/json, text/plain, */*", false),
            ("text/html;q=0", false),
            ("text/html; q = 0.000, */*", false),
            ("text/html;q=0.5, application/json;q=0", true),
            ("text/html5", false),
        ] {
            let fields = [(ACCEPT, accept)].into_iter().collect();
            assert_eq!(is_browser(&fields), is, "{accept}");
        }
        assert!(!is_browser(&Fields::default()));
    }
}

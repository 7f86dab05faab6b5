//! Which header fields pass, in both directions. Pure.
//!
//! Towards the provider an allow-list, so that no cookie, key or address of an app leaves the
//! machine; then the credential, set last, so that nothing a client sends can replace it.
//! Towards the client everything but what concerns one connection or one browser.

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_ORIGIN, ALT_SVC, AUTHORIZATION,
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT, VARY,
};

use crate::config::UserAgent;
use crate::provider::Credential;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The marks of the daemons that a request went through, so that a loop ends at its first turn.
const MARKS: HeaderName = HeaderName::from_static("x-hermes-via");
const STAINLESS: &str = "x-stainless-";
const CORS: &str = "access-control-";

/// The request fields that always pass.
const FORWARDED: [HeaderName; 8] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    OPENAI_BETA,
    IDEMPOTENCY_KEY,
];

/// The response fields that never pass: those of one connection (RFC 9110 §7.6.1), and those
/// that would make a browser or client treat us as the provider.
const DROPPED: [HeaderName; 11] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    SET_COOKIE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
];

/// What the provider gets of a client's fields: the listed ones in their order, each as often as
/// it came. `extra` are the configuration's.
pub fn to_upstream(client: &HeaderMap, extra: &[HeaderName], user_agent: UserAgent) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(client.len() + 2);
    for (name, value) in client {
        let passes = FORWARDED.contains(name)
            || extra.contains(name)
            || name.as_str().starts_with(STAINLESS)
            || (user_agent == UserAgent::Client && name == USER_AGENT);
        if passes {
            fields.append(name, value.clone());
        }
    }
    if user_agent == UserAgent::Own {
        fields.insert(USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
    }
    fields
}

/// Says that the request went through us too, behind those that it went through before. Only for
/// a base URL that is the operator's own word: a provider's host needs to know nothing of it.
pub(super) fn mark(fields: &mut HeaderMap, client: &HeaderMap, own: &HeaderValue) {
    for before in client.get_all(MARKS) {
        fields.append(MARKS, before.clone());
    }
    fields.append(MARKS, own.clone());
}

/// Whether the request went through the daemon with this mark.
pub(super) fn has_mark(client: &HeaderMap, own: &HeaderValue) -> bool {
    client.get_all(MARKS).iter().any(|marks| {
        // A proxy on the way may have joined the values (RFC 9110 §5.3).
        let mut marks = marks.as_bytes().split(|byte| *byte == b',');
        marks.any(|mark| mark.trim_ascii() == own.as_bytes())
    })
}

/// Attaches the credential, over anything that stands there.
pub(super) fn authorize(fields: &mut HeaderMap, credential: &Credential) {
    fields.insert(AUTHORIZATION, credential.authorization.clone());
}

/// Removes what must not reach the client from the provider's fields, in place.
pub fn to_client(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A provider that names these in `Connection` must not change what the bytes mean.
        .filter(|name| {
            *name != CONTENT_TYPE && *name != CONTENT_LENGTH && *name != CONTENT_ENCODING
        })
        .collect();
    for name in named.iter().chain(&DROPPED) {
        fields.remove(name);
    }
    let cors: Vec<HeaderName> = fields
        .keys()
        .filter(|name| name.as_str().starts_with(CORS))
        .cloned()
        .collect();
    for name in &cors {
        fields.remove(name);
    }
}

/// Lets the listed web page read the answer.
pub(super) fn allow_origin(fields: &mut HeaderMap, origin: &HeaderValue) {
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    fields.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    fn names(fields: &HeaderMap) -> Vec<&str> {
        fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn only_listed_fields_reach_the_provider_each_as_often_as_it_came() {
        let client = headers(&[
            ("accept", "text/event-stream"),
            ("authorization", "Bearer anything"),
            ("cookie", "session=1"),
            ("x-api-key", "k"),
            ("x-forwarded-for", "10.0.0.1"),
            ("openai-organization", "org"),
            ("x-openwebui-user-email", "me@example.org"),
            ("referer", "http://karakeep"),
            ("connection", "authorization"),
            ("x-stainless-lang", "js"),
            ("openai-beta", "a"),
            ("openai-beta", "b"),
            ("user-agent", "OpenAI/Python"),
            ("x-mine", "1"),
        ]);
        let extra = [HeaderName::from_static("x-mine")];
        let fields = to_upstream(&client, &extra, UserAgent::Own);
        let passed = [
            "accept",
            "x-stainless-lang",
            "openai-beta",
            "openai-beta",
            "x-mine",
            "user-agent",
        ];
        assert_eq!(names(&fields), passed);
        assert_eq!(fields[USER_AGENT], crate::USER_AGENT);
        assert_eq!(
            to_upstream(&client, &[], UserAgent::Client)[USER_AGENT],
            "OpenAI/Python"
        );
    }

    #[test]
    fn the_marks_of_others_pass_and_ones_own_is_known_again() {
        let (one, two) = (
            HeaderValue::from_static("1a"),
            HeaderValue::from_static("2b"),
        );
        let mut fields = HeaderMap::new();
        mark(&mut fields, &headers(&[("x-hermes-via", "9c")]), &one);
        let marks: Vec<_> = fields.get_all(MARKS).iter().collect();
        assert_eq!(marks, ["9c", "1a"]);
        assert!(has_mark(&fields, &one) && !has_mark(&fields, &two));
        assert!(has_mark(&headers(&[("x-hermes-via", "1a, 2b")]), &two));
        assert!(!has_mark(&headers(&[("x-hermes-via", "2b2b")]), &two));
    }

    #[test]
    fn what_concerns_a_connection_or_a_browser_does_not_reach_the_client() {
        let mut fields = headers(&[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("connection", "close, x-hop, content-type"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("set-cookie", "a=b"),
            ("alt-svc", "h3"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("x-repeat", "1"),
            ("x-repeat", "2"),
            ("x-request-id", "r"),
        ]);
        to_client(&mut fields);
        let mut left = names(&fields);
        left.sort_unstable();
        let passed = [
            "content-encoding",
            "content-type",
            "x-repeat",
            "x-repeat",
            "x-request-id",
        ];
        assert_eq!(left, passed);
    }
}

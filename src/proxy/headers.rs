//! The header fields that pass, in both directions. Pure.
//!
//! Towards the provider an allow-list, so that no cookie, key or address of an app leaves the
//! machine; then the credential, set last, so that nothing a client sends can replace it.
//! Towards the client everything but what concerns one connection or one browser.

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION,
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    TRANSFER_ENCODING, VARY,
};

use super::fields::{Fields, text};
use super::framing;
use crate::config::{BodyKind, UserAgent};
use crate::provider::{BaseUrl, Credential};

/// The marks of the daemons that a request went through, so that a loop ends at its first turn.
const MARKS: &str = "x-hermes-via";
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// What asks for an answer that can be read as it passes.
const PLAIN: &[u8] = b"identity";
const JSON: &[u8] = b"application/json";
const CORS: &str = "access-control-";
/// What the names of our own response fields begin with.
const OURS: &str = "x-hermes-";
/// The response fields that a listed web page may read besides those of the Fetch standard: those of
/// SDKs, and those that distinguish our errors from the provider's.
const EXPOSED: &str = "retry-after, x-hermes-error, x-hermes-request-id, x-hermes-stale, x-hermes-translated, x-should-retry, \
                       x-request-id, \
                       allow, www-authenticate, openai-processing-ms, x-ratelimit-limit-requests, \
                       x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, \
                       x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
                       x-ratelimit-reset-tokens";

/// Whether a request field always passes.
fn is_forwarded(name: &[u8]) -> bool {
    matches!(
        name,
        b"accept"
            | b"accept-encoding"
            | b"accept-language"
            | b"content-type"
            | b"content-length"
            | b"content-encoding"
            | b"openai-beta"
            | b"idempotency-key"
    ) || name.starts_with(b"x-stainless-")
}

/// Whether a response field never passes: those of one connection (RFC 9110 §7.6.1), those
/// that would make a browser or client treat us as the provider, or go to another host unasked, and those of which only
/// we may say something: which pages may read an answer, and what stands in our name.
fn is_dropped(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "set-cookie"
            | "alt-svc"
            | "strict-transport-security"
            | "refresh"
            | "report-to"
            | "reporting-endpoints"
            | "nel"
            | "clear-site-data"
    ) || name.starts_with(CORS)
        || name.starts_with(OURS)
}

/// The fields that pass to a provider besides the usual ones.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// The configuration's fields.
    pub extra: &'a [HeaderName],
    /// What further names begin with.
    pub prefix: Option<&'static str>,
    /// Whose `User-Agent` it sees.
    pub agent: UserAgent,
    /// Which bodies keep their type.
    pub body: BodyKind,
}

/// What a provider gets of a request's fields. They are put together where they go out, so that no list of them is made for
/// HTTP/1.1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Onward<'a> {
    /// What the client sent.
    pub(super) client: &'a Fields,
    /// What of it passes.
    pub(super) passing: Passing<'a>,
    /// Whether the answer has to be one that can be read as it passes.
    pub(super) is_plain: bool,
    /// What marks us in the chain of proxies, where the provider gets that: only at an operator's base URL, since a
    /// provider's own host does not need it.
    pub(super) mark: Option<&'a HeaderValue>,
    /// It replaces all that goes by its names, and comes last.
    pub(super) credential: Option<&'a Credential>,
}

impl Onward<'_> {
    /// Gives one field after the other, name and value: the client's that pass in their order, each as often as it came, then
    /// ours.
    pub(super) fn each(&self, put: &mut dyn FnMut(&[u8], &[u8])) {
        let Passing { agent, body, .. } = self.passing;
        let json = json_type(self.client).filter(|_| !keeps_type(self.client, body));
        let mut has_type = self.is_set(b"content-type");
        for (name, value) in self.client.iter() {
            if name == b"content-type" {
                if !std::mem::replace(&mut has_type, true) {
                    put(name, json.unwrap_or(value));
                }
            } else if self.passes(name) && !self.is_replaced(name) {
                put(name, value);
            }
        }
        if let Some(json) = json.filter(|_| !has_type) {
            put(b"content-type", json);
        }
        if agent == UserAgent::Own && !self.is_set(b"user-agent") {
            put(b"user-agent", crate::USER_AGENT.as_bytes());
        }
        if self.is_plain && !self.is_set(b"accept-encoding") {
            put(b"accept-encoding", PLAIN);
        }
        if let Some(own) = self.mark.filter(|_| !self.is_set(MARKS.as_bytes())) {
            for before in self.client.all(MARKS) {
                put(MARKS.as_bytes(), before);
            }
            put(MARKS.as_bytes(), own.as_bytes());
        }
        let Some(credential) = self.credential else {
            return;
        };
        let mut fields = credential.headers.iter();
        while let Some((name, value)) = fields.next() {
            let is_bearers = *name == AUTHORIZATION && !credential.authorization.is_empty();
            if !is_bearers && !fields.as_slice().iter().any(|(later, _)| later == name) {
                put(name.as_str().as_bytes(), value.as_bytes());
            }
        }
        if !credential.authorization.is_empty() {
            put(b"authorization", credential.authorization.as_bytes());
        }
    }

    /// All of them, for HTTP/2. What is secret keeps out of the tables of its compression.
    pub(super) fn map(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(self.client.len() + 4);
        self.each(&mut |name, value| {
            let value = HeaderValue::from_bytes(value);
            if let (Some(name), Ok(mut value)) = (framing::name(name), value) {
                value.set_sensitive(self.is_secret(&name));
                fields.append(name, value);
            }
        });
        fields
    }

    /// Whether a field of the credential must not be shown.
    fn is_secret(&self, name: &HeaderName) -> bool {
        let is_it = |(own, value): &(HeaderName, HeaderValue)| own == name && value.is_sensitive();
        *name == AUTHORIZATION
            || self
                .credential
                .is_some_and(|credential| credential.headers.iter().any(is_it))
    }

    /// Whether a client's field passes that is not the body's type.
    fn passes(&self, name: &[u8]) -> bool {
        let Passing {
            extra,
            prefix,
            agent,
            ..
        } = self.passing;
        is_forwarded(name)
            || extra.iter().any(|extra| is(extra, name))
            || prefix.is_some_and(|prefix| name.starts_with(prefix.as_bytes()))
            || (agent == UserAgent::Client && name == b"user-agent")
    }

    /// Whether the provider gets ours instead.
    fn is_replaced(&self, name: &[u8]) -> bool {
        (name == b"user-agent" && self.passing.agent == UserAgent::Own)
            || (name == b"accept-encoding" && self.is_plain)
            || self.is_set(name)
    }

    /// Whether the credential has this field.
    fn is_set(&self, name: &[u8]) -> bool {
        self.credential.is_some_and(|credential| {
            (name == b"authorization" && !credential.authorization.is_empty())
                || credential.headers.iter().any(|(own, _)| is(own, name))
        })
    }
}

/// Whether a field goes by this name.
fn is(name: &HeaderName, field: &[u8]) -> bool {
    name.as_str().as_bytes() == field
}

/// What the provider gets of a client's fields, without what is ours: the listed ones in their order, each as often as
/// it came.
pub fn to_upstream(client: &Fields, passing: &Passing<'_>) -> HeaderMap {
    let onward = Onward {
        client,
        passing: *passing,
        is_plain: false,
        mark: None,
        credential: None,
    };
    onward.map()
}

/// What a body's type has to be upstream, where the client says something else, or more than one
/// thing: a body is JSON by what it is asked for.
fn json_type(client: &Fields) -> Option<&'static [u8]> {
    let has_body = client.has(TRANSFER_ENCODING)
        || client
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != b"0");
    (has_body && !says_json(client)).then_some(JSON)
}

/// Whether a body keeps the type that the client says, where bodies of this kind are taken.
pub(super) fn keeps_type(client: &Fields, taken: BodyKind) -> bool {
    let kinds = || client.all(&CONTENT_TYPE);
    match taken {
        BodyKind::Json => false,
        BodyKind::Multipart => kinds().next().is_some() && kinds().all(is_multipart),
        BodyKind::Any => kinds().next().is_some(),
    }
}

/// Whether the client says that its body is JSON.
pub(super) fn says_json(client: &Fields) -> bool {
    let mut kinds = client.all(&CONTENT_TYPE);
    kinds.next().is_some_and(is_json) && kinds.all(is_json)
}

/// Whether the client says that its body is a form.
pub(super) fn is_form(client: &Fields) -> bool {
    let mut kinds = client.all(&CONTENT_TYPE);
    kinds.any(is_multipart)
}

fn is_multipart(kind: &[u8]) -> bool {
    essence(kind).eq_ignore_ascii_case("multipart/form-data") && !kind.contains(&b',')
}

fn is_json(kind: &[u8]) -> bool {
    essence(kind).eq_ignore_ascii_case("application/json") && !kind.contains(&b',')
}

/// A media type without its parameters; empty if it is not text.
pub(super) fn essence(kind: &[u8]) -> &str {
    let kind = text(kind).unwrap_or_default();
    kind.split([';', ',']).next().unwrap_or_default().trim()
}

/// Drops the `Location` of a redirect, unless it is on the provider's own origin by every client's
/// reading: SDKs follow it, with the prompt. No other field that passes does that: clients look up
/// `Content-Location`, `Link` and the `Location` of a 201 only if they mean to, and send no body there.
pub(super) fn keep_own_location(fields: &mut HeaderMap, base: &BaseUrl) {
    let mut locations = fields.get_all(LOCATION).iter();
    let is_own = match (locations.next(), locations.next()) {
        (Some(location), None) => location.to_str().is_ok_and(|to| base.is_origin_of(to)),
        _ => false,
    };
    if !is_own {
        fields.remove(LOCATION);
    }
}

/// Whether the request went through the daemon with this mark.
pub(super) fn has_mark(client: &Fields, own: &HeaderValue) -> bool {
    client.all(MARKS).any(|marks| {
        // A proxy on the way may have joined the values (RFC 9110 §5.3).
        let mut marks = marks.split(|byte| *byte == b',');
        marks.any(|mark| mark.trim_ascii() == own.as_bytes())
    })
}

/// Asks for an answer that can be read as it passes.
pub(super) fn ask_for_plain(fields: &mut Fields) {
    fields.put(ACCEPT_ENCODING, PLAIN);
}

/// Removes what must not reach the client from the provider's fields, in place.
pub fn to_client(fields: &mut HeaderMap) {
    // One pass that finds nothing to remove is all that most answers need.
    let mut removed: Vec<HeaderName> = fields
        .keys()
        .filter(|name| is_dropped(name.as_str()))
        .cloned()
        .collect();
    if removed.contains(&CONNECTION) {
        let named = fields
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|names| names.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A provider that names these in `Connection` must not change what the bytes mean.
            .filter(|name| {
                *name != CONTENT_TYPE && *name != CONTENT_LENGTH && *name != CONTENT_ENCODING
            });
        removed.extend(named);
    }
    for name in &removed {
        fields.remove(name);
    }
}

/// Asks reverse proxies, nginx above all, to pass an event stream on as it comes.
pub(super) fn not_held_back(fields: &mut HeaderMap) {
    fields.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

/// Lets the listed web page read the answer.
pub(super) fn allow_origin(fields: &mut HeaderMap, origin: &HeaderValue) {
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let exposed = HeaderValue::from_static(EXPOSED);
    fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    fields.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests;

//! The header fields that pass in each direction. Pure.
//!
//! Towards the provider, an allow-list, so that no cookie, key or address of an app leaves the machine; the credential
//! is set last, so that nothing a client sends can replace it. Towards the client, everything except what concerns a
//! single connection or browser.

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

/// Lists the daemons that a request went through, so that a loop ends on its first turn.
const MARKS: &str = "x-hermes-via";
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Asks for an answer that can be read as it passes.
const PLAIN: &[u8] = b"identity";
const JSON: &[u8] = b"application/json";
const CORS: &str = "access-control-";
/// The prefix of our own response fields.
const OURS: &str = "x-hermes-";
/// Response fields that a listed web page may read in addition to the Fetch standard's: those that SDKs use, and those
/// that tell our errors from the provider's.
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

/// Whether a response field never passes: fields of one connection (RFC 9110 §7.6.1), those that would make a browser
/// or client take us for the provider or go to another host unasked, and those that only we may set: which pages may
/// read an answer, and what is said in our name.
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

/// Request fields that pass to a provider in addition to the usual ones.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// Fields from the configuration.
    pub extra: &'a [HeaderName],
    /// A prefix of further names.
    pub prefix: Option<&'static str>,
    /// Whose `User-Agent` the provider sees.
    pub agent: UserAgent,
    /// Which bodies keep their type.
    pub body: BodyKind,
}

/// The fields of a request to the provider. They are assembled while they are written, so HTTP/1.1 needs no list of
/// them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Onward<'a> {
    /// The client's fields.
    pub(super) client: &'a Fields,
    /// Which of them pass.
    pub(super) passing: Passing<'a>,
    /// Whether the answer must be readable as it passes.
    pub(super) is_plain: bool,
    /// Our mark in the chain of proxies, sent only to an operator's base URL: a provider's own host does not need it.
    pub(super) mark: Option<&'a HeaderValue>,
    /// Replaces all fields with its names, and comes last.
    pub(super) credential: Option<&'a Credential>,
}

impl Onward<'_> {
    /// Passes on one field after the other, name and value: the client's in their order, each as often as it came, then
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

    /// All fields as a map, for HTTP/2. Secret values stay out of its compression tables.
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

    /// Whether a client's field passes, the body's type aside.
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

    /// Whether one of our fields takes its place.
    fn is_replaced(&self, name: &[u8]) -> bool {
        (name == b"user-agent" && self.passing.agent == UserAgent::Own)
            || (name == b"accept-encoding" && self.is_plain)
            || self.is_set(name)
    }

    /// Whether the credential sets this field.
    fn is_set(&self, name: &[u8]) -> bool {
        self.credential.is_some_and(|credential| {
            (name == b"authorization" && !credential.authorization.is_empty())
                || credential.headers.iter().any(|(own, _)| is(own, name))
        })
    }
}

/// Whether a field has this name.
fn is(name: &HeaderName, field: &[u8]) -> bool {
    name.as_str().as_bytes() == field
}

/// The client's fields that pass, without ours: in their order, each as often as it came.
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

/// The body's type upstream, if the client's is another one or ambiguous: a body counts as JSON because its path takes
/// JSON.
fn json_type(client: &Fields) -> Option<&'static [u8]> {
    let has_body = client.has(TRANSFER_ENCODING)
        || client
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != b"0");
    (has_body && !says_json(client)).then_some(JSON)
}

/// Whether a body keeps the client's type, for a path that takes bodies of this kind.
pub(super) fn keeps_type(client: &Fields, taken: BodyKind) -> bool {
    let kinds = || client.all(&CONTENT_TYPE);
    match taken {
        BodyKind::Json => false,
        BodyKind::Multipart => kinds().next().is_some() && kinds().all(is_multipart),
        BodyKind::Any => kinds().next().is_some(),
    }
}

/// Whether the client declares its body as JSON.
pub(super) fn says_json(client: &Fields) -> bool {
    let mut kinds = client.all(&CONTENT_TYPE);
    kinds.next().is_some_and(is_json) && kinds.all(is_json)
}

/// Whether the client declares its body as a form.
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

/// Drops a redirect's `Location`, unless every client would read it as the provider's own origin: SDKs follow it, with
/// the prompt. No other field that passes has this effect: clients follow `Content-Location`, `Link` and the `Location`
/// of a 201 only on purpose, and send no body there.
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

/// Whether the request already went through the daemon with this mark.
pub(super) fn has_mark(client: &Fields, own: &HeaderValue) -> bool {
    client.all(MARKS).any(|marks| {
        // A proxy in between may have joined the values (RFC 9110 §5.3).
        let mut marks = marks.split(|byte| *byte == b',');
        marks.any(|mark| mark.trim_ascii() == own.as_bytes())
    })
}

/// Asks for an answer that can be read as it passes.
pub(super) fn ask_for_plain(fields: &mut Fields) {
    fields.put(ACCEPT_ENCODING, PLAIN);
}

/// Removes from the provider's fields, in place, what must not reach the client.
pub fn to_client(fields: &mut HeaderMap) {
    // For most answers one pass that finds nothing is enough.
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
            // A provider that lists these in `Connection` must not change the meaning of the bytes.
            .filter(|name| {
                *name != CONTENT_TYPE && *name != CONTENT_LENGTH && *name != CONTENT_ENCODING
            });
        removed.extend(named);
    }
    for name in &removed {
        fields.remove(name);
    }
}

/// Asks reverse proxies, above all nginx, to pass an event stream on as it comes.
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

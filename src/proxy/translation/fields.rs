//! What the fields of a head say of a body, and what they are to say of another one.

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED,
    TRANSFER_ENCODING,
};

/// The type of an event stream.
pub(super) const EVENTS: &str = "text/event-stream";

/// The head of an answer with a new body.
pub(super) fn becomes_json(fields: &mut HeaderMap) {
    becomes_another(fields);
    let json = HeaderValue::from_static("application/json");
    fields.insert(CONTENT_TYPE, json);
}

/// Removes the fields about the original body.
pub(super) fn becomes_another(fields: &mut HeaderMap) {
    for name in [
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        ETAG,
        LAST_MODIFIED,
        ACCEPT_RANGES,
    ] {
        fields.remove(name);
    }
}

/// Whether an answer says that it is an event stream.
pub(super) fn is_events(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = kind.unwrap_or_default().get(..EVENTS.len());
    start.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS.as_bytes()))
}

/// Whether a body with these `Content-Encoding` fields is encoded, which is never decoded here: it could become any size.
pub(in crate::proxy) fn is_encoded(encodings: impl IntoIterator<Item: AsRef<[u8]>>) -> bool {
    let mut encodings = encodings.into_iter();
    encodings.any(|encoding| !encoding.as_ref().eq_ignore_ascii_case(b"identity"))
}

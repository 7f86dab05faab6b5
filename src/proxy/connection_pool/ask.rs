//! A request's head in the pool's form.

use hyper::Method;

use crate::provider::BaseUrl;
use crate::proxy::framing::is_target;
use crate::proxy::headers::Onward;

/// A request's head, assembled where it is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Ask<'a> {
    pub(in crate::proxy) method: &'a Method,
    pub(in crate::proxy) base_url: &'a BaseUrl,
    /// Empty, or starts with a slash.
    pub(in crate::proxy) path: &'a str,
    pub(in crate::proxy) query: Option<&'a str>,
    pub(in crate::proxy) fields: &'a Onward<'a>,
}

impl Ask<'_> {
    /// Whether path and query contain only allowed bytes (RFC 3986, and what browsers leave unencoded).
    pub(in crate::proxy) fn is_sendable(&self) -> bool {
        let is_clean = |text: &str| text.bytes().fold(true, |all, byte| all & is_target(byte));
        is_clean(self.path) && self.query.is_none_or(is_clean)
    }
}

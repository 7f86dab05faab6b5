//! The head of a request as the pool takes it.

use hyper::Method;

use crate::provider::BaseUrl;
use crate::proxy::framing::is_target;
use crate::proxy::headers::Onward;

/// The head of a request: what the provider gets, put together where it goes out.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Ask<'a> {
    pub(in crate::proxy) method: &'a Method,
    pub(in crate::proxy) base_url: &'a BaseUrl,
    /// It starts with a slash, unless it is empty.
    pub(in crate::proxy) path: &'a str,
    pub(in crate::proxy) query: Option<&'a str>,
    pub(in crate::proxy) fields: &'a Onward<'a>,
}

impl Ask<'_> {
    /// Whether its path and query are what a target may have (RFC 3986, and what browsers don't encode).
    pub(in crate::proxy) fn is_sendable(&self) -> bool {
        let is_clean = |text: &str| text.bytes().fold(true, |all, byte| all & is_target(byte));
        is_clean(self.path) && self.query.is_none_or(is_clean)
    }
}

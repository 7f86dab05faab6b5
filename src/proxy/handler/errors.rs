//! Errors of ours that several steps of a request have.

use std::time::Duration;

use super::super::error::{ErrorKind, ProxyError};
use super::super::model_field::AmbiguousModel;

/// The `Retry-After` for a limit of ours that is reached.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// How to have a body forwarded without a look into it.
const UNREAD: &str = "; with the base URL /NAME/v1 it goes to the provider NAME unread";

/// Why a request's model matters, and what helps where that is a route.
pub(super) fn why(is_limited: bool) -> (&'static str, &'static str) {
    if is_limited {
        let why = "the client key is for some models alone, so whether this request is allowed depends on";
        (why, "")
    } else {
        ("where this request goes depends on", UNREAD)
    }
}

/// A body whose model can be read in two ways.
pub(super) fn unclear(flaw: AmbiguousModel, is_limited: bool) -> ProxyError {
    let (why, unread) = why(is_limited);
    let message =
        format!("hermes-proxyd: {why} its model, which its body does not tell: {flaw}{unread}");
    ProxyError::new(ErrorKind::BadRequest, message)
}

/// A request body that is larger than the limit.
pub(super) fn too_large(limit: u64) -> ProxyError {
    let message =
        format!("hermes-proxyd: the request body is larger than {limit} bytes (`limits.body`)");
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}

/// A defect of ours.
pub(super) fn defect() -> ProxyError {
    ProxyError::new(
        ErrorKind::Internal,
        "hermes-proxyd: a request could not be built",
    )
}

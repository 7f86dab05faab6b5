//! A request in the states that it goes through here.

use super::super::framing::Head;
use super::super::server::RequestBody;
use super::super::upload::Upload;

/// A request as it came: its head has been read, and its body may still be on its way.
#[derive(Debug)]
pub(in crate::proxy) struct IncomingRequest {
    pub(in crate::proxy) head: Head,
    pub(in crate::proxy) body: RequestBody,
}

/// A request as it can be sent to a provider, and sent again.
#[derive(Debug)]
pub(super) struct ForwardableRequest {
    pub(super) head: Head,
    /// Its body, if it has one.
    pub(super) upload: Option<Upload>,
}

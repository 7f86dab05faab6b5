//! The parts of a message.

use bytes::Bytes;
use hyper::{Method, Uri, Version};

use super::super::fields::Fields;

/// The most field lines in a request.
pub const MOST_FIELDS: usize = 100;

/// The length of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// The request has no body.
    Empty,
    /// A number of bytes.
    Known(u64),
    /// Chunked, so known only at its end.
    Chunked,
}

/// A request's head, and what follows from it.
#[derive(Debug)]
pub struct Head {
    /// The method, as it was sent.
    pub method: Method,
    /// The target, which is a path.
    pub uri: Uri,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields, where they were read.
    pub headers: Fields,
}

/// A request's head, and what it says about its body and connection.
#[derive(Debug)]
pub struct RequestHead {
    /// The head itself.
    pub head: Head,
    /// The length of the body that follows.
    pub length: Length,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client may send another request on the same connection.
    pub persists: bool,
}

/// The result of [`RequestReader::body`](super::RequestReader::body).
#[derive(Debug)]
pub enum BodyPiece {
    /// The next bytes of the body.
    Data(Bytes),
    /// More bytes are needed.
    Lacking,
    /// The body is complete.
    End,
}

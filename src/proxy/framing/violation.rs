//! Every reason why a client's bytes are refused, with its message.

use super::super::error::{ErrorKind, ProxyError};

/// What is wrong with a client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The start of a TLS handshake.
    #[error("the client speaks TLS; this port speaks plain HTTP: use http:// in the base URL")]
    Tls,
    /// The preface of HTTP/2 without TLS.
    #[error("the client speaks HTTP/2; this port speaks HTTP/1.1")]
    Http2,
    /// A control character, such as NUL, where none is allowed.
    #[error("there is a control character (byte {0:#04x}) in the request")]
    Control(u8),
    /// A carriage return without a line feed.
    #[error("there is a carriage return without a line feed in the request")]
    BareCr,
    /// A line feed without a carriage return.
    #[error("a line of the request ends with a bare line feed instead of CR LF")]
    BareLf,
    /// Too many empty lines before a request.
    #[error("there are too many empty lines before the request")]
    EmptyLines,
    /// Not three words separated by single spaces.
    #[error("the request line is not `METHOD /path HTTP/1.1`")]
    RequestLine,
    /// Not the status line of an answer.
    #[error("the status line is not `HTTP/1.1 200 OK`")]
    StatusLine,
    /// Another HTTP version.
    #[error("the request's version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    /// A method that is not a token (RFC 9110 §5.6.2), or too long.
    #[error("the request's method is not a word of at most 20 letters")]
    Method,
    /// CONNECT or TRACE.
    #[error("this service does not take the method {0}")]
    MethodRefused(&'static str),
    /// A target in absolute form, in authority form, or `*`.
    #[error("the request target must be a path; this service is not a forward proxy")]
    NotAPath,
    /// A byte that is not allowed in a path or query.
    #[error("there is a character in the request target that must be percent-encoded")]
    TargetByte,
    /// A target over the limit.
    #[error("the request target is longer than 65534 bytes")]
    LongTarget,
    /// A folded line (RFC 9112 §5.2).
    #[error("a header line begins with a space; folded header lines are not supported")]
    Folded,
    /// A field line without a colon.
    #[error("there is a header line without a colon")]
    NoColon,
    /// `Name : value`, the classic of request smuggling (RFC 9112 §5.1).
    #[error("there is a space between a header's name and its colon")]
    SpaceBeforeColon,
    /// A field name that is not a token.
    #[error("a header's name is empty, or holds a character that names can't have")]
    FieldName,
    /// A byte that is not allowed in a field value.
    #[error("a header's value holds a character that values can't have")]
    FieldValue,
    /// A field name over the limit.
    #[error("a header's name is longer than 256 bytes")]
    LongName,
    /// A name that other programs may read as a meaningful one.
    #[error("a header's name has an underscore and could be mistaken for `{0}`")]
    Shadow(&'static str),
    /// Several `Content-Length`, even if they agree.
    #[error("there is more than one Content-Length header")]
    TwoLengths,
    /// Not a decimal number of 64 bits.
    #[error("the Content-Length header is not a plain number")]
    Length,
    /// Several `Transfer-Encoding`.
    #[error("there is more than one Transfer-Encoding header")]
    TwoEncodings,
    /// A `Transfer-Encoding` other than `chunked`.
    #[error("the Transfer-Encoding header is not exactly `chunked`")]
    Encoding,
    /// Chunks in HTTP/1.0, which does not define them.
    #[error("an HTTP/1.0 request can't have a Transfer-Encoding header")]
    EncodingInHttp10,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("there are both a Content-Length and a Transfer-Encoding header")]
    LengthAndEncoding,
    /// Bytes after a request with `Upgrade`.
    #[error("there are bytes after a request that asked for another protocol")]
    BehindUpgrade,
    /// Too many fields.
    #[error("the request has more than 100 header lines")]
    ManyFields,
    /// A head over the limit.
    #[error("the request's head is larger than `limits.headers`")]
    LargeHead,
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    #[error("a chunk's size is not a plain hexadecimal number of at most 16 digits")]
    ChunkSize,
    /// Chunk extensions over the limit.
    #[error("a chunk's extensions are too long")]
    LongExtension,
    /// A chunk longer than its size says.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// A trailer field that carries meaning.
    #[error("the header `{0}` comes after the body, in the trailer section")]
    Trailer(&'static str),
    /// A trailer section over the limit.
    #[error("the trailer section is larger than 8 KiB")]
    LargeTrailers,
}

impl Violation {
    /// The kind of error for the client.
    pub fn kind(self) -> ErrorKind {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever is not a size or a method is malformed"
        )]
        match self {
            Self::LargeHead | Self::ManyFields | Self::LongName | Self::LongTarget => {
                ErrorKind::HeadersTooLarge
            }
            Self::MethodRefused(_) => ErrorKind::MethodNotAllowed,
            _ => ErrorKind::BadRequest,
        }
    }

    /// The error for the client.
    pub fn error(self) -> ProxyError {
        let kind = self.kind();
        let refused = kind == ErrorKind::MethodNotAllowed;
        ProxyError {
            allow: refused.then(|| "GET, HEAD, POST".to_owned()),
            ..ProxyError::new(kind, format!("hermes-proxyd: {self}"))
        }
    }
}

//! Everything that makes a client's bytes no request for us, each in words.

use super::super::error::{ErrorKind, ProxyError};

/// What is wrong with a client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A TLS greeting.
    #[error("the client speaks TLS; this port speaks plain HTTP: use http:// in the base URL")]
    Tls,
    /// HTTP/2 without TLS.
    #[error("the client speaks HTTP/2; this port speaks HTTP/1.1")]
    Http2,
    /// A control character, such as NUL, where none may be.
    #[error("there is a control character (byte {0:#04x}) in the request")]
    Control(u8),
    /// A carriage return by itself.
    #[error("there is a carriage return without a line feed in the request")]
    BareCr,
    /// A line feed by itself.
    #[error("a line of the request ends with a bare line feed instead of CR LF")]
    BareLf,
    /// Empty lines without end.
    #[error("there are too many empty lines before the request")]
    EmptyLines,
    /// Not three words with one space between them.
    #[error("the request line is not `METHOD /path HTTP/1.1`")]
    RequestLine,
    /// An answer's first line is none.
    #[error("the status line is not `HTTP/1.1 200 OK`")]
    StatusLine,
    /// Another version.
    #[error("the request's version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    /// Not a token (RFC 9110 §5.6.2), or too long a one.
    #[error("the request's method is not a word of at most 20 letters")]
    Method,
    /// CONNECT and TRACE.
    #[error("this service does not take the method {0}")]
    MethodRefused(&'static str),
    /// Absolute-form, authority-form or `*`.
    #[error("the request target must be a path; this service is not a forward proxy")]
    NotAPath,
    /// A byte in the target that does not belong in a path or query.
    #[error("there is a character in the request target that must be percent-encoded")]
    TargetByte,
    /// A long target.
    #[error("the request target is longer than 65534 bytes")]
    LongTarget,
    /// A line that goes on in the next one (RFC 9112 §5.2).
    #[error("a header line begins with a space; folded header lines are not supported")]
    Folded,
    /// A line without a colon.
    #[error("there is a header line without a colon")]
    NoColon,
    /// `Name : value`, the classic of request smuggling (RFC 9112 §5.1).
    #[error("there is a space between a header's name and its colon")]
    SpaceBeforeColon,
    /// Not a token.
    #[error("a header's name is empty, or holds a character that names can't have")]
    FieldName,
    /// Not what a value may hold.
    #[error("a header's value holds a character that values can't have")]
    FieldValue,
    /// A long name.
    #[error("a header's name is longer than 256 bytes")]
    LongName,
    /// A name that others may take for another one.
    #[error("a header's name has an underscore and could be mistaken for `{0}`")]
    Shadow(&'static str),
    /// More than one, even when they agree.
    #[error("there is more than one Content-Length header")]
    TwoLengths,
    /// Not a decimal number of 64 bits.
    #[error("the Content-Length header is not a plain number")]
    Length,
    /// More than one.
    #[error("there is more than one Transfer-Encoding header")]
    TwoEncodings,
    /// Anything else.
    #[error("the Transfer-Encoding header is not exactly `chunked`")]
    Encoding,
    /// HTTP/1.0 knows no chunks.
    #[error("an HTTP/1.0 request can't have a Transfer-Encoding header")]
    EncodingInHttp10,
    /// Both framings at once.
    #[error("there are both a Content-Length and a Transfer-Encoding header")]
    LengthAndEncoding,
    /// More bytes behind a request with `Upgrade`.
    #[error("there are bytes after a request that asked for another protocol")]
    BehindUpgrade,
    /// Many fields.
    #[error("the request has more than 100 header lines")]
    ManyFields,
    /// A head over the limit.
    #[error("the request's head is larger than `limits.headers`")]
    LargeHead,
    /// Not 1 to 16 hexadecimal digits.
    #[error("a chunk's size is not a plain hexadecimal number of at most 16 digits")]
    ChunkSize,
    /// Long extensions.
    #[error("a chunk's extensions are too long")]
    LongExtension,
    /// A chunk that goes on behind its size.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// A field that means something, behind the body.
    #[error("the header `{0}` comes after the body, in the trailer section")]
    Trailer(&'static str),
    /// A long trailer section.
    #[error("the trailer section is larger than 8 KiB")]
    LargeTrailers,
}

impl Violation {
    /// How a client is told.
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

    /// The error that tells it.
    pub fn error(self) -> ProxyError {
        let kind = self.kind();
        let refused = kind == ErrorKind::MethodNotAllowed;
        ProxyError {
            allow: refused.then(|| "GET, HEAD, POST".to_owned()),
            ..ProxyError::new(kind, format!("hermes-proxyd: {self}"))
        }
    }
}

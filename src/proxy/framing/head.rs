//! A request's head. Its lines are judged one by one as they arrive; once the last one has arrived, the head is built
//! from the recorded ranges without a second pass.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Uri, Version};
use memchr::memchr;

use super::super::fields::{FieldPlace, Fields};
use super::lines::{self, LineProgress};
use super::message::{Head, Length, MOST_FIELDS, RequestHead};
use super::reuse;
use super::violation::Violation;

/// The longest method. IANA's longest, `UPDATEREDIRECTREF`, has 17 letters.
const LONGEST_METHOD: usize = 20;
/// The longest target that [`Uri`] accepts.
const LONGEST_TARGET: usize = 65_534;
/// The longest field name.
const LONGEST_NAME: usize = 256;
/// Fields that a usual head has, at most.
const USUAL: usize = 24;
/// The most empty lines before a request (RFC 9112 §2.2).
pub(super) const MOST_EMPTY_LINES: u8 = 4;

/// Fields that decide how a request is framed, forwarded or judged. Spelled with an underscore they mean nothing to us,
/// but programs that read fields as CGI does take them for these.
const MEANINGFUL: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The same for all names with these prefixes.
const MEANINGFUL_PREFIXES: [&str; 4] = ["proxy-", "sec-fetch-", "x-forwarded-", "x-hermes-"];

/// The head being read. Positions count from its first byte.
#[derive(Debug, Default)]
pub(super) struct RequestHeadProgress {
    /// Where the current line begins.
    at: usize,
    /// Empty lines skipped before the head: their number, and their bytes.
    empty_lines: u8,
    skipped: usize,
    /// Where the method ends; 0 until the request line has arrived.
    method: usize,
    target: Range<usize>,
    is_http10: bool,
    fields: Vec<FieldPlace>,
    count: usize,
    length: Option<u64>,
    is_chunked: bool,
    follows: Follows,
    expects_continue: bool,
    connection: ConnectionOptions,
}

/// What may follow a request on the connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// The next request.
    #[default]
    Request,
    /// Nothing that we read: another protocol was requested.
    Nothing,
}

/// The options of the `Connection` fields.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
}

impl RequestHeadProgress {
    /// Starts another head.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Whether any of its bytes have arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.at > 0
    }

    /// The number of its fields.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether it requests another protocol, so that nothing after the request is read.
    pub(super) fn asks_for_another_protocol(&self) -> bool {
        self.follows == Follows::Nothing
    }

    /// Reads further; returns whether the head is complete.
    pub(super) fn read(
        &mut self,
        bytes: &mut BytesMut,
        line: &mut LineProgress,
        limit: usize,
    ) -> Result<bool, Violation> {
        loop {
            line.begins = self.at == 0;
            let rest = bytes.get(self.at..).unwrap_or_default();
            let room = limit.saturating_sub(self.skipped + self.at);
            let Some(size) = line.next(rest, room, Violation::LargeHead)? else {
                return Ok(false);
            };
            let text = lines::text(rest.get(..size).unwrap_or_default())?;
            if self.at > 0 {
                let is_last = text.is_empty();
                if !is_last {
                    self.field(text)?;
                }
                self.at += size;
                if is_last {
                    return Ok(true);
                }
            } else if text.is_empty() {
                self.empty_lines += 1;
                if self.empty_lines > MOST_EMPTY_LINES {
                    return Err(Violation::EmptyLines);
                }
                self.skipped += size;
                bytes.advance(size);
            } else {
                self.request_line(text)?;
                self.at = size;
            }
        }
    }

    fn request_line(&mut self, text: &[u8]) -> Result<(), Violation> {
        let mut words = text.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Violation::RequestLine);
        };
        self.is_http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            b"HTTP/2.0" if method == b"PRI" => return Err(Violation::Http2),
            _ => return Err(Violation::Version),
        };
        if method.is_empty()
            || method.len() > LONGEST_METHOD
            || !method.iter().copied().all(is_token)
        {
            return Err(Violation::Method);
        }
        match method {
            b"CONNECT" => return Err(Violation::MethodRefused("CONNECT")),
            b"TRACE" => return Err(Violation::MethodRefused("TRACE")),
            _ => self.method = method.len(),
        }
        if target.first() != Some(&b'/') {
            return Err(Violation::NotAPath);
        }
        if target.len() > LONGEST_TARGET {
            return Err(Violation::LongTarget);
        }
        if !target.iter().copied().all(is_target) {
            return Err(Violation::TargetByte);
        }
        let at = method.len() + 1;
        self.target = at..at + target.len();
        Ok(())
    }

    fn field(&mut self, text: &[u8]) -> Result<(), Violation> {
        self.count += 1;
        if self.count > MOST_FIELDS {
            return Err(Violation::ManyFields);
        }
        let read = field_line(text)?;
        let FieldLine { name, value, .. } = read;
        // Without an early exit, which would double the cost per byte.
        let marks = name
            .iter()
            .fold(0, |found, byte| found | u8::from(*byte == b'_'));
        if marks > 0
            && let Some(shadowed) = meaning(name)
        {
            return Err(Violation::Shadow(shadowed));
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Violation::TwoLengths);
                }
                self.length = Some(length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_http10 {
                    return Err(Violation::EncodingInHttp10);
                }
                if self.is_chunked {
                    return Err(Violation::TwoEncodings);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::Encoding);
                }
                self.is_chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection.hear(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.follows = Follows::Nothing,
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Violation::LengthAndEncoding);
        }
        if self.fields.capacity() == 0 {
            self.fields.reserve(USUAL);
        }
        self.fields.push(place(self.at, &read)?);
        Ok(())
    }

    /// Takes the complete head out of `bytes`.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<RequestHead, Violation> {
        let fields = Fields::read(bytes.split_to(self.at), std::mem::take(&mut self.fields));
        let bytes = fields.head();
        let method = bytes.get(..self.method).unwrap_or_default();
        // Whatever `Uri` would reject was refused before.
        let target = bytes.slice(self.target.clone());
        let head = Head {
            method: Method::from_bytes(method).map_err(|_| Violation::Method)?,
            uri: Uri::from_maybe_shared(target).map_err(|_| Violation::TargetByte)?,
            version: if self.is_http10 {
                Version::HTTP_10
            } else {
                Version::HTTP_11
            },
            headers: fields,
        };
        let length = match self.length {
            _ if self.is_chunked => Length::Chunked,
            None | Some(0) => Length::Empty,
            Some(length) => Length::Known(length),
        };
        Ok(RequestHead {
            head,
            length,
            expects_continue: self.expects_continue && length != Length::Empty && !self.is_http10,
            persists: self.connection.persists(self.is_http10),
        })
    }

    pub(super) fn origin<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let read = |place: Range<usize>| bytes.get(place).unwrap_or_default();
        let mut origins = self.fields.iter();
        let mut next = || {
            let is_origin =
                |field: &&FieldPlace| read(field.name()).eq_ignore_ascii_case(b"origin");
            origins.find(is_origin).map(|field| read(field.value()))
        };
        let (first, second) = (next(), next());
        first.filter(|_| second.is_none())
    }

    pub(super) fn is_head_request(&self, bytes: &[u8]) -> bool {
        self.method == 4 && bytes.starts_with(b"HEAD")
    }
}

/// Builds the fields from these ranges.
pub(super) fn read_fields(places: &[FieldPlace], bytes: &Bytes) -> Result<HeaderMap, Violation> {
    let mut fields = reuse::map(places.len());
    for field in places {
        let name = bytes.get(field.name()).unwrap_or_default();
        let name = reuse::name(name).ok_or(Violation::FieldName)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value()));
        fields.append(name, value.map_err(|_| Violation::FieldValue)?);
    }
    Ok(fields)
}

/// A field of a message, in the line that it was parsed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldLine<'l> {
    /// A token (RFC 9110 §5.1), in the case that it came in.
    pub(super) name: &'l [u8],
    /// Without the space around it.
    pub(super) value: &'l [u8],
    /// Where the value begins.
    value_at: usize,
}

/// The ranges of the field in the line that begins there. A head is never too large for them.
pub(super) fn place(line: usize, field: &FieldLine<'_>) -> Result<FieldPlace, Violation> {
    let value_at = line + field.value_at;
    let name_end = line + field.name.len();
    let place = FieldPlace::new(line..name_end, value_at..value_at + field.value.len());
    place.ok_or(Violation::LargeHead)
}

impl ConnectionOptions {
    /// Whether the connection persists after a message of this version (RFC 9112 §9.3).
    pub(super) fn persists(self, is_http10: bool) -> bool {
        !self.close && (self.keep_alive || !is_http10)
    }

    pub(super) fn hear(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Checks a trailer field. We ignore its value, but another program might not.
pub(super) fn trailer(text: &[u8]) -> Result<(), Violation> {
    let field = field_line(text)?;
    meaning(field.name).map_or(Ok(()), |name| Err(Violation::Trailer(name)))
}

/// Checks a trailer field that is dropped.
pub(super) fn any_trailer(text: &[u8]) -> Result<(), Violation> {
    field_line(text).map(|_| ())
}

/// Parses a field.
pub(super) fn field_line(text: &[u8]) -> Result<FieldLine<'_>, Violation> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Violation::Folded);
    }
    // One pass to the end of the name, which is usually the colon.
    let end = text.iter().position(|byte| !is_token(*byte));
    let colon = match end.filter(|end| text.get(*end) == Some(&b':')) {
        Some(colon) => colon,
        None => memchr(b':', text).ok_or(Violation::NoColon)?,
    };
    let (name, value) = text.split_at_checked(colon).ok_or(Violation::NoColon)?;
    let value = value.strip_prefix(b":").unwrap_or(value);
    if end != Some(colon) {
        let ends_so = matches!(name.last(), Some(b' ' | b'\t'));
        return Err(if ends_so {
            Violation::SpaceBeforeColon
        } else {
            Violation::FieldName
        });
    }
    if name.is_empty() {
        return Err(Violation::FieldName);
    }
    if name.len() > LONGEST_NAME {
        return Err(Violation::LongName);
    }
    let trimmed = value.trim_ascii_start();
    let at = text.len() - trimmed.len();
    Ok(FieldLine {
        name,
        value: trimmed.trim_ascii_end(),
        value_at: at,
    })
}

/// The meaningful name that this one is, or that some programs would take it for.
fn meaning(name: &[u8]) -> Option<&'static str> {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    let exact = MEANINGFUL
        .iter()
        .find(|known| known.len() == name.len() && name.iter().map(plain).eq(known.bytes()));
    let begins = |known: &&&str| {
        name.get(..known.len())
            .is_some_and(|start| start.iter().map(plain).eq(known.bytes()))
    };
    exact
        .or_else(|| MEANINGFUL_PREFIXES.iter().find(begins))
        .copied()
}

/// A decimal number without sign, space or leading zeros.
pub(super) fn length(value: &[u8]) -> Result<u64, Violation> {
    let plain =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    let number = std::str::from_utf8(value).ok().filter(|_| plain);
    // hyper reserves the two largest numbers, also towards the provider.
    number
        .and_then(|number| number.parse().ok())
        .filter(|length| *length < u64::MAX - 1)
        .ok_or(Violation::Length)
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < 256 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::indexing_slicing,
                reason = "below 256, and known when compiling"
            )]
            {
                let byte = at as u8;
                table[at] = byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'!' | b'#'
                            | b'$'
                            | b'%'
                            | b'&'
                            | b'\''
                            | b'*'
                            | b'+'
                            | b'-'
                            | b'.'
                            | b'^'
                            | b'_'
                            | b'`'
                            | b'|'
                            | b'~'
                    );
            }
            at += 1;
        }
        table
    };
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The bytes of a path and query: RFC 3986, and those that browsers leave unencoded.
pub(in crate::proxy) fn is_target(byte: u8) -> bool {
    matches!(byte, b'!' | 0x24..=0x3b | b'=' | 0x3f..=0x5f | 0x61..=0x7e)
}

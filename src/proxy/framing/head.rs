//! A request's head: its lines are judged one by one as they come, and once the last has come the head is
//! built from the places that were noted, without a second look.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Uri, Version};
use memchr::memchr;

use super::super::fields::{FieldPlace, Fields};
use super::lines::{self, LineProgress};
use super::{Head, Length, MOST_FIELDS, RequestHead, Violation, reuse};

/// The longest method; IANA's longest, `UPDATEREDIRECTREF`, has 17 letters.
const LONGEST_METHOD: usize = 20;
/// The longest target that [`Uri`] takes.
const LONGEST_TARGET: usize = 65_534;
/// The longest name of a field.
const LONGEST_NAME: usize = 256;
/// Fields that a usual head has, at most.
const USUAL: usize = 24;
/// Empty lines before a request (RFC 9112 §2.2).
pub(super) const MOST_EMPTY_LINES: u8 = 4;

/// Fields that decide how a request is framed, passed on or judged. With an underscore for a hyphen
/// they mean nothing to us, but something to programs that read fields as CGI does.
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
/// The same for all names that begin so.
const MEANINGFUL_PREFIXES: [&str; 4] = ["proxy-", "sec-fetch-", "x-forwarded-", "x-hermes-"];

/// What is known of the head under way. Places are counted from its first byte.
#[derive(Debug, Default)]
pub(super) struct RequestHeadProgress {
    /// Where the line under way begins.
    at: usize,
    /// The empty lines before it, which are thrown away: how many, and their bytes.
    empty_lines: u8,
    skipped: usize,
    /// Where the method ends; 0 until the request line has come.
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

/// What may stand behind a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// The next one.
    #[default]
    Request,
    /// Nothing for us: another protocol was asked for.
    Nothing,
}

/// What the `Connection` fields say of it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
}

impl RequestHeadProgress {
    /// Another head begins.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Whether anything of it has come.
    pub(super) fn has_begun(&self) -> bool {
        self.at > 0
    }

    /// How many fields it has.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether it asks for another protocol, so that nothing behind the request is read.
    pub(super) fn asks_for_another_protocol(&self) -> bool {
        self.follows == Follows::Nothing
    }

    /// Reads on; whether its last line has come.
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
        let (name, value, value_at) = name_and_value(text)?;
        // Without an early end, which would cost as much again for each byte.
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
        self.fields.push(place(self.at, (name, value, value_at))?);
        Ok(())
    }

    /// The head, which is whole, and is taken out of the bytes.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<RequestHead, Violation> {
        let fields = Fields::read(bytes.split_to(self.at), std::mem::take(&mut self.fields));
        let bytes = fields.head();
        let method = bytes.get(..self.method).unwrap_or_default();
        // What is no target to `Uri` was refused before.
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

/// The fields that stand at these places.
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

/// Where a field stands in the line that begins there, as [`name_and_value`] has read it. A head is never so large that this
/// can't be said.
pub(super) fn place(
    line: usize,
    (name, value, value_at): (&[u8], &[u8], usize),
) -> Result<FieldPlace, Violation> {
    let value_at = line + value_at;
    let place = FieldPlace::new(line..line + name.len(), value_at..value_at + value.len());
    place.ok_or(Violation::LargeHead)
}

impl ConnectionOptions {
    /// Whether it goes on behind a message of this version (RFC 9112 §9.3).
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

/// A field of the trailer section. We ignore them, but another program might not.
pub(super) fn trailer(text: &[u8]) -> Result<(), Violation> {
    let (name, _, _) = name_and_value(text)?;
    meaning(name).map_or(Ok(()), |name| Err(Violation::Trailer(name)))
}

/// A field of a trailer section that is dropped.
pub(super) fn any_trailer(text: &[u8]) -> Result<(), Violation> {
    name_and_value(text).map(|_| ())
}

/// A field's name, checked, its value without the space around it, and where that begins.
pub(super) fn name_and_value(text: &[u8]) -> Result<(&[u8], &[u8], usize), Violation> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Violation::Folded);
    }
    // One pass to the end of what may be a name, which mostly is the colon.
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
    Ok((name, trimmed.trim_ascii_end(), at))
}

/// The meaningful name that this one is or, to some programs, would be.
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
    // hyper keeps the two largest numbers for itself, on the way to the provider too.
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

/// What may stand in path and query: RFC 3986, and what browsers don't encode.
pub(in crate::proxy) fn is_target(byte: u8) -> bool {
    matches!(byte, b'!' | 0x24..=0x3b | b'=' | 0x3f..=0x5f | 0x61..=0x7e)
}

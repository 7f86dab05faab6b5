//! Where one request of a client's bytes ends and the next begins, and whether everybody would say
//! so. Pure.
//!
//! hyper reads what a client sends leniently, as its rank demands. A port that hands on somebody
//! else's subscription can be stricter: a request that two programs may read in two ways is refused
//! before hyper has seen its end. The scanner sees the bytes as they come off the connection, in
//! place, and follows them over any number of requests (RFC 9112).
//!
//! `Host`, `Origin` and the path are not its matter, but [`super::guard`]'s and [`super::route`]'s.

mod violation;

use memchr::memchr;

pub use self::violation::Violation;

/// Field lines that a request may have.
pub const MOST_FIELDS: usize = 100;
/// The longest method; IANA's longest, `UPDATEREDIRECTREF`, has 17 letters.
const LONGEST_METHOD: usize = 20;
/// The longest target that hyper takes.
const LONGEST_TARGET: usize = 65_534;
/// The longest name of a field.
const LONGEST_NAME: usize = 256;
/// What the beginning of a line grows by at least.
const CARRY_STEP: usize = 512;
/// Empty lines before a request (RFC 9112 §2.2).
const MOST_EMPTY_LINES: u8 = 4;
/// A chunk's size line without its end: 16 digits and an extension.
const LONGEST_SIZE_LINE: usize = 272;
/// Digits of a chunk's size: 64 bits.
const MOST_DIGITS: usize = 16;
/// The extensions of all chunks of a body; hyper takes 16 KiB.
const MOST_EXTENSIONS: usize = 16 * 1024 - 1;
/// The longest `Origin` that is remembered; a longer one is on no list.
const LONGEST_ORIGIN: usize = 512;
/// The trailer section; hyper takes 16 KiB.
const MOST_TRAILERS: usize = 8 * 1024;

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

/// Where the scanner stopped for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How many of the bytes may be handed on: up to the offending line's start.
    pub passes: usize,
    /// Why not more.
    pub violation: Violation,
    /// It is in a body, whose head was in order.
    pub in_body: bool,
}

/// Follows one connection's bytes.
#[derive(Debug)]
pub struct Scanner {
    place: Place,
    head: Head,
    /// The largest head.
    limit: usize,
    /// The beginning of a line whose end has not come. Nobody else keeps it.
    carry: Vec<u8>,
    /// The line that began in an earlier read, once it is whole, and how much of the last read it took.
    joined: Option<(Vec<u8>, usize)>,
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    RequestLine,
    Fields,
    /// So many bytes are left.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
    /// Behind a request that asked for another protocol. It was answered in this one, and whatever
    /// follows may be meant for the other.
    BehindUpgrade,
    Refused(Violation, bool),
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

/// What is known of the request under way.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    fields: usize,
    empty_lines: u8,
    is_http10: bool,
    bodiless: bool,
    length: Option<u64>,
    is_chunked: bool,
    follows: Follows,
    /// Each `Origin`.
    origins: Vec<Vec<u8>>,
    extensions: usize,
    trailers: usize,
}

impl Scanner {
    /// A scanner for a connection's first byte on; `limit` is the largest head, in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            place: Place::RequestLine,
            head: Head::default(),
            limit,
            carry: Vec::new(),
            joined: None,
            requests: 0,
        }
    }

    /// Reads on. Costs no allocation unless a line is split between two reads.
    ///
    /// # Errors
    /// What is wrong, and every time from then on.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step(rest) {
                Ok(used) => rest = rest.get(used..).unwrap_or_default(),
                Err(violation) => {
                    let in_body = self.is_in_body();
                    self.place = Place::Refused(violation, in_body);
                    self.carry = Vec::new();
                    return Err(Stop {
                        passes: bytes.len() - rest.len(),
                        violation,
                        in_body,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the first byte of a head has come, but not its last.
    pub fn is_in_head(&self) -> bool {
        match self.place {
            Place::RequestLine => self.carry.iter().any(|byte| *byte != b'\r'),
            Place::Fields | Place::Refused(..) => !self.is_in_body(),
            Place::BehindUpgrade
            | Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => false,
        }
    }

    /// Whether a head has come whose body is not whole.
    pub fn is_in_body(&self) -> bool {
        match self.place {
            Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers
            | Place::Refused(_, true) => true,
            Place::RequestLine
            | Place::Fields
            | Place::BehindUpgrade
            | Place::Refused(_, false) => false,
        }
    }

    /// Whether the last request asked for another protocol, so that nothing more is read.
    pub fn is_behind_upgrade(&self) -> bool {
        matches!(
            self.place,
            Place::BehindUpgrade | Place::Refused(Violation::BehindUpgrade, _)
        )
    }

    /// The web page that sends the request under way, as far as is known: its one `Origin`.
    pub fn origin(&self) -> Option<&[u8]> {
        match &*self.head.origins {
            [origin] => Some(origin),
            _ => None,
        }
    }

    /// How many of the bytes read last begin a line whose end has not come.
    pub fn unfinished(&self) -> usize {
        self.carry.len()
    }

    /// The line that began in an earlier read and ended in the last one, and how many bytes of that
    /// read belong to it.
    pub fn take_joined(&mut self) -> Option<(Vec<u8>, usize)> {
        self.joined.take()
    }

    /// The largest head.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How large the head under way is so far; 0 where none is.
    pub fn head_size(&self) -> usize {
        if self.is_in_head() {
            self.head.bytes + self.carry.len()
        } else {
            0
        }
    }

    /// Whether the request under way is a HEAD, as far as is known.
    pub fn is_head_request(&self) -> bool {
        self.head.bodiless
    }

    /// Heads that have come whole.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Reads at least one byte, at most up to the end of a line or body; returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match self.place {
            Place::Body(left) => {
                let (used, left) = take(bytes, left);
                if left == 0 {
                    self.next_request();
                } else {
                    self.place = Place::Body(left);
                }
                Ok(used)
            }
            Place::Chunk(left) => {
                let (used, left) = take(bytes, left);
                self.place = if left == 0 {
                    Place::ChunkCr
                } else {
                    Place::Chunk(left)
                };
                Ok(used)
            }
            Place::ChunkCr => self.expect(bytes, b'\r', Place::ChunkLf),
            Place::ChunkLf => self.expect(bytes, b'\n', Place::ChunkSize),
            Place::RequestLine | Place::Fields => {
                let room = self.limit.saturating_sub(self.head.bytes);
                self.line(bytes, room, Violation::LargeHead)
            }
            Place::ChunkSize => self.line(bytes, LONGEST_SIZE_LINE, Violation::LongExtension),
            Place::Trailers => {
                let room = MOST_TRAILERS.saturating_sub(self.head.trailers);
                self.line(bytes, room, Violation::LargeTrailers)
            }
            Place::BehindUpgrade => Err(Violation::BehindUpgrade),
            Place::Refused(violation, _) => Err(violation),
        }
    }

    fn expect(&mut self, bytes: &[u8], byte: u8, next: Place) -> Result<usize, Violation> {
        if bytes.first() != Some(&byte) {
            return Err(Violation::ChunkEnd);
        }
        self.place = next;
        Ok(1)
    }

    /// Reads to the end of the line, which has room for so many bytes, its end among them; or keeps
    /// what has come of it. What is told of a line must not depend on how it was cut: so the first
    /// byte that is wrong by itself counts, then the length, then the rest.
    fn line(&mut self, bytes: &[u8], room: usize, long: Violation) -> Result<usize, Violation> {
        let end = memchr(b'\n', bytes);
        let piece = end.and_then(|end| bytes.get(..=end)).unwrap_or(bytes);
        let used = piece.len();
        let before = self.carry.len();
        if before == 0 && end.is_some() && used <= room {
            self.whole(piece)?;
            return Ok(used);
        }
        if self.carry.last() == Some(&b'\r') && piece.first() != Some(&b'\n') {
            return Err(if before < room {
                Violation::BareCr
            } else {
                long
            });
        }
        let visible = piece.get(..room - before.min(room)).unwrap_or(piece);
        let begins = before == 0 && self.place == Place::RequestLine;
        clean(visible.strip_suffix(b"\n").unwrap_or(visible), begins)?;
        if before + used > room {
            return Err(long);
        }
        if self.carry.capacity() - before < used {
            // Not twice what is there: a flood of unfinished heads takes what it sends.
            self.carry.reserve_exact(used.max(CARRY_STEP));
        }
        self.carry.extend_from_slice(piece);
        if end.is_some() {
            let line = std::mem::take(&mut self.carry);
            self.whole(&line)?;
            self.joined = Some((line, used));
        }
        Ok(used)
    }

    /// Judges a whole line, with its end.
    fn whole(&mut self, line: &[u8]) -> Result<(), Violation> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        clean(text, self.place == Place::RequestLine)?;
        let text = text.strip_suffix(b"\r").ok_or(Violation::BareLf)?;
        match self.place {
            Place::RequestLine => {
                self.head.bytes += line.len();
                self.request_line(text)
            }
            Place::Fields => {
                self.head.bytes += line.len();
                if text.is_empty() {
                    self.end_of_head();
                    return Ok(());
                }
                self.field(text)
            }
            Place::Trailers => {
                self.head.trailers += line.len();
                if text.is_empty() {
                    self.next_request();
                    return Ok(());
                }
                self.trailer(text)
            }
            Place::ChunkSize => self.chunk_size(text),
            Place::Body(_)
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::BehindUpgrade
            | Place::Refused(..) => Ok(()),
        }
    }

    fn request_line(&mut self, text: &[u8]) -> Result<(), Violation> {
        if text.is_empty() {
            self.head.empty_lines += 1;
            return if self.head.empty_lines > MOST_EMPTY_LINES {
                Err(Violation::EmptyLines)
            } else {
                Ok(())
            };
        }
        let mut words = text.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Violation::RequestLine);
        };
        self.head.is_http10 = match version {
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
            _ => self.head.bodiless = method == b"HEAD",
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
        self.place = Place::Fields;
        Ok(())
    }

    fn field(&mut self, text: &[u8]) -> Result<(), Violation> {
        self.count_field()?;
        let (name, value) = name_and_value(text)?;
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.head.length.is_some() {
                    return Err(Violation::TwoLengths);
                }
                self.head.length = Some(length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.head.is_http10 {
                    return Err(Violation::EncodingInHttp10);
                }
                if self.head.is_chunked {
                    return Err(Violation::TwoEncodings);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::Encoding);
                }
                self.head.is_chunked = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.head.follows = Follows::Nothing,
            6 if name.eq_ignore_ascii_case(b"origin") => {
                let origin = value.get(..LONGEST_ORIGIN).unwrap_or(value);
                if self.head.origins.len() < 2 {
                    self.head.origins.push(origin.to_vec());
                }
            }
            _ => return Ok(()),
        }
        if self.head.is_chunked && self.head.length.is_some() {
            return Err(Violation::LengthAndEncoding);
        }
        Ok(())
    }

    /// A field of the trailer section. Nobody here looks at them, but some other program might.
    fn trailer(&mut self, text: &[u8]) -> Result<(), Violation> {
        self.count_field()?;
        let (name, _) = name_and_value(text)?;
        meaning(name).map_or(Ok(()), |name| Err(Violation::Trailer(name)))
    }

    fn count_field(&mut self) -> Result<(), Violation> {
        self.head.fields += 1;
        if self.head.fields > MOST_FIELDS {
            return Err(Violation::ManyFields);
        }
        Ok(())
    }

    fn end_of_head(&mut self) {
        self.requests += 1;
        match self.head.length {
            _ if self.head.is_chunked => self.place = Place::ChunkSize,
            Some(length) if length > 0 => self.place = Place::Body(length),
            Some(_) | None => self.next_request(),
        }
    }

    fn chunk_size(&mut self, text: &[u8]) -> Result<(), Violation> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        let (number, extension) = text.split_at_checked(digits).unwrap_or((text, &[]));
        if digits == 0 || digits > MOST_DIGITS {
            return Err(Violation::ChunkSize);
        }
        // White space is let be before an extension only (RFC 9112 §7.1.1).
        if !extension.is_empty() && !extension.trim_ascii_start().starts_with(b";") {
            return Err(Violation::ChunkSize);
        }
        self.head.extensions += extension.len();
        if self.head.extensions > MOST_EXTENSIONS {
            return Err(Violation::LongExtension);
        }
        let size = number.iter().fold(0, |size: u64, digit| {
            let digit = char::from(*digit).to_digit(16).unwrap_or_default();
            size << 4 | u64::from(digit)
        });
        self.place = if size == 0 {
            Place::Trailers
        } else {
            Place::Chunk(size)
        };
        Ok(())
    }

    fn next_request(&mut self) {
        self.place = match self.head.follows {
            Follows::Request => Place::RequestLine,
            Follows::Nothing => Place::BehindUpgrade,
        };
        self.head = Head::default();
    }
}

/// How many of the bytes belong to a body of which `left` are left, and how many are left then.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let used = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (used, left - used as u64)
}

/// No control character but tabs; a carriage return only at the very end.
fn clean(text: &[u8], begins_request: bool) -> Result<(), Violation> {
    let body = text.strip_suffix(b"\r").unwrap_or(text);
    // Without an early end, so that many bytes are looked at in one instruction.
    if !body.iter().fold(false, |bad, byte| bad | is_control(*byte)) {
        return Ok(());
    }
    match body.iter().position(|byte| is_control(*byte)) {
        Some(0) if begins_request && body.first() == Some(&0x16) => Err(Violation::Tls),
        Some(at) => match body.get(at) {
            Some(b'\r') => Err(Violation::BareCr),
            Some(byte) => Err(Violation::Control(*byte)),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// A field's name, checked, and its value without the space around it.
fn name_and_value(text: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Violation::Folded);
    }
    let colon = memchr(b':', text).ok_or(Violation::NoColon)?;
    let (name, value) = text.split_at_checked(colon).ok_or(Violation::NoColon)?;
    let value = value.strip_prefix(b":").unwrap_or(value);
    let mut has_underscore = false;
    for byte in name {
        has_underscore |= *byte == b'_';
        if !is_token(*byte) {
            let ends_so = matches!(name.last(), Some(b' ' | b'\t'));
            return Err(if ends_so {
                Violation::SpaceBeforeColon
            } else {
                Violation::FieldName
            });
        }
    }
    if name.is_empty() {
        return Err(Violation::FieldName);
    }
    if name.len() > LONGEST_NAME {
        return Err(Violation::LongName);
    }
    if has_underscore && let Some(shadowed) = meaning(name) {
        return Err(Violation::Shadow(shadowed));
    }
    Ok((name, value.trim_ascii()))
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
fn length(value: &[u8]) -> Result<u64, Violation> {
    let plain =
        value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    let number = std::str::from_utf8(value).ok().filter(|_| plain);
    // hyper keeps the two largest numbers for itself.
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
fn is_target(byte: u8) -> bool {
    matches!(byte, b'!' | 0x24..=0x3b | b'=' | 0x3f..=0x5f | 0x61..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a scanner makes of the bytes, given in pieces of these sizes, over and over.
    fn scan(bytes: &[u8], sizes: &[usize]) -> (u64, bool, Option<(Violation, bool)>) {
        let mut scanner = Scanner::new(8 * 1024);
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            if let Err(stop) = scanner.scan(piece) {
                assert!(stop.passes <= piece.len());
                return (
                    scanner.requests(),
                    scanner.is_in_head(),
                    Some((stop.violation, stop.in_body)),
                );
            }
            rest = later;
        }
        (scanner.requests(), scanner.is_in_head(), None)
    }

    fn verdict(text: &str) -> Option<Violation> {
        let whole = scan(text.as_bytes(), &[usize::MAX]);
        for sizes in [&[1][..], &[2], &[3, 1], &[7], &[1, 20], &[64]] {
            assert_eq!(
                scan(text.as_bytes(), sizes),
                whole,
                "{text:?} cut at {sizes:?}"
            );
        }
        whole.2.map(|(violation, _)| violation)
    }

    fn head(fields: &str) -> Option<Violation> {
        verdict(&format!("POST /v1/x HTTP/1.1\r\n{fields}\r\n"))
    }

    fn body(chunks: &str) -> Option<Violation> {
        head(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"))
    }

    #[test]
    fn a_sound_connection_passes_however_it_is_cut() {
        let text = "\r\nGET //v1//models?a=%20b HTTP/1.1\r\nHost: localhost\r\nX-A:\tb\u{e9} \r\n\r\n\
                    POST /v1/x HTTP/1.1\r\nsession_id: 1\r\ncontent-length: 4\r\n\r\n\r\n\r\n\
                    POST /v1/x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                    5;a=\"b c\"\r\nab\r\nc\r\nA ; x\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\n\
                    HEAD / HTTP/1.0\r\nEmpty:\r\n\r\n";
        assert_eq!(verdict(text), None);
        assert_eq!(scan(text.as_bytes(), &[5]), (4, false, None));
    }

    #[test]
    fn nothing_behind_an_upgrade_is_read() {
        let behind = "GET / HTTP/1.1\r\n\r\n";
        for request in [
            "GET / HTTP/1.1\r\nUpgrade: TLS/1.2\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.0\r\nupgrade:\r\n\r\n",
            "POST / HTTP/1.1\r\nUPGRADE: h2c\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ] {
            assert_eq!(verdict(request), None);
            let text = format!("{request}{behind}");
            assert_eq!(verdict(&text), Some(Violation::BehindUpgrade), "{request}");
            let mut scanner = Scanner::new(8192);
            let stop = scanner.scan(text.as_bytes()).unwrap_err();
            assert_eq!(stop.passes, request.len());
            assert!(!stop.in_body && scanner.is_behind_upgrade() && scanner.requests() == 1);
        }
    }

    #[test]
    fn the_page_of_a_request_is_known_as_soon_as_it_is_named() {
        let mut scanner = Scanner::new(8192);
        for (bytes, origin) in [
            ("GET / HTTP/1.1\r\n", None),
            ("ORIGIN:  https://a.example \r\n", Some("https://a.example")),
            ("Host: a\r\n", Some("https://a.example")),
            ("\r\n", None),
            ("GET / HTTP/1.1\r\nOrigin: a\r\n", Some("a")),
            ("Origin: a\r\n", None),
        ] {
            scanner.scan(bytes.as_bytes()).unwrap();
            assert_eq!(scanner.origin(), origin.map(str::as_bytes), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_has_begun_with_its_first_byte() {
        let mut scanner = Scanner::new(8 * 1024);
        for (bytes, in_head) in [
            ("\r", false),
            ("\n\r\n", false),
            ("G", true),
            ("ET / HTTP/1.1\r\n", true),
            ("Content-Length: 3\r\n\r\n", false),
            ("abc", false),
        ] {
            scanner.scan(bytes.as_bytes()).unwrap();
            assert_eq!(scanner.is_in_head(), in_head, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_before_the_offending_line_passes() {
        let good = "GET / HTTP/1.1\r\n\r\n";
        let text = format!("{good}GET / HTTP/1.1\r\nA : b\r\n\r\n");
        let stop = Scanner::new(8192).scan(text.as_bytes()).unwrap_err();
        assert_eq!(stop.passes, good.len() + "GET / HTTP/1.1\r\n".len());
        assert_eq!(stop.violation, Violation::SpaceBeforeColon);
    }

    #[test]
    fn a_refused_connection_stays_refused() {
        let mut scanner = Scanner::new(8192);
        scanner.scan(b"GET /\r\n").unwrap_err();
        let stop = scanner.scan(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
        assert_eq!((stop.passes, stop.violation), (0, Violation::RequestLine));
    }

    #[test]
    fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
        let line = "GET / HTTP/1.1\r\nA: ";
        for (more, violation) in [(0, None), (1, Some(Violation::LargeHead))] {
            let value = "b".repeat(8 * 1024 + more - line.len() - 4);
            assert_eq!(verdict(&format!("{line}{value}\r\n\r\n")), violation);
        }
        let endless = "a".repeat(9000);
        assert_eq!(verdict(&endless), Some(Violation::LargeHead));
    }

    #[test]
    fn the_first_byte_that_is_wrong_counts_however_the_line_is_cut() {
        for (line, violation) in [
            ("a\0\rb: c", Violation::Control(0)),
            ("a\rb\0: c", Violation::BareCr),
            ("a: b\r", Violation::BareCr),
            ("no colon\0", Violation::Control(0)),
            ("a: b\x7f", Violation::Control(0x7f)),
        ] {
            assert_eq!(head(&format!("{line}\r\n")), Some(violation), "{line:?}");
        }
        assert_eq!(head("a: b\nc: d\r\n"), Some(Violation::BareLf));
        assert_eq!(verdict("\x16\x03\x01"), Some(Violation::Tls));
    }

    #[test]
    fn framing_that_can_be_read_in_two_ways_is_refused() {
        for (fields, violation) in [
            (
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                Violation::TwoLengths,
            ),
            ("Content-Length: 5, 5\r\n", Violation::Length),
            ("Content-Length: +5\r\n", Violation::Length),
            ("Content-Length: 05\r\n", Violation::Length),
            ("Content-Length:\r\n", Violation::Length),
            (
                "Content-Length: 18446744073709551614\r\n",
                Violation::Length,
            ),
            (
                "Content-Length: 5\r\ntransfer-encoding: chunked\r\n",
                Violation::LengthAndEncoding,
            ),
            (
                "Transfer-Encoding: chunked\r\nCONTENT-LENGTH: 0\r\n",
                Violation::LengthAndEncoding,
            ),
            ("Transfer-Encoding: gzip, chunked\r\n", Violation::Encoding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Violation::TwoEncodings,
            ),
            ("Content_Length: 5\r\n", Violation::Shadow("content-length")),
            ("x_forwarded-for: a\r\n", Violation::Shadow("x-forwarded-")),
        ] {
            assert_eq!(head(fields), Some(violation), "{fields:?}");
        }
        let http10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(verdict(http10), Some(Violation::EncodingInHttp10));
    }

    #[test]
    fn chunks_that_can_be_read_in_two_ways_are_refused() {
        for (chunks, violation) in [
            ("5\nhello\r\n0\r\n\r\n", Violation::BareLf),
            ("5\r\nhello!\r\n0\r\n\r\n", Violation::ChunkEnd),
            ("5\r\nhello\n0\r\n\r\n", Violation::ChunkEnd),
            ("0x5\r\nhello\r\n", Violation::ChunkSize),
            ("\r\n", Violation::ChunkSize),
            ("5 \r\nhello\r\n", Violation::ChunkSize),
            ("00000000000000005\r\nhello\r\n", Violation::ChunkSize),
            ("5;a\0b\r\nhello\r\n", Violation::Control(0)),
            (
                "0\r\nContent-Length: 5\r\n\r\n",
                Violation::Trailer("content-length"),
            ),
            ("0\r\nhost: a\r\n\r\n", Violation::Trailer("host")),
            ("0\r\na\r\n\r\n", Violation::NoColon),
        ] {
            assert_eq!(body(chunks), Some(violation), "{chunks:?}");
        }
        let long = format!("5;{}\r\n", "a".repeat(300));
        assert_eq!(body(&long), Some(Violation::LongExtension));
        let many = format!("1;{}\r\na\r\n", "a".repeat(200)).repeat(100);
        assert_eq!(body(&many), Some(Violation::LongExtension));
        let large = format!("0\r\n{}", "a: b\r\n".repeat(90));
        assert_eq!(body(&large), None);
    }
}

//! What the reader makes of a connection must not depend on how its bytes are cut into reads, and
//! what it accepts as a head must be one to httparse, with the same fields, the same end and the same body.

use hermes_proxy::proxy::fields::Fields;
use hermes_proxy::proxy::framing::{BodyPiece, Head, RequestReader, Violation};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

const LIMIT: usize = 8 * 1024;

/// A request, its body as far as it came, and whether that was all of it.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
    pub(crate) persists: bool,
}

/// What was read of a connection.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) requests: Vec<Whole>,
    pub(crate) in_head: bool,
    pub(crate) violation: Option<Violation>,
    /// It is in a body.
    pub(crate) in_body: bool,
}

/// Reads all of it, in pieces of these sizes.
pub(crate) fn read(bytes: &[u8], mut cut: impl FnMut() -> usize) -> Read {
    let mut reader = RequestReader::new(LIMIT);
    let mut rest = bytes;
    let mut read = Read::default();
    while !rest.is_empty() && read.violation.is_none() {
        let (piece, later) = rest.split_at(cut().clamp(1, rest.len()));
        reader.room().extend_from_slice(piece);
        read.violation = step(&mut reader, &mut read).err();
        rest = later;
    }
    read.in_head = reader.is_in_head();
    read.in_body = reader.is_in_body();
    read
}

fn step(reader: &mut RequestReader, read: &mut Read) -> Result<(), Violation> {
    loop {
        if reader.is_in_body() {
            let piece = reader.body()?;
            let last = read.requests.last_mut().expect("its head");
            match piece {
                BodyPiece::Data(data) => last.body.extend_from_slice(&data),
                BodyPiece::Lacking => return Ok(()),
                BodyPiece::End => {}
            }
            last.is_whole = !reader.is_in_body();
        } else {
            let Some(head) = reader.head()? else {
                return Ok(());
            };
            read.requests.push(Whole {
                head: head.head,
                body: Vec::new(),
                is_whole: !reader.is_in_body(),
                persists: head.persists,
            });
        }
    }
}

/// Fields as hyper has them.
pub(crate) fn map(fields: &Fields) -> HeaderMap {
    let read = |(name, value)| {
        let value = HeaderValue::from_bytes(value).expect("a value");
        (HeaderName::from_bytes(name).expect("a name"), value)
    };
    fields.iter().map(read).collect()
}

/// One input.
pub fn run(bytes: &[u8]) {
    let whole = read(bytes, || usize::MAX);
    let same = |other: Read| assert_eq!(format!("{other:?}"), format!("{whole:?}"));
    same(read(bytes, || 1));
    for seed in [
        bytes.len() as u32,
        bytes.iter().map(|byte| u32::from(*byte)).sum(),
    ] {
        let mut state = seed;
        let cut = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as usize >> (state >> 22 & 3)
        };
        same(read(bytes, cut));
    }
    compare(bytes, &whole);
}

/// Follows the accepted requests by httparse's word.
fn compare(bytes: &[u8], read: &Read) {
    let mut at = 0;
    for whole in &read.requests {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&bytes[at..]).expect("a head");
        let length = parsed.unwrap();
        assert_eq!(request.method.unwrap(), whole.head.method.as_str());
        let path = request.path.unwrap();
        let target = hyper::Uri::try_from(path).expect("a target");
        assert!(path.starts_with('/') && target == whole.head.uri);
        let mut lengths = Vec::new();
        let mut chunked = false;
        let mut theirs = HeaderMap::new();
        for field in request.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).unwrap();
                lengths.push(text.parse::<u64>().unwrap());
            }
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                assert!(field.value.eq_ignore_ascii_case(b"chunked") && !chunked);
                chunked = true;
            }
            let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            let value = HeaderValue::from_bytes(field.value).expect("a value");
            theirs.append(name, value);
        }
        assert_eq!(theirs, map(&whole.head.headers));
        assert!(lengths.len() + usize::from(chunked) <= 1);
        let rest = &bytes[at + length..];
        let body = || {
            let length = lengths.first().copied().unwrap_or_default();
            let length = usize::try_from(length).ok();
            length.filter(|length| *length <= rest.len())
        };
        if !whole.is_whole {
            // It is the last one. Its chunks may be odd, so only a length can be told.
            assert!(chunked || body().is_none());
            return;
        }
        let body = if chunked { chunks(rest) } else { body() };
        let body = body.expect("a whole body");
        if !chunked {
            assert_eq!(whole.body, rest[..body]);
        }
        at += length + body;
    }
    // What is left is no whole head.
    if !read.in_body && read.violation.is_none() {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let rest = httparse::Request::new(&mut fields)
            .parse(&bytes[at..])
            .map(|status| status.is_complete());
        assert_ne!(
            rest,
            Ok(true),
            "{:?}",
            String::from_utf8_lossy(&bytes[at..])
        );
    }
}

/// How long a chunked body is, by the letter of RFC 9112 §7.1; `None` when it is not whole.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let line = |from: usize| {
        let rest = bytes.get(from..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some((&rest[..end], from + end + 2))
    };
    let mut at = 0;
    loop {
        let (size, next) = line(at)?;
        let size = std::str::from_utf8(size.split(|byte| *byte == b';').next()?).unwrap();
        let size = u64::from_str_radix(size.trim_end(), 16).expect("a size");
        at = next;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        let (empty, next) = line(at)?;
        assert!(empty.is_empty(), "a chunk is as long as it says");
        at = next;
    }
    loop {
        let (field, next) = line(at)?;
        at = next;
        if field.is_empty() {
            return Some(at);
        }
    }
}

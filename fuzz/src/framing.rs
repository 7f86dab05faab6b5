//! What the scanner says of a connection must not depend on how its bytes are cut into reads, and
//! what it accepts as a head must be one to httparse, with the same end and the same body.

use hermes_proxy::proxy::framing::{Scanner, Violation};

const LIMIT: usize = 8 * 1024;

/// What was read of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    requests: u64,
    in_head: bool,
    in_body: bool,
    violation: Option<Violation>,
}

fn read(bytes: &[u8], mut cut: impl FnMut() -> usize) -> Read {
    let mut scanner = Scanner::new(LIMIT);
    let mut rest = bytes;
    let mut violation = None;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(cut().clamp(1, rest.len()));
        if let Err(stop) = scanner.scan(piece) {
            assert!(stop.passes <= piece.len());
            assert_eq!(stop.in_body, scanner.is_in_body());
            violation = Some(stop.violation);
            break;
        }
        rest = later;
    }
    Read {
        requests: scanner.requests(),
        in_head: scanner.is_in_head(),
        in_body: scanner.is_in_body(),
        violation,
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let whole = read(bytes, || usize::MAX);
    assert_eq!(read(bytes, || 1), whole);
    for seed in [
        bytes.len() as u32,
        bytes.iter().map(|byte| u32::from(*byte)).sum(),
    ] {
        let mut state = seed;
        let cut = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as usize >> (state >> 22 & 3)
        };
        assert_eq!(read(bytes, cut), whole);
    }
    compare(bytes);
}

/// Follows the accepted requests by httparse's word.
fn compare(bytes: &[u8]) {
    let mut scanner = Scanner::new(LIMIT);
    let accepted = match scanner.scan(bytes) {
        Ok(()) => bytes,
        Err(stop) => &bytes[..stop.passes],
    };
    let mut at = 0;
    for _ in 0..scanner.requests() {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&accepted[at..]).expect("a head");
        let length = parsed.unwrap();
        let mut lengths = Vec::new();
        let mut chunked = false;
        for field in request.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).unwrap();
                lengths.push(text.parse::<u64>().unwrap());
            }
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                assert!(field.value.eq_ignore_ascii_case(b"chunked") && !chunked);
                chunked = true;
            }
        }
        assert!(lengths.len() + usize::from(chunked) <= 1);
        let path = request.path.unwrap();
        assert!(path.starts_with('/'));
        hyper::Uri::try_from(path).expect("a target");
        hyper::Method::from_bytes(request.method.unwrap().as_bytes()).expect("a method");
        for field in request.headers.iter() {
            hyper::header::HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            hyper::header::HeaderValue::from_bytes(field.value).expect("a value");
        }
        let body = if chunked {
            chunks(&accepted[at + length..])
        } else {
            let length = lengths.first().copied().unwrap_or_default();
            usize::try_from(length)
                .ok()
                .filter(|length| *length <= accepted.len() - at)
        };
        let Some(body) = body.filter(|body| at + length + body <= accepted.len()) else {
            // It has not come whole; so it is the last one.
            return;
        };
        at += length + body;
    }
    // What is left is no whole head.
    if !scanner.is_in_body() {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let rest = httparse::Request::new(&mut fields)
            .parse(&accepted[at..])
            .map(|status| status.is_complete());
        assert_ne!(
            rest,
            Ok(true),
            "{:?}",
            String::from_utf8_lossy(&accepted[at..])
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

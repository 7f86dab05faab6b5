//! What the scanner accepts is the same requests to hyper, each with the same body, and hyper refuses nothing of it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use hermes_proxy::proxy::framing::Scanner;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: usize = 8 * 1024;

/// A request as hyper saw it.
#[derive(Debug)]
struct Seen {
    /// `None` when the body was not whole.
    body: Option<Bytes>,
    closes: bool,
}

/// One input.
pub fn run(bytes: &[u8]) {
    // The requests as the scanner sees them: where each head ends, and each body.
    let mut scanner = Scanner::new(LIMIT);
    let accepted = match scanner.scan(bytes) {
        // hyper gets whole lines only.
        Ok(()) => &bytes[..bytes.len() - scanner.unfinished()],
        Err(stop) => &bytes[..stop.passes],
    };
    let (heads, in_body) = (scanner.requests(), scanner.is_in_body());
    let (seen, answer) = serve(accepted);
    let answer = String::from_utf8_lossy(&answer);
    for status in ["HTTP/1.1 4", "HTTP/1.0 4", "HTTP/1.1 5"] {
        assert!(!answer.contains(status), "{answer}");
    }
    let whole = heads - u64::from(in_body);
    let closed = seen.iter().position(|seen| seen.closes);
    let expected = closed.map_or(heads, |at| heads.min(at as u64 + 1));
    assert_eq!(seen.len() as u64, expected, "{seen:?}");
    let mut rest = accepted;
    for (at, seen) in seen.iter().enumerate() {
        assert_eq!(seen.body.is_some(), (at as u64) < whole, "{at}: {seen:?}");
        let Some(body) = &seen.body else { break };
        let (expected, behind) = request(rest).expect("a whole request");
        assert_eq!(*body, expected, "{at}: {seen:?}");
        rest = behind;
    }
}

/// The first request's body by httparse's word on its head and RFC 9112 §7.1 on its chunks, and what is behind it.
fn request(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    // Empty lines before a request are skipped (§2.2).
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    let length = head.parse(bytes).ok()?;
    let httparse::Status::Complete(length) = length else {
        return None;
    };
    let value = |name: &str| {
        let mut fields = head.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    let mut rest = bytes.get(length..)?;
    if value("transfer-encoding").is_none() {
        let length =
            value("content-length").map_or(Some(0), |length| length.trim().parse().ok())?;
        let (body, behind) = rest.split_at_checked(length)?;
        return Some((body.to_vec(), behind));
    }
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        // An extension may be any bytes.
        let size = rest.get(..end)?.split(|byte| *byte == b';').next()?;
        let size = std::str::from_utf8(size).ok()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    // The trailer ends with an empty line.
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        rest = rest.get(end + 2..)?;
        if end == 0 {
            return Some((body, rest));
        }
    }
}

fn serve(bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let seen: Rc<RefCell<Vec<Seen>>> = Rc::default();
    let log = seen.clone();
    let answer = runtime.block_on(async move {
        let (mut ours, theirs) = tokio::io::duplex(1024 * 1024);
        ours.write_all(bytes).await.expect("room");
        let service = service_fn(move |request: Request<Incoming>| {
            let log = log.clone();
            async move {
                let says = |word: &str| {
                    let lines = request.headers().get_all(CONNECTION);
                    let mut words = lines
                        .iter()
                        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
                    words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
                };
                let old = request.version() == Version::HTTP_10;
                let closes = says("close") || (old && !says("keep-alive"));
                let at = log.borrow().len();
                log.borrow_mut().push(Seen { body: None, closes });
                if let Ok(body) = request.into_body().collect().await {
                    log.borrow_mut()[at].body = Some(body.to_bytes());
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let serving = async {
            hyper::server::conn::http1::Builder::new()
                .max_headers(100)
                .max_buf_size(LIMIT + 8 * 1024)
                .serve_connection(TokioIo::new(theirs), service)
                .await
                .ok();
        };
        let talking = async {
            // All that can be served is served before the end is seen.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            ours.shutdown().await.ok();
            let mut answer = Vec::new();
            ours.read_to_end(&mut answer).await.ok();
            answer
        };
        tokio::join!(serving, talking).1
    });
    (seen.take(), answer)
}

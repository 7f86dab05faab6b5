//! What the scanner accepts is the same requests to hyper, each with a body of the same length, and
//! hyper refuses nothing of it.

#![no_main]

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
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: usize = 8 * 1024;

/// A request as hyper saw it.
#[derive(Debug)]
struct Seen {
    /// `None` when the body was not whole.
    body: Option<usize>,
    closes: bool,
}

fuzz_target!(|bytes: &[u8]| {
    // The requests as the scanner sees them: where each head ends, and each body.
    let mut scanner = Scanner::new(LIMIT);
    let accepted = match scanner.scan(bytes) {
        // hyper gets whole lines only.
        Ok(()) => &bytes[..bytes.len() - scanner.unfinished()],
        Err(stop) => &bytes[..stop.passes],
    };
    let (heads, in_body) = (scanner.requests(), scanner.is_in_body());
    let (seen, answer) = run(accepted);
    let answer = String::from_utf8_lossy(&answer);
    for status in ["HTTP/1.1 4", "HTTP/1.0 4", "HTTP/1.1 5"] {
        assert!(!answer.contains(status), "{answer}");
    }
    let whole = heads - u64::from(in_body);
    let closed = seen.iter().position(|seen| seen.closes);
    let expected = closed.map_or(heads, |at| heads.min(at as u64 + 1));
    assert_eq!(seen.len() as u64, expected, "{seen:?}");
    for (at, seen) in seen.iter().enumerate() {
        assert_eq!(seen.body.is_some(), (at as u64) < whole, "{at}: {seen:?}");
    }
});

fn run(bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
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
                    log.borrow_mut()[at].body = Some(body.to_bytes().len());
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

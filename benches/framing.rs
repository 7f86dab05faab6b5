//! What the reader of requests costs: `cargo bench --bench framing`.

#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::hint::black_box;

use hermes_proxy::proxy::framing::{BodyPiece, RequestReader};
use tokio::time::Instant;

/// As OpenAI's Python client sends it.
const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8645\r\n\
    Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nUser-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\n\
    X-Stainless-Package-Version: 3.54.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
    X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.3\r\n\
    Authorization: Bearer sk-0123456789abcdef0123456789\r\nX-Stainless-Async: false\r\n\
    x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: 0\r\n\r\n";

const ROUNDS: u32 = 200_000;

fn main() {
    let chunk = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
    let chunked = HEAD.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let mut reader = RequestReader::new(64 * 1024);
    let head = measure(ROUNDS, || {
        reader.room().extend_from_slice(black_box(HEAD.as_bytes()));
        reader.head().unwrap().unwrap()
    });
    let mut reader = RequestReader::new(64 * 1024);
    reader.room().extend_from_slice(chunked.as_bytes());
    reader.head().unwrap().unwrap();
    let body = measure(ROUNDS, || {
        reader.room().extend_from_slice(black_box(&chunk));
        while let BodyPiece::Data(_) = reader.body().unwrap() {}
    });
    println!("a head of {} bytes: {head} ns", HEAD.len());
    println!("a chunk of 64 KiB: {body} ns");
}

fn measure<T>(rounds: u32, mut work: impl FnMut() -> T) -> u128 {
    let began = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    began.elapsed().as_nanos() / u128::from(rounds)
}

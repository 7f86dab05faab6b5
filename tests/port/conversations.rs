//! Requests and answers as bytes, with a provider made of bytes: which parts of their framing pass,
//! and in which order.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use std::sync::{Arc, Mutex};

use mock_cloud::Options;
use support::wire::{Wire, daemon_at};
use support::{Daemon, PATIENCE, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD: &str =
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const CHUNKED: &str = "transfer-encoding: chunked\r\n";

/// Reads until the bytes end so.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(read.expect("in time").unwrap(), 1, "{text}");
        bytes.extend_from_slice(&byte);
    }
    String::from_utf8(bytes).unwrap()
}

/// Sends this and reads until the daemon closes.
async fn talk(daemon: &Daemon, bytes: &str) -> String {
    let mut client = TcpStream::connect(daemon.address()).await.unwrap();
    client.write_all(bytes.as_bytes()).await.unwrap();
    let mut answers = String::new();
    let reading = client.read_to_string(&mut answers);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.expect("it closes").unwrap();
    answers
}

#[tokio::test]
async fn requests_that_are_sent_at_once_are_answered_in_their_order() {
    let world = World::new(Options::default()).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let wire = Wire::start(move |mut stream, _| {
        let log = log.clone();
        async move {
            for _ in 0..3 {
                let request = read_until(&mut stream, "]").await;
                let number = request.split('[').next_back().unwrap().to_owned();
                log.lock().unwrap().push(number.clone());
                // In two pieces, as chunks: the next request must not come between.
                let start = format!("HTTP/1.1 200 OK\r\n{CHUNKED}\r\n1\r\n[\r\n");
                stream.write_all(start.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                let rest = format!("{:x}\r\n{number}\r\n0\r\n\r\n", number.len());
                stream.write_all(rest.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let sized = format!("{HEAD}content-length: 3\r\n\r\n[1]");
    let chunked = format!("{HEAD}{CHUNKED}\r\n3\r\n[2]\r\n0\r\n\r\n");
    let last = format!("{HEAD}connection: close\r\ncontent-length: 3\r\n\r\n[3]");
    let answers = talk(&daemon, &[sized, chunked, last].concat()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    let bodies: Vec<_> = answers
        .match_indices("\r\n[\r\n")
        .map(|(at, _)| at)
        .collect();
    assert_eq!(bodies.len(), 3, "{answers}");
    for (at, number) in bodies.iter().zip(1..) {
        let rest = answers.get(*at..).unwrap();
        assert!(
            rest.starts_with(&format!("\r\n[\r\n2\r\n{number}]\r\n0\r\n\r\n")),
            "{answers}"
        );
    }
    assert_eq!(*asked.lock().unwrap(), ["1]", "2]", "3]"]);
}

#[tokio::test]
async fn neither_trailers_nor_interim_answers_pass() {
    let world = World::new(Options::default()).await;
    let asked = Arc::new(Mutex::new(String::new()));
    let log = asked.clone();
    let wire = Wire::start(move |mut stream, _| {
        let log = log.clone();
        async move {
            let request = read_until(&mut stream, "\r\n0\r\n\r\n").await;
            *log.lock().unwrap() = request;
            let answer = format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                 HTTP/1.1 200 OK\r\ntrailer: x-sum\r\n{CHUNKED}\r\n2;a=b\r\n[]\r\n0\r\nx-sum: 1\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let request = format!(
        "{HEAD}connection: close\r\ntrailer: x-app\r\nte: trailers\r\n{CHUNKED}\r\n\
         2;c=d\r\n[]\r\n0\r\nx-app: 1\r\n\r\n"
    );
    let answer = talk(&daemon, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n2\r\n[]\r\n0\r\n\r\n"), "{answer}");
    for gone in ["x-sum", "trailer", "link", "100 Continue", "a=b"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
    let asked = asked.lock().unwrap();
    assert!(asked.ends_with("\r\n\r\n2\r\n[]\r\n0\r\n\r\n"), "{asked}");
    for gone in ["x-app", "trailer", "c=d"] {
        assert!(!asked.contains(gone), "{gone}: {asked}");
    }
}

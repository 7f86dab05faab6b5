//! Providers that send garbage, endless heads, or floods: an error of ours, bounded in memory and
//! time.

#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may fail loudly, and tells its figures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::upstream::get;
use mock_cloud::{Options, pattern};
use support::wire::{CONTINUATION, END_HEADERS, HEADERS, PING, daemon_at, half_bad, http2};
use support::{Daemon, PATIENCE, World, chat, client, error, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends the same bytes again and again, until the other side stops reading.
async fn flood(mut stream: TcpStream, first: &[u8], again: &[u8], pause: Duration) {
    let mut sent = stream.write_all(first).await;
    while sent.is_ok() {
        tokio::time::sleep(pause).await;
        sent = stream.write_all(again).await;
    }
}

const SHORT: &str = "[timeouts]\nresponse_head = \"2s\"\n";

/// Asks for something bad, and meanwhile and afterwards for something good.
async fn assert_harmless(what: &str, daemon: &Daemon, outcome: (u16, &str)) {
    assert_eq!(get(daemon, "/models").await.status(), 200, "{what}");
    let before = support::wire::memory(daemon).1;
    let asked = Instant::now();
    let request = chat("x");
    let neighbours = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            let good = get(daemon, "/models").await;
            assert_eq!(good.status(), 200, "{what}: another request was harmed");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (bad, slowest) = tokio::join!(post(daemon, &request), neighbours);
    let (status, code) = outcome;
    let message = error(bad, status, code).await;
    assert_eq!(get(daemon, "/models").await.status(), 200, "{what}");
    let grown = support::wire::memory(daemon).1.saturating_sub(before);
    println!(
        "{what}: {status} after {:?}, others within {slowest:?}, {grown} KiB more: {message}",
        asked.elapsed()
    );
    assert!(grown < 8192, "{what}: {grown} KiB");
}

#[tokio::test]
async fn garbage_in_place_of_a_head_is_an_error_of_ours() {
    let long = |name: &str, size: usize| {
        format!("HTTP/1.1 200 OK\r\n{name}: {}\r\n\r\n", "x".repeat(size))
    };
    let many: Vec<_> = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = many.concat();
    let noise = String::from_utf8_lossy(&pattern::noise(3, 65536)).into_owned();
    let cases = [
        ("noise", noise),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n".to_owned()),
        ("an old version", "HTTP/0.9 200 OK\r\n\r\n".to_owned()),
        ("HTTP/2 unasked", "HTTP/2 200 OK\r\n\r\n".to_owned()),
        (
            "a status that is none",
            "HTTP/1.1 2x0 OK\r\n\r\n".to_owned(),
        ),
        (
            "a name with a space",
            "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n".to_owned(),
        ),
        (
            "a value with NUL",
            "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n".to_owned(),
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx".to_owned(),
        ),
        (
            "a negative length",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        ),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-ty".to_owned()),
        ("nothing", String::new()),
        ("10,000 headers", format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
        ("one header of 10 MB", long("x", 10_000_000)),
        (
            "a name of 1 MB",
            format!("HTTP/1.1 200 OK\r\n{}: y\r\n\r\n", "x".repeat(1_000_000)),
        ),
        (
            "switching protocols unasked",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_owned(),
        ),
    ];
    let world = World::new(Options::default()).await;
    for (what, bytes) in cases {
        let bytes = Arc::new(bytes);
        let wire = half_bad(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                stream.write_all(bytes.as_bytes()).await.ok();
                // An orderly end: what was sent must not be lost to a reset.
                stream.shutdown().await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), SHORT);
        assert_harmless(what, &daemon, (502, "upstream_unreachable")).await;
    }
}

#[tokio::test]
async fn a_head_without_an_end_costs_no_memory_and_a_bounded_time() {
    let world = World::new(Options::default()).await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let flooded = early.repeat(500);
    let pauses = [Duration::ZERO, Duration::from_millis(50)];
    let timeout = (504, "upstream_timeout");
    let refused = (502, "upstream_unreachable");
    for (what, first, again, pause, outcome) in [
        ("a flood of 103", "", &*flooded, pauses[0], refused),
        ("a trickle of 103", "", early, pauses[1], timeout),
        (
            "a trickled head",
            "HTTP/1.1 200 OK\r\n",
            "x: y\r\n",
            pauses[1],
            timeout,
        ),
        (
            "a trickled header",
            "HTTP/1.1 200 OK\r\nx: ",
            "y",
            pauses[1],
            timeout,
        ),
        (
            "an endless header",
            "HTTP/1.1 200 OK\r\nx: ",
            &*"y".repeat(65536),
            pauses[0],
            refused,
        ),
    ] {
        let bytes = Arc::new((first.to_owned(), again.to_owned()));
        let wire = half_bad(move |stream| {
            let bytes = bytes.clone();
            async move { flood(stream, bytes.0.as_bytes(), bytes.1.as_bytes(), pause).await }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), SHORT);
        assert_harmless(what, &daemon, outcome).await;
    }
}

#[tokio::test]
async fn http2_floods_cost_no_memory_and_a_bounded_time() {
    for (what, outcome) in [
        ("endless CONTINUATION", (502, "upstream_unreachable")),
        ("endless 103", (502, "upstream_unreachable")),
        ("endless PING", (504, "upstream_timeout")),
    ] {
        let world = World::new(Options::default()).await;
        let limit = "[timeouts]\nresponse_head = \"4s\"\n";
        let (_wire, daemon) = http2(&world, limit, move |mut frames, number| async move {
            // The requests of one connection are answered by what it is asked first.
            let stream = frames.request().await?;
            if number == 1 {
                frames.answer(stream, b"{}").await?;
            }
            let stream = if number == 1 {
                frames.request().await?
            } else {
                stream
            };
            if number != 1 {
                frames.answer(stream, b"{}").await?;
                while let Some(stream) = frames.request().await {
                    frames.answer(stream, b"{}").await?;
                }
                return Some(());
            }
            // A literal field `x: yyyy…` that is not indexed (RFC 7541 §6.2.2).
            let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
            let early: &[u8] = &[0x08, 3, b'1', b'0', b'3'];
            let begun = match what {
                "endless CONTINUATION" => frames.send(HEADERS, 0, stream, &[0x88]).await,
                _ => Some(()),
            };
            begun?;
            loop {
                match what {
                    "endless CONTINUATION" => {
                        frames
                            .send(CONTINUATION, 0, stream, &field.repeat(50))
                            .await?;
                    }
                    "endless 103" => frames.send(HEADERS, END_HEADERS, stream, early).await?,
                    _ => frames.send(PING, 0, 0, b"xxxxxxxx").await?,
                }
            }
        })
        .await;
        assert_eq!(get(&daemon, "/models").await.status(), 200);
        let before = support::wire::memory(&daemon).1;
        let asked = Instant::now();
        let message = error(post(&daemon, &chat("x")).await, outcome.0, outcome.1).await;
        let took = asked.elapsed();
        let grown = support::wire::memory(&daemon).1.saturating_sub(before);
        println!(
            "{what}: {} after {took:?}, {grown} KiB more: {message}",
            outcome.0
        );
        assert!(grown < 8192, "{what}: {grown} KiB");
        assert!(took < PATIENCE);
        // The daemon lives, and answers.
        let health = client().get(format!("{}/health", daemon.origin()));
        assert_eq!(health.send().await.unwrap().status(), 200);
    }
}

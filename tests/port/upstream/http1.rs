//! HTTP/1.1 to a provider: which connections are used again, and answers that come before their request is through.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::upstream::{Seen, get};
use mock_cloud::Options;
use support::app_wire::{self, request};
use support::wire::{OK, Stream, Wire, daemon_at, read_request};
use support::{Daemon, PATIENCE, World, chat, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `|` ends a line.
fn lines(text: &str) -> String {
    text.replace('|', "\r\n")
}

#[tokio::test]
async fn a_connection_serves_another_request_only_behind_an_answer_that_ends_by_itself() {
    let world = World::new(Options::default()).await;
    for (answer, text, is_kept) in [
        ("200 OK|content-length: 2||{}", "{}", true),
        ("200 OK|content-length: 0||", "", true),
        ("200 OK|transfer-encoding: chunked||2|{}|0||", "{}", true),
        (
            "200 OK|transfer-encoding: chunked||2|{}|0|x-sum: 1||",
            "{}",
            true,
        ),
        ("204 No Content||", "", true),
        ("304 Not Modified|content-length: 2||", "", true),
        (
            "200 OK|content-length: 2|connection: close||{}",
            "{}",
            false,
        ),
        (
            "200 OK|content-length: 2|Connection: x, Close||{}",
            "{}",
            false,
        ),
        // What is behind an answer belongs to none.
        ("200 OK|content-length: 2||{}|", "{}", false),
        (
            "200 OK|content-length: 2||{}HTTP/1.1 200 OK|content-length: 4||evil",
            "{}",
            false,
        ),
        ("204 No Content|content-length: 2||{}", "", false),
        (
            "200 OK|transfer-encoding: chunked||2|{}|0||0||",
            "{}",
            false,
        ),
    ] {
        let wire = Wire::canned(lines(&format!("HTTP/1.1 {answer}"))).await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        for _ in 0..3 {
            let got = get(&daemon, "/models").await;
            assert_eq!(got.status().as_str(), &answer[..3], "{answer}");
            assert_eq!(got.text().await.unwrap(), text, "{answer}");
            // What came behind it is in our system by now.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(wire.connections(), if is_kept { 1 } else { 3 }, "{answer}");
    }
    let wire = Wire::canned(lines(
        "HTTP/1.0 200 OK|content-length: 2|connection: keep-alive||{}",
    ))
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for _ in 0..3 {
        assert_eq!(post(&daemon, &chat("x")).await.text().await.unwrap(), "{}");
    }
    assert_eq!(wire.connections(), 1);
}

/// Answers each request's beginning at once; what of the body has come by the end of the answer is told.
async fn answers_early(mut stream: impl Stream, seen: Seen, reads_first: bool) {
    let mut bytes = Vec::new();
    let whole = |bytes: &[u8]| {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let length = text.split("content-length: ").nth(1)?;
        let length: usize = length.lines().next()?.parse().ok()?;
        Some(head + 4 + length)
    };
    loop {
        while whole(&bytes).is_none() {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
        let all = whole(&bytes).unwrap();
        let begin = lines("HTTP/1.1 200 OK|transfer-encoding: chunked||5|early|");
        stream.write_all(begin.as_bytes()).await.unwrap();
        while reads_first && bytes.len() < all {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
        let body = bytes.len().min(all);
        seen.lock().unwrap().push(format!("{body} of {all}"));
        stream
            .write_all(lines("4|late|0||").as_bytes())
            .await
            .unwrap();
        if bytes.len() < all {
            // The daemon has to end the connection.
            let mut rest = vec![0; 1 << 16];
            while let Ok(1..) = stream.read(&mut rest).await {}
            seen.lock().unwrap().push("ended".to_owned());
            return;
        }
        bytes.clear();
    }
}

async fn early(tls: bool, reads_first: bool) -> (World, Wire, Daemon, Seen) {
    let world = World::new(Options::default()).await;
    let acceptor = world.cloud.authority().acceptor_for(&["localhost"], false);
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |stream, _| {
        let (log, acceptor) = (log.clone(), acceptor.clone());
        async move {
            if tls {
                let stream = Box::pin(acceptor.accept(stream).await.unwrap());
                answers_early(stream, log, reads_first).await;
            } else {
                answers_early(stream, log, reads_first).await;
            }
        }
    })
    .await;
    let base = if tls {
        format!("https://localhost:{}/v1", wire.address.port())
    } else {
        wire.base_url()
    };
    let config = format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap());
    let daemon = daemon_at(&world, &base, &config);
    (world, wire, daemon, seen)
}

/// Larger than what the systems on the way hold.
const LARGE: usize = 4 << 20;

#[tokio::test]
async fn the_rest_of_a_request_goes_out_beside_an_early_answer() {
    for tls in [false, true] {
        let (_world, wire, daemon, seen) = early(tls, true).await;
        for _ in 0..2 {
            let mut client = app_wire::Wire::connect(&daemon).await;
            let body = format!("[\"{}\"]", "x".repeat(LARGE));
            let whole = request("/chat/completions", &body);
            let (first, rest) = whole.split_at(20_000);
            client.send(first.as_bytes()).await;
            client.read_until("early").await;
            client.send(rest.as_bytes()).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
            assert_eq!(answer.text(), "earlylate");
        }
        let seen = seen.lock().unwrap();
        assert!(
            seen.len() == 2
                && seen.iter().all(|line| {
                    let (body, all) = line.split_once(" of ").unwrap();
                    body == all
                }),
            "{seen:?}"
        );
        assert_eq!(wire.connections(), 1, "tls {tls}: it is used again");
    }
}

#[tokio::test]
async fn an_answer_that_ends_before_its_request_ends_the_connection() {
    for tls in [false, true] {
        let (_world, wire, daemon, seen) = early(tls, false).await;
        let mut client = app_wire::Wire::connect(&daemon).await;
        let whole = request("/chat/completions", &" ".repeat(9999)).replace(": 9999", ": 99999");
        client.send(whole.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
        assert_eq!(answer.text(), "earlylate");
        let ended = async {
            while seen
                .lock()
                .unwrap()
                .last()
                .is_none_or(|line| line != "ended")
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
        // Nothing of it becomes the next request's.
        let mut client = app_wire::Wire::connect(&daemon).await;
        client
            .send(request("/chat/completions", "{}").as_bytes())
            .await;
        assert_eq!(client.answer().await.text(), "earlylate");
        assert_eq!(wire.connections(), 2);
    }
}

/// The client stops in its body, with the answer begun: the provider must not wait for the rest.
#[tokio::test]
async fn a_provider_is_told_that_the_rest_of_a_request_will_not_come() {
    let world = World::new(Options::default()).await;
    let ended = Arc::new(tokio::sync::Notify::new());
    let tell = ended.clone();
    let wire = Wire::start(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            let mut bytes = vec![0; 1 << 16];
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            let begin = lines("HTTP/1.1 200 OK|transfer-encoding: chunked||5|early|");
            stream.write_all(begin.as_bytes()).await.unwrap();
            while let Ok(1..) = stream.read(&mut bytes).await {}
            tell.notify_one();
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "[timeouts]\nbody = \"1s\"\n");
    let mut client = app_wire::Wire::connect(&daemon).await;
    let whole = request("/chat/completions", &" ".repeat(9999)).replace(": 9999", ": 99999");
    client.send(whole.as_bytes()).await;
    client.read_until("early").await;
    tokio::time::timeout(PATIENCE, ended.notified())
        .await
        .unwrap();
    assert!(!client.answer().await.complete);
}

/// Every request's bytes on the wire: one head, the host first, the length or chunks.
#[tokio::test]
async fn a_request_is_framed_as_its_client_framed_it() {
    let world = World::new(Options::default()).await;
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |mut stream, _| {
        let log = log.clone();
        async move {
            loop {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"0\r\n\r\n") && !bytes.ends_with(b"{}") {
                    match stream.read_buf(&mut bytes).await {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return,
                    }
                }
                log.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let sized = request("/chat/completions?a=b", "{}")
        .replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let chunked = request("/chat/completions", "X")
        .replace(
            "content-length: 1",
            "transfer-encoding: chunked\r\ntrailer: x",
        )
        .replace(
            "\r\n\r\nX",
            "\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nx: 1\r\n\r\n",
        );
    for text in [sized, chunked] {
        let mut client = app_wire::Wire::connect(&daemon).await;
        client.send(text.as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let seen = seen.lock().unwrap();
    let [sized, chunked] = &seen[..] else {
        panic!("{seen:?}")
    };
    let begin = format!(
        "POST /v1/chat/completions?a=b HTTP/1.1\r\nhost: {}\r\n",
        wire.address
    );
    assert!(sized.starts_with(&begin), "{sized}");
    assert!(sized.ends_with("content-length: 2\r\n\r\n{}"), "{sized}");
    assert!(
        chunked.ends_with("transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
            || chunked.ends_with("transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        "{chunked}"
    );
    for text in [sized, chunked] {
        for field in ["\r\nexpect:", "\r\ntrailer:", "\r\nte:", "\r\nconnection:"] {
            assert!(!text.contains(field), "{text}");
        }
        for field in [
            "\r\nhost:",
            "\r\nauthorization: Bearer ",
            "\r\ncontent-type:",
        ] {
            assert_eq!(text.matches(field).count(), 1, "{text}");
        }
    }
    assert_eq!(wire.connections(), 1);
}

/// As many as an app has at once, over and over; each round is answered when all of it has come.
#[tokio::test]
async fn no_request_opens_a_connection_while_an_idle_one_could_serve_it() {
    const CLIENTS: usize = 256;
    let world = World::new(Options::default()).await;
    let gate = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let wire = Wire::start(move |mut stream, _| {
        let gate = gate.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                gate.wait().await;
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for _ in 0..5 {
        let asking = (0..CLIENTS).map(|_| async { post(&daemon, &chat("x")).await.status() });
        let statuses = futures_util::future::join_all(asking).await;
        assert!(statuses.iter().all(|status| status == &200), "{statuses:?}");
    }
    assert_eq!(wire.connections(), CLIENTS);
}

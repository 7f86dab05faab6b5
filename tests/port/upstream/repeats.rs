//! Requests that are sent again when a kept connection ends: a GET once, and a POST only if it was
//! certainly not received.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::upstream::{Seen, count, get, line};
use mock_cloud::Options;
use support::wire::{OK, Stream, Wire, daemon_at, read_request};
use support::{World, chat, client, error, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Answers the first request of each connection; reads the next one and closes, if it is on the
/// first connection.
async fn closes_on_the_second(mut stream: impl Stream, number: usize, seen: Seen) {
    let mut nth = 0;
    while let Some(request) = read_request(&mut stream).await {
        nth += 1;
        seen.lock().unwrap().push(line(&request));
        if number == 1 && nth == 2 {
            return;
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
}

async fn second_closer() -> (Wire, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |stream, number| closes_on_the_second(stream, number, log.clone()));
    (wire.await, seen)
}

#[tokio::test]
async fn a_get_is_repeated_once_on_a_kept_connection_that_ended_without_an_answer() {
    let world = World::new(Options::default()).await;
    let (wire, seen) = second_closer().await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for _ in 0..2 {
        assert_eq!(get(&daemon, "/models").await.status(), 200);
    }
    assert_eq!(count(&seen, "GET"), 3);
    assert_eq!(wire.connections(), 2);
}

#[tokio::test]
async fn over_tls_too_a_get_is_repeated_and_a_post_is_not() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    for (is_post, status, received) in [(false, 200, 2), (true, 502, 1)] {
        let seen = Seen::default();
        let (log, tls) = (seen.clone(), tls.clone());
        let wire = Wire::start(move |stream, number| {
            let (log, tls) = (log.clone(), tls.clone());
            async move {
                // Its end is marked by `close_notify`, which is not a part of an answer.
                let stream = tls.accept(stream).await.unwrap();
                let mut stream = Box::pin(stream);
                closes_on_the_second(&mut stream, number, log).await;
                stream.shutdown().await.ok();
            }
        })
        .await;
        let base = format!("https://localhost:{}/v1", wire.address.port());
        let daemon = daemon_at(
            &world,
            &base,
            &format!("[providers.nous]\nca_file = {ca:?}\n"),
        );
        assert_eq!(get(&daemon, "/models?first").await.status(), 200);
        let answer = if is_post {
            post(&daemon, &chat("x")).await
        } else {
            get(&daemon, "/models?second").await
        };
        assert_eq!(answer.status(), status);
        let all = seen.lock().unwrap().len();
        assert_eq!(all, 1 + received, "{:?}", seen.lock().unwrap());
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_received_is_never_repeated() {
    let world = World::new(Options::default()).await;
    let (wire, seen) = second_closer().await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    let answer = post(&daemon, &chat("x")).await;
    let message = error(answer, 502, "upstream_unreachable").await;
    assert!(
        message.contains("the connection broke before an answer arrived"),
        "{message}"
    );
    assert!(message.contains(&wire.address.to_string()), "{message}");
    assert_eq!(count(&seen, "POST"), 1);
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
}

#[tokio::test]
async fn a_get_is_not_repeated_on_a_new_connection_nor_after_a_part_of_an_answer_nor_twice() {
    let world = World::new(Options::default()).await;
    for (first, rest, asked) in [
        // A connection that never answered anything: the provider is out of order.
        ("", "", 1),
        // A kept one that says something, and breaks off.
        (OK, "HTTP/1.1 200 OK\r\ncontent-le", 2),
        // Every connection answers once and then ends.
        (OK, "", 3),
    ] {
        let seen = Seen::default();
        let log = seen.clone();
        let wire = Wire::start(move |mut stream, number| {
            let log = log.clone();
            async move {
                for part in [if number == 1 { first } else { "" }, rest] {
                    let Some(request) = read_request(&mut stream).await else {
                        return;
                    };
                    log.lock().unwrap().push(line(&request));
                    if part.is_empty() {
                        return;
                    }
                    stream.write_all(part.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        if !first.is_empty() {
            assert_eq!(get(&daemon, "/models").await.status(), 200);
        }
        error(get(&daemon, "/models").await, 502, "upstream_unreachable").await;
        assert_eq!(count(&seen, "GET"), asked);
    }
}

/// Waits until the other side's system has our end, whether or not the other side has looked: a busy machine may deliver
/// what is sent later over another connection sooner.
async fn end_has_arrived(stream: &TcpStream) {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else {
        // The other side has ended too.
        return;
    };
    let (ours, theirs) = (port(ours), port(theirs));
    loop {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let state = table.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let is_it = words.next()?.ends_with(&ours) && words.next()?.ends_with(&theirs);
            words.next().filter(|_| is_it)
        });
        // Neither established nor with an end that was not confirmed.
        if !matches!(state, Some("01" | "04")) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_post_for_which_only_a_closed_connection_was_kept_is_sent_anew() {
    const ROUNDS: usize = 200;
    let world = World::new(Options::default()).await;
    let (seen, closed) = (Seen::default(), Arc::new(Notify::new()));
    let (log, told) = (seen.clone(), closed.clone());
    // Each connection is closed behind its answer, without a word that it would be.
    let wire = Wire::start(move |mut stream, _| {
        let (log, told) = (log.clone(), told.clone());
        async move {
            if let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push(line(&request));
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.shutdown().await.ok();
                end_has_arrived(&stream).await;
                told.notify_one();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let (client, url) = (client(), daemon.url("/chat/completions"));
    for round in 0..ROUNDS {
        let answer = client.post(format!("{url}?n={round}.")).json(&chat("x"));
        let answer = answer.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "round {round}: {text}");
        closed.notified().await;
    }
    let repeated = (0..ROUNDS).filter(|n| count(&seen, &format!("n={n}.")) != 1);
    let repeated = repeated.count();
    println!("{ROUNDS} POSTs after a close: all answered, {repeated} sent more than once");
    assert_eq!(repeated, 0);
}

/// The idle connection is closed at the very moment at which the next request goes out: by FIN or
/// RST, before it is read or in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_race_with_a_close_no_post_is_repeated_and_every_get_is_answered() {
    const ROUNDS: usize = 600;
    let world = World::new(Options::default()).await;
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |mut stream, number| {
        let log = log.clone();
        async move {
            // What a connection did before the race is always answered.
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            log.lock().unwrap().push(line(&request));
            stream.write_all(OK.as_bytes()).await.unwrap();
            let wait = Duration::from_micros((number as u64 * 37) % 2500);
            let spun = Instant::now();
            while spun.elapsed() < wait {
                tokio::task::yield_now().await;
            }
            // What has arrived now counts as received, whether or not it is read.
            let mut bytes = vec![0; 4096];
            let std = stream.into_std().unwrap();
            if let Ok(arrived) = std.peek(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..arrived]).into_owned();
                let mut log = log.lock().unwrap();
                log.extend(text.lines().next().map(str::to_owned));
            }
            let mut stream = TcpStream::from_std(std).unwrap();
            if number % 3 == 0 {
                // With everything read the end is a FIN.
                tokio::time::timeout(Duration::ZERO, stream.read(&mut bytes))
                    .await
                    .ok();
            }
            if number % 2 == 0 {
                stream.set_zero_linger().unwrap();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let client = client();
    let (mut answered, mut told) = ([0, 0], [0, 0]);
    for round in 0..ROUNDS {
        let is_post = round % 2;
        let request = if is_post == 1 {
            let url = daemon.url(&format!("/chat/completions?n={round}."));
            client.post(url).json(&chat("x"))
        } else {
            client.get(daemon.url(&format!("/models?n={round}.")))
        };
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            200 => answered[is_post] += 1,
            502 => told[is_post] += 1,
            other => panic!("{other}"),
        }
        answer.bytes().await.unwrap();
        // The next one is sent about when the connection is closed.
        let wait = Duration::from_micros((round as u64 * 53) % 700);
        let spun = Instant::now();
        while spun.elapsed() < wait {
            std::hint::spin_loop();
        }
    }
    let twice = (0..ROUNDS)
        .filter(|n| n % 2 == 1 && count(&seen, &format!("n={n}.")) > 1)
        .count();
    println!(
        "{ROUNDS} requests against a closing connection: {} of {} POSTs answered, {} got a 502, \
         {twice} POSTs repeated; {} of {} GETs answered",
        answered[1],
        ROUNDS / 2,
        told[1],
        answered[0],
        ROUNDS / 2
    );
    assert_eq!(twice, 0);
    assert_eq!(answered[0], ROUNDS / 2, "a GET was not answered");
}

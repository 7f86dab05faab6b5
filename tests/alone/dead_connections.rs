//! Connections to the provider that died silently: they are noticed in time.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells its figures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_cloud::Options;
use support::environment::tool;
use support::wire::{HEADERS, OK, PING, Wire, daemon_at, http2, read_request};
use support::{Daemon, World, chat, client, error, is_inside, post};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn get(daemon: &Daemon) -> reqwest::Response {
    client().get(daemon.url("/models")).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_is_noticed_by_its_pings() {
    let world = World::new(Options::default()).await;
    let sent = Arc::new(Notify::new());
    let told = sent.clone();
    let (wire, daemon) = http2(&world, "", move |mut frames, number| {
        let told = told.clone();
        async move {
            let stream = frames.request().await?;
            // Before anything else: our ping is answered.
            frames.send(PING, 0, 0, b"are you?").await?;
            while frames
                .next()
                .await
                .is_none_or(|frame| frame.payload != b"are you?")
            {}
            frames.answer(stream, b"{}").await?;
            if number == 1 {
                // A connection that was silent is asked whether it lives before anything is sent on it.
                loop {
                    frames.send(PING, 0, 0, b"I'm here").await?;
                    if frames.next().await?.kind == HEADERS {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                told.notify_one();
                // As if every packet were lost from now on.
                std::future::pending::<()>().await;
            }
            while let Some(stream) = frames.request().await {
                frames.answer(stream, b"{}").await?;
            }
            Some(())
        }
    })
    .await;
    assert_eq!(get(&daemon).await.status(), 200);
    let asked = Instant::now();
    let request = chat("x");
    let getting = async {
        sent.notified().await;
        get(&daemon).await
    };
    let both = async { tokio::join!(post(&daemon, &request), getting) };
    let both = tokio::time::timeout(Duration::from_mins(1), both).await;
    let (posted, got) = both.expect("it is never noticed");
    let noticed = asked.elapsed();
    println!("a dead HTTP/2 connection was noticed after {noticed:?}");
    error(posted, 502, "upstream_unreachable").await;
    assert_eq!(
        got.status(),
        200,
        "the GET is repeated on another connection"
    );
    assert!(noticed < Duration::from_secs(35), "{noticed:?}");
    assert_eq!(wire.connections(), 2);
}

async fn answers(mut stream: TcpStream, _: usize) {
    while read_request(&mut stream).await.is_some() {
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
}

/// Without this, a request on a connection whose packets are lost would wait for
/// `timeouts.response_head`.
#[tokio::test]
async fn a_dead_http1_connection_is_noticed_by_tcp() {
    if !is_inside(module_path!(), "a_dead_http1_connection_is_noticed_by_tcp") {
        return;
    }
    let world = World::new(Options::default()).await;
    let wire = Wire::at("127.0.0.7:8080", answers).await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    assert_eq!(get(&daemon).await.status(), 200);
    let route = tool("ip")
        .args([
            "route",
            "add",
            "blackhole",
            "127.0.0.7/32",
            "table",
            "local",
        ])
        .output()
        .unwrap();
    assert!(route.status.success(), "{route:?}");
    let asked = Instant::now();
    let request = chat("x");
    let answer = tokio::time::timeout(Duration::from_secs(90), post(&daemon, &request));
    let answer = answer.await.expect("it is never noticed");
    println!(
        "a dead HTTP/1.1 connection was noticed after {:?}",
        asked.elapsed()
    );
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["x-hermes-error"], "upstream_unreachable");
}

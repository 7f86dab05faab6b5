//! HTTP/2 to the provider: streams that are refused, broken or reset, GOAWAY, pings and floods.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::upstream::{Seen, get};
use mock_cloud::Options;
use support::wire::{DATA, END_STREAM, OK, Wire, daemon_at, http2, read_request};
use support::{PATIENCE, World, chat, error, post};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

pub(crate) const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// Counts requests by what became of them.
type Tally = Arc<Mutex<BTreeMap<&'static str, usize>>>;

fn tally(tally: &Tally, what: &'static str) {
    *tally.lock().unwrap().entry(what).or_default() += 1;
}

#[tokio::test]
async fn a_post_that_http2_says_was_not_processed_is_sent_again() {
    for by_go_away in [true, false] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (wire, daemon) = http2(&world, "", move |mut frames, number| {
            let log = log.clone();
            async move {
                let mut refuse = number == 1;
                loop {
                    let stream = frames.request().await?;
                    if std::mem::take(&mut refuse) {
                        tally(&log, "refused");
                        if by_go_away {
                            frames.go_away(0, NO_ERROR).await?;
                        } else {
                            frames.reset(stream, REFUSED_STREAM).await?;
                        }
                    } else {
                        tally(&log, "processed");
                        frames.answer(stream, b"{}").await?;
                    }
                }
            }
        })
        .await;
        let answer = post(&daemon, &chat("x")).await;
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        assert_eq!(answer.text().await.unwrap(), "{}");
        let expected = BTreeMap::from([("processed", 1), ("refused", 1)]);
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(wire.connections(), if by_go_away { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_provider_that_refuses_every_stream_is_left_after_three() {
    let world = World::new(Options::default()).await;
    let seen = Tally::default();
    let log = seen.clone();
    let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
        let log = log.clone();
        async move {
            loop {
                let stream = frames.request().await?;
                tally(&log, "refused");
                frames.reset(stream, REFUSED_STREAM).await?;
            }
        }
    })
    .await;
    error(post(&daemon, &chat("x")).await, 502, "upstream_unreachable").await;
    assert_eq!(seen.lock().unwrap()["refused"], 3);
}

#[tokio::test]
async fn a_post_whose_stream_broke_is_not_sent_again() {
    for reason in [INTERNAL_ERROR, CANCEL, NO_ERROR] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let log = log.clone();
            async move {
                loop {
                    let stream = frames.request().await?;
                    tally(&log, "asked");
                    frames.reset(stream, reason).await?;
                }
            }
        })
        .await;
        error(post(&daemon, &chat("x")).await, 502, "upstream_unreachable").await;
        assert_eq!(seen.lock().unwrap()["asked"], 1, "reason {reason}");
    }
}

#[tokio::test]
async fn after_a_goaway_running_streams_end_whole_and_new_requests_use_a_new_connection() {
    let world = World::new(Options::default()).await;
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let (wire, daemon) = http2(&world, "", move |mut frames, number| {
        let told = told.clone();
        async move {
            let stream = frames.request().await?;
            if number == 1 {
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"first, ").await?;
                frames.go_away(stream, NO_ERROR).await?;
                told.notified().await;
                frames.send(DATA, END_STREAM, stream, b"last").await?;
            } else {
                frames.answer(stream, b"another").await?;
            }
            while frames.next().await.is_some() {}
            Some(())
        }
    })
    .await;
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "first, ");
    let another = post(&daemon, &chat("y")).await;
    assert_eq!(another.text().await.unwrap(), "another");
    assert_eq!(wire.connections(), 2);
    finish.notify_one();
    assert_eq!(running.text().await.unwrap(), "last");
}

/// The same when we are the one who leaves a connection, because its time is over.
#[tokio::test]
async fn running_streams_end_whole_on_a_connection_that_takes_no_new_requests() {
    let world = World::new(Options::default()).await;
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let config = "[timeouts]\nreuse = \"500ms\"\n";
    let (wire, daemon) = http2(&world, config, move |mut frames, number| {
        let told = told.clone();
        async move {
            if number == 1 {
                let stream = frames.request().await?;
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"first, ").await?;
                told.notified().await;
                frames.send(DATA, END_STREAM, stream, b"last").await?;
            }
            while let Some(stream) = frames.request().await {
                frames.answer(stream, b"another").await?;
            }
            Some(())
        }
    })
    .await;
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "first, ");
    // The first connection answers nothing more until it is told to. Another one takes a handshake.
    let deadline = Instant::now() + PATIENCE;
    let asking = || tokio::time::timeout(Duration::from_secs(2), get(&daemon, "/models"));
    let another = loop {
        assert!(Instant::now() < deadline, "no other connection is made");
        if let Ok(answer) = asking().await {
            break answer;
        }
    };
    assert_eq!(another.text().await.unwrap(), "another");
    assert_eq!(wire.connections(), 2);
    finish.notify_one();
    assert_eq!(running.text().await.unwrap(), "last");
}

#[tokio::test]
async fn a_fresh_connection_resumes_the_tls_session_of_the_old_one() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |stream, _| {
        let (log, tls) = (log.clone(), tls.clone());
        async move {
            // One that was opened ahead may be given up in its handshake.
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            log.lock().unwrap().push(format!("{kind:?}"));
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let ca = ca.to_str().unwrap();
    let config = format!("[timeouts]\nreuse = \"200ms\"\n[providers.nous]\nca_file = {ca:?}\n");
    let daemon = daemon_at(&world, &base, &config);
    let deadline = Instant::now() + PATIENCE;
    while seen.lock().unwrap().len() < 4 {
        assert!(Instant::now() < deadline, "no other connection is made");
        assert_eq!(get(&daemon, "/models").await.status(), 200);
    }
    println!("handshakes: {:?}", seen.lock().unwrap());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], "Full");
    // A request that does not wait for the one opened ahead dials before there is a session to resume.
    assert!(seen[2..].iter().all(|kind| kind == "Resumed"), "{seen:?}");
}

#[tokio::test]
async fn a_stream_that_is_reset_in_its_answer_never_looks_complete() {
    for reason in [NO_ERROR, INTERNAL_ERROR, CANCEL, REFUSED_STREAM] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let log = log.clone();
            async move {
                loop {
                    let stream = frames.request().await?;
                    tally(&log, "asked");
                    frames.head(stream).await?;
                    frames.send(DATA, 0, stream, b"{\"half").await?;
                    frames.reset(stream, reason).await?;
                }
            }
        })
        .await;
        let answer = post(&daemon, &chat("x")).await;
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await;
        assert!(
            body.is_err(),
            "reason {reason}: it looks complete: {body:?}"
        );
        assert_eq!(seen.lock().unwrap()["asked"], 1);
    }
}

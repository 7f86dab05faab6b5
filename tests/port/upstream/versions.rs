//! HTTP/1.1 or HTTP/2: few requests at once, many, and hosts and settings that leave no choice.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mock_cloud::{Options, Tls};
use support::wire::{Frames, OK, Stream, Wire, daemon_at, read_request};
use support::{Daemon, PATIENCE, World, chat, client, error, post};
use tokio::io::AsyncWriteExt;

const OLD: &str = "HTTP/1.1";
const NEW: &str = "HTTP/2.0";

/// A cloud over TLS and a daemon before it, with this in its provider's table.
async fn world(http2: bool, setting: &str) -> (World, Daemon) {
    let options = Options::default().inference_tls(Tls::On).http2(http2);
    let world = World::new(options).await;
    let config = provider(&world, setting);
    let daemon = world.daemon_with(&config, &[]);
    (world, daemon)
}

fn provider(world: &World, setting: &str) -> String {
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let mut config = "models_cache = \"0s\"\n[providers.nous]\n".to_owned();
    writeln!(config, "ca_file = {:?}\n{setting}", ca.to_str().unwrap()).unwrap();
    config
}

/// How many of the requests since `from` came over each version.
fn versions(world: &World, from: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for seen in world.cloud.requests().into_iter().skip(from) {
        *all.entry(seen.version).or_default() += 1;
    }
    all
}

fn seen(world: &World) -> usize {
    world.cloud.requests().len()
}

/// `count` POSTs, `at_once` of them at a time.
async fn ask(daemon: &Daemon, count: usize, at_once: usize) {
    let (client, url, body) = (client(), daemon.url("/chat/completions"), chat("x"));
    let one = async || {
        for _ in 0..count / at_once {
            let answer = client.post(&url).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{}", daemon.logged());
            answer.bytes().await.unwrap();
        }
    };
    let asking = join_all((0..at_once).map(|_| one()));
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

/// Asks, `at_once` requests at a time, until all of a round come over `version`.
async fn ask_until(world: &World, daemon: &Daemon, at_once: usize, version: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let from = seen(world);
        ask(daemon, 10 * at_once, at_once).await;
        let versions = versions(world, from);
        if versions.keys().eq([version]) {
            return;
        }
        assert!(Instant::now() < deadline, "{versions:?}");
    }
}

#[tokio::test]
async fn few_that_come_fast_go_over_http1_and_nothing_waits_for_its_handshake() {
    let (world, daemon) = world(true, "").await;
    ask(&daemon, 200, 1).await;
    assert_eq!(versions(&world, 0), [(NEW.to_owned(), 200)].into());
    assert_eq!(world.cloud.counts().connections, 1);
    ask_until(&world, &daemon, 1, OLD).await;
    assert_eq!(world.cloud.counts().connections, 2);
    // What it can't take at once goes over the HTTP/2 connection that is there, and no other is opened for it.
    let from = seen(&world);
    ask(&daemon, 20, 10).await;
    let versions = versions(&world, from);
    println!("10 at once: {versions:?}");
    assert!(versions[NEW] > 10, "{versions:?}");
    assert!(world.cloud.counts().connections <= 3);
}

/// A provider that closes an HTTP/1.1 connection just then does not say whether it has processed a POST; over HTTP/2 it does.
#[tokio::test]
async fn after_a_pause_a_post_goes_over_http2() {
    let (world, daemon) = world(true, "").await;
    ask_until(&world, &daemon, 1, OLD).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let from = seen(&world);
    ask(&daemon, 1, 1).await;
    assert_eq!(versions(&world, from), [(NEW.to_owned(), 1)].into());
    // Those that follow pay for another one, though the old one is still there.
    ask_until(&world, &daemon, 1, OLD).await;
}

#[tokio::test]
async fn what_comes_now_and_then_stays_on_its_one_connection() {
    let (world, daemon) = world(true, "").await;
    for _ in 0..4 {
        ask(&daemon, 30, 3).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(versions(&world, 0), [(NEW.to_owned(), 120)].into());
    assert_eq!(world.cloud.counts().connections, 1);
}

/// More streams than HTTP/1.1 is to have, after so many requests that it pays.
#[tokio::test]
async fn many_at_once_go_over_http2_and_few_afterwards_over_http1_again() {
    const STREAMS: usize = 150;
    let (world, daemon) = world(true, "").await;
    ask_until(&world, &daemon, 1, OLD).await;
    let from = seen(&world);
    let (client, url) = (client(), daemon.url("/chat/completions"));
    let mut body = chat("x");
    body["stream"] = true.into();
    body["mock"] = serde_json::json!({"hang_after_bytes": 10});
    let asking = (0..STREAMS).map(|_| client.post(&url).json(&body).send());
    let streams = tokio::time::timeout(PATIENCE, join_all(asking)).await;
    let streams = streams.unwrap();
    assert!(
        streams
            .iter()
            .all(|one| one.as_ref().unwrap().status() == 200)
    );
    let before = versions(&world, from);
    println!("{STREAMS} streams: {before:?}");
    assert!(before[NEW] >= STREAMS - 64, "{before:?}");
    // One that is asked for beside them goes with them.
    let from = seen(&world);
    ask(&daemon, 20, 1).await;
    assert_eq!(versions(&world, from), [(NEW.to_owned(), 20)].into());
    drop(streams);
    ask_until(&world, &daemon, 1, OLD).await;
}

#[tokio::test]
async fn the_setting_decides_and_a_reload_changes_it() {
    let (world, daemon) = world(true, "http = \"1.1\"").await;
    ask(&daemon, 10, 2).await;
    assert_eq!(versions(&world, 0), [(OLD.to_owned(), 10)].into());
    for (setting, version) in [("2", NEW), ("1.1", OLD)] {
        world.write_config(&provider(&world, &format!("http = {setting:?}")));
        let reload = world.ctl(&["proxy", "reload"]);
        assert!(reload.status.success(), "{reload:?}");
        let told = String::from_utf8_lossy(&reload.stdout).into_owned();
        let is_applied = told.lines().any(|line| {
            line.split_whitespace()
                .eq(["applied", "providers.nous.http"])
        });
        assert!(is_applied && !told.contains("restart"), "{told}");
        let from = seen(&world);
        ask(&daemon, 800, 2).await;
        let versions = versions(&world, from);
        assert_eq!(versions, [(version.to_owned(), 800)].into(), "{setting}");
    }
}

#[tokio::test]
async fn a_host_that_speaks_http1_alone_is_spoken_to_so_whatever_is_set() {
    for setting in ["auto", "1.1", "2"] {
        let (world, daemon) = world(false, &format!("http = {setting:?}")).await;
        ask(&daemon, 20, 2).await;
        assert_eq!(versions(&world, 0), [(OLD.to_owned(), 20)].into());
    }
}

/// It refuses HTTP/1.1 in its handshake, or agrees to nothing and goes on.
#[tokio::test]
async fn a_host_that_speaks_http2_alone_is_asked_once_for_http1_at_most() {
    for alpn in [&["h2"][..], &[]] {
        let world = World::new(Options::default()).await;
        let authority = world.cloud.authority();
        let both = authority.acceptor_speaking(&["localhost"], &["h2"]);
        let other = authority.acceptor_speaking(&["localhost"], alpn);
        let wire = Wire::start(move |stream, number| {
            let tls = if number == 1 {
                both.clone()
            } else {
                other.clone()
            };
            async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let stream: Box<dyn Stream> = Box::new(stream);
                let Some(mut frames) = Frames::greet(stream, &[]).await else {
                    return;
                };
                while let Some(stream) = frames.request().await {
                    if frames.answer(stream, b"{}").await.is_none() {
                        return;
                    }
                }
            }
        })
        .await;
        let base = format!("https://localhost:{}/v1", wire.address.port());
        let daemon = daemon_at(&world, &base, &only_table(&world, ""));
        ask(&daemon, 1500, 3).await;
        assert_eq!(wire.connections(), 2, "{alpn:?}");
        if !alpn.is_empty() {
            drop(daemon);
            let daemon = daemon_at(&world, &base, &only_table(&world, "http = \"1.1\""));
            let answer = post(&daemon, &chat("x")).await;
            let message = error(answer, 502, "upstream_unreachable").await;
            println!("{message}");
            assert!(message.contains("speak HTTP/2 alone"), "{message}");
            assert!(message.contains("`http`"), "{message}");
        }
    }
}

/// The end of one connection in its handshake does not say that the host speaks HTTP/2 alone.
#[tokio::test]
async fn a_host_is_asked_again_for_http1_when_one_connection_failed() {
    let world = World::new(Options::default()).await;
    let authority = world.cloud.authority();
    let both = authority.acceptor_speaking(&["localhost"], &["h2"]);
    let old = authority.acceptor_for(&["localhost"], false);
    let wire = Wire::start(move |stream, number| {
        let (both, old) = (both.clone(), old.clone());
        async move {
            match number {
                1 => {
                    let stream: Box<dyn Stream> = Box::new(both.accept(stream).await.unwrap());
                    let mut frames = Frames::greet(stream, &[]).await.unwrap();
                    while let Some(stream) = frames.request().await {
                        if frames.answer(stream, b"{}").await.is_none() {
                            return;
                        }
                    }
                }
                2 => {}
                _ => {
                    let mut stream = old.accept(stream).await.unwrap();
                    while read_request(&mut stream).await.is_some() {
                        stream.write_all(OK.as_bytes()).await.unwrap();
                    }
                }
            }
        }
    })
    .await;
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let daemon = daemon_at(&world, &base, &only_table(&world, ""));
    ask(&daemon, 1500, 1).await;
    assert_eq!(wire.connections(), 3);
}

fn only_table(world: &World, setting: &str) -> String {
    provider(world, setting).replace("models_cache = \"0s\"\n", "")
}

/// The provider closes each after a hundred requests, without a word. Which of them it has received, it counts.
#[tokio::test]
async fn no_request_is_lost_or_doubled_when_http1_connections_come_and_go() {
    const REQUESTS: usize = 2500;
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], true);
    let served = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let counts = served.clone();
    let wire = Wire::start(move |stream, _| {
        let (tls, counts) = (tls.clone(), counts.clone());
        async move {
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            let count = |place: usize| {
                counts[place].fetch_add(1, Ordering::SeqCst);
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let stream: Box<dyn Stream> = Box::new(stream);
                let Some(mut frames) = Frames::greet(stream, &[]).await else {
                    return;
                };
                while let Some(stream) = frames.request().await {
                    count(1);
                    if frames.answer(stream, b"{}").await.is_none() {
                        return;
                    }
                }
                return;
            }
            for _ in 0..100 {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                count(0);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let daemon = daemon_at(&world, &base, &only_table(&world, ""));
    let (client, url) = (client(), daemon.url("/models"));
    let mut failed = 0;
    for _ in 0..REQUESTS {
        let answer = client.get(&url).send().await.unwrap();
        failed += usize::from(answer.status() != 200);
        answer.bytes().await.unwrap();
    }
    let count = |place: usize| served[place].load(Ordering::SeqCst);
    println!(
        "{} over HTTP/1.1, {} over HTTP/2, {} connections",
        count(0),
        count(1),
        wire.connections()
    );
    assert_eq!(failed, 0, "{}", daemon.logged());
    assert!(count(0) > 500 && count(1) > 100);
    assert_eq!(count(0) + count(1), REQUESTS);
}

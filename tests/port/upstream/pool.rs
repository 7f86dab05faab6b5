//! The connection pool: the choice of a connection, what goes elsewhere, and what is checked first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::upstream::http2::{CANCEL, NO_ERROR};
use crate::upstream::{Seen, count};
use futures_util::future::join_all;
use mock_cloud::Options;
use support::app_wire::{self, request};
use support::wire::{
    DATA, END_STREAM, Frames, MAX_CONCURRENT_STREAMS, OK, RST_STREAM, Wire, daemon_at, http2,
    http2_with, read_request,
};
use support::{Daemon, PATIENCE, World, chat, client, error, post};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};

const ONE: &[(u16, u32)] = &[(MAX_CONCURRENT_STREAMS, 1)];
const HUNDRED: &[(u16, u32)] = &[(MAX_CONCURRENT_STREAMS, 100)];

/// The statuses of some POSTs that are sent together.
async fn statuses(daemon: &Daemon, count: usize) -> Vec<u16> {
    let (client, url, request) = (client(), daemon.url("/chat/completions"), chat("x"));
    let asking = (0..count).map(|_| client.post(&url).json(&request).send());
    let all = tokio::time::timeout(PATIENCE, join_all(asking)).await;
    let all = all.unwrap();
    all.into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect()
}

/// Waits until this many requests are under way in the daemon.
async fn under_way(daemon: &Daemon, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = daemon.status();
        if status["providers"][0]["requests"]["in_flight"] == count {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stalled_reader_does_not_hold_up_other_requests() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2_with(&world, "", ONE, |mut frames, number| async move {
        let stalled = if number == 1 {
            let stream = frames.request().await?;
            frames.head(stream).await?;
            // As much as the stream may have under way.
            for _ in 0..16 {
                frames.send(DATA, 0, stream, &[b'x'; 16_384]).await?;
            }
            true
        } else {
            false
        };
        while let Some(stream) = frames.request().await {
            assert!(!stalled, "more streams than are allowed");
            frames.answer(stream, b"{}").await?;
        }
        Some(())
    })
    .await;
    let stalled = post(&daemon, &chat("x")).await;
    assert_eq!(stalled.status(), 200);
    assert_eq!(statuses(&daemon, 5).await, [200; 5]);
    assert!(wire.connections() > 1);
    drop(stalled);
}

#[tokio::test]
async fn more_long_streams_than_one_connection_carries_all_begin() {
    let world = World::new(Options::default()).await;
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let (wire, daemon) = http2_with(&world, "", HUNDRED, move |mut frames, _| {
        let seen = seen.clone();
        async move {
            let mut open = 0;
            // No stream ever ends.
            while let Some(stream) = frames.request().await {
                open += 1;
                seen.fetch_max(open, Ordering::SeqCst);
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"data: x\n\n").await?;
            }
            Some(())
        }
    })
    .await;
    let request = chat("x");
    let (client, url) = (client(), daemon.url("/chat/completions"));
    let asking = (0..130).map(|_| client.post(&url).json(&request).send());
    let streams = tokio::time::timeout(PATIENCE, join_all(asking)).await;
    let streams = streams.expect("some streams never begin");
    assert!(
        streams
            .iter()
            .all(|stream| stream.as_ref().unwrap().status() == 200)
    );
    println!("130 streams on {} connections", wire.connections());
    assert_eq!(wire.connections(), 2);
    assert_eq!(most.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn requests_that_wait_for_a_stream_survive_the_connection() {
    for by_go_away in [true, false] {
        let world = World::new(Options::default()).await;
        let (go_on, told) = watch::channel(false);
        let (_wire, daemon) = http2_with(&world, "", ONE, move |mut frames, number| {
            let mut told = told.clone();
            async move {
                let first = frames.request().await?;
                told.wait_for(|told| *told).await.ok()?;
                if number == 1 {
                    if !by_go_away {
                        // An end without a word.
                        return None;
                    }
                    frames.go_away(first, NO_ERROR).await?;
                }
                frames.answer(first, b"{}").await?;
                if number > 1 {
                    while let Some(stream) = frames.request().await {
                        frames.answer(stream, b"{}").await?;
                    }
                }
                Some(())
            }
        })
        .await;
        let request = chat("x");
        let first = post(&daemon, &request);
        let others = async {
            under_way(&daemon, 1).await;
            let others = async {
                under_way(&daemon, 5).await;
                go_on.send_replace(true);
            };
            tokio::join!(statuses(&daemon, 4), others).0
        };
        let together = async { tokio::join!(first, others) };
        let together = tokio::time::timeout(PATIENCE, together).await;
        let (first, others) = together.expect("some are never answered");
        // The first one may have been processed.
        let expected = if by_go_away { 200 } else { 502 };
        assert_eq!(first.status(), expected, "{}", daemon.logged());
        assert_eq!(others, [200; 4], "{}", daemon.logged());
    }
}

#[tokio::test]
async fn a_post_does_not_join_an_idle_connection_that_has_died() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2(&world, "", |mut frames, number| async move {
        let stream = frames.request().await?;
        frames.answer(stream, b"{}").await?;
        if number == 1 {
            // As if every packet were lost from now on.
            std::future::pending::<()>().await;
        }
        while let Some(stream) = frames.request().await {
            frames.answer(stream, b"{}").await?;
        }
        Some(())
    })
    .await;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    // The silence itself.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, post(&daemon, &chat("x"))).await;
    assert_eq!(answer.unwrap().status(), 200, "{}", daemon.logged());
    println!("served after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(8));
    assert_eq!(wire.connections(), 2);
    // The dead one is not asked again.
    assert_eq!(statuses(&daemon, 3).await, [200; 3]);
    assert_eq!(wire.connections(), 2);
}

#[tokio::test]
async fn a_living_connection_is_used_again_after_a_silence() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2(&world, "", |mut frames, _| async move {
        while let Some(stream) = frames.request().await {
            frames.answer(stream, b"{}").await?;
        }
        Some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert_eq!(wire.connections(), 1);
}

#[tokio::test]
async fn over_http1_a_post_joins_no_connection_that_was_idle_for_long() {
    let world = World::new(Options::default()).await;
    let wire = Wire::start(|mut stream, number| async move {
        let mut served = 0;
        while read_request(&mut stream).await.is_some() {
            served += 1;
            if number == 1 && served > 2 {
                std::future::pending::<()>().await;
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for _ in 0..2 {
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    }
    assert_eq!(wire.connections(), 1);
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let answer = tokio::time::timeout(PATIENCE, post(&daemon, &chat("x"))).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(wire.connections(), 2);
}

#[tokio::test]
async fn cold_requests_share_one_dial() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2_with(&world, "", HUNDRED, |mut frames, _| async move {
        while let Some(stream) = frames.request().await {
            frames.answer(stream, b"{}").await?;
        }
        Some(())
    })
    .await;
    assert_eq!(statuses(&daemon, 50).await, [200; 50]);
    println!("50 cold requests: {} connections", wire.connections());
    assert!(wire.connections() <= 2, "{}", wire.connections());
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_cancelled() {
    for by_reset in [false, true] {
        let world = World::new(Options::default()).await;
        let seen = Seen::default();
        let log = seen.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let log = log.clone();
            async move {
                while let Some(frame) = frames.next().await {
                    match frame.kind {
                        DATA => log.lock().unwrap().push("data".to_owned()),
                        RST_STREAM => {
                            let text = format!("reset {:?}", frame.payload);
                            log.lock().unwrap().push(text);
                        }
                        _ => {}
                    }
                }
                Some(())
            }
        })
        .await;
        let mut client = app_wire::Wire::connect(&daemon).await;
        let part = request("/chat/completions", &" ".repeat(9999)).replace(": 9999", ": 99999");
        client.send(part.as_bytes()).await;
        wait_until(&seen, "data").await;
        if by_reset {
            client.reset();
        } else {
            client.close();
        }
        wait_until(&seen, "reset").await;
        let seen = seen.lock().unwrap();
        let last = seen.iter().find(|line| line.starts_with("reset"));
        assert_eq!(last.unwrap(), &format!("reset {:?}", CANCEL.to_be_bytes()));
    }
}

async fn wait_until(seen: &Seen, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while count(seen, what) == 0 {
        assert!(Instant::now() < deadline, "{:?}", seen.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What one field may take of a head, over both protocols.
#[tokio::test]
async fn a_head_may_be_as_large_over_http2_as_over_http1() {
    let world = World::new(Options::default()).await;
    for (kilobytes, passes) in [(18, true), (120, true), (140, false)] {
        let value = Arc::new("x".repeat(kilobytes * 1024));
        let known = value.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let value = known.clone();
            async move {
                while let Some(stream) = frames.request().await {
                    let fields = [("content-length", "2"), ("x-long", value.as_str())];
                    frames.fields(stream, "200", &fields).await?;
                    frames.send(DATA, END_STREAM, stream, b"{}").await?;
                }
                Some(())
            }
        })
        .await;
        let mut daemon = Some(daemon);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-long: {value}\r\n\r\n{{}}");
        let plain = Wire::canned(head).await;
        for http2 in [true, false] {
            let daemon = if http2 {
                daemon.take().unwrap()
            } else {
                daemon_at(&world, &plain.base_url(), "")
            };
            let answer = post(&daemon, &chat("x")).await;
            if passes {
                assert_eq!(answer.status(), 200, "{kilobytes} KiB: {}", daemon.logged());
                assert_eq!(answer.headers()["x-long"].len(), value.len());
                assert_eq!(answer.text().await.unwrap(), "{}");
            } else {
                let message = error(answer, 502, "upstream_unreachable").await;
                assert!(message.contains("its head is too large"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_interim_answers_pass_over_both_protocols_and_no_more() {
    let world = World::new(Options::default()).await;
    for (interim, passes) in [(100, true), (101, false)] {
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| async move {
            while let Some(stream) = frames.request().await {
                for _ in 0..interim {
                    frames.fields(stream, "103", &[("link", "</a>")]).await?;
                }
                frames.answer(stream, b"{}").await?;
            }
            Some(())
        })
        .await;
        let mut daemon = Some(daemon);
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(interim);
        let plain = Wire::canned(early + OK).await;
        for http2 in [true, false] {
            let daemon = if http2 {
                daemon.take().unwrap()
            } else {
                daemon_at(&world, &plain.base_url(), "")
            };
            let answer = post(&daemon, &chat("x")).await;
            if passes {
                assert_eq!(answer.status(), 200, "{interim}: {}", daemon.logged());
            } else {
                let message = error(answer, 502, "upstream_unreachable").await;
                assert!(message.contains("interim answers"), "{message}");
            }
        }
    }
}

/// A GOAWAY with an end right behind it, at about the time at which the next POST goes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_race_with_a_goaway_every_post_is_answered() {
    const ROUNDS: usize = 300;
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2(&world, "", |mut frames, number| async move {
        let stream = frames.request().await?;
        frames.answer(stream, b"{}").await?;
        let wait = Duration::from_micros((number as u64 * 37) % 2500);
        let spun = Instant::now();
        while spun.elapsed() < wait {
            tokio::task::yield_now().await;
        }
        frames.go_away(stream, NO_ERROR).await
    })
    .await;
    let (client, request) = (client(), chat("x"));
    let mut failed = BTreeSet::new();
    for round in 0..ROUNDS {
        let asking = client.post(daemon.url("/chat/completions")).json(&request);
        let answer = asking.send().await.unwrap();
        if answer.status() != 200 {
            failed.insert(round);
        }
        answer.bytes().await.unwrap();
        let wait = Duration::from_micros((round as u64 * 53) % 700);
        let spun = Instant::now();
        while spun.elapsed() < wait {
            std::hint::spin_loop();
        }
    }
    println!(
        "{ROUNDS} POSTs against a GOAWAY: {} failed, {} connections",
        failed.len(),
        wire.connections()
    );
    assert!(failed.is_empty(), "{failed:?}: {}", daemon.logged());
}

/// A part of what the framing announces never passes for the whole answer.
#[tokio::test]
async fn a_cut_over_http2_never_looks_complete() {
    for cut in [
        "an end of the connection",
        "a GOAWAY",
        "a short body",
        "no body",
    ] {
        let world = World::new(Options::default()).await;
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| async move {
            let stream = frames.request().await?;
            let length = [("content-length", "20")];
            let fields = if cut.ends_with("body") {
                &length[..]
            } else {
                &[]
            };
            frames.fields(stream, "200", fields).await?;
            match cut {
                "no body" => frames.send(DATA, END_STREAM, stream, b"").await?,
                "a short body" => frames.send(DATA, END_STREAM, stream, b"{\"half").await?,
                "a GOAWAY" => {
                    frames.send(DATA, 0, stream, b"{\"half").await?;
                    frames.go_away(stream, NO_ERROR).await?;
                }
                _ => frames.send(DATA, 0, stream, b"{\"half").await?,
            }
            Some(())
        })
        .await;
        let body = chat("x").to_string();
        let mut wire = app_wire::Wire::ask(&daemon, "/chat/completions", &body).await;
        let answer = wire.answer().await;
        assert!(!answer.complete, "{cut}: {answer:?}");
    }
}

/// The end was seen; what the reset is about is the rest of the upload (RFC 9113 §8.1).
#[tokio::test]
async fn an_early_answer_over_http2_is_whole_though_its_stream_is_reset() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2(&world, "", |mut frames, _| async move {
        while let Some(stream) = frames.request().await {
            frames.fields(stream, "413", &[]).await?;
            frames.send(DATA, END_STREAM, stream, b"too large").await?;
            frames.reset(stream, NO_ERROR).await?;
        }
        Some(())
    })
    .await;
    for _ in 0..2 {
        let mut client = app_wire::Wire::connect(&daemon).await;
        let part = request("/chat/completions", &" ".repeat(9999)).replace(": 9999", ": 99999");
        client.send(part.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.complete), (413, true), "{answer:?}");
        assert_eq!(answer.text(), "too large");
    }
    assert_eq!(wire.connections(), 1);
}

#[tokio::test]
async fn a_provider_that_allows_no_stream_is_not_flooded_with_connections() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\nresponse_head = \"3s\"\n";
    let none = &[(MAX_CONCURRENT_STREAMS, 0)];
    let (wire, daemon) = http2_with(&world, config, none, |mut frames, _| async move {
        while frames.next().await.is_some() {}
        Some(())
    })
    .await;
    let (client, url) = (client(), daemon.url("/models"));
    let asking = (0..20).map(|_| client.get(&url).send());
    let all = tokio::time::timeout(PATIENCE, join_all(asking)).await;
    for answer in all.unwrap() {
        assert_eq!(answer.unwrap().status(), 504);
    }
    println!("{} connections", wire.connections());
    assert!(wire.connections() < 10, "{}", wire.connections());
}

/// A provider that takes no more connections serves those that wait on the one it has.
#[tokio::test]
async fn a_failed_dial_fails_no_request_that_another_connection_can_serve() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], true);
    let wire = Wire::start(move |stream, number| {
        let tls = tls.clone();
        async move {
            if number > 1 {
                return;
            }
            let stream = tls.accept(stream).await.unwrap();
            let Some(mut frames) = Frames::greet(stream, ONE).await else {
                return;
            };
            while let Some(stream) = frames.request().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if frames.answer(stream, b"{}").await.is_none() {
                    return;
                }
            }
        }
    })
    .await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let config = format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap());
    let daemon = daemon_at(&world, &base, &config);
    assert_eq!(
        statuses(&daemon, 10).await,
        [200; 10],
        "{}",
        daemon.logged()
    );
    assert!(wire.connections() > 1);
}

#[tokio::test]
async fn a_reload_ends_idle_connections_and_leaves_streams_alone() {
    let world = World::new(Options::default()).await;
    let seen = Seen::default();
    let log = seen.clone();
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let (_wire, daemon) = http2_with(&world, "", ONE, move |mut frames, number| {
        let (log, told) = (log.clone(), told.clone());
        async move {
            let stream = frames.request().await?;
            if number == 1 {
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"first, ").await?;
                told.notified().await;
                frames.send(DATA, END_STREAM, stream, b"last").await?;
            } else {
                frames.answer(stream, b"{}").await?;
            }
            while frames.next().await.is_some() {}
            log.lock().unwrap().push(format!("{number} ended"));
            Some(())
        }
    })
    .await;
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "first, ");
    assert_eq!(post(&daemon, &chat("y")).await.status(), 200);
    let ca = world.home.path().join("ca.pem");
    let ca = ca.to_str().unwrap();
    world.write_config(&format!(
        "[timeouts]\nreuse = \"4m\"\n[providers.nous]\nca_file = {ca:?}\n"
    ));
    let reload = world.ctl(&["proxy", "reload"]);
    assert!(reload.status.success(), "{reload:?}");
    wait_until(&seen, "2 ended").await;
    assert_eq!(count(&seen, "1 ended"), 0);
    finish.notify_one();
    assert_eq!(running.text().await.unwrap(), "last");
    wait_until(&seen, "1 ended").await;
}

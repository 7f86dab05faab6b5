//! The one replay after a 401: when it happens, when not, and the release of its memory.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Fault, Options, PortalFault};
use support::app_wire::{Wire, request};
use support::{Daemon, PATIENCE, World, client};

/// Every piece of a kept body counts against this for all requests together.
const TOTAL: usize = 256 * 1024;

async fn start() -> (World, Daemon) {
    let world = World::new(Options::default()).await;
    let config = "[limits]\nreplay_body = \"200KiB\"\nreplay_total = \"256KiB\"\nbody = \"1MiB\"\n\
                  [timeouts]\nresponse_head = \"2s\"\n";
    let daemon = world.daemon_with(config, &[]);
    (world, daemon)
}

fn body(size: usize) -> String {
    format!("{{\"messages\":[],\"pad\":\"{}\"}}", "x".repeat(size))
}

async fn ask(daemon: &Daemon, size: usize) -> reqwest::Response {
    let post = client().post(daemon.url("/chat/completions"));
    let post = post
        .header("content-type", "application/json")
        .body(body(size));
    post.send().await.unwrap()
}

/// A request of most of the budget is replayed after a refusal, so all of the budget is free.
async fn the_budget_is_whole(world: &World, daemon: &Daemon, after: &str) {
    world.cloud.heal();
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
        .await;
    world.cloud.fail_next(1, &Fault::unauthorized());
    let answer = ask(daemon, 190 * 1024).await;
    assert_eq!(
        answer.status(),
        200,
        "{after}: {}",
        answer.text().await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_given_back_however_a_request_ends() {
    // More than the budget in all, if it leaked.
    let tries = TOTAL / (60 * 1024) + 2;
    let refusal = Canned::api_error(400, "invalid_request_error", "bad", "No.");
    for (how, fault) in [
        ("a whole answer", None),
        ("an error", Some(Fault::Answer(refusal.clone()))),
        ("an early error", Some(Fault::Early(refusal.clone()))),
        (
            "an early error, the body unread",
            Some(Fault::EarlyUnread(refusal)),
        ),
        ("no answer", Some(Fault::CloseBeforeHead)),
        ("a reset", Some(Fault::ResetBeforeHead)),
        ("a reset, the body unread", Some(Fault::ResetUnread)),
        ("silence", Some(Fault::Silent)),
    ] {
        // A daemon each: what requests may renew has a limit.
        let (world, daemon) = start().await;
        for _ in 0..tries {
            if let Some(fault) = &fault {
                world.cloud.fail_next(1, fault);
            }
            if how == "silence" {
                tokio::join!(ask(&daemon, 50 * 1024), async {
                    if fault.is_some() {
                        world.cloud.fail_next(1, &Fault::Silent);
                    }
                    ask(&daemon, 50 * 1024).await
                });
                break;
            }
            ask(&daemon, 60 * 1024).await.bytes().await.ok();
        }
        the_budget_is_whole(&world, &daemon, how).await;
    }
    // The client leaves in the middle of its body, or while it waits.
    for whole in [false, true] {
        let (world, daemon) = start().await;
        for _ in 0..tries {
            world.cloud.fail_next(1, &Fault::Silent);
            let before = world.cloud.counts();
            let text = request("/chat/completions", &body(60 * 1024));
            let part = if whole { text.len() } else { text.len() - 10 };
            let mut wire = Wire::connect(&daemon).await;
            wire.send(text.get(..part).unwrap().as_bytes()).await;
            let there = |cloud: &mock_cloud::MockCloud| cloud.counts().requests > before.requests;
            world.cloud.wait_for(PATIENCE, there).await;
            wire.close();
            let left = |cloud: &mock_cloud::MockCloud| cloud.counts().cancelled > before.cancelled;
            world.cloud.wait_for(PATIENCE, left).await;
        }
        the_budget_is_whole(&world, &daemon, "the client's leaving").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_shared_and_who_finds_none_gets_the_401() {
    let (world, daemon) = start().await;
    // One request keeps most of it, waiting.
    world.cloud.fail_next(1, &Fault::Silent);
    let mut wire = Wire::connect(&daemon).await;
    wire.send(request("/chat/completions", &body(150 * 1024)).as_bytes())
        .await;
    let read = |cloud: &mock_cloud::MockCloud| {
        let requests = cloud.requests();
        requests
            .first()
            .is_some_and(|seen| seen.body_sha256.is_some())
    };
    world.cloud.wait_for(PATIENCE, read).await;
    world.cloud.fail_next(1, &Fault::unauthorized());
    assert_eq!(ask(&daemon, 150 * 1024).await.status(), 401);
    // The new token is taken: one that never was is not replaced so soon.
    assert_eq!(ask(&daemon, 100).await.status(), 200);
    // What fits is still replayed.
    world.cloud.fail_next(1, &Fault::unauthorized());
    assert_eq!(ask(&daemon, 20 * 1024).await.status(), 200);
    wire.close();
    the_budget_is_whole(&world, &daemon, "the wait").await;
    // More than one request may keep.
    world.cloud.fail_next(1, &Fault::unauthorized());
    assert_eq!(ask(&daemon, 300 * 1024).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replayed_with_the_same_bearer_or_for_another_reason() {
    let (world, daemon) = start().await;
    let sent = async |fault: Fault, requests: u64, status: u16| {
        let before = world.cloud.counts().requests;
        world.cloud.fail_next(1, &fault);
        let answer = ask(&daemon, 100).await;
        assert_eq!(answer.status(), status, "{fault:?}");
        assert_eq!(
            world.cloud.counts().requests - before,
            requests,
            "{fault:?}"
        );
        answer.text().await.unwrap()
    };
    sent(Fault::rate_limited(1), 1, 429).await;
    sent(Fault::Answer(Canned::status(503)), 1, 503).await;
    sent(Fault::unauthorized(), 2, 200).await;
    // The refresh fails: without another bearer, the first answer is final.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let down = PortalFault::Answer(Canned::status(503));
    world.cloud.break_portal(Endpoint::Refresh, down);
    let text = sent(Fault::unauthorized(), 1, 401).await;
    assert!(text.contains("invalid_api_key"), "{text}");
    world.cloud.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_continue_gets_it_or_the_providers_refusal() {
    let (world, daemon) = start().await;
    let body = body(100);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut wire = Wire::connect(&daemon).await;
    wire.send(head.as_bytes()).await;
    wire.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    wire.send(body.as_bytes()).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.complete), (200, true));

    // The provider has said no before a byte of the body.
    let no = Canned::api_error(413, "invalid_request_error", "too_large", "No.");
    for fault in [Fault::Early(no.clone()), Fault::EarlyUnread(no.clone())] {
        world.cloud.fail_next(1, &fault);
        let mut wire = Wire::connect(&daemon).await;
        wire.send(head.as_bytes()).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.text().contains("too_large"), "{answer:?}");
    }
    // The same while the client still sends.
    world.cloud.fail_next(1, &Fault::Early(no));
    let mut wire = Wire::connect(&daemon).await;
    let text = request("/chat/completions", &" ".repeat(900_000));
    wire.send(text.get(..400_000).unwrap().as_bytes()).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

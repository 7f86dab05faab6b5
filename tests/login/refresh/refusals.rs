//! Refused requests: sent again once, with the same bytes, and few rotations for all of them.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use crate::refresh::{ask, reload};
use mock_cloud::{Fault, Options, Steering};
use serde_json::{Value, json};
use support::{PATIENCE, World, chat, client, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_every_token_gets_its_401_through_and_costs_one_refresh() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let http = client();
    world.cloud.break_inference(Fault::unauthorized());
    for _ in 0..20 {
        assert_eq!(ask(&http, &daemon).await, (401, None));
    }
    assert_eq!(world.cloud.counts().refresh_calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_replay_limit_is_not_sent_again_but_the_token_is_refreshed() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nreplay_body = \"64KiB\"\n", &[]);
    world.cloud.revoke_access_tokens();
    let mut large = chat("x");
    large["padding"] = json!("y".repeat(200_000));
    let answer = post(&daemon, &large).await;
    assert_eq!(answer.status(), 401);
    let answer = post(&daemon, &large).await;
    assert_eq!(answer.status(), 200);
    let counts = world.cloud.counts();
    assert_eq!((counts.refresh_calls, counts.requests), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_body_is_identical() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    let mut request = chat("x");
    request["padding"] = json!("z".repeat(500_000));
    let answer = post(&daemon, &request).await;
    assert_eq!(answer.status(), 200);
    let seen = world.cloud.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].body_sha256.is_some() && seen[0].body_sha256 == seen[1].body_sha256);
}

/// Reads a request's head, byte by byte; the rest stays unread.
async fn read_head(stream: &mut tokio::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_body_is_whole_when_the_answers_head_comes_before_its_end() {
    const SIZE: usize = 900_000;
    let world = World::new(Options::default()).await;
    // A provider that refuses once, and then answers before it reads the body.
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "[providers.nous]\nbase_url = \"http://{}/v1\"\n",
        provider.local_addr().unwrap()
    );
    let serving = async {
        let (mut first, _) = provider.accept().await.unwrap();
        read_head(&mut first).await;
        first.read_exact(&mut vec![0; SIZE]).await.unwrap();
        let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        first.write_all(refusal.as_bytes()).await.unwrap();
        let (mut second, _) = provider.accept().await.unwrap();
        let head = read_head(&mut second).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        second.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut body = vec![0; SIZE];
        second.read_exact(&mut body).await.unwrap();
        second.write_all(b"done").await.unwrap();
        (head, body)
    };
    let daemon = world.daemon_with(&config, &[]);
    let body = mock_cloud::pattern::noise(3, SIZE);
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .header("content-type", "application/json")
        .body(body.clone())
        .send();
    let ((head, received), answer) = tokio::time::timeout(PATIENCE, async {
        tokio::join!(serving, async {
            asking.await.unwrap().text().await.unwrap()
        })
    })
    .await
    .expect("the body arrives");
    assert_eq!(answer, "done");
    assert!(head.contains(&format!("content-length: {SIZE}")), "{head}");
    assert!(received == body, "the replayed body was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_that_comes_after_a_reload_is_met_with_a_new_token_all_the_same() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let late = Steering {
        status: Some(401),
        delay_head_ms: 3000,
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(late)));
    let http = client();
    let asking = ask(&http, &daemon);
    let reloading = async {
        let arrived = world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().requests == 1);
        arrived.await;
        reload(&world);
    };
    let (answer, ()) = tokio::join!(asking, reloading);
    assert_eq!(answer, (200, None));
    let counts = world.cloud.counts();
    assert_eq!((counts.requests, counts.refreshes), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_provider_has_taken_is_replaced_after_a_reload_too() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    let http = client();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    reload(&world);
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    assert_eq!(world.cloud.counts().refreshes, 2);
}

/// A request that the provider refuses for its own sake, whatever the token.
fn not_permitted() -> Value {
    let mut request = chat("x");
    request["mock"] = json!({"status": 401});
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_for_their_own_sake_cost_one_rotation() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for round in 0..40 {
        assert_eq!(
            post(&daemon, &chat("x")).await.status(),
            200,
            "round {round}"
        );
        let refused = post(&daemon, &not_permitted()).await;
        assert_eq!(refused.status(), 401, "round {round}");
        assert!(refused.headers().get("x-hermes-error").is_none());
    }
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_now_and_then_causes_few_rotations() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let started = tokio::time::Instant::now();
    let mut passed = 0;
    for _ in 0..40 {
        // Whatever the token is: the first try is refused, and the second one is not.
        world.cloud.fail_next(1, &Fault::unauthorized());
        passed += usize::from(post(&daemon, &chat("x")).await.status() == 401);
    }
    let counts = world.cloud.counts();
    // Six in a row, and one every thirty seconds.
    let most = 7 + started.elapsed().as_secs() / 30;
    assert!(counts.refresh_calls <= most, "{counts:?}, {passed} passed");
    // What the token was not the reason for is answered on the second try, whether or not it was renewed.
    assert_eq!(passed, 0, "{counts:?}");
    assert!(world.cloud.is_alive(world.family()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_dead_is_replaced_after_many_renewals_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for _ in 0..6 {
        world.cloud.fail_next(1, &Fault::unauthorized());
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    }
    assert_eq!(world.cloud.counts().refreshes, 6);
    // No renewal is due for half a minute; the token has lived for longer than a moment.
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.cloud.revoke_access_tokens();
    let before = world.cloud.counts().requests;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let counts = world.cloud.counts();
    assert_eq!((counts.refreshes, counts.requests - before), (7, 3));
    daemon.wait_for_log("renewals_paced");
}

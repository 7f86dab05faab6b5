//! What xAI's answers say about the token and the account.

use std::time::Duration;

use mock_cloud::{Canned, Fault};
use serde_json::{Value, json};
use support::wire::{OK, Wire, read_request};
use support::{chat, client};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{World, failing, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_403_renews_only_where_its_body_says_that_the_token_is_stale() {
    for (body, replayed, code) in [
        ("unauthenticated:bad-credentials", true, Value::Null),
        (
            "The OAuth2 access token could not be validated.",
            true,
            Value::Null,
        ),
        (
            "personal-team-blocked:spending-limit",
            false,
            json!("spending_limit"),
        ),
        (
            "You do not have an active Grok subscription.",
            false,
            json!("no_subscription"),
        ),
        (
            "You are out of available resources.",
            false,
            json!("no_subscription"),
        ),
        ("Something else.", false, json!("account_tier")),
    ] {
        let (world, _) = World::with_a_login(&now()).await;
        let daemon = world.daemon();
        let refusal = json!({"code": body, "error": body});
        let fault = Fault::Answer(Canned::json(403, &refusal));
        world.cloud.fail_next(1, &fault);
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&chat("hello")).send().await.unwrap();
        let status = if replayed { 200 } else { 403 };
        assert_eq!(answer.status(), status, "{body}");
        let text = answer.text().await.unwrap();
        let refusal = refusal.to_string();
        assert_eq!(text == refusal, !replayed, "{body}");
        assert_eq!(
            world.cloud.counts().refreshes,
            u64::from(replayed),
            "{body}"
        );
        assert_eq!(failing(&daemon), code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_passes_as_it_is_renews_nothing_and_says_whether_the_free_tier_is_used_up() {
    let (world, _) = World::with_a_login(&now()).await;
    let daemon = world.daemon();
    for (code, told) in [
        ("subscription:free-usage-exhausted", "free_usage_exhausted"),
        ("rate_limit_exceeded", "http_429"),
    ] {
        let refusal = json!({"code": code});
        let fault = Fault::Answer(Canned::json(429, &refusal));
        world.cloud.fail_next(1, &fault);
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&chat("hello")).send().await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.text().await.unwrap(), refusal.to_string());
        assert_eq!(failing(&daemon), told);
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

const STALE: &str = "{\"error\":\"… [WKE=unauthenticated:bad-credentials]\"}";

/// An answer that refuses the first token, in the pieces in which it comes.
async fn refusing(pieces: Vec<Vec<u8>>) -> (World, Wire, String) {
    let (world, login) = World::with_a_login(&now()).await;
    let stale = login.access_token.clone();
    let wire = Wire::start(move |mut stream, _| {
        let (pieces, stale) = (pieces.clone(), stale.clone());
        async move {
            while let Some(request) = read_request(&mut stream).await {
                assert!(request.contains("accept-encoding: identity"), "{request}");
                if !request.contains(&stale) {
                    stream.write_all(OK.as_bytes()).await.unwrap();
                    continue;
                }
                for piece in &pieces {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
        }
    })
    .await;
    world.asks_at(&wire.base_url());
    (world, wire, login.access_token)
}

fn head(more: &str) -> Vec<u8> {
    format!("HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
        .into_bytes()
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// SDKs ask for compressed answers, in which nothing could be read.
fn ask_for_gzip(daemon: &support::Daemon) -> reqwest::RequestBuilder {
    let post = client().post(daemon.url("/chat/completions"));
    post.header("accept-encoding", "gzip, deflate, br, zstd")
        .json(&chat("hello"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_token_is_told_by_a_body_that_comes_in_pieces_or_is_large() {
    let (one, two) = STALE.split_at(STALE.len() / 2);
    let large = format!("{STALE}{}", " ".repeat(100_000));
    let sized = head(&format!("content-length: {}", large.len()));
    for pieces in [
        vec![
            head("transfer-encoding: chunked"),
            chunk(one),
            chunk(two),
            b"0\r\n\r\n".to_vec(),
        ],
        vec![sized, large.into_bytes()],
        // Its end never comes.
        vec![head("transfer-encoding: chunked"), chunk(STALE)],
    ] {
        let (world, _wire, _) = refusing(pieces).await;
        let daemon = world.daemon();
        let answer = ask_for_gzip(&daemon).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        assert_eq!(world.cloud.counts().refreshes, 1);
        assert_eq!(failing(&daemon), Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_that_can_not_be_read_passes_in_time_and_accuses_nobody() {
    let gzip = b"\x1f\x8b\x08\x00not really".to_vec();
    let encoded = head(&format!(
        "content-encoding: gzip\r\ncontent-length: {}",
        gzip.len()
    ));
    let hanging = head("content-length: 40");
    for (pieces, body) in [
        (vec![encoded, gzip.clone()], Some(gzip)),
        (vec![hanging, b"{".to_vec()], None),
    ] {
        let (world, _wire, _) = refusing(pieces).await;
        let daemon = world.daemon();
        let began = Instant::now();
        let answer = ask_for_gzip(&daemon).send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert!(began.elapsed() < Duration::from_secs(8));
        let Some(body) = body else {
            continue;
        };
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(answer.bytes().await.unwrap(), body);
        assert_eq!(world.cloud.counts().refresh_calls, 0);
        assert_eq!(failing(&daemon), "http_403");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entitlement_error_inside_a_stream_is_told_and_passes_unchanged() {
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"code\":\"The caller does not have \
                         permission\",\"message\":\"You have either run out of available resources or do \
                         not have an active Grok subscription.\"}\n\n";
    const WORDS: &str = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"you do not have an active \
                         Grok subscription\"}\n\n";
    for (events, code) in [
        (ERROR.to_owned(), json!("no_subscription")),
        (format!("{WORDS}{ERROR}"), json!("no_subscription")),
        (WORDS.to_owned(), Value::Null),
    ] {
        let (world, _) = World::with_a_login(&now()).await;
        let sized = Canned::status(200).header("content-type", "text/event-stream");
        world
            .cloud
            .fail_next(1, &Fault::Answer(sized.body(events.clone())));
        let sent = events.clone();
        let wire = Wire::start(move |mut stream, _| {
            let sent = sent.clone();
            async move {
                read_request(&mut stream).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                            transfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                for piece in sent.as_bytes().chunks(37) {
                    let piece = chunk(std::str::from_utf8(piece).unwrap());
                    stream.write_all(&piece).await.unwrap();
                }
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        })
        .await;
        for base in [world.cloud.inference_base_url(), wire.base_url()] {
            world.asks_at(&base);
            let daemon = world.daemon();
            let answer = ask_for_gzip(&daemon).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text().await.unwrap(), events);
            assert_eq!(failing(&daemon), code, "{events}");
            assert_eq!(world.cloud.counts().refresh_calls, 0);
        }
    }
}

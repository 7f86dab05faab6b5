//! How much a key may be used: requests in a minute and a day, tokens in a day, and which models.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use mock_cloud::Options;
use serde_json::{Value, json};
use support::{Daemon, World, chat, client, ctl, error, until};

fn add(world: &World, line: &[&str]) -> String {
    let added = world.ctl(&[&["clients", "add"], line].concat());
    assert!(added.status.success(), "{added:?}");
    String::from_utf8(added.stdout).unwrap().trim().to_owned()
}

async fn ask(daemon: &Daemon, key: &str, body: &Value) -> reqwest::Response {
    let post = client().post(daemon.url("/chat/completions"));
    post.bearer_auth(key).json(body).send().await.unwrap()
}

/// A request that succeeds.
async fn asks(daemon: &Daemon, key: &str) {
    let answer = ask(daemon, key, &chat("x")).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

/// What `hermesctl clients list` tells of this one.
fn listed(world: &World, name: &str) -> Value {
    let output = ctl(world.home.path(), &["clients", "list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut clients = list["clients"].as_array().unwrap().iter();
    clients
        .find(|client| client["name"] == name)
        .unwrap()
        .clone()
}

fn retry_after(answer: &reqwest::Response) -> u64 {
    let wait = answer.headers()["retry-after"].to_str().unwrap();
    wait.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_no_more_requests_in_a_minute_than_it_may() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["batch", "--requests-per-minute", "2"]);
    let other = add(&world, &["other"]);
    let daemon = world.daemon();
    for _ in 0..2 {
        asks(&daemon, &key).await;
    }
    let answer = ask(&daemon, &key, &chat("x")).await;
    assert!((1..=60).contains(&retry_after(&answer)));
    assert!(!answer.headers().contains_key("x-should-retry"));
    let message = error(answer, 429, "too_many_requests").await;
    for part in [
        "batch",
        "2 requests within a minute",
        "hermesctl clients list",
    ] {
        assert!(message.contains(part), "{message}");
    }
    asks(&daemon, &other).await;
    let shown = ctl(world.home.path(), &["clients", "list"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("2 requests at most"), "{shown}");
    // The owner sees that an app was refused.
    until("it shows in the status", || {
        let refused = daemon.status()["refused_apps"].to_string();
        refused.contains("too_many_requests") && refused.contains("batch")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_used_today_outlives_a_restart() {
    let world = World::new(Options::default()).await;
    let requests = add(&world, &["requests", "--requests-per-day", "3"]);
    // An answer of the mock's tells 12 tokens.
    let tokens = add(&world, &["tokens", "--tokens-per-day", "20"]);
    let mut daemon = world.daemon();
    for _ in 0..2 {
        asks(&daemon, &requests).await;
    }
    asks(&daemon, &tokens).await;
    until("its tokens are counted", || {
        listed(&world, "tokens")["today"] == json!({"requests": 1, "tokens": 12})
    });
    assert!(daemon.stop().success());
    assert_eq!(listed(&world, "requests")["today"]["requests"], 2);
    let daemon = world.daemon();
    assert_eq!(listed(&world, "requests")["today"]["requests"], 2);
    asks(&daemon, &requests).await;
    let answer = ask(&daemon, &requests, &chat("x")).await;
    assert!((1..=90_000).contains(&retry_after(&answer)));
    let message = error(answer, 429, "too_many_requests").await;
    assert!(message.contains("3 requests today"), "{message}");
    asks(&daemon, &tokens).await;
    until("its tokens are counted", || {
        listed(&world, "tokens")["today"]["tokens"] == 24
    });
    let answer = ask(&daemon, &tokens, &chat("x")).await;
    let message = error(answer, 429, "too_many_requests").await;
    assert!(message.contains("20 tokens of its day"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_limited_where_usage_is_not_counted_too() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["tokens", "--tokens-per-day", "12"]);
    let daemon = world.daemon_with("[usage]\nenabled = false\n", &[]);
    let post = client().post(daemon.url("/chat/completions"));
    let post = post.bearer_auth(&key).header("accept-encoding", "br, zstd");
    let answer = post.json(&chat("x")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let asked = world.cloud.requests().pop().unwrap();
    assert_eq!(asked.header("accept-encoding"), ["identity"], "{asked:?}");
    answer.bytes().await.unwrap();
    until("its tokens are counted", || {
        listed(&world, "tokens")["today"]["tokens"] == 12
    });
    let answer = ask(&daemon, &key, &chat("x")).await;
    assert_eq!(answer.headers()["x-should-retry"], "false");
    error(answer, 429, "too_many_requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_its_models_alone() {
    let world = World::new(Options::default()).await;
    let line = ["small", "--model", "Hermes-4-70B", "--model", "tiny"];
    let key = add(&world, &line);
    let routes = "[aliases]\nsmart = \"nous/Hermes-4-70B\"\nlarge = \"nous/Hermes-4-405B\"\n";
    for config in ["", routes] {
        let mut daemon = world.daemon_with(config, &[]);
        let mut body = chat("x");
        for (model, is_allowed) in [
            ("Hermes-4-70B", true),
            ("tiny", true),
            ("Hermes-4-405B", false),
            ("smart", !config.is_empty()),
            ("large", false),
        ] {
            body["model"] = model.into();
            let answer = ask(&daemon, &key, &body).await;
            if is_allowed {
                assert_eq!(answer.status(), 200, "{model}");
                continue;
            }
            let message = error(answer, 403, "model_not_allowed").await;
            for part in [
                format!("not for the model {model}").as_str(),
                "small",
                "Hermes-4-70B, tiny",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
        body.as_object_mut().unwrap().remove("model");
        let answer = ask(&daemon, &key, &body).await;
        let message = error(answer, 403, "model_not_allowed").await;
        assert!(message.contains("names none"), "{message}");
        // Text that is no JSON names none either, and a list has no body.
        let post = client().post(daemon.url("/chat/completions"));
        let post = post.header("content-type", "application/json");
        let answer = post.bearer_auth(&key).body("no JSON").send().await.unwrap();
        let (status, code) = if config.is_empty() {
            (403, "model_not_allowed")
        } else {
            // No route can be found either.
            (400, "bad_request")
        };
        error(answer, status, code).await;
        let list = client().get(daemon.url("/models")).bearer_auth(&key);
        assert_eq!(list.send().await.unwrap().status(), 200);
        assert!(daemon.stop().success());
    }
}

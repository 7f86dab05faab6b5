//! The requests in flight, as `hermesctl top --json` tells them while they are.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use mock_cloud::Options;
use serde_json::{Value, json};
use support::{Daemon, World, chat, client};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

fn told(world: &World) -> Value {
    let output = world.ctl(&["top", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    world.assert_no_secret_in("hermesctl top --json", &text);
    serde_json::from_str(&text).unwrap()
}

/// What is told once it is so.
async fn once(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let told = told(world);
        if holds(&told) {
            return told;
        }
        assert!(started.elapsed() < support::PATIENCE, "{what}: {told:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The request of this model.
fn of<'t>(told: &'t Value, model: &str) -> &'t Value {
    let mut requests = told["requests"].as_array().unwrap().iter();
    let found = requests.find(|one| one["model"] == model);
    found.unwrap_or(&Value::Null)
}

fn sum(numbers: &Value) -> u64 {
    let numbers = numbers.as_array().unwrap();
    assert_eq!(numbers.len(), 60);
    numbers.iter().map(|one| one.as_u64().unwrap()).sum()
}

fn asked(model: &str, stream: bool, mock: &Value) -> Value {
    json!({"model": model, "stream": stream, "mock": mock,
        "messages": [{"role": "user", "content": "my-secret-question"}]})
}

fn sends(daemon: &Daemon, key: Option<&str>, body: &Value) -> reqwest::RequestBuilder {
    let request = client().post(daemon.url("/chat/completions")).json(body);
    let request = request.header("user-agent", "OpenAI/Python 2.8.1");
    match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_from_its_head_to_its_last_byte() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let quiet = told(&world);
    assert_eq!(
        (&quiet["in_flight"], &quiet["requests"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(sum(&quiet["last_hour"]["requests"]), 0);
    let key = world.ctl(&["clients", "add", "karakeep"]);
    let key = String::from_utf8(key.stdout).unwrap();

    let mut running = JoinSet::new();
    let slow = json!({"events": 4000, "delay_chunk_ms": 20});
    let stream = sends(&daemon, Some(key.trim()), &asked("streams", true, &slow));
    running.spawn(async move { stream.send().await.unwrap().text().await.ok() });
    let waits = json!({"delay_head_ms": 60_000});
    let waiting = sends(&daemon, None, &asked("waits", false, &waits));
    running.spawn(async move { waiting.send().await.ok()?.text().await.ok() });
    // A body that does not end.
    let mut sending = TcpStream::connect(daemon.address()).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"model\": \"sends\", ";
    sending.write_all(head.as_bytes()).await.unwrap();

    let now = once(&world, "all three", |told| {
        let is_told = |model| of(told, model) != &Value::Null;
        let events = of(told, "streams")["events"].as_u64().unwrap_or_default();
        is_told("waits") && is_told("sends") && events > 5
    })
    .await;
    assert_eq!(
        (&now["in_flight"], &now["unlisted"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(now["usage_counted"], true);
    assert!(now["connections"].as_u64() >= Some(3), "{now:#}");
    let (streams, waits, sends) = (of(&now, "streams"), of(&now, "waits"), of(&now, "sends"));
    assert_eq!(streams["phase"], "streaming");
    assert_eq!(waits["phase"], "waiting");
    assert_eq!(sends["phase"], "sending");
    assert_eq!(streams["client"], "karakeep");
    assert_eq!(waits["client"], "OpenAI/Python (no key)");
    assert_eq!(sends["client"], "(no key)");
    assert_eq!(
        (&streams["provider"], &streams["status"]),
        (&json!("nous"), &json!(200))
    );
    assert_eq!(streams["path"], "/chat/completions");
    assert_eq!(waits["first_byte_ms"], Value::Null);
    assert_eq!(
        (&waits["bytes_out"], &waits["events"]),
        (&json!(0), &json!(0))
    );
    assert!(sends["bytes_in"].as_u64() >= Some(19), "{sends}");
    let number = |field: &str| streams[field].as_u64().unwrap();
    assert!(number("first_byte_ms") <= number("age_ms"), "{streams}");
    assert!(number("bytes_out") >= 10 * number("events"), "{streams}");
    assert_eq!(
        (&streams["tokens_out"], &now["streams"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!(sum(&now["last_hour"]["requests"]), 3);
    let text = now.to_string();
    assert!(!text.contains("my-secret-question") && !text.contains(key.trim()));

    sleep(Duration::from_millis(500)).await;
    let later = told(&world);
    let later = of(&later, "streams");
    assert_eq!(later["id"], streams["id"]);
    assert!(later["events"].as_u64() > streams["events"].as_u64());
    assert!(later["age_ms"].as_u64() >= Some(number("age_ms") + 500));
    let id = streams["id"].as_str().unwrap();
    // Apps that leave don't count as failures; a request that its provider refuses does.
    running.shutdown().await;
    let quiet = once(&world, "the end", |told| told["in_flight"] == 1).await;
    assert_eq!(sum(&quiet["last_hour"]["failed"]), 0, "{quiet:#}");
    let mut fails = chat("x");
    fails["mock"] = json!({"status": 503});
    assert_eq!(support::status_of(&daemon, &fails).await, 503);
    let quiet = once(&world, "the failure", |told| told["in_flight"] == 1).await;
    assert_eq!(sum(&quiet["last_hour"]["requests"]), 4);
    assert_eq!(sum(&quiet["last_hour"]["failed"]), 1);
    daemon.wait_for_log(id);
    drop(sending);
    once(&world, "the end", |told| told["in_flight"] == 0).await;
}

/// Some providers tell the usage in each event; `hermesctl top` then shows no estimate.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_while_the_provider_tells_them() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut running = JoinSet::new();
    let told = json!({"events": 4000, "delay_chunk_ms": 20, "usage_each": 3});
    let stream = sends(&daemon, None, &asked("tells", true, &told));
    running.spawn(async move { stream.send().await.unwrap().text().await.ok() });
    let mut last = 0;
    for least in [30, 60, 90] {
        let now = once(&world, "tokens", |told| {
            of(told, "tells")["tokens_out"].as_u64() >= Some(least)
        })
        .await;
        let (tokens, events) = (
            &of(&now, "tells")["tokens_out"],
            &of(&now, "tells")["events"],
        );
        // The first event has none.
        let expected = 3 * (events.as_u64().unwrap() - 1);
        assert!(expected.abs_diff(tokens.as_u64().unwrap()) <= 3, "{now:#}");
        assert!(tokens.as_u64() > Some(last), "{now:#}");
        last = tokens.as_u64().unwrap();
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_are_listed_whatever_they_are_called_and_the_rest_is_counted() {
    let world = World::new(Options::default()).await;
    let config = "[limits]\nconnections = 400\n";
    let daemon = world.daemon_with(config, &[]);
    let mut running = JoinSet::new();
    let odd = "\u{1b}[31m\u{202e}模型".to_owned() + &"x".repeat(3_000);
    let mock = json!({"events": 2, "delay_chunk_ms": 60_000});
    for number in 0..230 {
        let model = format!("{odd}{number}");
        let request = sends(&daemon, None, &asked(&model, true, &mock));
        running.spawn(async move { request.send().await.ok()?.text().await.ok() });
    }
    let full = once(&world, "all", |told| {
        // A model is heard as the body passes.
        let mut requests = told["requests"].as_array().unwrap().iter();
        told["in_flight"] == 230 && requests.all(|one| one["model"].is_string())
    })
    .await;
    let requests = full["requests"].as_array().unwrap();
    assert_eq!((requests.len(), &full["unlisted"]), (200, &json!(30)));
    for request in requests {
        let model = request["model"].as_str().unwrap();
        assert!(model.starts_with(r"\u{1b}[31m\u{202e}模型xx"), "{model}");
        assert!(model.chars().count() < 130, "{model}");
    }
    let ages: Vec<_> = requests.iter().map(|one| one["age_ms"].as_u64()).collect();
    assert!(ages.is_sorted_by(|one, next| one >= next), "{ages:?}");
    let output = world.ctl(&["top", "--json", "--newest"]);
    let newest: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = newest["requests"].as_array().unwrap();
    let ages: Vec<_> = requests.iter().map(|one| one["age_ms"].as_u64()).collect();
    assert!(ages.is_sorted_by(|one, next| one <= next), "{ages:?}");
    let text = world.ctl(&["top", "--once"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
    assert!(text.contains("230 requests"), "{text}");
    running.shutdown().await;
    let quiet = once(&world, "the end", |told| told["in_flight"] == 0).await;
    assert_eq!(sum(&quiet["last_hour"]["requests"]), 230);
}

/// A request whose provider its model decides, and hermesctl's own, which is not listed.
#[tokio::test(flavor = "multi_thread")]
async fn a_routed_request_is_told_with_the_model_that_its_provider_is_asked_for() {
    let world = World::new(Options::default()).await;
    let config = "[aliases]\nfast = \"Hermes-4-70B\"\n";
    let daemon = world.daemon_with(config, &[]);
    let slow = json!({"events": 4000, "delay_chunk_ms": 20});
    let request = sends(&daemon, None, &asked("fast", true, &slow));
    let mut running = JoinSet::new();
    running.spawn(async move { request.send().await.unwrap().text().await.ok() });
    let now = once(&world, "the request", |told| told["in_flight"] == 1).await;
    assert_eq!(now["requests"][0]["model"], "Hermes-4-70B", "{now:#}");
    let before = sum(&now["last_hour"]["requests"]);
    let output = world.ctl(&["proxy", "test"]);
    assert!(output.status.success(), "{output:?}");
    let after = told(&world);
    assert_eq!(sum(&after["last_hour"]["requests"]), before);
    running.shutdown().await;
}

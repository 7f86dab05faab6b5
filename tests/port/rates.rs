//! Limits of a key: requests per minute and day, tokens per day, and models.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

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

/// Sends a request that succeeds.
async fn asks(daemon: &Daemon, key: &str) {
    let answer = ask(daemon, key, &chat("x")).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

/// The client's entry in `hermesctl clients list`.
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
    // The mock's answer reports 12 tokens.
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

/// The usage file is unusable, as after a kill or while another program locks it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_used_does_not_depend_on_the_file_of_the_usage() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["batch", "--requests-per-day", "2"]);
    let mut daemon = world.daemon();
    asks(&daemon, &key).await;
    let used = listed(&world, "batch")["today"].clone();
    assert!(daemon.stop().success());
    let usage = ".local/state/hermes-proxyd/usage.db";
    std::fs::write(world.home.path().join(usage), "no database").unwrap();
    let daemon = world.daemon();
    assert_eq!(listed(&world, "batch")["today"], used);
    asks(&daemon, &key).await;
    let answer = ask(&daemon, &key, &chat("x")).await;
    error(answer, 429, "too_many_requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_no_provider_gets_uses_nothing_of_the_day() {
    let world = World::new(Options::default()).await;
    let line = [
        "small",
        "--requests-per-day",
        "1",
        "--model",
        "Hermes-4-70B",
    ];
    let key = add(&world, &line);
    let daemon = world.daemon();
    let mut body = chat("x");
    body["model"] = "large".into();
    for _ in 0..3 {
        let answer = ask(&daemon, &key, &body).await;
        error(answer, 403, "model_not_allowed").await;
        let list = client().get(daemon.url("/models")).bearer_auth(&key);
        let list = list.send().await.unwrap();
        assert_eq!(list.status(), 200);
        list.bytes().await.unwrap();
    }
    until("nothing is counted", || {
        listed(&world, "small")["today"] == json!({"requests": 0, "tokens": 0})
    });
    body["model"] = "Hermes-4-70B".into();
    let answer = ask(&daemon, &key, &body).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    let answer = ask(&daemon, &key, &body).await;
    error(answer, 429, "too_many_requests").await;
}

/// A stream without `include_usage` and a stream that the client leaves early still count.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_no_answer_tells_are_estimated() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let spends = |name: &'static str| {
        let today = listed(&world, name)["today"].clone();
        let read = |field: &str| today[field].as_u64().unwrap_or_default();
        (read("tokens"), read("estimated_tokens"))
    };
    let prompt = "word".repeat(100);
    let mut body = chat(&prompt);
    body["stream"] = true.into();
    // The answer reports its tokens.
    let key = add(&world, &["told", "--tokens-per-day", "100000"]);
    let mut telling = body.clone();
    telling["stream_options"] = json!({"include_usage": true});
    let answer = ask(&daemon, &key, &telling).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    until("its tokens are counted", || spends("told") == (12, 0));
    // The answer reports none: estimate 100 words, the JSON around them, and an answer of the same length.
    let key = add(&world, &["untold", "--tokens-per-day", "50"]);
    let answer = ask(&daemon, &key, &body).await;
    let plain = answer.bytes().await.unwrap();
    assert!(plain.ends_with(b"data: [DONE]\n\n"), "{plain:?}");
    until("its tokens are estimated", || {
        let (tokens, estimated) = spends("untold");
        (100..400).contains(&tokens) && tokens == estimated
    });
    let answer = ask(&daemon, &key, &body).await;
    let message = error(answer, 429, "too_many_requests").await;
    assert!(message.contains("of them by an estimate"), "{message}");
    let shown = ctl(world.home.path(), &["clients", "list"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("estimated"), "{shown}");
    // The client leaves before the answer ends, and before it begins.
    for (name, mock) in [
        ("leaves", json!({"events": 500, "delay_chunk_ms": 20})),
        ("waits", json!({"delay_head_ms": 60_000})),
    ] {
        let key = add(&world, &[name, "--tokens-per-day", "50"]);
        telling["mock"] = mock;
        let left = tokio::time::timeout(Duration::from_secs(1), async {
            ask(&daemon, &key, &telling).await.bytes().await.unwrap();
        });
        left.await.unwrap_err();
        until("what was sent is estimated", || spends(name).0 > 100);
        let answer = ask(&daemon, &key, &telling).await;
        error(answer, 429, "too_many_requests").await;
    }
    // `count_tokens` uses no tokens itself.
    let key = add(&world, &["counts", "--tokens-per-day", "50"]);
    let post = client().post(daemon.url("/messages/count_tokens"));
    let post = post
        .header("x-api-key", &key)
        .header("anthropic-version", "2023-06-01");
    let counted =
        json!({"model": "anthropic/x", "messages": [{"role": "user", "content": prompt}]});
    let answer = post.json(&counted).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    until("it is counted", || {
        listed(&world, "counts")["today"]["requests"] == 1
    });
    assert_eq!(spends("counts"), (0, 0));
    // A refusal by the provider costs nothing.
    let key = add(&world, &["refused", "--tokens-per-day", "50"]);
    body["mock"] = json!({"status": 400});
    assert_eq!(ask(&daemon, &key, &body).await.status(), 400);
    until("it is counted", || {
        listed(&world, "refused")["today"]["requests"] == 1
    });
    assert_eq!(spends("refused"), (0, 0));
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
        // An empty body is refused as well.
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.bearer_auth(&key).send().await.unwrap();
        let message = error(answer, 403, "model_not_allowed").await;
        assert!(message.contains("names none"), "{message}");
        // Text that is not JSON names no model for certain, and a list request has no body.
        let post = client().post(daemon.url("/chat/completions"));
        let post = post.header("content-type", "application/json");
        let answer = post.bearer_auth(&key).body("no JSON").send().await.unwrap();
        let (status, code) = if config.is_empty() {
            (403, "model_not_allowed")
        } else {
            // Without a model, no route is found either.
            (400, "bad_request")
        };
        let message = error(answer, status, code).await;
        assert!(message.contains("for some models alone"), "{message}");
        assert!(!message.contains("/NAME/v1"), "{message}");
        assert!(daemon.stop().success());
    }
}

/// A provider without the first model may use one of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_models_names_no_others_to_fall_back_on() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["small", "--model", "Hermes-4-70B"]);
    let free = add(&world, &["free"]);
    let daemon = world.daemon();
    let is_post = |one: &mock_cloud::Seen| one.target.ends_with("/chat/completions");
    let sent = || {
        world
            .cloud
            .requests()
            .iter()
            .filter(|one| is_post(one))
            .count()
    };
    let post = async |key: &str, body: String| {
        let post = client().post(daemon.url("/chat/completions"));
        let post = post.header("content-type", "application/json");
        post.bearer_auth(key).body(body).send().await.unwrap()
    };
    for name in [
        "models",
        "fallbacks",
        "Models",
        r"\u006dodels",
        r"models\u0000x",
    ] {
        let more = format!(r#""{name}":["Hermes-4-405B"]"#);
        for body in [
            format!(r#"{{{more},"model":"Hermes-4-70B","messages":[]}}"#),
            format!(r#"{{"model":"Hermes-4-70B","messages":[],{more}}}"#),
        ] {
            let begun = sent();
            let answer = post(&key, body.clone()).await;
            let status = answer.status().as_u16();
            assert!(matches!(status, 400 | 403), "{status} {body}");
            let message = answer.text().await.unwrap();
            assert!(message.contains("names more models"), "{message}");
            assert_eq!(sent(), begun, "{body}");
            // Without a limit, the body passes unchanged.
            assert_eq!(post(&free, body).await.status(), 200);
            assert_eq!(sent(), begun + 1);
        }
    }
    // A key inside a message is not a field of the request.
    let body = r#"{"model":"Hermes-4-70B","messages":[{"role":"user","content":"x","models":[]}]}"#;
    assert_eq!(post(&key, body.to_owned()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_models_sees_these_alone() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["small", "--model", "Hermes-4-7*"]);
    let whole = add(&world, &["whole"]);
    let routes = "[aliases]\nsmart = \"nous/Hermes-4-70B\"\nlarge = \"nous/Hermes-4-405B\"\n";
    for config in ["", routes] {
        let mut daemon = world.daemon_with(config, &[]);
        let names = async |key: &str| {
            let list = client().get(daemon.url("/models")).bearer_auth(key);
            let list: Value = list.send().await.unwrap().json().await.unwrap();
            let models = list["data"].as_array().unwrap().iter();
            let names = models.map(|model| model["id"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let all = names(&whole).await;
        assert!(all.iter().any(|name| name == "Hermes-4-405B"), "{all:?}");
        let seen = names(&key).await;
        let open = |name: &&String| *name == "Hermes-4-70B" || *name == "smart";
        let open: Vec<_> = all.iter().filter(open).cloned().collect();
        assert_eq!(seen, open, "{config}");
        for (name, status) in [("Hermes-4-70B", 200), ("Hermes-4-405B", 404)] {
            let one = client().get(daemon.url(&format!("/models/{name}")));
            let one = one.bearer_auth(&key).send().await.unwrap();
            assert_eq!(one.status(), status, "{name}");
        }
        let mut body = chat("x");
        body["model"] = "Hermes-4-70B".into();
        assert_eq!(ask(&daemon, &key, &body).await.status(), 200);
        assert!(daemon.stop().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_changed_for_the_next_request_on() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["batch", "--requests-per-day", "1"]);
    let daemon = world.daemon();
    asks(&daemon, &key).await;
    let answer = ask(&daemon, &key, &chat("x")).await;
    error(answer, 429, "too_many_requests").await;
    let change = |line: &[&str]| world.ctl(&[&["clients", "change", "batch"], line].concat());
    let changed = change(&["--requests-per-day", "2", "--model", "Hermes-4-7*"]);
    assert!(changed.status.success(), "{changed:?}");
    let shown = String::from_utf8(changed.stdout).unwrap();
    assert!(
        shown.contains("1 of 2 requests") && shown.contains("Hermes-4-7*"),
        "{shown}"
    );
    let answer = ask(&daemon, &key, &chat("x")).await;
    error(answer, 403, "model_not_allowed").await;
    let changed = change(&["--clear", "model", "--clear", "requests-per-day"]);
    assert!(changed.status.success(), "{changed:?}");
    for _ in 0..3 {
        asks(&daemon, &key).await;
    }
    // A limit that is added later in the day knows the use before it.
    let changed = change(&["--requests-per-day", "4"]);
    assert!(changed.status.success(), "{changed:?}");
    let answer = ask(&daemon, &key, &chat("x")).await;
    error(answer, 429, "too_many_requests").await;
    for (line, what) in [
        (&[][..], "--requests-per-day"),
        (&["--clear", "name"], "possible values"),
        (&["--path", "/nowhere"], "has the path"),
        (&["--provider", "nobody"], "nobody"),
        (&["--model", "*"], "omit the limit"),
    ] {
        let refused = change(line);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains(what), "{told}");
    }
    let list = client().get(daemon.url("/models")).send().await.unwrap();
    assert_eq!(list.status(), 200);
    let changed = change(&["--model", "Hermes-5", "--model", "nous/Hermes-4-70B"]);
    let told = String::from_utf8(changed.stdout).unwrap();
    assert!(told.contains("lists the model Hermes-5:"), "{told}");
    assert!(!told.contains("the model nous/Hermes-4-70B"), "{told}");
}

/// A client that has pipelined two requests gets both answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_no_connection_whose_body_has_come() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::new(Options::default()).await;
    let key = add(&world, &["batch", "--requests-per-day", "1"]);
    let daemon = world.daemon();
    asks(&daemon, &key).await;
    let body = chat("x").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(daemon.address())
        .await
        .unwrap();
    stream
        .write_all(request.repeat(3).as_bytes())
        .await
        .unwrap();
    let last = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 429 ").count(), 3, "{answers}");
    assert!(answers.ends_with("alive\n"), "{answers}");
    // An incomplete request can't be told apart from what follows.
    let part = request.split_at(request.len() - 5).0;
    let mut stream = tokio::net::TcpStream::connect(daemon.address())
        .await
        .unwrap();
    stream.write_all(part.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.contains("connection: close"), "{answers}");
}

/// The provider generated the answer, whatever happens to it here.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_in_translation_uses_the_day() {
    let world = World::new(Options::default()).await;
    let line = [
        "batch",
        "--requests-per-day",
        "1",
        "--tokens-per-day",
        "5000",
    ];
    let key = add(&world, &line);
    let daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    let steering = mock_cloud::Steering {
        cut_after_bytes: Some(60),
        ..mock_cloud::Steering::default()
    };
    let fault = mock_cloud::Fault::Steer(Box::new(steering));
    world.cloud.fail_next(1, &fault);
    let body = json!({"model": "Hermes-4-405B", "input": "word ".repeat(100)});
    let respond = async || {
        let post = client().post(daemon.url("/responses"));
        post.bearer_auth(&key).json(&body).send().await.unwrap()
    };
    error(respond().await, 502, "upstream_unreachable").await;
    until("it is counted", || {
        let today = listed(&world, "batch")["today"].clone();
        today["requests"] == 1 && today["tokens"].as_u64().unwrap() > 100
    });
    error(respond().await, 429, "too_many_requests").await;
}

//! Anthropic's Messages API: what goes to the provider and back, and our own errors in its form.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use mock_cloud::{Fault, Options, RawEnd, Script, Seen};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use support::{Daemon, World, client};

const VERSION: &str = "2023-06-01";

fn question() -> Value {
    json!({"model": "anthropic/claude-sonnet-4.5", "max_tokens": 64,
           "messages": [{"role": "user", "content": "hi there"}]})
}

/// A request as Anthropic's SDKs send it.
fn messages(daemon: &Daemon, path: &str, body: String) -> RequestBuilder {
    client()
        .post(format!("{}{path}", daemon.origin()))
        .header("content-type", "application/json")
        .header("anthropic-version", VERSION)
        .body(body)
}

async fn ask(daemon: &Daemon) -> reqwest::Response {
    let request = messages(daemon, "/v1/messages", question().to_string());
    request.send().await.unwrap()
}

/// Checks one of our errors in full; its message.
async fn error(answer: reqwest::Response, status: u16, kind: &str, code: &str) -> String {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["x-hermes-error"], code);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body: Value = answer.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap().to_owned();
    let expected = json!({"type": "error", "error": {"type": kind, "message": message}});
    assert_eq!(body, expected);
    message
}

fn field(seen: &Seen, name: &str) -> Vec<String> {
    let all = seen.headers.iter().filter(|(found, _)| found == name);
    all.map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn a_request_and_its_answer_pass_as_they_are_with_version_and_betas() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for (path, body) in [
        (
            "/v1/messages?beta=true",
            r#"{"model": "anthropic/claude", "max_tokens":64,  "messages": [{"role":"user","content":"hi there"}], "odd": 1.0e2}"#,
        ),
        (
            "/nous/v1/messages",
            r#"{"stream":true, "model":"anthropic/claude","max_tokens":64,"messages":[{"role":"user","content":"hi there"}]}"#,
        ),
        (
            "/v1/messages/count_tokens?beta=true",
            r#"{"model":"anthropic/claude","messages":[{"role":"user","content":"hi there"}]}"#,
        ),
    ] {
        let asked = |request: RequestBuilder| {
            request
                .header("anthropic-beta", "one,two")
                .header("anthropic-beta", "three")
                .header("x-api-key", "sk-ant-of-the-app")
                .header("anthropic-dangerous-direct-browser-access", "true")
                .header("x-app", "cli")
        };
        let through = asked(messages(&daemon, path, body.to_owned()));
        let through = through.send().await.unwrap();
        assert_eq!(through.status(), 200, "{path}");
        let kind = through.headers()["content-type"].clone();
        let through = through.bytes().await.unwrap();
        let seen = world.cloud.requests().pop().unwrap();
        assert_eq!(seen.target, path.trim_start_matches("/nous"));
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(field(&seen, "anthropic-version"), [VERSION]);
        assert_eq!(field(&seen, "anthropic-beta"), ["one,two", "three"]);
        for name in [
            "x-api-key",
            "x-app",
            "anthropic-dangerous-direct-browser-access",
        ] {
            assert!(field(&seen, name).is_empty(), "{name}");
        }

        let target = seen.target.trim_start_matches("/v1");
        let direct = client()
            .post(world.cloud.inference_base_url() + target)
            .bearer_auth(&world.login.access_token)
            .header("anthropic-version", VERSION)
            .body(body);
        let direct = direct.send().await.unwrap();
        assert_eq!(direct.headers()["content-type"], kind);
        assert_eq!(direct.bytes().await.unwrap(), through, "{path}");
    }
}

#[tokio::test]
async fn the_providers_own_refusal_passes() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let body = json!({"model": "Hermes-4-405B", "max_tokens": 1, "messages": []});
    let request = messages(&daemon, "/v1/messages", body.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(!answer.headers().contains_key("x-hermes-error"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["request_id"], "req_mock");
}

#[tokio::test]
async fn the_key_is_taken_where_anthropics_apps_put_it() {
    let world = World::new(Options::default()).await;
    let added = world.ctl(&["clients", "add", "claude"]);
    let key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    let daemon = world.daemon_with(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n",
        &[],
    );
    let said = error(
        ask(&daemon).await,
        401,
        "authentication_error",
        "invalid_client_key",
    );
    assert!(said.await.contains("hermesctl clients add"));
    let body = question().to_string();
    for (name, value) in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
    ] {
        let request = messages(&daemon, "/v1/messages", body.clone()).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 200, "{name}");
    }
    for seen in world.cloud.requests() {
        assert!(field(&seen, "x-api-key").is_empty());
        assert!(!seen.headers.iter().any(|(_, value)| value.contains(&key)));
    }
}

#[tokio::test]
async fn our_errors_have_anthropics_form_there_and_openais_elsewhere() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.xai]\n", &[]);
    let request = client().get(daemon.url("/messages")).send();
    let answer = request.await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    error(answer, 405, "invalid_request_error", "method_not_allowed").await;

    let request = messages(&daemon, "/xai/v1/messages", question().to_string());
    let answer = request.send().await.unwrap();
    let said = error(answer, 404, "not_found_error", "path_not_allowed").await;
    let way_out =
        "Set the app's base URL to one that ends in /nous: the provider nous serves /messages";
    assert!(said.contains(way_out), "{said}");

    let request = messages(&daemon, "/v1/messages", question().to_string());
    let answer = request.header("host", "evil.example").send().await.unwrap();
    error(answer, 403, "permission_error", "host_not_allowed").await;

    world.cloud.break_inference(Fault::CloseBeforeHead);
    error(ask(&daemon).await, 502, "api_error", "upstream_unreachable").await;
    world.cloud.heal();

    let request = messages(&daemon, "/v1/no/messages", question().to_string());
    let answer = request.send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "path_not_allowed");
}

#[tokio::test]
async fn a_login_that_is_needed_is_an_authentication_error() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let answer = ask(&daemon).await;
    assert_eq!(answer.headers()["x-should-retry"], "false");
    let said = error(answer, 401, "authentication_error", "upstream_auth_failed").await;
    assert!(said.contains("hermesctl auth login nous"), "{said}");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_event_that_anthropics_sdks_know() {
    let world = World::new(Options::default()).await;
    let start = "event: message_start\ndata: {\"type\":\"message_start\"}\n\n";
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let script = format!("{head}{:x}\r\n{start}\r\n", start.len());
    let raw = world
        .cloud
        .raw(Script::new(script, RawEnd::Fin), false)
        .await;
    let key = world.home.path().join("key");
    std::fs::write(&key, "a-key").unwrap();
    let config = format!(
        "default_provider = \"raw\"\n[providers.raw]\ntype = \"static\"\nbase_url = {:?}\n\
         api_key_file = {:?}\nextra_paths = [\"/messages\"]\n",
        raw.base_url(),
        key.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    let mut answer = ask(&daemon).await;
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => text += &String::from_utf8_lossy(&piece),
            end => break end,
        }
    };
    assert!(end.is_err(), "the cut looks like an end: {text}");
    let event = text.strip_prefix(start).unwrap();
    let data = event.strip_prefix("event: error\ndata: ").unwrap();
    let data: Value = serde_json::from_str(data.trim_end()).unwrap();
    assert_eq!(data["type"], "error");
    assert_eq!(data["error"]["type"], "api_error");
    assert!(data["error"].get("code").is_none(), "{data}");
}

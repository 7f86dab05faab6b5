//! An app that speaks Responses on a provider that serves only Chat Completions.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use mock_cloud::{Cut, Fault, Options, Steering};
use reqwest::Response;
use serde_json::{Value, json};
use support::{Daemon, World, client};

const ON: &str = "[providers.nous]\ntranslate = true\n";

async fn ask(daemon: &Daemon, body: &Value) -> Response {
    let request = client().post(daemon.url("/responses")).json(body);
    request.send().await.unwrap()
}

fn request(stream: bool) -> Value {
    json!({"model": "Hermes-4-405B", "input": "hello", "instructions": "Be brief.", "stream": stream})
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_answered_whole_or_as_a_stream() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(ON, &[]);
    let whole = ask(&daemon, &request(false)).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["x-hermes-translated"], "responses-to-chat");
    let whole: Value = whole.json().await.unwrap();
    assert_eq!(
        (&whole["object"], &whole["status"]),
        (&json!("response"), &json!("completed"))
    );
    let words = &whole["output"][0]["content"][0]["text"];
    assert!(words.as_str().unwrap().contains("hello"), "{whole:#}");
    let seen = world.cloud.requests().pop().unwrap();
    assert_eq!(seen.target, "/v1/chat/completions");

    for omit_done in [false, true] {
        let steering = Steering {
            omit_done,
            ..Steering::default()
        };
        world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
        let stream = ask(&daemon, &request(true)).await;
        assert_eq!(stream.headers()["x-hermes-translated"], "responses-to-chat");
        let text = stream.text().await.unwrap();
        let last = text.trim_end().lines().last().unwrap();
        let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(last["type"], "response.completed", "{text}");
        assert_eq!(&last["response"]["output"][0]["content"][0]["text"], words);
        assert!(text.starts_with("event: response.created\n"), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_fails_and_an_unfinished_one_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(ON, &[]);
    for steering in [
        Steering {
            cut_after_bytes: Some(400),
            cut: Cut::Rst,
            ..Steering::default()
        },
        Steering {
            omit_done: true,
            omit_finish: true,
            ..Steering::default()
        },
    ] {
        world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
        let mut stream = ask(&daemon, &request(true)).await;
        assert_eq!(stream.status(), 200);
        let mut text = Vec::new();
        let is_whole = loop {
            match stream.chunk().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let text = String::from_utf8(text).unwrap();
        // It has failed, and that is its end: Codex CLI reads why in a stream that ends in order, alone.
        assert!(is_whole, "{text}");
        assert!(!text.contains("response.completed"), "{text}");
        let told: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect();
        let [.., error, failed] = told.as_slice() else {
            panic!("{text}")
        };
        let code = json!("upstream_unreachable");
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &code));
        assert_eq!(failed["type"], "response.failed");
        assert_eq!(failed["response"]["status"], "failed");
        assert_eq!(failed["response"]["error"]["code"], code);
        let message = &failed["response"]["error"]["message"];
        assert_eq!(message, "hermes-proxyd: the provider cut off its answer");
        assert_eq!(&error["message"], message);
        let last = told.len() - 1;
        assert_eq!(error["sequence_number"], last - 1);
        assert_eq!(failed["sequence_number"], last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_chats_lack_is_refused_and_by_default_nothing_is_translated() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(ON, &[]);
    let mut body = request(false);
    body["previous_response_id"] = json!("resp_1");
    let refused = ask(&daemon, &body).await;
    support::error(refused, 400, "not_translatable").await;
    drop(daemon);
    let daemon = world.daemon();
    let message =
        support::error(ask(&daemon, &request(false)).await, 404, "path_not_allowed").await;
    assert!(message.contains("`translate = true`"), "{message}");
    assert!(world.cloud.requests().is_empty());
}

//! The beginnings and ends of translated answers: the first words at once, each stop reason,
//! errors, and the limits of an answer.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use mock_cloud::{Canned, Fault, Options, Steering};
use reqwest::Response;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, client};
use tokio::time::timeout;

async fn start() -> (World, Daemon) {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    (world, daemon)
}

async fn ask(daemon: &Daemon, stream: bool) -> Response {
    let body = json!({"model": "Hermes-4-405B", "input": "hello", "stream": stream});
    let request = client().post(daemon.url("/responses")).json(&body);
    request.send().await.unwrap()
}

/// An answer of the provider as it is.
fn answer(kind: &str, body: impl Into<String>) -> Fault {
    let canned = Canned::status(200).header("content-type", kind);
    Fault::Answer(canned.body(body.into()))
}

fn chunk(delta: &Value, reason: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
    let chunk = json!({"id": "c", "model": "m", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

/// The data of all events.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_words_reach_the_app_while_the_provider_says_nothing_more() {
    let (world, daemon) = start().await;
    let role = chunk(&json!({"role": "assistant", "content": ""}), &Value::Null);
    let first = role + &chunk(&json!({"content": "first"}), &Value::Null);
    let whole = first.clone() + &chunk(&json!({"content": " second"}), &Value::Null);
    let steering = Steering {
        body: Some(json!(whole)),
        hang_after_bytes: Some(first.len() as u64),
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
    let mut stream = ask(&daemon, true).await;
    assert_eq!(stream.status(), 200);
    let mut text = String::new();
    while !text.contains("\"delta\":\"first\"") || !text.ends_with("\n\n") {
        let piece = timeout(PATIENCE, stream.chunk()).await;
        let piece = piece.unwrap_or_else(|_| panic!("it is held back: {text}"));
        text.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
    }
    let nothing = timeout(Duration::from_millis(20), stream.chunk()).await;
    assert!(nothing.is_err(), "{nothing:?} behind {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_to_stop_has_its_status() {
    let (world, daemon) = start().await;
    for (reason, status, why) in [
        ("stop", "completed", Value::Null),
        ("tool_calls", "completed", Value::Null),
        ("of_tomorrow", "completed", Value::Null),
        (
            "length",
            "incomplete",
            json!({"reason": "max_output_tokens"}),
        ),
        (
            "content_filter",
            "incomplete",
            json!({"reason": "content_filter"}),
        ),
    ] {
        let message = json!({"role": "assistant", "content": "words"});
        let choice = json!({"index": 0, "message": message, "finish_reason": reason});
        let whole = json!({"id": "c", "model": "m", "choices": [choice]});
        let whole = answer("application/json", whole.to_string());
        let stream = chunk(&message, &Value::Null) + &chunk(&json!({}), &json!(reason));
        let stream = answer("text/event-stream", stream + "data: [DONE]\n\n");
        world.cloud.fail_next(1, &whole);
        world.cloud.fail_next(1, &stream);
        let whole: Value = ask(&daemon, false).await.json().await.unwrap();
        let text = ask(&daemon, true).await.text().await.unwrap();
        let last = events(&text).pop().unwrap();
        assert_eq!(last["type"], format!("response.{status}"), "{text}");
        for response in [&whole, &last["response"]] {
            let told = (&response["status"], &response["incomplete_details"]);
            assert_eq!(told, (&json!(status), &why), "{reason}");
            let words = &response["output"][0]["content"][0]["text"];
            assert_eq!(words, "words", "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_or_behind_the_first_words_is_the_apps_and_the_end() {
    let (world, daemon) = start().await;
    let words = chunk(&json!({"content": "words"}), &Value::Null);
    let error = json!({"error": {"message": "Overloaded", "code": "server_is_overloaded"}});
    for before in ["", &words] {
        for end in ["", &*words, "data: [DONE]\n\n"] {
            let stream = format!("{before}data: {error}\n\n{end}");
            let fault = answer("text/event-stream", stream);
            world.cloud.fail_next(2, &fault);
            let text = ask(&daemon, true).await.text().await.unwrap();
            let told = events(&text);
            let [.., error, failed] = told.as_slice() else {
                panic!("{text}")
            };
            assert_eq!(
                (&error["type"], &error["message"], &error["code"]),
                (
                    &json!("error"),
                    &json!("Overloaded"),
                    &json!("server_is_overloaded")
                )
            );
            assert_eq!(failed["response"]["status"], "failed", "{text}");
            assert_eq!(text.contains("words"), !before.is_empty(), "{text}");
            assert!(!text.contains("completed"), "{text}");
            // A whole answer that is made of the same stream is an error alone.
            let whole = ask(&daemon, false).await;
            assert_eq!(whole.status(), 502);
            let whole: Value = whole.json().await.unwrap();
            assert_eq!(whole["error"]["message"], "Overloaded", "{whole}");
        }
    }
    // A provider's error with its status keeps both.
    for status in [400, 429, 500, 503] {
        let refusal = Canned::json(status, &error).header("retry-after", "7");
        world.cloud.fail_next(2, &Fault::Answer(refusal));
        for stream in [false, true] {
            let refused = ask(&daemon, stream).await;
            assert_eq!(refused.status(), status);
            assert_eq!(refused.headers()["retry-after"], "7");
            let refused: Value = refused.json().await.unwrap();
            assert_eq!(refused["error"]["code"], "server_is_overloaded");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_more_than_one_may_hold_ends_with_an_error() {
    let (world, daemon) = start().await;
    let call = |at: usize| {
        let call = json!({"index": at, "id": format!("c{at}"), "function": {"name": "f", "arguments": ""}});
        chunk(&json!({"tool_calls": [call]}), &Value::Null)
    };
    let calls: String = (0..=1024).map(call).collect();
    let stream = calls + &chunk(&json!({}), &json!("tool_calls")) + "data: [DONE]\n\n";
    world
        .cloud
        .fail_next(2, &answer("text/event-stream", stream));
    let mut stream = ask(&daemon, true).await;
    let (mut text, mut is_whole) = (Vec::new(), false);
    while let Ok(piece) = stream.chunk().await {
        let Some(piece) = piece else {
            is_whole = true;
            break;
        };
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(is_whole && !text.contains("response.completed"));
    let last = events(&text).pop().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "answer_too_large");
    support::error(ask(&daemon, false).await, 502, "answer_too_large").await;
}

/// An event of 300 KiB goes over on another thread, in its place among the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_event_goes_over_in_its_place() {
    let (world, daemon) = start().await;
    let long = "long ".repeat(60 * 1024);
    let say = |text: &str| chunk(&json!({"content": text}), &Value::Null);
    let stream = say("a") + &say(&long) + &say("b") + &chunk(&json!({}), &json!("stop"));
    for end in ["data: [DONE]\n\n", ""] {
        let stream = stream.clone() + end;
        world
            .cloud
            .fail_next(1, &answer("text/event-stream", stream));
        let text = ask(&daemon, true).await.text().await.unwrap();
        let told = events(&text);
        let deltas: Vec<_> = told
            .iter()
            .filter_map(|event| event["delta"].as_str())
            .collect();
        assert!(deltas == ["a", &*long, "b"], "{} deltas", deltas.len());
        let last = told.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        let said = last["response"]["output"][0]["content"][0]["text"].as_str();
        assert!(said == Some(&format!("a{long}b")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_called_something_else_is_known_by_its_beginning() {
    let (world, daemon) = start().await;
    let stream = chunk(&json!({"content": "words"}), &json!("stop")) + "data: [DONE]\n\n";
    for kind in ["application/json", "text/plain", "application/octet-stream"] {
        world.cloud.fail_next(2, &answer(kind, stream.clone()));
        let streamed = ask(&daemon, true).await;
        assert_eq!(streamed.headers()["content-type"], "text/event-stream");
        let text = streamed.text().await.unwrap();
        let last = events(&text).pop().unwrap();
        assert_eq!(last["type"], "response.completed", "{text}");
        let whole: Value = ask(&daemon, false).await.json().await.unwrap();
        let words = &whole["output"][0]["content"][0]["text"];
        assert_eq!(words, "words", "{whole}");
    }
    let page = answer("text/html", "<!doctype html><title>Welcome</title>");
    world.cloud.fail_next(1, &page);
    support::error(ask(&daemon, true).await, 502, "upstream_unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_holds_a_member_twice_is_refused_and_half_an_emoji_goes_on() {
    let (world, daemon) = start().await;
    let post = async |body: &'static str| {
        let request = client().post(daemon.url("/responses")).body(body);
        let request = request.header("content-type", "application/json");
        request.send().await.unwrap()
    };
    let refused = post(r#"{"model":"m","input":[{"role":"user","role":"user"}]}"#).await;
    let said = support::error(refused, 400, "not_translatable").await;
    assert!(said.contains("`input[0].role` appears twice"), "{said}");
    assert!(world.cloud.requests().is_empty());
    let half = post(r#"{"model":"m","input":"half \ud83d","temperature":1}"#).await;
    assert_eq!(half.status(), 200);
    let seen = world.cloud.requests().pop().unwrap();
    let sent = String::from_utf8(seen.body).unwrap();
    assert!(sent.contains(r#""content":"half \ud83d""#), "{sent}");
}

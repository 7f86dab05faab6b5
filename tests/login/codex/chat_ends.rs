//! The beginnings and ends of chats that are translated to Responses: the first words at once, each stop reason,
//! errors, and the backend's quota reports in between.

use std::time::Duration;

use mock_cloud::{Canned, Fault, Steering};
use reqwest::Response;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE};
use tokio::time::timeout;

use super::World;

async fn ask(world: &World, daemon: &Daemon, stream: bool) -> Response {
    let body = json!({"model": "gpt-6-codex", "stream": stream,
        "messages": [{"role": "user", "content": "hello"}]});
    let request = world.post(daemon, "/chat/completions").json(&body);
    request.send().await.unwrap()
}

fn stream(events: &[Value]) -> String {
    let events = events.iter().map(|event| {
        let kind = event["type"].as_str().unwrap();
        format!("event: {kind}\ndata: {event}\n\n")
    });
    events.collect()
}

fn answer(kind: &str, body: String) -> Fault {
    let canned = Canned::status(200).header("content-type", kind);
    Fault::Answer(canned.body(body))
}

fn begun() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-6-codex", "created_at": 17}})
}

fn says(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text})
}

fn done(text: &str) -> Value {
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let item = json!({"type": "message", "role": "assistant", "content": [part]});
    json!({"type": "response.output_item.done", "output_index": 0, "item": item})
}

fn ended(kind: &str, more: &Value) -> Value {
    let mut response = json!({"id": "resp_1", "status": kind, "output": []});
    let members = response.as_object_mut().unwrap();
    members.extend(more.as_object().cloned().unwrap_or_default());
    json!({"type": format!("response.{kind}"), "response": response})
}

fn quota(percent: u64) -> Value {
    json!({"type": "codex.rate_limits", "plan_type": "plus", "rate_limits": {
        "primary": {"used_percent": percent, "window_minutes": 300, "reset_at": 4_000_000_000_u64}}})
}

/// The data of all chunks, except the end mark.
fn chunks(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = lines.filter(|data| *data != "[DONE]");
    chunks
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_words_reach_the_app_while_the_backend_says_nothing_more() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let first = stream(&[begun(), quota(3), says("first")]);
    let whole = first.clone() + &stream(&[says(" second")]);
    let steering = Steering {
        body: Some(json!(whole)),
        hang_after_bytes: Some(first.len() as u64),
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
    let mut answer = ask(&world, &daemon, true).await;
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    while !text.contains("\"content\":\"first\"") || !text.ends_with("\n\n") {
        let piece = timeout(PATIENCE, answer.chunk()).await;
        let piece = piece.unwrap_or_else(|_| panic!("it is held back: {text}"));
        text.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
    }
    let nothing = timeout(Duration::from_millis(20), answer.chunk()).await;
    assert!(nothing.is_err(), "{nothing:?} behind {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_a_response_has_its_reason_to_stop() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let call = json!({"type": "response.output_item.done", "output_index": 1, "item":
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}});
    let why = |reason: &str| json!({"incomplete_details": {"reason": reason}});
    for (end, more, reason) in [
        (ended("completed", &json!({})), None, "stop"),
        (ended("completed", &json!({})), Some(call), "tool_calls"),
        (
            ended("incomplete", &why("max_output_tokens")),
            None,
            "length",
        ),
        (
            ended("incomplete", &why("content_filter")),
            None,
            "content_filter",
        ),
        (ended("incomplete", &why("of_tomorrow")), None, "length"),
    ] {
        let mut events = vec![begun(), says("words"), done("words")];
        events.extend(more);
        events.push(end);
        world
            .cloud
            .fail_next(2, &answer("text/event-stream", stream(&events)));
        let whole: Value = ask(&world, &daemon, false).await.json().await.unwrap();
        let choice = &whole["choices"][0];
        let told = (&choice["finish_reason"], &choice["message"]["content"]);
        assert_eq!(told, (&json!(reason), &json!("words")));
        let text = ask(&world, &daemon, true).await.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let last = chunks(&text).pop().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], reason, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_quotas_before_and_behind_the_first_words_are_told() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let used = || daemon.status()["providers"][0]["quota"]["windows"][0]["used_percent"].clone();
    // The question at the start is answered by then.
    world.until(&daemon, |_| !used().is_null()).await;
    let overloaded = json!({"error": {"code": "server_is_overloaded", "message": "Overloaded"}});
    let limited = json!({"type": "error", "status_code": 429, "error": {
        "type": "rate_limit_exceeded", "message": "Slow down", "resets_in_seconds": 10}});
    let mut percent = 40;
    for (error, code, status) in [
        (ended("failed", &overloaded), "server_is_overloaded", 503),
        (limited, "rate_limit_exceeded", 429),
    ] {
        for (before, behind) in [
            (vec![], vec![]),
            (vec![says("words")], vec![]),
            (vec![], vec![says("words"), ended("completed", &json!({}))]),
        ] {
            let has_words = !before.is_empty();
            for streams in [true, false] {
                percent += 1;
                let mut events = vec![begun()];
                events.extend(before.iter().cloned());
                events.extend([quota(percent), error.clone()]);
                events.extend(behind.iter().cloned());
                world
                    .cloud
                    .fail_next(1, &answer("text/event-stream", stream(&events)));
                let told = ask(&world, &daemon, streams).await;
                if streams {
                    assert_eq!(told.status(), 200);
                    let text = told.text().await.unwrap();
                    let last = chunks(&text).pop().unwrap();
                    assert_eq!(last["error"]["code"], code, "{text}");
                    assert_eq!(text.contains("words"), has_words, "{text}");
                    assert!(!text.contains("[DONE]"), "{text}");
                } else {
                    assert_eq!(told.status(), status);
                    let told: Value = told.json().await.unwrap();
                    assert_eq!(told["error"]["code"], code, "{told}");
                }
                world.until(&daemon, |_| used() == json!(percent)).await;
            }
        }
    }
    // Nothing of it reaches a chat whose answer is whole.
    let events = [begun(), quota(70), says("Hi"), quota(71), done("Hi")];
    let events = [&events[..], &[ended("completed", &json!({}))]].concat();
    world
        .cloud
        .fail_next(2, &answer("text/event-stream", stream(&events)));
    for streams in [true, false] {
        let text = ask(&world, &daemon, streams).await.text().await.unwrap();
        assert!(
            text.contains("Hi") && !text.contains("rate_limits"),
            "{text}"
        );
        world.until(&daemon, |_| used() == json!(71)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_more_calls_than_any_ends_with_an_error() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let call = |at: usize| {
        let item = json!({"type": "function_call", "call_id": format!("c{at}"), "name": "f", "arguments": "{}"});
        json!({"type": "response.output_item.done", "output_index": at, "item": item})
    };
    let mut events: Vec<_> = (0..=1024).map(call).collect();
    events.push(ended("completed", &json!({})));
    world
        .cloud
        .fail_next(2, &answer("text/event-stream", stream(&events)));
    let whole = ask(&world, &daemon, false).await;
    support::error(whole, 502, "answer_too_large").await;
    let mut streamed = ask(&world, &daemon, true).await;
    let (mut text, mut is_whole) = (Vec::new(), false);
    while let Ok(piece) = streamed.chunk().await {
        let Some(piece) = piece else {
            is_whole = true;
            break;
        };
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(!is_whole && !text.contains("[DONE]"));
    let last = chunks(&text).pop().unwrap();
    assert_eq!(last["error"]["code"], "answer_too_large");
}

/// The stream itself passed as the answer, with 200, where its head did not call it a stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_called_something_else_is_known_by_its_beginning() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let events = stream(&[
        begun(),
        says("Hi"),
        done("Hi"),
        ended("completed", &json!({})),
    ]);
    for kind in ["application/json", "text/plain"] {
        world.cloud.fail_next(3, &answer(kind, events.clone()));
        let native = json!({"model": "gpt-6-codex", "input": "hello"});
        let native = world.post(&daemon, "/responses").json(&native);
        let native = native.send().await.unwrap();
        assert_eq!(native.headers()["content-type"], "application/json");
        let native: Value = native.json().await.unwrap();
        assert_eq!(native["output"][0]["content"][0]["text"], "Hi", "{native}");
        let whole: Value = ask(&world, &daemon, false).await.json().await.unwrap();
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "Hi", "{whole}");
        let streamed = ask(&world, &daemon, true).await;
        assert_eq!(streamed.headers()["content-type"], "text/event-stream");
        let text = streamed.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    // An answer that is not a stream passes unchanged.
    let page = "<!doctype html><title>Welcome</title>";
    world
        .cloud
        .fail_next(1, &answer("text/html", page.to_owned()));
    let body = json!({"model": "gpt-6-codex", "input": "hello"});
    let native = world.post(&daemon, "/responses").json(&body).send().await;
    let native = native.unwrap();
    assert_eq!(native.headers()["content-type"], "text/html");
    assert_eq!(native.text().await.unwrap(), page);
}

//! An app that speaks Chat Completions on a backend that serves only Responses.

use mock_cloud::{Canned, Cut, Fault, Options, Steering};
use reqwest::Response;
use serde_json::{Value, json};
use support::Daemon;

use super::{ACCOUNT, World};

async fn ask(world: &World, daemon: &Daemon, more: &Value) -> Response {
    let mut body = json!({"model": "gpt-6-codex", "temperature": 0.2, "max_tokens": 9, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]});
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    let request = world.post(daemon, "/chat/completions").json(&body);
    request.send().await.unwrap()
}

fn translated(answer: &Response) -> &str {
    answer.headers()["x-hermes-translated"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_gets_a_whole_answer_or_a_stream() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let whole = ask(&world, &daemon, &json!({})).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(translated(&whole), "chat-to-responses");
    assert_eq!(whole.headers()["content-type"], "application/json");
    assert!(whole.headers().contains_key("x-codex-primary-used-percent"));
    let whole: Value = whole.json().await.unwrap();
    let words = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(words.contains("hello"), "{whole:#}");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert!(whole["usage"]["prompt_tokens"].is_u64(), "{whole:#}");
    let sent: Value = serde_json::from_slice(&world.requests().pop().unwrap().body).unwrap();
    assert_eq!(
        sent,
        json!({"model": "gpt-6-codex", "stream": true, "store": false, "instructions": "", "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}]})
    );

    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let stream = ask(&world, &daemon, &more).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(translated(&stream), "chat-to-responses");
    assert!(!stream.headers().contains_key("content-length"));
    let text = stream.text().await.unwrap();
    let chunks: Vec<_> = text.split("\n\n").collect();
    let (["data: [DONE]", ""], chunks) = chunks
        .split_last_chunk()
        .map(|(most, last)| (*last, most))
        .unwrap()
    else {
        panic!("{text}")
    };
    let chunks = chunks
        .iter()
        .map(|chunk| chunk.strip_prefix("data: ").unwrap());
    let chunks: Vec<Value> = chunks
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    let said = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(said.collect::<String>(), words);
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_carried_over_is_refused_and_nothing_is_sent() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    for (field, more) in [
        ("n", json!({"n": 2})),
        ("stop", json!({"stop": ["x"], "stream": true})),
        (
            "messages[0].content[0].type",
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        ),
    ] {
        let answer = ask(&world, &daemon, &more).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["x-hermes-error"], "not_translatable");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["param"], field);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("`{field}`")), "{message}");
    }
    let request = world.post(&daemon, "/chat/completions");
    let packed = request.header("content-encoding", "gzip").body("packed");
    support::error(packed.send().await.unwrap(), 415, "unsupported_media_type").await;
    let empty = world
        .post(&daemon, "/chat/completions")
        .send()
        .await
        .unwrap();
    support::error(empty, 400, "bad_request").await;
    assert!(world.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backends_errors_are_the_apps() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let failed = json!({"type": "response.failed", "response": {"error": {
        "code": "server_is_overloaded", "message": "The provider's words."}}});
    let steering = Steering {
        body: Some(json!(format!("event: x\ndata: {failed}\n\n"))),
        ..Steering::default()
    };
    world.cloud.fail_next(2, &Fault::Steer(Box::new(steering)));
    let whole = ask(&world, &daemon, &json!({})).await;
    assert_eq!(whole.status(), 503);
    assert_eq!(translated(&whole), "chat-to-responses");
    let body: Value = whole.json().await.unwrap();
    assert_eq!(body["error"]["code"], "server_is_overloaded");
    let stream = ask(&world, &daemon, &json!({"stream": true})).await;
    assert_eq!(stream.status(), 200);
    let text = stream.text().await.unwrap();
    assert!(
        text.starts_with("data: {\"error\":{\"message\":\"The provider's words.\""),
        "{text}"
    );
    assert!(!text.contains("[DONE]"), "{text}");

    let refusal = Canned::json(422, &json!({"detail": "no"}));
    world.cloud.fail_next(1, &Fault::Answer(refusal));
    let refused = ask(&world, &daemon, &json!({"stream": true})).await;
    assert_eq!(refused.status(), 422);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["message"], "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_cut_for_the_app_too() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let native = json!({"model": "gpt-6-codex", "input": "hello", "stream": true});
    let native = world.post(&daemon, "/responses").json(&native);
    let length = native.send().await.unwrap().bytes().await.unwrap().len() as u64;
    for (at, cut) in [
        (length / 2, Cut::Fin),
        (length / 2, Cut::Rst),
        (length - 20, Cut::Fin),
    ] {
        let steering = Steering {
            cut_after_bytes: Some(at),
            cut,
            ..Steering::default()
        };
        world.cloud.fail_next(2, &Fault::Steer(Box::new(steering)));
        let whole = ask(&world, &daemon, &json!({})).await;
        support::error(whole, 502, "upstream_unreachable").await;
        let mut stream = ask(&world, &daemon, &json!({"stream": true})).await;
        assert_eq!(stream.status(), 200);
        let mut text = Vec::new();
        let end = loop {
            match stream.chunk().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let text = String::from_utf8(text).unwrap();
        assert!(end.is_err(), "it looks whole: {text}");
        assert!(
            text.contains("\"choices\"") && !text.contains("[DONE]"),
            "{text}"
        );
        assert!(
            text.ends_with("}\n\n") && text.contains("upstream_unreachable"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_providers_says_what_is_translated() {
    let (world, _) = World::with_a_login().await;
    let _daemon = world.daemon();
    let shown = support::ctl(world.home.path(), &["proxy", "providers"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("POST /chat/completions, translated to /responses\n"),
        "{shown}"
    );
    assert!(shown.contains("POST /responses\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_translate_false_there_is_no_chat() {
    let options = Options::default().codex(ACCOUNT, Some("eu"));
    let world = World::of(options, "translate = false\n").await;
    world.log_in();
    let daemon = world.daemon();
    let answer = ask(&world, &daemon, &json!({})).await;
    let message = support::error(answer, 404, "path_not_allowed").await;
    assert!(message.contains("translate = true"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_what_is_translated_is_counted_in_the_providers_words() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let whole: Value = ask(&world, &daemon, &json!({})).await.json().await.unwrap();
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    for more in [json!({"stream": true}), options] {
        let stream = ask(&world, &daemon, &more).await;
        assert!(stream.text().await.unwrap().contains("[DONE]"));
    }
    let told = support::ctl(&daemon.home, &["usage", "--by", "model", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let row = &told["rows"][0];
    assert_eq!(row["name"], "gpt-6-codex", "{told:#}");
    let of_one = |name: &str| row[name].as_u64().unwrap() / 3;
    let usage = &whole["usage"];
    let names = ["prompt_tokens", "completion_tokens", "total_tokens"];
    assert_eq!(
        names.map(of_one),
        names.map(|name| usage[name].as_u64().unwrap())
    );
    assert!(of_one("total_tokens") > 0);
    let counts = ["requests", "failed", "without_tokens"].map(|name| &row[name]);
    assert_eq!(counts, [3, 0, 0]);
}

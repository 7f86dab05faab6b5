//! The changes of a request's body and of its answer.

use std::collections::BTreeMap;

use mock_cloud::{Cut, Fault, OneOrMany, Steering};
use serde_json::{Value, json};
use support::client;

use super::{ACCOUNT, World};
use mock_cloud::Options;

fn steered(steering: Steering) -> Fault {
    Fault::Steer(Box::new(steering))
}

/// A stream with this event, and an end.
fn event(event: &Value) -> Steering {
    let text = format!("event: x\ndata: {event}\n\n");
    Steering {
        body: Some(json!(text)),
        ..Steering::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backend_demands_is_added_and_what_it_refuses_is_left_out() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let body = r#"{"model":"gpt-6-codex", "input":"hello","temperature":0.2,"max_output_tokens":9,
        "metadata":{"a":1},"service_tier":"flex","store":true,"prompt_cache_key":"k", "x":1.50e2}"#;
    let request = world.post(&daemon, "/responses");
    let request = request.header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let seen = world.requests().pop().unwrap();
    let sent = String::from_utf8(seen.body.clone()).unwrap();
    assert_eq!(
        sent,
        "{\"model\":\"gpt-6-codex\", \"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":\
         [{\"type\":\"input_text\",\"text\":\"hello\"}]}],\"store\":false,\"prompt_cache_key\":\"k\", \
         \"x\":1.50e2,\"stream\":true,\"instructions\":\"\"}"
    );
    assert_eq!(seen.header("content-length"), [sent.len().to_string()]);
    assert_eq!(seen.header("accept"), ["text/event-stream"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_that_the_backend_refuses_is_left_out() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    for (name, value) in [
        ("max_output_tokens", json!(1)),
        ("max_tokens", json!(1)),
        ("max_completion_tokens", json!(1)),
        ("temperature", json!(1)),
        ("top_p", json!(1)),
        ("user", json!("u")),
        ("metadata", json!({})),
        ("truncation", json!("auto")),
        ("previous_response_id", Value::Null),
        ("stream_options", json!({})),
        ("safety_identifier", json!("s")),
        ("prompt_cache_retention", json!("24h")),
        ("service_tier", json!("auto")),
    ] {
        for path in ["/responses", "/responses/compact"] {
            let mut body = json!({"model": "m", "instructions": null, "stream": false,
                "input": [{"role": "system", "content": "Be brief."},
                          {"role": "user", "content": "hello"}]});
            body[name] = value.clone();
            let answer = world.post(&daemon, path).json(&body).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, 200, "{path} {name}: {text}");
        }
    }
    for path in ["/responses", "/responses/compact"] {
        let body = json!({"model": "m", "input": "x", "previous_response_id": "resp_1"});
        let answer = world.post(&daemon, path).json(&body).send().await.unwrap();
        let said = support::error(answer, 400, "not_translatable").await;
        assert!(said.contains("`previous_response_id`"), "{said}");
    }
    let body = json!({"model": "m", "input": "x", "service_tier": "priority"});
    let answer = world.post(&daemon, "/responses").json(&body).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let seen = world.requests().pop().unwrap();
    let sent: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(sent["service_tier"], "priority");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_as_it_comes_and_a_whole_answer_is_folded_from_it() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let body = |stream: Value| json!({"model": "m", "input": "hello", "stream": stream});
    let streamed = world.post(&daemon, "/responses").json(&body(json!(true)));
    let streamed = streamed.send().await.unwrap();
    let kind = streamed.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let text = streamed.text().await.unwrap();
    assert!(text.contains("response.output_text.delta") && text.contains("\"output\":[]"));
    for stream in [json!(false), json!(null)] {
        let whole = world.post(&daemon, "/responses").json(&body(stream));
        let whole = whole.send().await.unwrap();
        assert_eq!(whole.status(), 200);
        assert_eq!(whole.headers()["content-type"], "application/json");
        assert!(whole.headers().contains_key("x-codex-primary-used-percent"));
        let whole: Value = whole.json().await.unwrap();
        assert_eq!(whole["status"], "completed");
        let words = whole["output"][0]["content"][0]["text"].as_str().unwrap();
        assert!(words.contains("hello"), "{whole:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_stream_is_the_status_of_a_whole_answer_and_passes_in_a_stream() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    for (code, status) in [
        ("server_is_overloaded", 503),
        ("usage_limit_reached", 429),
        ("context_length_exceeded", 400),
        ("odd", 502),
    ] {
        let failed = json!({"type": "response.failed", "response": {"error": {
            "code": code, "message": "The provider's words."}}});
        world.cloud.fail_next(2, &steered(event(&failed)));
        let answer = world.ask(&daemon).await;
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (&body["error"]["code"], &body["error"]["message"]),
            (&json!(code), &json!("The provider's words."))
        );
        let body = json!({"model": "m", "input": "x", "stream": true});
        let answer = world.post(&daemon, "/responses").json(&body).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains(&failed.to_string()));
        let failing = daemon.status()["providers"][0]["failing"]["code"].clone();
        if code == "usage_limit_reached" {
            assert_eq!(failing, code);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_never_becomes_a_whole_answer() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let streamed = json!({"model": "m", "input": "hello", "stream": true});
    let whole = world.post(&daemon, "/responses").json(&streamed);
    let whole = whole.send().await.unwrap().bytes().await.unwrap();
    let length = whole.len() as u64;
    for (at, cut) in [
        (0, Cut::Fin),
        (1, Cut::Rst),
        (length / 2, Cut::Fin),
        (length / 2, Cut::Rst),
        (length - 20, Cut::Fin),
    ] {
        let steering = Steering {
            cut_after_bytes: Some(at),
            cut,
            ..Steering::default()
        };
        world.cloud.fail_next(1, &steered(steering));
        let answer = world.ask(&daemon).await;
        support::error(answer, 502, "upstream_unreachable").await;
    }
    // It ends in order, and its response does not.
    let half = json!({"type": "response.output_item.done", "item": {"type": "message"}});
    world.cloud.fail_next(1, &steered(event(&half)));
    support::error(world.ask(&daemon).await, 502, "upstream_unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_given_up_at_the_limit_of_memory() {
    let (world, _) = World::with_a_login().await;
    let limits = "[limits]\nreplay_total = \"256KiB\"\nreplay_body = \"1KiB\"\n";
    world.configure(limits);
    let daemon = world.daemon();
    let item = json!({"type": "response.output_item.done", "item": {"x": "y".repeat(900)}});
    let steering = Steering {
        endless: true,
        ..event(&item)
    };
    world.cloud.fail_next(1, &steered(steering));
    support::error(world.ask(&daemon).await, 502, "answer_too_large").await;
    // What it took is given back.
    assert_eq!(world.ask(&daemon).await.status(), 200);
    // So has a request's body its limit.
    let long = json!({"model": "m", "input": "z".repeat(400_000)});
    let answer = world.post(&daemon, "/responses").json(&long).send().await;
    support::error(answer.unwrap(), 413, "request_too_large").await;
    assert_eq!(world.ask(&daemon).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_to_be_whole_is_an_error_that_nobody_repeats() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    // One event, without end.
    let steering = Steering {
        body: Some(json!(format!("data: {}", "x".repeat(500_000)))),
        endless: true,
        ..Steering::default()
    };
    world.cloud.fail_next(1, &steered(steering));
    let answer = world.ask(&daemon).await;
    assert!(!answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["x-should-retry"], "false");
    support::error(answer, 502, "answer_too_large").await;
    assert_eq!(world.ask(&daemon).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_object_is_encoded_or_fails_passes_as_it_is() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let sent = |world: &World| world.requests().pop().unwrap().body;
    for body in ["[1]", "{\"a\":", ""] {
        let request = world.post(&daemon, "/responses");
        let request = request
            .header("content-type", "application/json")
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 400, "{body}");
        assert_eq!(sent(&world), body.as_bytes());
    }
    let request = world.post(&daemon, "/responses");
    let request = request.header("content-encoding", "zstd").body("packed");
    assert_eq!(request.send().await.unwrap().status(), 400);
    assert_eq!(sent(&world), b"packed");
    // A refusal is the provider's own.
    let refusal = mock_cloud::Canned::json(422, &json!({"detail": "no"}));
    world.cloud.fail_next(1, &Fault::Answer(refusal));
    let answer = world.ask(&daemon).await;
    assert_eq!(answer.status(), 422);
    assert_eq!(answer.text().await.unwrap(), "{\"detail\":\"no\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_translate_false_everything_passes_as_it_came() {
    let options = Options::default().codex(ACCOUNT, Some("eu"));
    let world = World::of(options, "translate = false\n").await;
    world.log_in();
    let daemon = world.daemon();
    let body = "{\"model\":\"m\", \"input\":\"hello\"}";
    let request = world.post(&daemon, "/responses");
    let request = request
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("Stream must be set"));
    assert_eq!(world.requests().pop().unwrap().body, body.as_bytes());
    let models = client().get(daemon.url("/models?client_version=1.0.0"));
    let models = models.bearer_auth(&world.key).send().await.unwrap();
    let models: Value = models.json().await.unwrap();
    assert_eq!(models["models"][0]["slug"], "gpt-6-codex-mini");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_is_openais_unless_the_client_speaks_the_backends_protocol() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let get = |query: &str| {
        let request = client().get(daemon.url(&format!("/models{query}")));
        request.bearer_auth(&world.key)
    };
    let list = get("").send().await.unwrap();
    assert_eq!(list.status(), 200);
    let length = list.headers()["content-length"].clone();
    let text = list.text().await.unwrap();
    assert_eq!(length.to_str().unwrap(), text.len().to_string());
    let list: Value = serde_json::from_str(&text).unwrap();
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "openai"});
    let shown = json!([model("gpt-6-codex"), model("gpt-6-codex-mini")]);
    assert_eq!(list, json!({"object": "list", "data": shown}));
    let target = world.requests().pop().unwrap().target;
    assert_eq!(target, "/backend-api/codex/models?client_version=0.169.0");
    get("?limit=3").send().await.unwrap();
    let target = world.requests().pop().unwrap().target;
    assert_eq!(
        target,
        "/backend-api/codex/models?limit=3&client_version=0.169.0"
    );

    let theirs = get("?client_version=9.9.9").send().await.unwrap();
    let theirs: Value = theirs.json().await.unwrap();
    assert_eq!(theirs["models"].as_array().unwrap().len(), 3);
    let head = client().head(daemon.url("/models")).bearer_auth(&world.key);
    let head = head.send().await.unwrap();
    assert_eq!(head.status(), 200);
    let one = get("/gpt-6-codex").send().await.unwrap();
    assert_eq!(one.json::<Value>().await.unwrap(), model("gpt-6-codex"));
    for path in ["/models", "/models/gpt-6-codex"] {
        let refused = client().get(daemon.url(path)).send().await.unwrap();
        support::error(refused, 401, "invalid_client_key").await;
    }
}

/// An app that leaves while its answer is folded takes its request along.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let hang = Steering {
        hang_after_bytes: Some(40),
        headers: BTreeMap::from([("x-mock".to_owned(), OneOrMany::One("1".to_owned()))]),
        ..Steering::default()
    };
    world.cloud.fail_next(1, &steered(hang));
    let body = json!({"model": "m", "input": "x"});
    let request = world.post(&daemon, "/responses").json(&body);
    let asking = request
        .timeout(std::time::Duration::from_millis(300))
        .send();
    assert!(asking.await.unwrap_err().is_timeout());
    let patience = support::PATIENCE;
    let left = |cloud: &mock_cloud::MockCloud| cloud.counts().in_flight == 0;
    world.cloud.wait_for(patience, left).await;
    assert_eq!(world.cloud.counts().cancelled, 1);
}

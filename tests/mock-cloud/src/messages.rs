//! Anthropic's Messages API, as Nous Portal serves it. It refuses what the real one refuses.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use crate::body::AnswerBody;
use crate::faults::Canned;
use crate::pattern;
use crate::portal::render;
use crate::shapes;
use crate::steering::Steering;

/// An answer; `None` where the path is not one of this API.
pub(crate) fn serve(
    head: &Parts,
    request: &Value,
    steering: &Steering,
) -> Option<Response<AnswerBody>> {
    let counts = match head.uri.path() {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return None,
    };
    if let Some((status, kind, why)) = refused(head, request, counts) {
        let error = json!({"type": kind, "message": why});
        let answer = json!({"type": "error", "error": error, "request_id": "req_mock"});
        return Some(render(Canned::json(status, &answer)));
    }
    Some(if counts {
        render(Canned::json(200, &json!({"input_tokens": 7})))
    } else if request["stream"] == true {
        let chunks = AnswerBody::chunks(events(request, steering));
        crate::inference::events(chunks.paced(Duration::ZERO, true))
    } else {
        let answer = message(
            request,
            &json!([{"type": "text", "text": reply(request)}]),
            true,
        );
        render(Canned::json(200, &answer).header("request-id", "req_mock"))
    })
}

/// Why it is refused.
fn refused(
    head: &Parts,
    request: &Value,
    counts: bool,
) -> Option<(u16, &'static str, &'static str)> {
    let invalid = |why| Some((400, "invalid_request_error", why));
    if !head.headers.contains_key("anthropic-version") {
        return invalid("anthropic-version: header is required");
    }
    let model = request["model"].as_str().unwrap_or_default();
    if !model.starts_with("anthropic/") {
        return Some((404, "not_found_error", "model: not one of Anthropic's"));
    }
    if !counts && request["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return invalid("max_tokens: Field required");
    }
    if counts && (request.get("max_tokens").is_some() || request.get("stream").is_some()) {
        return invalid("max_tokens, stream: Extra inputs are not permitted");
    }
    let Some(messages) = request["messages"].as_array() else {
        return invalid("messages: Field required");
    };
    let is_known = |message: &Value| message["role"] == "user" || message["role"] == "assistant";
    if messages.is_empty() || !messages.iter().all(is_known) {
        return invalid("messages: Input should be 'user' or 'assistant'");
    }
    None
}

fn reply(request: &Value) -> String {
    let messages = request["messages"].as_array();
    let users = messages.into_iter().flatten();
    let last = users.rev().find(|message| message["role"] == "user");
    let content = last.map_or(&Value::Null, |message| &message["content"]);
    // Claude Code puts reminders before what the user typed.
    let text = match content.as_array().and_then(|parts| parts.last()) {
        Some(part) => part["text"].as_str().unwrap_or_default().to_owned(),
        None => shapes::text_of(content),
    };
    pattern::reply_to(&text)
}

fn message(request: &Value, content: &Value, is_over: bool) -> Value {
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": request["model"],
        "content": content,
        "stop_reason": is_over.then_some("end_turn"), "stop_sequence": null,
        "usage": {"input_tokens": 7, "output_tokens": if is_over { 5 } else { 1 }},
    })
}

fn events(request: &Value, steering: &Steering) -> VecDeque<Bytes> {
    let reply = reply(request);
    let words: Vec<String> = match steering.events {
        None => reply.split_inclusive(' ').map(str::to_owned).collect(),
        Some(count) => (0..count).map(|index| format!("{index} ")).collect(),
    };
    let mut all = vec![
        json!({"type": "message_start", "message": message(request, &json!([]), false)}),
        json!({"type": "content_block_start", "index": 0,
               "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    all.extend(words.iter().map(|word| {
        json!({"type": "content_block_delta", "index": 0,
               "delta": {"type": "text_delta", "text": word}})
    }));
    all.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
               "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]);
    let event = |data: Value| {
        let kind = data["type"].as_str().unwrap_or_default();
        Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
    };
    all.into_iter().map(event).collect()
}

//! Answers that have OpenAI's form beyond a chat's text: structured output and the Responses API.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::pattern;

/// How deep a schema is followed, which may name itself.
const DEPTH: usize = 8;

/// The text of a message, whose content is a string or a list of parts.
pub(crate) fn text_of(content: &Value) -> String {
    match content.as_array() {
        Some(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}

/// The reply in the form that the request asks for (`response_format`, or `text.format`).
pub(crate) fn formatted(format: &Value, reply: String) -> String {
    // A chat's schema is one level deeper than a response's.
    let schema = format
        .pointer("/json_schema/schema")
        .unwrap_or(&format["schema"]);
    match format["type"].as_str() {
        Some("json_schema") => sample(schema, schema, &reply, DEPTH).to_string(),
        Some("json_object") => json!({"reply": reply}).to_string(),
        _ => reply,
    }
}

/// A value that fits a JSON schema; its texts are the reply.
fn sample(schema: &Value, root: &Value, reply: &str, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let inner = |schema: &Value| sample(schema, root, reply, depth - 1);
    if let Some(place) = schema["$ref"].as_str() {
        let target = root.pointer(place.trim_start_matches('#'));
        return target.map_or(Value::Null, inner);
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    if let Some(first) = choices.and_then(|choices| choices.get(0)) {
        return inner(first);
    }
    let kind = schema["type"]
        .as_str()
        .or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object();
            let fields = fields.into_iter().flatten();
            Value::Object(
                fields
                    .map(|(key, value)| (key.clone(), inner(value)))
                    .collect(),
            )
        }
        Some("array") => json!([inner(&schema["items"])]),
        Some("string") => json!(reply),
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}

/// The answer to `POST /responses`.
pub(crate) fn response(request: &Value) -> Value {
    response_with(request, "completed", &json!([output_item(request)]))
}

/// The same as a stream of events, the last of which holds `completed`; there is no `[DONE]`.
pub(crate) fn response_events(request: &Value, completed: &Value) -> VecDeque<Bytes> {
    let begun = response_with(request, "in_progress", &json!([]));
    let item = output_item(request);
    let part = item["content"][0].clone();
    let text = part["text"].as_str().unwrap_or_default();
    let mut begun_item = item.clone();
    begun_item["status"] = json!("in_progress");
    begun_item["content"] = json!([]);
    let mut begun_part = part.clone();
    begun_part["text"] = json!("");

    let mut events = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
        ("response.output_item.added", json!({"item": begun_item})),
        ("response.content_part.added", json!({"part": begun_part})),
    ];
    let words = text.split_inclusive(' ');
    events.extend(words.map(|word| ("response.output_text.delta", json!({"delta": word}))));
    events.extend([
        ("response.output_text.done", json!({"text": text})),
        ("response.content_part.done", json!({"part": part})),
        ("response.output_item.done", json!({"item": item})),
        ("response.completed", json!({"response": completed})),
    ]);
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(number, (kind, data))| event(number, kind, data))
        .collect()
}

fn event(number: usize, kind: &str, mut data: Value) -> Bytes {
    data["type"] = json!(kind);
    data["sequence_number"] = json!(number);
    if data.get("response").is_none() {
        data["output_index"] = json!(0);
        if data.get("item").is_none() {
            data["item_id"] = json!("msg_mock");
            data["content_index"] = json!(0);
        }
    }
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

fn output_item(request: &Value) -> Value {
    let input = &request["input"];
    let user = |items: &Vec<Value>| {
        items
            .iter()
            .rev()
            .find(|item| item["role"] == "user")
            .cloned()
    };
    let asked = match input.as_array() {
        Some(items) => text_of(&user(items).unwrap_or_default()["content"]),
        None => text_of(input),
    };
    let text = formatted(&request["text"]["format"], pattern::reply_to(&asked));
    json!({
        "type": "message", "id": "msg_mock", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    })
}

fn response_with(request: &Value, status: &str, output: &Value) -> Value {
    let given = |key: &str, default: Value| request.get(key).cloned().unwrap_or(default);
    let usage = json!({
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    });
    let done = status == "completed";
    json!({
        "id": "resp_mock", "object": "response", "created_at": 1_763_000_000, "status": status,
        "error": null, "incomplete_details": null, "max_output_tokens": null,
        "model": given("model", json!("Hermes-4-405B")), "output": output,
        "instructions": given("instructions", Value::Null),
        "metadata": given("metadata", Value::Object(Map::new())),
        "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
        "previous_response_id": null,
        "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
        "store": given("store", json!(true)), "temperature": 1.0, "top_p": 1.0,
        "text": given("text", json!({"format": {"type": "text"}})),
        "tool_choice": given("tool_choice", json!("auto")), "tools": given("tools", json!([])),
        "truncation": "disabled", "usage": if done { usage } else { Value::Null },
    })
}

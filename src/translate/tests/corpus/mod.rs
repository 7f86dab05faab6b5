//! Requests for chat completions, answers to them, and streams: tables and their combinations.

mod answers;
mod conversations;
mod options;
mod wild;

use serde_json::{Value, json};

pub(crate) use self::answers::{answers, errors};
pub(crate) use self::wild::{End, chats, responses};

/// Texts that JSON, UTF-8 or an event stream may trip over.
pub(crate) const TEXTS: [&str; 9] = [
    "Hi",
    "",
    "a \"quote\", a \\ and a / and a\ttab",
    "zwei\nZeilen\r\n\r\ndata: [DONE]\n\n",
    "grüße, 你好, 🙂👩‍👩‍👧, \u{301}\u{feff}\u{2028}",
    "{\"type\":\"response.completed\",\"error\":1}",
    "\u{0}\u{1f}\u{7f}",
    "</s> event: error ``` ",
    "end",
];

/// Each conversation with some options, each option with some conversations.
pub(crate) fn requests() -> Vec<(String, Value)> {
    let (conversations, options) = (conversations::conversations(), options::options());
    let mut all = Vec::new();
    for (at, (of, messages)) in conversations.iter().enumerate() {
        for (number, (with, option)) in options.iter().enumerate() {
            if (at + number) % 10 != 0 {
                continue;
            }
            let mut request = option.as_object().unwrap().clone();
            request.insert("model".to_owned(), "gpt".into());
            request.insert("messages".to_owned(), messages.clone());
            all.push((format!("{of}, with {with}"), request.into()));
        }
    }
    all
}

/// A text in pieces of some characters, eight at most.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(letters.len().div_ceil(8).max(3))
        .map(|piece| piece.iter().collect())
        .collect()
}

/// An answer as a stream of chunks. Parallel calls come piece by piece, in turns.
pub(crate) fn stream(answer: &Value) -> String {
    let message = &answer["choices"][0]["message"];
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    for name in ["reasoning_content", "content", "refusal"] {
        let text = message[name].as_str().unwrap_or_default();
        deltas.extend(pieces(text).into_iter().map(|piece| json!({name: piece})));
    }
    if let Some(notes) = message.get("annotations") {
        deltas.push(json!({"annotations": notes}));
    }
    let calls = message["tool_calls"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut said = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let kind = call["type"].as_str().unwrap();
        let text = if kind == "custom" {
            "input"
        } else {
            "arguments"
        };
        deltas.push(json!({"tool_calls": [{"index": index, "id": call["id"], "type": kind, kind: {"name": call[kind]["name"], text: ""}}]}));
        for (at, piece) in pieces(call[kind][text].as_str().unwrap())
            .into_iter()
            .enumerate()
        {
            said.push((
                at,
                index,
                json!({"tool_calls": [{"index": index, kind: {text: piece}}]}),
            ));
        }
    }
    said.sort_by_key(|(at, index, _)| (*at, *index));
    deltas.extend(said.into_iter().map(|(_, _, delta)| delta));
    let chunk = |choices: Value| {
        let mut chunk = json!({"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"], "model": answer["model"], "choices": choices, "usage": null});
        if let Some(tier) = answer.get("service_tier") {
            chunk["service_tier"] = tier.clone();
        }
        chunk
    };
    let mut chunks: Vec<Value> = deltas
        .into_iter()
        .map(|delta| {
            chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
        })
        .collect();
    let reason = &answer["choices"][0]["finish_reason"];
    chunks.push(chunk(
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]),
    ));
    if let Some(usage) = answer.get("usage") {
        let mut last = chunk(json!([]));
        last["usage"] = usage.clone();
        chunks.push(last);
    }
    let events = chunks.into_iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.collect::<String>() + "data: [DONE]\n\n"
}

/// The sum of a stream of chunks, as an SDK builds it.
pub(crate) fn gathered(chunks: &[String]) -> Value {
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let mut answer = json!({});
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut reason = Value::Null;
    for chunk in chunks {
        let chunk: Value =
            serde_json::from_str(chunk).unwrap_or_else(|error| panic!("{error}: {chunk}"));
        for name in ["id", "created", "model", "service_tier"] {
            if let Some(value) = chunk.get(name) {
                answer[name] = value.clone();
            }
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        if chunk["usage"].is_object() {
            answer["usage"] = chunk["usage"].clone();
        }
        let Some(choice) = chunk["choices"].get(0) else {
            continue;
        };
        assert!(reason.is_null(), "it goes on behind its end");
        reason = choice["finish_reason"].clone();
        for (name, value) in choice["delta"].as_object().unwrap() {
            match name.as_str() {
                "tool_calls" => value
                    .as_array()
                    .unwrap()
                    .iter()
                    .for_each(|call| adds(&mut message, call)),
                "annotations" => {
                    let mut notes = message["annotations"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    for note in value.as_array().unwrap() {
                        let mut note = note.clone();
                        let place = note.as_object_mut().unwrap().remove("index");
                        assert_eq!(place, Some(notes.len().into()));
                        notes.push(note);
                    }
                    message["annotations"] = notes.into();
                }
                "role" => {}
                _ => {
                    let text = message[name].as_str().unwrap_or_default().to_owned();
                    message[name] = (text + value.as_str().unwrap()).into();
                }
            }
        }
    }
    let has_words = !message["content"].as_str().unwrap_or_default().is_empty();
    if !has_words && (message["refusal"].is_string() || message.get("tool_calls").is_some()) {
        message["content"] = Value::Null;
    }
    answer["object"] = "chat.completion".into();
    answer["choices"] =
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]);
    answer
}

fn adds(message: &mut Value, call: &Value) {
    if message.get("tool_calls").is_none() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
    if index == calls.len() {
        let mut call = call.clone();
        call.as_object_mut().unwrap().remove("index");
        calls.push(call);
        return;
    }
    let known = &mut calls[index];
    let kind = known["type"].as_str().unwrap().to_owned();
    let text = if kind == "custom" {
        "input"
    } else {
        "arguments"
    };
    let said = known[&kind][text].as_str().unwrap().to_owned();
    known[&kind][text] = (said + call[&kind][text].as_str().unwrap()).into();
}
